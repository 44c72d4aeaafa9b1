"""A beginning that rows share is run once, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from sdar_gym.policy.logprobs import score_responses
from sdar_gym.policy.prefix_caching import LEAST_SHARED, hidden_states, prefix_batches


@pytest.fixture(scope="module")
def model() -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=97,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
    )
    return Qwen2ForCausalLM(config).double().eval()


def rows(shared: int, own: list[int], answers: list[int], seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Prompts that begin alike and end differently, with answers; padded with token 0."""
    rng = torch.Generator().manual_seed(seed)

    def tokens(count: int) -> torch.Tensor:
        return torch.randint(1, 97, (count,), generator=rng)

    start = tokens(shared)
    width = shared + max(a + b for a, b in zip(own, answers, strict=True))
    ids = torch.zeros(len(own), width, dtype=torch.long)
    for row, (length, answer) in enumerate(zip(own, answers, strict=True)):
        ids[row, : shared + length + answer] = torch.cat([start, tokens(length + answer)])
        if length:
            ids[row, shared] = row + 1  # They differ from here on.
    lengths = torch.tensor([shared + length for length in own])
    mask = torch.arange(max(answers))[None, :] < torch.tensor(answers)[:, None]
    return ids, lengths, mask


def positions(lengths: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Position of each response token in its row."""
    return torch.where(mask, lengths[:, None] + torch.arange(mask.shape[1]), 1)


@pytest.mark.parametrize(("shared", "own"), [(60, [5, 9, 1, 30]), (60, [0, 0, 0, 0]), (LEAST_SHARED, [7, 3, 4, 4])])
def test_scores_do_not_notice(model: Qwen2ForCausalLM, shared: int, own: list[int]) -> None:
    ids, lengths, mask = rows(shared, own, [4, 1, 6, 2])
    with torch.no_grad():
        _, first = hidden_states(model, ids, lengths)
        scored = score_responses(model, ids, positions(lengths, mask), mask, 0.7)
    plain = score_responses(model, ids, positions(lengths, mask), mask, 0.7)  # With gradients nothing is shared.
    assert min(shared, shared + min(own) - 1) == first > 0
    assert plain.logp_BT.requires_grad and not scored.logp_BT.requires_grad
    torch.testing.assert_close(scored.logp_BT, plain.logp_BT, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(scored.entropy_BT, plain.entropy_BT, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("shared", [0, 5, LEAST_SHARED - 1])
def test_a_short_beginning_is_not_shared(model: Qwen2ForCausalLM, shared: int) -> None:
    ids, lengths, _ = rows(shared, [40, 40, 40], [2, 2, 2])
    with torch.no_grad():
        assert hidden_states(model, ids, lengths)[1] == 0


def test_rows_that_begin_alike_come_together_and_none_is_lost() -> None:
    first, second = rows(50, [5, 6, 7, 8, 9], [2] * 5, seed=1), rows(80, [3, 3, 3, 4], [3] * 4, seed=2)
    lone = rows(10, [20, 30], [1, 1], seed=3)
    width = max(part[0].shape[1] for part in (first, second, lone))
    ids = torch.cat([torch.nn.functional.pad(part[0], (0, width - part[0].shape[1])) for part in (first, lone, second)])
    lengths = torch.cat([part[1] for part in (first, lone, second)])
    answers = torch.cat([part[2].sum(dim=1) for part in (first, lone, second)])
    widths = lengths + answers
    widths[6] = 0  # Padding.
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(0))
    batches = list(prefix_batches(ids[order], lengths[order], widths[order], 10_000))
    found = sorted(sorted(order[batch].tolist()) for batch, _ in batches)
    assert found == [[0, 1, 2, 3, 4], [5], [7, 8, 9, 10]]
    for batch, widest in batches:
        assert widest == int(widths[order][batch].max())


@pytest.mark.parametrize("budget", [1, 70, 120, 400])
def test_batches_keep_to_the_budget(budget: int) -> None:
    ids, lengths, mask = rows(50, list(range(1, 25)), [2] * 24)
    answers = mask.sum(dim=1)
    batches = list(prefix_batches(ids, lengths, lengths + answers, budget))
    assert sorted(torch.cat([batch for batch, _ in batches]).tolist()) == list(range(24))
    for batch, width in batches:
        assert len(batch) == 1 or 50 + len(batch) * (width - 50) <= budget
