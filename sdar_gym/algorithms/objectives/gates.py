"""Gates: the per-token weight of the distillation loss, chosen by name.

A gate is detached: it scales the loss and has no gradient. New ones are registered in the file of their method:

    @register_gate("mine")
    @dataclass(frozen=True, slots=True)
    class MyGate(Gate):
        def weights(self, inputs: GateInputs) -> Tensor: ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sdar_gym.algorithms.objectives.component import Component, Part, register

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class GateInputs:
    """What a gate may depend on; B turns, T response tokens.

    Args:
        gap_BT: Teacher minus student log-probability of the sampled token, in nats, detached; 0 where masked.
        response_mask_BT: Bool, True on the response tokens that are distilled.
        advantage_BT: Advantage of each token.
        ratio_BT: Importance ratio current/old, detached.
        entropy_BT: The student's entropy, or None where it was not computed.
    """

    gap_BT: Tensor
    response_mask_BT: Tensor
    advantage_BT: Tensor
    ratio_BT: Tensor
    entropy_BT: Tensor | None = None


class Gate(Component):
    """Base of a gate.

    Attributes:
        needs_gap: Whether it depends on the teacher's log-probability of the sampled token.
        needs_entropy: Whether it depends on the student's entropy.
        needs_advantage: Whether it depends on the advantage (sign and size).
        varies: Whether it differs between tokens.
    """

    __slots__ = ()
    KIND: ClassVar[str] = "gate"
    PREFIX: ClassVar[str] = "distill.gate."
    registry: ClassVar[dict[str, type[Component]]] = {}
    needs_gap: ClassVar[bool] = True
    needs_entropy: ClassVar[bool] = False
    needs_advantage: ClassVar[bool] = False
    varies: ClassVar[bool] = True

    def weights(self, inputs: GateInputs) -> Tensor:
        """Detached weights, shape (B, T)."""
        raise NotImplementedError


def register_gate(name: str) -> Callable[[Part], Part]:
    """Decorator: registers a gate under the name that configurations use."""
    return register(Gate, name)
