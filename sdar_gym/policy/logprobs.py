"""Log-probabilities and entropies of given responses, computed in chunks of tokens.

A tensor of shape [rows, tokens, vocabulary] never exists.

Letters: B rows, S tokens of a sequence, T response tokens of a row, N response tokens of all rows, V vocabulary, H
hidden size, K most likely tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch.nn.functional import linear
from transformers import PreTrainedModel

from sdar_gym.policy.chunked_autograd import chunked_values
from sdar_gym.policy.chunked_head import (
    LOGIT_BUDGET_BYTES,
    chunks,
    head_of,
    logits_of,
    response_tokens,
    scaled,
)


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Scores of response tokens, in single precision or better.

    Attributes:
        logp_BT: Log-probability of each response token at the given temperature; 0 where masked.
        entropy_BT: Entropy of the distribution it was drawn from, in nats; 0 where masked or not requested.
        extra: Values of the term by name; 0 elsewhere.
    """

    logp_BT: torch.Tensor
    entropy_BT: torch.Tensor
    extra: dict[str, torch.Tensor] = field(default_factory=dict)


class LogitsTerm(Protocol):
    """A function of the logits of the whole vocabulary, such as a divergence to a teacher.

    It is called for one chunk after the other, and again for the same chunk in the backward pass, so it must not have
    state nor draw random numbers. It is called at least once, if necessary without tokens, so that the names of its
    values are always known. With an attribute `term_mask_BT` (bool) it is computed on those response tokens only.
    """

    def __call__(
        self, logits_NV: torch.Tensor, rows_N: torch.Tensor, places_N: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Computes values for each token.

        Args:
            logits_NV: Divided by the temperature, in single precision or better, with gradient. Not to be changed.
            rows_N: Row of each token in the batch.
            places_N: Place of each token in its response, counted from 0.

        Returns:
            Values by name, each [N].
        """
        ...


def score_responses(
    model: PreTrainedModel,
    input_ids_BS: torch.Tensor,
    position_BT: torch.Tensor,
    response_mask_BT: torch.Tensor,
    temperature: float = 1.0,
    *,
    entropy: bool = True,
    entropy_gradient: bool = False,
    term: LogitsTerm | None = None,
    logit_budget_bytes: int = LOGIT_BUDGET_BYTES,
) -> TokenScores:
    """Scores the response tokens of right-padded sequences, which may be in any number of spans.

    With gradients and several chunks, logits are not kept but computed once more in the backward pass.

    Args:
        model: The causal language model.
        input_ids_BS: Sequences, padded on the right.
        position_BT: Position of each response token in its sequence, increasing and at least 1.
        response_mask_BT: 1 where the row has a response token.
        temperature: Divisor of the logits; the temperature of the rollout.
        entropy: Whether the entropy is computed, which takes about as long as the log-probabilities.
        entropy_gradient: Whether the entropy carries a gradient.
        term: Is evaluated on the same logits.
        logit_budget_bytes: Memory of a chunk's logits.

    Raises:
        ValueError: A value of the term has the name of a score.
    """
    tokens = response_tokens(model, input_ids_BS, position_BT, response_mask_BT)
    head = head_of(model)
    with_term = len(tokens)
    term_mask_BT = getattr(term, "term_mask_BT", None)
    if term_mask_BT is not None:
        with_term_N = term_mask_BT.to(tokens.rows_N.device).bool()[tokens.rows_N, tokens.places_N]
        # Tokens with the term come first: a part of the logits is then a slice, not a copy.
        tokens = tokens.part(with_term_N.argsort(descending=True, stable=True))
        with_term = int(with_term_N.sum())

    pieces = chunks(len(tokens), head, logit_budget_bytes)

    def scores(raw_NV: torch.Tensor, number: int) -> dict[str, torch.Tensor]:
        piece = pieces[number]
        part = tokens.part(piece)
        logits = scaled(raw_NV, temperature)
        total = torch.logsumexp(logits, dim=-1)
        result = {"logp": logits.gather(1, part.target_N[:, None]).squeeze(1) - total}
        if entropy_gradient:
            result["entropy"] = _entropy(logits, total)
        elif entropy:
            result["entropy"] = _entropy(logits.detach(), total.detach())
        # The first chunk always calls the term, for its names.
        if term is None or (with_term <= piece.start and number > 0):
            return result
        count = max(0, with_term - piece.start)
        return _joined(result, term(logits[:count], part.rows_N[:count], part.places_N[:count]))

    if len(pieces) > 1 and torch.is_grad_enabled():
        found = chunked_values(scores, pieces, tokens.hidden_NH, head)
    else:
        parts = [scores(head(tokens.hidden_NH[piece]), number) for number, piece in enumerate(pieces)]
        found = {name: torch.cat([part[name] for part in parts if name in part]) for name in parts[0]}
    values = {name: tokens.scatter(value, response_mask_BT.shape) for name, value in found.items()}
    logp_BT = values.pop("logp")
    return TokenScores(logp_BT, values.pop("entropy", torch.zeros_like(logp_BT)), values)


@torch.no_grad()
def response_hidden(
    model: PreTrainedModel, input_ids_BS: torch.Tensor, position_BT: torch.Tensor, response_mask_BT: torch.Tensor
) -> torch.Tensor:
    """Hidden states from which the head computes the logits of response tokens: H numbers per token instead of V.

    Args:
        model: The causal language model.
        input_ids_BS: Sequences, padded on the right.
        position_BT: Position of each response token in its sequence, increasing and at least 1.
        response_mask_BT: 1 where the row has a response token.

    Returns:
        hidden_BTH for `head_logits`, without gradient, in the model's precision; 0 where masked.
    """
    tokens = response_tokens(model, input_ids_BS, position_BT, response_mask_BT)
    return tokens.scatter(tokens.hidden_NH, response_mask_BT.shape)


def head_logits(
    head_weight_VH: torch.Tensor, head_bias_V: torch.Tensor | None, hidden_NH: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """Logits from hidden states and a stored head.

    Args:
        head_weight_VH: The head's matrix; the product has its precision.
        head_bias_V: Its bias, if it has one.
        hidden_NH: Hidden states, as `response_hidden` gives them.
        temperature: Divisor of the logits.

    Returns:
        logits_NV in single precision or better.
    """
    bias_V = None if head_bias_V is None else head_bias_V.to(head_weight_VH.dtype)
    return scaled(linear(hidden_NH.to(head_weight_VH.dtype), head_weight_VH, bias_V), temperature)


@torch.no_grad()
def topk_scores(
    model: PreTrainedModel,
    input_ids_BS: torch.Tensor,
    position_BT: torch.Tensor,
    response_mask_BT: torch.Tensor,
    k: int,
    temperature: float = 1.0,
    *,
    logit_budget_bytes: int = LOGIT_BUDGET_BYTES,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The most likely tokens at the place of every response token.

    Args:
        model: The causal language model.
        input_ids_BS: Sequences, padded on the right.
        position_BT: Position of each response token in its sequence, increasing and at least 1.
        response_mask_BT: 1 where the row has a response token.
        k: Number of tokens, at least 1.
        temperature: Divisor of the logits.
        logit_budget_bytes: Memory of a chunk's logits.

    Returns:
        ids_BTK, most likely first, and logp_BTK, their log-probabilities; both without gradient, 0 where masked.

    Raises:
        ValueError: `k` is not between 1 and the size of the vocabulary.
    """
    head = head_of(model)
    if not 1 <= k <= head.weight.shape[0]:
        raise ValueError(f"k must be from 1 to the {head.weight.shape[0]} tokens of the vocabulary, got {k}.")
    tokens = response_tokens(model, input_ids_BS, position_BT, response_mask_BT)
    ids, logps = [], []
    for _, logits in logits_of(tokens, head, temperature, logit_budget_bytes):
        top = logits.topk(k, dim=-1)
        ids.append(top.indices)
        logps.append(top.values - torch.logsumexp(logits, dim=-1, keepdim=True))
    shape_BT = response_mask_BT.shape
    return tokens.scatter(torch.cat(ids), shape_BT), tokens.scatter(torch.cat(logps), shape_BT)


@torch.no_grad()
def sampled_tokens(
    model: PreTrainedModel,
    input_ids_BS: torch.Tensor,
    position_BT: torch.Tensor,
    response_mask_BT: torch.Tensor,
    samples: int,
    temperature: float = 1.0,
    *,
    generator: torch.Generator | None = None,
    logit_budget_bytes: int = LOGIT_BUDGET_BYTES,
) -> torch.Tensor:
    """Tokens drawn from the model's distribution at the place of every response token.

    Args:
        model: The causal language model.
        input_ids_BS: Sequences, padded on the right.
        position_BT: Position of each response token in its sequence, increasing and at least 1.
        response_mask_BT: 1 where the row has a response token.
        samples: Independent draws at each place.
        temperature: Divisor of the logits.
        generator: Source of the draws, on the model's device.
        logit_budget_bytes: Memory of a chunk's logits.

    Returns:
        Token ids, [B, T, samples], 0 where masked.
    """
    tokens = response_tokens(model, input_ids_BS, position_BT, response_mask_BT)
    drawn = [
        torch.multinomial(torch.softmax(logits, dim=-1), samples, replacement=True, generator=generator)
        for _, logits in logits_of(tokens, head_of(model), temperature, logit_budget_bytes)
    ]
    return tokens.scatter(torch.cat(drawn), response_mask_BT.shape)


@torch.no_grad()
def gather_scores(
    model: PreTrainedModel,
    input_ids_BS: torch.Tensor,
    position_BT: torch.Tensor,
    response_mask_BT: torch.Tensor,
    ids_BTK: torch.Tensor,
    temperature: float = 1.0,
    *,
    logit_budget_bytes: int = LOGIT_BUDGET_BYTES,
) -> torch.Tensor:
    """Log-probabilities of given tokens at the place of every response token, such as another model's top k.

    Args:
        model: The causal language model.
        input_ids_BS: Sequences, padded on the right.
        position_BT: Position of each response token in its sequence, increasing and at least 1.
        response_mask_BT: 1 where the row has a response token.
        ids_BTK: The tokens to score.
        temperature: Divisor of the logits.
        logit_budget_bytes: Memory of a chunk's logits.

    Returns:
        logp_BTK, without gradient, 0 where masked.
    """
    tokens = response_tokens(model, input_ids_BS, position_BT, response_mask_BT)
    ids_NK = ids_BTK[tokens.rows_N, tokens.places_N]
    logps = [
        logits.gather(1, ids_NK[piece]) - torch.logsumexp(logits, dim=-1, keepdim=True)
        for piece, logits in logits_of(tokens, head_of(model), temperature, logit_budget_bytes)
    ]
    return tokens.scatter(torch.cat(logps), response_mask_BT.shape)


def _entropy(logits_NV: torch.Tensor, total_N: torch.Tensor) -> torch.Tensor:
    return total_N - ((logits_NV - total_N[:, None]).exp() * logits_NV).sum(-1)


def _joined(scores: dict[str, torch.Tensor], values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    taken = sorted(set(scores) & set(values))
    if taken:
        raise ValueError(f"The term's values {', '.join(taken)} have the names of scores; use other names.")
    return scores | values
