"""Gap-advantage correlation: whether the teacher's preference agrees with reward, by task type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sdar_gym.validation import finite_number


class GapAdvantageCorrelation:
    """Correlation between advantage and mean gap by task type: does the teacher prefer the better episodes?

    The moving average of the correlation between an episode's advantage and its mean gap, over the groups with
    spread. About one where the teacher prefers what succeeds, about zero or below where its context is wrong.
    Differences between tasks in the size of gaps bring it closer to zero, never to the other side.

    Args:
        decay: Share of the old value that stays with each update.

    Raises:
        ValueError: If `decay` is not in [0, 1).

    Source:
        Ours; a measurement. As a gate of the loss it did not prove safe: few groups differ once a task is learned.
    """

    def __init__(self, decay: float = 0.8):
        if finite_number("decay", decay, low=0.0) >= 1.0:
            raise ValueError(f"decay must be below 1, else the value never changes, got {decay!r}.")
        self._decay = decay
        self._value: dict[str, float] = {}

    def update(self, adv_E: Tensor, gap_E: Tensor, group_E: Tensor, task_types: Sequence[str]) -> dict[str, float]:
        """Adds one update.

        Args:
            adv_E: Advantage (or return less its group's mean) of each episode.
            gap_E: Its mean gap, see `trajectory_gaps`; episodes with nan are left out.
            group_E: Integer id of each episode's group.
            task_types: Task type of each episode.

        Returns:
            `metrics()`.

        Raises:
            ValueError: If the four do not have the same length.
        """
        if not len(adv_E) == len(gap_E) == len(group_E) == len(task_types):
            raise ValueError(
                f"One entry an episode is needed, got {len(adv_E)} advantages, {len(gap_E)} gaps, {len(group_E)} "
                f"groups and {len(task_types)} task types."
            )
        adv_E, gap_E = adv_E.double(), gap_E.double()
        for kind in sorted(set(task_types)):
            of_kind_E = torch.tensor([each == kind for each in task_types], device=gap_E.device)
            kept_E = of_kind_E & gap_E.isfinite()
            if not bool(kept_E.any()):
                continue
            live = _groups_with_spread(adv_E[kept_E], group_E[kept_E])
            live_E = kept_E & torch.isin(group_E, live)
            now = _correlation(adv_E[live_E], gap_E[live_E])
            if now is not None:
                old = self._value.get(kind, now)
                self._value[kind] = self._decay * old + (1.0 - self._decay) * now
        return self.metrics()

    def metrics(self) -> dict[str, float]:
        """`gap_advantage_correlation/<task type>` of the types that have a value."""
        return {f"gap_advantage_correlation/{kind}": value for kind, value in sorted(self._value.items())}

    def get_state(self) -> dict[str, float]:
        """State for a checkpoint; plain JSON."""
        return dict(self._value)

    def set_state(self, state: Mapping[str, float]) -> None:
        """Restores what `get_state` returned.

        Raises:
            ValueError: A value is not a number.
        """
        self._value = {str(kind): finite_number(f"correlation of {kind}", value) for kind, value in state.items()}


def _groups_with_spread(value_E: Tensor, group_E: Tensor) -> Tensor:
    """The ids of the groups with different values."""
    if value_E.ndim != 1 or value_E.shape != group_E.shape or len(value_E) == 0:
        raise ValueError(
            f"Values and groups of the episodes must be equally long, non-empty vectors, got shapes "
            f"{tuple(value_E.shape)} and {tuple(group_E.shape)}."
        )
    ids_G, index_E = torch.unique(group_E, return_inverse=True)
    spread_G = [
        value_E.new_zeros(len(ids_G)).scatter_reduce(0, index_E, value_E, reduce, include_self=False)
        for reduce in ("amin", "amax")
    ]
    return ids_G[spread_G[0] < spread_G[1]]


def _correlation(x_E: Tensor, y_E: Tensor) -> float | None:
    """Pearson's correlation, or None where one of the two does not vary."""
    x_E, y_E = x_E - x_E.mean(), y_E - y_E.mean()
    scale = x_E.norm() * y_E.norm()
    return float((x_E @ y_E / scale).clamp(-1.0, 1.0)) if float(scale) > 1e-12 else None
