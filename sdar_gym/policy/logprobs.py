"""Log-probabilities of given answers, without ever holding [rows, tokens, vocabulary]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

# Answer tokens whose logits exist at once; above it they are recomputed in the backward pass.
CHUNK_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Scores of answer tokens.

    Attributes:
        logp_BT: Log-probability of each answer token at the given temperature; 0 where masked.
        entropy_BT: Entropy of the distribution it was drawn from, in nats, without gradient; 0 where masked.
    """

    logp_BT: torch.Tensor
    entropy_BT: torch.Tensor


def score_answers(
    model: PreTrainedModel,
    input_ids_BS: torch.Tensor,
    prompt_len_B: torch.Tensor,
    answer_mask_BT: torch.Tensor,
    temperature: float = 1.0,
    *,
    entropy_gradient: bool = False,
) -> TokenScores:
    """Score the answer part of right-padded sequences.

    Letters: B rows, S tokens of prompt and answer, T answer tokens.

    Args:
        model: The causal language model.
        input_ids_BS: Prompt, answer, padding.
        prompt_len_B: Tokens of each prompt.
        answer_mask_BT: 1 where the row has an answer token.
        temperature: What logits are divided by; the temperature of the rollout.
        entropy_gradient: Whether the entropy carries a gradient.
    """
    # No mask: with padding on the right, causal attention keeps every real token from seeing any of it.
    hidden_BSH = model.base_model(input_ids=input_ids_BS, use_cache=False).last_hidden_state
    mask_BT = answer_mask_BT.bool()
    columns_T = torch.arange(mask_BT.shape[1], device=input_ids_BS.device)
    position_BT = prompt_len_B[:, None] + columns_T[None, :]
    rows_N, places_N = mask_BT.nonzero(as_tuple=True)
    at_N = position_BT[rows_N, places_N]
    hidden_NH = hidden_BSH[rows_N, at_N - 1]  # Token i is predicted from position i - 1.
    target_N = input_ids_BS[rows_N, at_N]
    head = model.get_output_embeddings()
    if head is None:
        raise ValueError(f"{type(model).__name__} has no language-model head.")

    def scores(hidden: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = head(hidden).float() / temperature
        total = torch.logsumexp(logits, dim=-1)
        logp = logits.gather(1, target[:, None]).squeeze(1) - total
        if entropy_gradient:
            return logp, total - (torch.softmax(logits, dim=-1) * logits).sum(-1)
        with torch.no_grad():
            return logp, total.detach() - (torch.softmax(logits, dim=-1) * logits).sum(-1)

    parts: list[tuple[torch.Tensor, torch.Tensor]] = []
    for start in range(0, len(target_N), CHUNK_TOKENS):
        piece = slice(start, start + CHUNK_TOKENS)
        if torch.is_grad_enabled() and len(target_N) > CHUNK_TOKENS:
            result = checkpoint(scores, hidden_NH[piece], target_N[piece], use_reentrant=False)
            assert isinstance(result, tuple)
            parts.append((result[0], result[1]))
        else:
            parts.append(scores(hidden_NH[piece], target_N[piece]))
    empty_BT = torch.zeros(mask_BT.shape, device=input_ids_BS.device)
    if not parts:
        return TokenScores(empty_BT, empty_BT)
    logp_BT = empty_BT.index_put((rows_N, places_N), torch.cat([part[0] for part in parts]))
    entropy_BT = empty_BT.index_put((rows_N, places_N), torch.cat([part[1] for part in parts]))
    return TokenScores(logp_BT, entropy_BT)
