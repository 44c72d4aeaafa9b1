"""Metrics of the losses of an optimizer step: of all micro-batches, with one wait for the device."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch

from sdar_gym.algorithms.losses.total import LossOutput

Entry = tuple[str, float, str]


class LossMetrics:
    """Collects the losses' metrics of micro-batches.

    Args:
        device: Of the learner.
        several_learners: Whether other learners have micro-batches of the same step.
    """

    def __init__(self, device: torch.device, *, several_learners: bool):
        self._device = device
        self._several_learners = several_learners
        # Sums, maxima and minima by micro-batch.
        self._pending: list[tuple[Mapping[str, torch.Tensor], ...]] = []

    def add(self, output: LossOutput) -> None:
        """Keeps the metrics of a micro-batch, without waiting for the device."""
        self._pending.append((output.metrics, output.maxima, output.minima))

    def taken(self, epochs: int, *, mismatch: bool, part: bool) -> Iterator[Entry]:
        """Names, values and reductions of the metrics since the last call, which are forgotten.

        Args:
            epochs: Passes over the update.
            mismatch: Whether the ratios say how far the sampler is from the learner, as before the first step.
            part: Whether a step has a part of the update's tokens.
        """
        pending, self._pending = self._pending, []
        rows: list[list[float]] = []
        if pending:
            rows = torch.stack(
                [torch.stack([v for kind in kinds for v in kind.values()]) for kinds in pending]
            ).tolist()
        sums, maxima, minima = [list(kind) for kind in pending[0]] if pending else ([], [], [])
        if mismatch:
            yield from self._mismatch([dict(zip([*sums, *maxima, *minima], row, strict=True)) for row in rows], part)
        for row in rows:
            logged = row[: len(sums) + len(maxima)]
            # RLlib drops nan from sums and maxima, so it is counted here.
            wrong = sum(not math.isfinite(value) for value in logged)
            if wrong:
                yield "not_finite", float(wrong), "sum"
            for name, value in zip(sums, logged[: len(sums)], strict=True):
                # Parts of a global weighted mean: they add up over micro-batches, minibatches and learners.
                yield name, value / epochs, "sum"
            for name, value in zip(maxima, logged[len(sums) :], strict=True):
                yield name, value, "max"

    def _mismatch(self, rows: Sequence[Mapping[str, float]], part: bool) -> Iterator[Entry]:
        weight = 1.0  # That of the whole update.
        if part:
            share = torch.tensor(sum(row["weight"] for row in rows), dtype=torch.float64)
            if self._several_learners:
                share = share.to(self._device, torch.float32)
                torch.distributed.all_reduce(share)
            weight = float(share) or 1.0
        for row in rows:
            yield "mismatch_kl", row["approx_kl"] / weight, "sum"
            yield "mismatch_ratio_max", row["ratio_max"], "max"
            yield "mismatch_ratio_min", row["ratio_min"], "min"
            yield "mismatch_corrected_fraction", 0.0, "sum"
