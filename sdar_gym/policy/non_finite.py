"""NaN and infinity checks on losses, gradients and weights, used before weights are saved or loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from sdar_gym.policy.errors import NonFiniteWeightsError


class NonFiniteError(ValueError):
    """A loss, a gradient or weights that are not finite."""


def refuse_not_finite(what: str, tensors: Mapping[str, torch.Tensor], remedy: str = "") -> None:
    """Refuse tensors with NaN or infinite numbers.

    Args:
        what: What the tensors belong to, for the message.
        tensors: By name, on any device.
        remedy: What to do, for the message.

    Raises:
        NonFiniteError: With how many there are, and where.
    """
    wrong = _count_non_finite(tensors.items())
    if wrong:
        raise NonFiniteError(
            f"{what} hold {sum(wrong.values()):,} numbers that are not finite, in {len(wrong)} tensors, {min(wrong)} "
            f"among them.{' ' if remedy else ''}{remedy}"
        )


def refuse_non_finite_weights(name: str, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Refuse a loaded model with NaN or infinite weights.

    Args:
        name: The model, for the message.
        tensors: Names and tensors, such as `model.named_parameters()`.

    Raises:
        NonFiniteWeightsError: With how many there are, and where.
    """
    wrong = _count_non_finite(tensors)
    if wrong:
        raise NonFiniteWeightsError(
            f"The weights of {name!r} hold {sum(wrong.values()):,} numbers that are not finite, {next(iter(wrong))} "
            "among them; use an earlier checkpoint, or save the model again."
        )


def largest_magnitude(tensors: list[torch.Tensor]) -> torch.Tensor:
    """The largest absolute value, NaN if there is a NaN; it does not overflow as an L2 norm would."""
    return torch.nn.utils.get_total_norm(tensors, float("inf"))


def _count_non_finite(tensors: Iterable[tuple[str, torch.Tensor]]) -> dict[str, int]:
    """How many numbers of each tensor are not finite, for tensors that hold some; tied weights are counted once."""
    wrong: dict[str, int] = {}
    # Tied weights are one tensor under several names.
    seen: set[tuple[int, torch.Size]] = set()
    for name, tensor in tensors:
        place = (tensor.data_ptr(), tensor.shape)
        if tensor.numel() and place not in seen and not bool(tensor.isfinite().all()):
            wrong[name] = int((~tensor.isfinite()).sum())
        seen.add(place)
    return wrong
