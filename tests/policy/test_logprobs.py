"""Scores of answers against a plain log-softmax over the whole sequence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from sdar_gym.policy import logprobs
from sdar_gym.policy.logprobs import score_answers

VOCABULARY = 30
PROMPTS = [[3, 4, 5, 6], [7], [8, 9, 10, 11, 12, 13]]
ANSWERS = [[14, 15, 16], [17, 18, 19, 20, 21], [22]]


def build(kind: str = "qwen3", *, tied: bool = True) -> Any:
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 32}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": tied}
    torch.manual_seed(0)
    rest: dict[str, Any] = {**sizes, **heads}
    if kind == "qwen3":
        model: Any = Qwen3ForCausalLM(Qwen3Config(**rest, head_dim=6))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**rest))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    return model.double().eval()


def batch(pad: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Right-padded ids, prompt lengths, and the mask of the answers; the last row is padding."""
    ids = torch.full((4, 8), pad)
    mask = torch.zeros((4, 5), dtype=torch.bool)
    for row, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
        ids[row, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
        mask[row, : len(answer)] = True
    return ids, torch.tensor([4, 1, 6, 1]), mask


def plain(model: Any, temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies row by row, without padding, with gradient."""
    logp, entropy = [], []
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0] / temperature
        rows = torch.log_softmax(logits[len(prompt) - 1 : -1], dim=-1)
        padding = (0, 5 - len(answer))
        logp.append(torch.nn.functional.pad(rows[range(len(answer)), answer], padding))
        entropy.append(torch.nn.functional.pad(-(rows.exp() * rows).sum(-1), padding))
    nothing = torch.zeros(1, 5)
    return torch.cat([torch.stack(logp), nothing]), torch.cat([torch.stack(entropy), nothing])


def gradients(model: Any, value: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    value.backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("temperature", [1.0, 0.4, 2.0])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", ["qwen3", "qwen2"])
def test_scores_are_those_of_a_plain_softmax(kind: str, tied: bool, temperature: float) -> None:
    model = build(kind, tied=tied)
    with torch.no_grad():
        scores = score_answers(model, *batch(), temperature)
        logp, entropy = plain(model, temperature)
    assert scores.logp_BT.dtype == torch.float32
    torch.testing.assert_close(scores.logp_BT, logp.float(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scores.entropy_BT, entropy.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("chunk", [1, 2, 4, 2048])
def test_gradients_are_those_of_a_plain_softmax_in_any_chunks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs, "CHUNK_TOKENS", chunk)
    model = build()
    weights = torch.rand((4, 5), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores = score_answers(model, *batch(), 0.7)
    assert not scores.entropy_BT.requires_grad
    ours = gradients(model, (scores.logp_BT.double() * weights).sum())
    expected = gradients(model, (plain(model, 0.7)[0] * weights).sum())
    assert max(gradient.abs().max() for gradient in expected) > 0.1
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("chunk", [2, 2048])
def test_the_entropy_carries_a_gradient_where_it_is_asked_for(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs, "CHUNK_TOKENS", chunk)
    model = build()
    scores = score_answers(model, *batch(), 0.7, entropy_gradient=True)
    ours = gradients(model, scores.entropy_BT.sum())
    expected = gradients(model, plain(model, 0.7)[1].sum())
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("gradient", [True, False])
def test_no_more_logits_exist_at_once_than_a_chunk_has(gradient: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs, "CHUNK_TOKENS", 4)
    model = build()
    rows: list[int] = []
    model.lm_head.register_forward_hook(lambda module, given, logits: rows.append(logits.shape[0]))
    with torch.set_grad_enabled(gradient):
        scores = score_answers(model, *batch())
    assert rows == [4, 4, 1]  # Nine answer tokens: neither prompts nor padding reach the head.
    if gradient:
        scores.logp_BT.sum().backward()
        assert sorted(rows) == [1, 1, 4, 4, 4, 4]  # Recomputed rather than kept.


def test_what_stands_in_the_padding_does_not_matter() -> None:
    model = build()
    with torch.no_grad():
        zeros, others = score_answers(model, *batch(pad=0)), score_answers(model, *batch(pad=29))
    torch.testing.assert_close(zeros.logp_BT, others.logp_BT)
    mask = batch()[2]
    assert not zeros.logp_BT[~mask].any()
    assert not zeros.entropy_BT[~mask].any()
    assert (zeros.logp_BT[mask] < 0).all()


def test_a_batch_without_answers_scores_nothing() -> None:
    ids, lengths, mask = batch()
    scores = score_answers(build(), ids, lengths, torch.zeros_like(mask))
    assert scores.logp_BT.shape == scores.entropy_BT.shape == mask.shape
    assert not scores.logp_BT.any()


def test_half_precision_is_scored_in_single() -> None:
    model = build().bfloat16()
    scores = score_answers(model, *batch())
    assert scores.logp_BT.dtype == torch.float32
    ids, lengths, _ = batch()
    hidden = model.model(input_ids=ids).last_hidden_state[0, int(lengths[0]) - 1]
    expected = torch.log_softmax(model.lm_head(hidden).float(), dim=-1)[ANSWERS[0][0]]
    torch.testing.assert_close(scores.logp_BT[0, 0], expected)
