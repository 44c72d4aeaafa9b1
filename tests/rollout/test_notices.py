from __future__ import annotations

import pytest

from sdar_gym.rollout.notices import Notices, notices


@pytest.mark.parametrize(
    ("figures", "name", "word"),
    [
        ({"form_errors": 1.0}, "form", "few_shot"),
        ({"cut_off": 0.6, "form_errors": 0.5}, "cut", "60%"),
        ({"teacher_too_long": 0.2}, "teacher", "max_teacher_prompt_tokens"),
        ({"prompts_cut": 0.8}, "prompts", "max_prompt_tokens"),
        ({"context_full": 5, "episodes": 16}, "full", "5 episode"),
        ({"context_full": 5, "tasks": 16}, "full", "max_context_tokens"),
        ({"no_spread_fraction": 1.0}, "spread", "policy gradient is zero"),
        ({"mismatch_kl": 0.05}, "mismatch", "rollout.engine=transformers"),
        ({"distill_gradient_share": 0.02}, "share", "has 2% of the policy gradient's norm: the teacher hardly acts"),
        ({"distill_gradient_share": 2.5}, "share", "outweighs the reward"),
        ({"runner_deaths": 3}, "lost", "3 env runner"),
        ({"engine_out_of_memory": 1}, "memory", "max_batch_tokens"),
        ({"failed_episodes": 2}, "failed", "2 episode"),
    ],
)
def test_trouble_is_told_with_the_remedy(figures: dict[str, float], name: str, word: str) -> None:
    assert word in notices(figures)[name]


def test_responses_that_are_cut_off_are_told_to_be_so_and_nothing_else() -> None:
    assert list(notices({"cut_off": 1.0, "form_errors": 1.0})) == ["cut"]


def test_a_healthy_run_is_told_nothing() -> None:
    healthy = {"form_errors": 0.3, "cut_off": 0.9, "no_spread_fraction": 0.5, "teacher_too_long": 0.0, "turns": 4}
    assert notices(healthy | {"form_errors": 0.1}) == {}
    assert notices({"mismatch_kl": 0.001}) == {}
    assert notices({"distill_gradient_share": float("nan")}) == {}
    assert notices({"distill_gradient_share": 0.05}) == notices({"distill_gradient_share": 2.0}) == {}
    assert notices({"form_errors": 1.0, "turns": 0}) == {}
    assert notices({"context_full": 1, "episodes": 16}) == {}


def test_each_sentence_is_told_once_and_missing_spread_after_three_updates_in_a_row() -> None:
    flat, lively, cut = {"no_spread_fraction": 1.0}, {"no_spread_fraction": 0.5}, {"prompts_cut": 0.9}
    told = Notices()
    assert [len(told.new(figures)) for figures in (flat, flat, lively, flat, flat, flat, flat)] == [0, 0, 0, 0, 0, 1, 0]
    assert [len(told.new(cut)) for _ in range(2)] == [1, 0]


@pytest.mark.parametrize(("success", "word"), [(1.0, "harder"), (0.0, "easier")])
def test_the_remedy_for_missing_spread_goes_by_success(success: float, word: str) -> None:
    assert word in notices({"no_spread_fraction": 1.0, "success": success})["spread"]
