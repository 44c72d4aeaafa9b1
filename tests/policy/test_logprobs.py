"""Scores of answers against a plain log-softmax over the whole sequence, in double precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from sdar_gym.policy import chunked_head
from sdar_gym.policy.logprobs import (
    TokenScores,
    gather_scores,
    head_logits,
    response_hidden,
    score_responses,
    topk_scores,
)

VOCABULARY = 30
PROMPTS = [[3, 4, 5, 6], [7], [8, 9, 10, 11, 12, 13]]
ANSWERS = [[14, 15, 16], [17, 18, 19, 20, 21], [22]]
LENGTHS = [4, 1, 6, 1]
TOKENS = sum(len(answer) for answer in ANSWERS)
EXACT = {"atol": 1e-12, "rtol": 1e-10}


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
    """Right-padded ids, positions of the answers' tokens, and their mask; the last row is padding."""
    ids = torch.full((4, 8), pad)
    mask = torch.zeros((4, 5), dtype=torch.bool)
    for row, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
        ids[row, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
        mask[row, : len(answer)] = True
    position = torch.tensor(LENGTHS)[:, None] + torch.arange(5)
    return ids, torch.where(mask, position, 1), mask


def logits_of(model: Any, temperature: float = 1.0) -> torch.Tensor:
    """All logits of the answer tokens, [4, 5, vocabulary], 0 where there is no token."""
    ids, _, mask = batch()
    logits = model(input_ids=ids).logits / temperature
    rows = [torch.nn.functional.pad(logits[row, n - 1 : n + 4], (0, 0, 0, 5))[:5] for row, n in enumerate(LENGTHS)]
    return torch.stack(rows) * mask[..., None]


def plain(model: Any, temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies, with gradient."""
    ids, _, mask = batch()
    rows = torch.log_softmax(logits_of(model, temperature), dim=-1)
    targets = torch.stack([torch.nn.functional.pad(ids[row], (0, 9))[n : n + 5] for row, n in enumerate(LENGTHS)])
    return rows.gather(2, targets[..., None]).squeeze(2) * mask, -(rows.exp() * rows).sum(-1) * mask


def gradients(model: Any, value: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    value.backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]


def assert_same_gradients(model: Any, ours: torch.Tensor, expected: torch.Tensor) -> None:
    mine, theirs = gradients(model, ours), gradients(model, expected)
    assert max(gradient.abs().max() for gradient in theirs) > 0.1
    # Of the head and of what lies below it; transformers computes norms in single precision.
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)
    if not model.config.tie_word_embeddings:
        place = next(n for n, (name, _) in enumerate(model.named_parameters()) if name == "lm_head.weight")
        torch.testing.assert_close(mine[place], theirs[place], **EXACT)


@pytest.fixture
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Budget that gives chunks of as many tokens as the test's parameter says."""
    monkeypatch.setattr(chunked_head, "LEAST_TOKENS", 1)
    return int(request.param) * VOCABULARY * 8


def in_chunks(*sizes: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("chunk", sizes, indirect=True)


@pytest.mark.parametrize("temperature", [1.0, 0.4, 2.0])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", ["qwen3", "qwen2"])
def test_scores_are_those_of_a_plain_softmax(kind: str, tied: bool, temperature: float) -> None:
    model = build(kind, tied=tied)
    with torch.no_grad():
        scores = score_responses(model, *batch(), temperature)
        logp, entropy = plain(model, temperature)
    assert scores.logp_BT.dtype == torch.float64
    assert scores.extra == {}
    torch.testing.assert_close(scores.logp_BT, logp, **EXACT)
    torch.testing.assert_close(scores.entropy_BT, entropy, **EXACT)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@in_chunks(1, 2, 4, TOKENS, 2048)
def test_gradients_are_those_of_a_plain_softmax_in_any_chunks(tied: bool, chunk: int) -> None:
    model = build(tied=tied)
    weights = torch.rand((4, 5), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scores = score_responses(model, *batch(), 0.7, logit_budget_bytes=chunk)
    assert not scores.entropy_BT.requires_grad
    assert_same_gradients(model, (scores.logp_BT * weights).sum(), (plain(model, 0.7)[0] * weights).sum())


@in_chunks(2, 2048)
def test_gradients_reach_the_hidden_states_exactly(chunk: int) -> None:
    model = build(tied=False)
    (answers, ours), (expected, theirs) = (hidden_gradient(model, chunk, plain_loss=value) for value in (False, True))
    torch.testing.assert_close(answers, expected, **EXACT)
    assert theirs.abs().max() > 0.1
    torch.testing.assert_close(ours, theirs, **EXACT)


def hidden_gradient(model: Any, budget: int, *, plain_loss: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss, and its gradient where the head begins."""
    seen: list[torch.Tensor] = []

    def keep(module: Any, given: Any, output: Any) -> None:
        output.last_hidden_state.retain_grad()
        seen.append(output.last_hidden_state)

    hook = model.model.register_forward_hook(keep)
    logp = (
        plain(model, 0.7)[0] if plain_loss else score_responses(model, *batch(), 0.7, logit_budget_bytes=budget).logp_BT
    )
    hook.remove()
    logp.sum().backward()
    assert seen[0].grad is not None
    return logp.detach(), seen[0].grad


@in_chunks(2, 2048)
def test_the_entropy_carries_a_gradient_where_it_is_asked_for(chunk: int) -> None:
    model = build()
    scores = score_responses(model, *batch(), 0.7, entropy_gradient=True, logit_budget_bytes=chunk)
    assert_same_gradients(model, scores.entropy_BT.sum(), plain(model, 0.7)[1].sum())


@pytest.mark.parametrize("gradient", [True, False])
@in_chunks(4)
def test_no_more_logits_exist_at_once_than_a_chunk_has(
    gradient: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build()
    rows: list[int] = []
    plain_linear = torch.nn.functional.linear

    def spied(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        if weight.shape[0] == VOCABULARY:
            rows.append(states.shape[0])
        return plain_linear(states, weight, bias)

    monkeypatch.setattr(torch.nn.functional, "linear", spied)
    with torch.set_grad_enabled(gradient):
        scores = score_responses(model, *batch(), logit_budget_bytes=chunk)
    assert rows == [4, 4, 1]  # Nine answer tokens: neither prompts nor padding reach the head.
    if gradient:
        scores.logp_BT.sum().backward()
        assert sorted(rows) == [1, 1, 4, 4, 4, 4]  # Recomputed rather than kept.


def test_the_chunk_follows_the_vocabulary() -> None:
    def sizes(vocabulary: int, budget: int, dtype: torch.dtype = torch.float32) -> list[int]:
        head = torch.nn.Linear(1, vocabulary, dtype=dtype)
        return [piece.stop - piece.start for piece in chunked_head.chunks(1000, head, budget)]

    assert set(sizes(151_936, 64 * 2**20)) == {110}
    assert set(sizes(151_936, 64 * 2**20, torch.float64)) == {55}
    assert set(sizes(151_936, 1)) == {16}
    assert len(sizes(1000, chunked_head.LOGIT_BUDGET_BYTES)) == 1


def test_what_stands_in_the_padding_does_not_matter() -> None:
    model = build()
    with torch.no_grad():
        zeros, others = score_responses(model, *batch(pad=0)), score_responses(model, *batch(pad=29))
    torch.testing.assert_close(zeros.logp_BT, others.logp_BT)
    mask = batch()[2]
    assert not zeros.logp_BT[~mask].any()
    assert not zeros.entropy_BT[~mask].any()
    assert (zeros.logp_BT[mask] < 0).all()


def test_a_batch_without_answers_scores_nothing_and_can_still_be_learned_from() -> None:
    ids, position, mask = batch()
    model, nothing = build(), torch.zeros_like(mask)
    scores = score_responses(model, ids, position, nothing, term=Distance(model, nothing))
    assert scores.logp_BT.shape == scores.entropy_BT.shape == scores.extra["distance"].shape == mask.shape
    assert not scores.logp_BT.any()
    assert not any(gradient.any() for gradient in gradients(model, scores.logp_BT.sum()))
    with torch.no_grad():
        best, logp = topk_scores(model, ids, position, nothing, 3)
    assert best.shape == logp.shape == (4, 5, 3)
    assert not response_hidden(model, ids, position, nothing).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_half_precision_is_scored_in_single(dtype: torch.dtype) -> None:
    model = build().to(dtype)
    scores = score_responses(model, *batch())
    assert scores.logp_BT.dtype == scores.entropy_BT.dtype == torch.float32
    hidden = model.model(input_ids=batch()[0]).last_hidden_state[0, LENGTHS[0] - 1]
    expected = torch.log_softmax(model.lm_head(hidden).float(), dim=-1)[ANSWERS[0][0]]
    torch.testing.assert_close(scores.logp_BT[0, 0], expected)


class Distance:
    """Kullback-Leibler divergence to a teacher whose hidden states and head were set aside."""

    def __init__(self, teacher: Any, mask: torch.Tensor | None = None):
        self.hidden_BTH = response_hidden(teacher, *batch())
        self.weight = teacher.get_output_embeddings().weight.detach().clone()
        self.calls: list[int] = []
        if mask is not None:
            self.term_mask_BT = mask

    def __call__(
        self, logits_NV: torch.Tensor, rows_N: torch.Tensor, places_N: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        self.calls.append(len(rows_N))
        teacher_NV = head_logits(self.weight, None, self.hidden_BTH[rows_N, places_N], 0.7).log_softmax(-1)
        student_NV = logits_NV.log_softmax(-1)
        return {"distance": (student_NV.exp() * (student_NV - teacher_NV)).sum(-1), "best": logits_NV.amax(-1)}


def other_teacher() -> Any:
    teacher = build(tied=False)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(0.9)
    return teacher


def plain_distance(model: Any, teacher: Any) -> torch.Tensor:
    with torch.no_grad():
        teacher_BTV = logits_of(teacher, 0.7).log_softmax(-1)
    student_BTV = logits_of(model, 0.7).log_softmax(-1)
    return (student_BTV.exp() * (student_BTV - teacher_BTV)).sum(-1) * batch()[2]


@in_chunks(1, 2, 4, 2048)
def test_a_term_is_computed_on_the_same_logits_chunk_by_chunk(chunk: int) -> None:
    model, teacher = build(tied=False), other_teacher()
    distance = Distance(teacher)
    scores = score_responses(model, *batch(), 0.7, term=distance, logit_budget_bytes=chunk)
    assert max(distance.calls) <= chunk // (VOCABULARY * 8)
    assert sum(distance.calls) == TOKENS
    expected = plain_distance(model, teacher)
    assert expected[batch()[2]].min() > 1e-3
    torch.testing.assert_close(scores.extra["distance"], expected, **EXACT)
    assert_same_gradients(
        model, (scores.extra["distance"] + scores.logp_BT).sum(), (expected + plain(model, 0.7)[0]).sum()
    )


@in_chunks(2, 4, 2048)
def test_a_term_is_asked_about_the_tokens_of_its_mask_only(chunk: int) -> None:
    model, teacher = build(tied=False), other_teacher()
    mask = torch.zeros((4, 5), dtype=torch.bool)
    mask[0, 2] = mask[1, 0] = mask[1, 4] = mask[2, 0] = mask[2, 3] = True  # The last one is no token.
    distance = Distance(teacher, mask)
    scores = score_responses(model, *batch(), 0.7, term=distance, logit_budget_bytes=chunk)
    assert sum(distance.calls) == 4
    expected = plain_distance(model, teacher) * mask
    torch.testing.assert_close(scores.extra["distance"], expected, **EXACT)
    torch.testing.assert_close(scores.logp_BT, plain(model, 0.7)[0], **EXACT)
    assert_same_gradients(
        model, (scores.extra["distance"] + scores.logp_BT).sum(), (expected + plain(model, 0.7)[0]).sum()
    )


def test_a_term_must_not_take_the_name_of_a_score() -> None:
    with pytest.raises(ValueError, match="values logp have the names of scores"):
        score_responses(build(), *batch(), term=lambda logits, rows, places: {"logp": logits.amax(-1)})


@pytest.mark.parametrize("k", [1, 4, VOCABULARY])
@in_chunks(2, 2048)
def test_the_most_likely_tokens_and_what_another_model_thinks_of_them(k: int, chunk: int) -> None:
    model, teacher = build(tied=False), other_teacher()
    best, logp = topk_scores(teacher, *batch(), k, 0.7, logit_budget_bytes=chunk)
    mask = batch()[2]
    expected = (logits_of(teacher, 0.7).log_softmax(-1) * mask[..., None]).topk(k, dim=-1)
    torch.testing.assert_close(logp, expected.values * mask[..., None], **EXACT)
    assert torch.equal(best[mask], expected.indices[mask])
    assert not best[~mask].any()
    if k == VOCABULARY:
        torch.testing.assert_close(logp[mask].exp().sum(-1), torch.ones(TOKENS, dtype=torch.float64))
    seen = gather_scores(model, *batch(), best, 0.7, logit_budget_bytes=chunk)
    theirs = logits_of(model, 0.7).log_softmax(-1).gather(2, best) * mask[..., None]
    torch.testing.assert_close(seen, theirs, **EXACT)
    assert not seen.requires_grad


@pytest.mark.parametrize("k", [0, VOCABULARY + 1])
def test_more_tokens_than_there_are_cannot_be_the_most_likely(k: int) -> None:
    with pytest.raises(ValueError, match=f"k must be from 1 to the 30 tokens of the vocabulary, got {k}"):
        topk_scores(build(), *batch(), k)


def test_hidden_states_and_the_head_are_the_logits() -> None:
    model = build(tied=False)
    head = model.lm_head = torch.nn.Linear(24, VOCABULARY, dtype=torch.float64)
    hidden = response_hidden(model, *batch())
    mask = batch()[2]
    assert not hidden.requires_grad
    assert not hidden[~mask].any()
    logits = head_logits(head.weight.detach(), head.bias.detach(), hidden[mask], 0.7)
    torch.testing.assert_close(logits, logits_of(model, 0.7)[mask].detach(), **EXACT)
    half = head_logits(head.weight.detach().bfloat16(), head.bias.detach(), hidden[mask].float())
    assert half.dtype == torch.float32


def test_several_spans_of_one_sequence_are_scored_like_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """An append-only conversation: two responses in the sequence, with an observation between them."""
    model = build()
    ids = torch.tensor([[3, 4, 14, 15, 5, 6, 7, 16, 17, 18]])
    position, mask = torch.tensor([[2, 3, 7, 8, 9, 1]]), torch.tensor([[1, 1, 1, 1, 1, 0]]).bool()
    monkeypatch.setattr(chunked_head, "LEAST_TOKENS", 1)
    scores = score_responses(model, ids, position, mask, 0.7, logit_budget_bytes=2 * VOCABULARY * 8)
    whole = (model(input_ids=ids).logits / 0.7).log_softmax(-1)
    expected = torch.stack([whole[0, at - 1, ids[0, at]] for at in (2, 3, 7, 8, 9)])
    torch.testing.assert_close(scores.logp_BT[0, :5], expected, **EXACT)
    assert_same_gradients(model, scores.logp_BT.sum(), expected.sum())
    best, logp = topk_scores(model, ids, position, mask, 2, 0.7)
    torch.testing.assert_close(logp[0, 2], whole[0, 6].detach().topk(2).values, **EXACT)
    torch.testing.assert_close(gather_scores(model, ids, position, mask, best, 0.7), logp, **EXACT)


def test_a_model_without_a_head_is_refused() -> None:
    model = build()
    model.lm_head = torch.nn.Identity()
    with pytest.raises(ValueError, match="head of Qwen3ForCausalLM is Identity, not a linear layer; use a causal"):
        score_responses(model, *batch())


def test_scores_without_a_term_have_nothing_extra() -> None:
    assert TokenScores(torch.zeros(1), torch.zeros(1)).extra == {}


@pytest.mark.parametrize("chunk", [4, 10_000])
def test_under_autocast_a_single_precision_head_computes_in_half(chunk: int) -> None:
    """Values and gradients of chunks and of one piece agree as far as half precision goes."""
    results = []
    for budget in (chunk * 4 * VOCABULARY, 1 << 40):
        model = build().float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = score_responses(model, *batch(), logit_budget_bytes=budget)
        assert scores.logp_BT.dtype == torch.float32
        scores.logp_BT.sum().backward()
        results.append((scores.logp_BT.detach(), model.lm_head.weight.grad))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0.03, atol=0.03)


@pytest.mark.parametrize("gradient", [True, False])
@in_chunks(4, 2048)
def test_without_entropies_the_log_probabilities_are_the_same(gradient: bool, chunk: int) -> None:
    model = build()
    with torch.set_grad_enabled(gradient):
        full = score_responses(model, *batch(), 0.7, logit_budget_bytes=chunk)
        bare = score_responses(model, *batch(), 0.7, entropy=False, logit_budget_bytes=chunk)
    assert torch.equal(full.logp_BT, bare.logp_BT)
    assert full.entropy_BT.any() and not bare.entropy_BT.any()
