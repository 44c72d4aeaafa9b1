"""Chunked autograd: values from an LM head's logits, recomputed in the backward pass, one chunk in memory at a time.

`torch.utils.checkpoint` around each chunk would work, but autograd then makes a gradient of the whole head matrix for
each chunk before it sums them: with a vocabulary of 152,000 that is more memory than was saved. Here gradients are
added in place. Letters: N tokens, V vocabulary, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

# Takes the logits and the number of a chunk; returns values by name.
Evaluate = Callable[[torch.Tensor, int], dict[str, torch.Tensor]]


def chunked_values(
    evaluate: Evaluate, pieces: Sequence[slice], hidden_NH: torch.Tensor, head: torch.nn.Linear
) -> dict[str, torch.Tensor]:
    """Evaluates one chunk after the other, and again in the backward pass.

    Args:
        evaluate: Must return the same values for the same chunk every time. Of its inputs, only the logits may need a
            gradient. A chunk may omit a name.
        pieces: The chunks of tokens.
        hidden_NH: Hidden states, with gradient.
        head: The language-model head.

    Returns:
        The values of all chunks by name, one after the other.
    """
    names: list[str] = []
    values: Any = _Chunked.apply(evaluate, pieces, names, hidden_NH, head.weight, head.bias)
    return dict(zip(names, values, strict=True))


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any,
        evaluate: Evaluate,
        pieces: Sequence[slice],
        names: list[str],
        hidden_NH: torch.Tensor,
        weight_VH: torch.Tensor,
        bias_V: torch.Tensor | None,
    ) -> tuple[torch.Tensor, ...]:
        found: dict[str, list[torch.Tensor]] = {}
        constant: set[str] = set()
        ctx.lengths = []
        for number, piece in enumerate(pieces):
            logits = torch.nn.functional.linear(hidden_NH[piece], weight_VH, bias_V)
            # The first chunk also determines which values have no gradient.
            with torch.set_grad_enabled(number == 0):
                values = evaluate(logits.requires_grad_(number == 0), number)
            if number == 0:
                constant = {name for name, value in values.items() if not value.requires_grad}
            for name, value in values.items():
                found.setdefault(name, []).append(value.detach())
            ctx.lengths.append({name: len(value) for name, value in values.items()})
        names.extend(found)
        ctx.evaluate, ctx.pieces, ctx.names = evaluate, pieces, list(found)
        kind = hidden_NH.device.type
        ctx.autocast = (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
        ctx.save_for_backward(hidden_NH, weight_VH, bias_V)
        ctx.set_materialize_grads(False)
        results = {name: torch.cat(values) for name, values in found.items()}
        ctx.mark_non_differentiable(*(results[name] for name in constant))
        return tuple(results.values())

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, ...]:
        hidden_NH, weight_VH, bias_V = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[3:]
        hidden_grad = torch.zeros_like(hidden_NH) if wants_hidden else None
        weight_grad = torch.zeros_like(weight_VH) if wants_weight else None
        bias_grad = torch.zeros_like(bias_V) if wants_bias and bias_V is not None else None
        wanted = {name: gradient for name, gradient in zip(ctx.names, gradients, strict=True) if gradient is not None}
        starts = dict.fromkeys(wanted, 0)
        kind, dtype, enabled = ctx.autocast
        for number, piece in enumerate(ctx.pieces):
            lengths = ctx.lengths[number]
            with torch.autocast(kind, dtype=dtype, enabled=enabled):
                logits = torch.nn.functional.linear(hidden_NH[piece], weight_VH, bias_V).detach().requires_grad_()
                with torch.enable_grad():
                    values = ctx.evaluate(logits, number)
            outputs, upstream = [], []
            for name, gradient in wanted.items():
                if name in lengths:
                    part = gradient[starts[name] : starts[name] + lengths[name]]
                    starts[name] += lengths[name]
                    if values[name].requires_grad:
                        outputs.append(values[name])
                        upstream.append(part)
            if not outputs:
                continue
            (logits_grad,) = torch.autograd.grad(outputs, logits, upstream)
            if hidden_grad is not None:
                hidden_grad[piece] = (logits_grad @ weight_VH.to(logits_grad.dtype)).to(hidden_grad.dtype)
            if weight_grad is not None:
                states = hidden_NH[piece].to(logits_grad.dtype)
                if weight_grad.dtype == logits_grad.dtype:
                    weight_grad.addmm_(logits_grad.t(), states)
                else:
                    weight_grad.add_(logits_grad.t() @ states)
            if bias_grad is not None:
                bias_grad.add_(logits_grad.sum(dim=0))
        return None, None, None, hidden_grad, weight_grad, bias_grad
