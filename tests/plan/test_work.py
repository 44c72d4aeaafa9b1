"""The work of an update in tokens, against episodes counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from sdar_gym.algorithms.methods import get_method
from sdar_gym.plan.model_size import ModelSize
from sdar_gym.plan.work import Work, passes_of, reading, update_work
from sdar_gym.policy.sizing import Shape
from sdar_gym.rollout.trajectory import Episode, ResponseSpan, TokenSequence, TurnRecord

# 2 layers, 100 weights in the body, 30 in the head, queries of width 4.
SIZE = ModelSize(Shape(parameters=160, layers=2, hidden=4, intermediate=8, kv=4), 100, 30, 4, 40)


def turn(response: int) -> TurnRecord:
    return TurnRecord("", "", "", True, True, 0.0, [7] * response, [0.0] * response, 0)


def window_episode(lengths: list[tuple[int, int]], teacher: int = 0, shared: int = 0, first: int = 0) -> Episode:
    """Turns with a prompt and a response of these lengths, and teacher prompts that are longer and begin alike."""
    episode = Episode("0/0", 0, "", "", "", "")
    for number, (prompt, response) in enumerate(lengths, start=first):
        taught = [1] * shared + [100 + number] * (prompt + teacher - shared) if teacher else None
        episode.add_turn(turn(response), [2] * prompt, taught)
    return episode


def conversation_episode(deltas: list[int], responses: list[int]) -> Episode:
    episode, ids, spans = Episode("0/0", 0, "", "", "", ""), [], []
    for number, (delta, response) in enumerate(zip(deltas, responses, strict=True)):
        spans.append(ResponseSpan(number, len(ids) + delta, len(ids) + delta + response))
        ids += [2] * delta + [7] * response
        episode.turns.append(turn(response))
    episode.sequences.append(TokenSequence(ids, spans))
    return episode


def test_operations_are_two_per_weight_and_four_per_pair_layer_and_width() -> None:
    # 5 tokens through 100 weights, 3 through a head of 30, 15 pairs in 2 layers of width 4.
    assert Work(5, 3, 15).flops(SIZE) == 2 * 5 * 100 + 2 * 3 * 30 + 4 * 15 * 2 * 4


def test_a_token_attends_to_itself_and_all_before() -> None:
    assert reading(0, 4, 1) == Work(4, 1, 1 + 2 + 3 + 4)
    assert reading(2, 4, 0) == Work(2, 0, 3 + 4)


def test_a_window_reads_every_prompt_anew() -> None:
    # Prompts of 10 and 12 tokens, responses of 3 and 2. The last sampled token is not read in the rollout.
    work = update_work([window_episode([(10, 3), (12, 2)])], 1000)
    assert work.prefill == Work(22, 2, 55 + 78)
    assert work.decode == Work(2 + 1, 2 + 1, (11 + 12) + 13)
    assert work.gradient == work.student == Work(13 + 14, 5, 91 + 105)
    assert work.teacher == Work()


def test_a_conversation_reads_every_token_once() -> None:
    work = update_work([conversation_episode([10, 4], [3, 2])], 1000)
    # The third sampled token is read with the second message: 10, then 1 + 4.
    assert (work.prefill.tokens, work.prefill.predicted) == (15, 2)
    assert work.decode.tokens == 2 + 1
    assert work.gradient == work.student == Work(19, 5, 19 * 20 / 2)
    # Prefill and decoding together attend like one pass, without the very last token.
    assert work.prefill.pairs + work.decode.pairs == 18 * 19 / 2


def test_scores_read_the_beginning_of_a_groups_prompts_once() -> None:
    # Teacher prompts of 110 to 113 tokens that begin with the same 60, in two episodes.
    def group(shared: int) -> list[Episode]:
        return [
            window_episode([(10, 3), (11, 3)], teacher=100, shared=shared),
            window_episode([(12, 3), (13, 3)], teacher=100, shared=shared, first=2),
        ]

    work = update_work(group(60), 1000)
    assert work.teacher.tokens == 60 + sum(length - 60 for length in (113, 114, 115, 116))
    assert work.teacher.predicted == 4 * 3
    own = sum(length * (length + 1) - 60 * 61 for length in (113, 114, 115, 116))
    assert work.teacher.pairs == (60 * 61 + own) / 2
    # With gradients every sequence is read whole.
    assert work.gradient == Work(13 + 14 + 15 + 16, 12, 91 + 105 + 120 + 136)
    # Each batch reads it for itself: two of 60 + 2 x (116 - 60) tokens at most.
    assert update_work(group(60), 172).teacher.tokens == work.teacher.tokens + 60
    # Too short a beginning is not worth a pass of its own.
    assert update_work(group(20), 1000).teacher.tokens == 113 + 114 + 115 + 116


@pytest.mark.parametrize(
    ("method", "old_logp", "expected"),
    [
        ("sdar", "sampler", (0, 1, 1)),
        ("sdar", "learner", (1, 1, 1)),
        ("grpo", "sampler", (0, 1, 0)),
        # No KL; the teacher's whole distribution.
        ("frozen_ce", "sampler", (0, 0, 1)),
    ],
)
def test_the_passes_follow_from_the_objective(method: str, old_logp: str, expected: tuple[int, ...]) -> None:
    passes = passes_of(get_method(method).objective, old_logp=old_logp, epochs=2, recomputed=False)
    assert (passes.student, passes.reference, passes.teacher) == expected
    assert passes.gradient == 2


@pytest.mark.parametrize(
    ("changes", "times"),
    [
        # Forward, backward twice; recomputation is one more; adapters have no gradients of the weights below.
        ({}, 3),
        ({"recomputed": True}, 4),
        ({"adapters": True}, 2),
    ],
)
def test_a_gradient_costs_several_forward_passes(changes: dict[str, Any], times: int) -> None:
    settings = {"old_logp": "sampler", "epochs": 1, "recomputed": False} | changes
    passes = passes_of(get_method("grpo").objective, **settings)
    work = Work(1000, 10, 5000)
    # The head's logits are computed again in the backward pass in any case.
    again = 0 if changes.get("recomputed") else 2 * 10 * 30
    assert passes.gradient_flops(work, SIZE) == times * work.flops(SIZE) + again
