"""Memory of a learner by part, in bytes: the formulas that a run's choice of sizes, its plan and docs/cost.md share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

SINGLE, HALF = 4, 2
SINGLE_WEIGHTS, HALF_WEIGHTS, FROZEN_WEIGHTS = "weights in single precision", "weights in half precision", "weights"
ADAPTERS, GRADIENTS, MASTERS, MOMENTS = "adapters", "gradients", "master weights", "AdamW, two moments"
# Autocast makes them for a forward pass and keeps them until the backward pass, so that they are gone afterwards.
COPIES = "copies in half precision for matrix products"
STEP = "temporary arrays of the optimizer's step"


class _Sizes(Protocol):
    """The sizes of a model that matter: number of weights, and of those of the largest tensor."""

    @property
    def parameters(self) -> int: ...
    @property
    def largest(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a model is trained.

    Attributes:
        width: Bytes per number in which it computes.
        half_weights: Whether weights and gradients are in half precision, with master weights in the optimizer.
        adapters: Number of weights of its adapters; None if the whole model is trained.
        learners: Data-parallel learners, each on its own GPU.
        sharded: Whether they share out the optimizer's state.
    """

    width: int
    half_weights: bool = False
    adapters: int | None = None
    learners: int = 1
    sharded: bool = False

    @property
    def autocast(self) -> bool:
        """Whether weights in single precision are rounded for each pass."""
        return self.width == HALF and not self.half_weights and self.adapters is None


def standing_memory(sizes: _Sizes, scheme: Scheme) -> dict[str, float]:
    """What one learner holds between passes, from its first step on.

    Weights and gradients are whole on each learner. With a sharded optimizer it has the state of a share of the
    weights: the n-th part, or the largest tensor if that is more.

    Args:
        sizes: The model's.
        scheme: How it is trained.

    Source: ZeRO's account of data-parallel memory (Rajbhandari et al. 2020, arXiv 1910.02054, section 3.1): 2 bytes for
        weights, 2 for gradients and 12 for the optimizer's state, which stage 1 divides; here also with weights in
        single precision and autocast, 4, 4 and 8.
    """
    trained = sizes.parameters if scheme.adapters is None else scheme.adapters
    share = float(trained)
    if scheme.sharded and scheme.learners > 1:
        # An adapter's largest matrix is far below any share.
        share = max(trained / scheme.learners, sizes.largest if scheme.adapters is None else 0)
    parts: dict[str, float] = {}
    if scheme.adapters is not None:
        parts[FROZEN_WEIGHTS] = scheme.width * sizes.parameters
        parts[ADAPTERS] = SINGLE * trained
    elif scheme.half_weights:
        parts[HALF_WEIGHTS] = HALF * trained
    else:
        parts[SINGLE_WEIGHTS] = SINGLE * trained
    parts[GRADIENTS] = (HALF if scheme.half_weights else SINGLE) * trained
    if scheme.half_weights:
        parts[MASTERS] = SINGLE * share
    parts[MOMENTS] = 2 * SINGLE * share
    return parts


def pass_memory(sizes: _Sizes, scheme: Scheme) -> dict[str, float]:
    """What one learner holds during a forward and backward pass beside that, activations and logits left out."""
    return {COPIES: float(HALF * sizes.parameters)} if scheme.autocast else {}


def step_memory(sizes: _Sizes, scheme: Scheme) -> float:
    """What the optimizer's step needs for a moment, when activations are gone: arrays of the largest tensor.

    The root of the second moment and its quotient; with master weights also the gradient in single precision.
    """
    largest = sizes.largest if scheme.adapters is None else 0
    return float((3 if scheme.half_weights else 2) * SINGLE * largest)
