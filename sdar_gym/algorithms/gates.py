"""A gate decides how much of the distillation loss a token gets; always detached, so it weighs and never trains."""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor


class Gate(StrEnum):
    """The per-token weight of the distillation loss.

    `SIGMOID` is σ(βΔ). `CONSTANT` is one half, which is what β = 0 makes of the sigmoid. `ONE` is no gate.
    """

    SIGMOID = "sigmoid"
    CONSTANT = "constant"
    ONE = "one"


def sigmoid_gate(gap_BT: Tensor, beta: float) -> Tensor:
    """Returns σ(βΔ): near one where the teacher likes the token more than the student does, near zero where less.

    Args:
        gap_BT: Teacher minus student log-probability of the sampled token, in nats.
        beta: Sharpness; 0 gives one half everywhere.

    Returns:
        Detached weights in (0, 1), shape (B, T).

    Source:
        SDAR (arXiv 2605.15155), gap gating, β = 5. Paper and released code agree. The paper also argues against
        letting the gradient through the gate (its Prop. 5).
    """
    return torch.sigmoid(beta * gap_BT.detach())


def constant_gate(gap_BT: Tensor, value: float = 0.5) -> Tensor:
    """Returns the same weight for every token.

    With the sampled-token `nll` this carries no signal on policy: the expected gradient is zero, because the
    expectation of the score is zero and the weight does not depend on the token.

    Args:
        gap_BT: Only its shape, type and device are used.
        value: The weight; one half is σ(0).

    Returns:
        Detached weights, shape (B, T).

    Source:
        The released SDAR code's GRPO+OPSD baseline is the sigmoid gate with β = 0.
    """
    return torch.full_like(gap_BT, value, requires_grad=False)


def gate_weights(gate: Gate, gap_BT: Tensor, beta: float | None) -> Tensor:
    """Returns the weights of the named gate.

    Args:
        gate: Which gate.
        gap_BT: Teacher minus student log-probability of the sampled token, in nats.
        beta: Sharpness of the sigmoid; not used by the others.

    Returns:
        Detached weights, shape (B, T).

    Raises:
        ValueError: If the sigmoid is asked for without `beta`.
    """
    match gate:
        case Gate.SIGMOID:
            if beta is None:
                raise ValueError("The sigmoid gate needs gate_beta; SDAR uses 5.0.")
            return sigmoid_gate(gap_BT, beta)
        case Gate.CONSTANT:
            return constant_gate(gap_BT)
        case Gate.ONE:
            return constant_gate(gap_BT, 1.0)
