"""Demonstrations of verified answers for tiny policies, and the shipped policies that were made with them."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from importlib.resources import files
from itertools import islice

import gymnasium
import pytest

from sdar_gym.configs import load_config
from sdar_gym.envs.problems.env import ProblemEnv
from sdar_gym.warmstart.problem_demonstrations import ProblemMix
from sdar_gym.warmstart.tiny_acceptance import VIEWS, WITH_VIEW, WITHOUT_SKILLS, measure_views
from sdar_gym.warmstart.tiny_demonstrations import Demonstration
from sdar_gym.warmstart.tiny_policies import TINY_POLICIES, tiny_policy_of

MATH = "sdar/Math-v0"
PROBLEMS = [env_id for env_id, tiny in TINY_POLICIES.items() if isinstance(tiny.recipe.mix, ProblemMix)]
NONE = ProblemMix(MATH, solution=0.0, sibling=0.0, feedback=0.0, other=0.0)


def rows_of(mix: ProblemMix, count: int, seed: int = 0) -> list[Demonstration]:
    return list(islice(mix.stream(seed), count))


def outcomes(rows: list[Demonstration]) -> list[tuple[str, bool]]:
    """Task type and correctness of each response, by the environment."""
    env = gymnasium.make(MATH, levels=[1]).unwrapped
    assert isinstance(env, ProblemEnv)
    ids = {}
    for task_id in env.task_ids("train"):
        ids.setdefault(env.reset(options={"task_id": task_id})[0], task_id)
    result = []
    for row in rows:
        text = row.prompt.split("\n")[0].removeprefix("problem: ")
        env.reset(options={"task_id": ids[text]})
        result.append((env.task_type(ids[text]), env.step(row.response)[4]["won"]))
    return result


def test_the_same_seed_writes_the_same_demonstrations() -> None:
    assert rows_of(ProblemMix(MATH), 50) == rows_of(ProblemMix(MATH), 50)
    assert rows_of(ProblemMix(MATH), 50) != rows_of(ProblemMix(MATH), 50, seed=1)


def test_alone_an_answer_is_right_as_often_as_the_prior_says() -> None:
    prior = {"arithmetic": 0.9, "algebra": 0.6, "number_theory": 0.3, "counting": 0.0}
    found = defaultdict(list)
    for kind, won in outcomes(rows_of(replace(NONE, prior=prior), 2000)):
        found[kind].append(won)
    for kind, share in prior.items():
        assert sum(found[kind]) / len(found[kind]) == pytest.approx(share, abs=0.08)


@pytest.mark.parametrize(("kind", "label"), [("solution", "solution: "), ("sibling", "example: ")])
def test_a_shown_answer_is_repeated_even_if_it_is_wrong(kind: str, label: str) -> None:
    rows = rows_of(replace(NONE, **{kind: 1.0}, made_up=0.5), 200)
    for row in rows:
        first, shown = row.prompt.split(f"\n{label}")
        assert shown == row.response and first.startswith("problem: ")
    wins = [won for _, won in outcomes(rows)]
    assert 0.35 < sum(wins) / len(wins) < 0.65


def test_with_feedback_on_an_attempt_the_answer_is_right() -> None:
    rows = rows_of(replace(NONE, feedback=1.0, first_wrong=0.5), 200)
    assert all(won for _, won in outcomes(rows))
    texts = [row.prompt.split("\nfeedback: ")[1] for row in rows]
    assert 60 < sum("Step" in text for text in texts) < 140


def test_the_solution_of_another_problem_is_ignored() -> None:
    rows = rows_of(replace(NONE, other=1.0, prior=dict.fromkeys(("arithmetic", "counting"), 1.0)), 300)
    shown = [row for row in rows if "\nsolution: " in row.prompt]
    assert len(shown) > 150 and not any(row.prompt.endswith(row.response) for row in shown)


@pytest.mark.parametrize("env_id", PROBLEMS)
def test_the_shipped_policy_was_made_by_its_recipe_and_accepted(env_id: str) -> None:
    tiny = tiny_policy_of(env_id)
    folder = files("sdar_gym.policy").joinpath("checkpoints", tiny.name)
    shipped = json.loads(folder.joinpath("recipe.json").read_text(encoding="utf-8"))
    assert shipped["recipe"] == json.loads(json.dumps(tiny.recipe.to_json()))
    measured = shipped["measured"]
    low, high = WITHOUT_SKILLS
    alone = measured["alone"]["success"]
    assert measured["accepted"] == (
        low <= alone <= high and all(measured[view]["success"] > WITH_VIEW for view in VIEWS)
    )
    # A view is worth something by measure, in the very same episodes.
    assert all(measured[view]["success"] > measured[view]["same_episodes_alone"] + 0.2 for view in VIEWS)


@pytest.mark.parametrize("env_id", [env_id for env_id in PROBLEMS if env_id != "sdar/Code-v0"])
def test_a_shipped_policy_is_weak_alone_and_strong_with_a_view(env_id: str) -> None:
    tiny = tiny_policy_of(env_id)
    run = load_config(tiny.config, ["evaluation.tasks=24"])
    measured = measure_views(run, f"builtin:{tiny.name}")
    assert measured["alone"]["success"] < 0.5
    for view in VIEWS:
        assert measured[view]["success"] > measured[view]["same_episodes_alone"] + 0.3
    assert measured["alone"]["repeats"] == 8


def test_an_environment_without_a_tiny_policy_says_which_have_one() -> None:
    with pytest.raises(ValueError, match=r"'sdar/Maths-v0' has no tiny policy; .* Did you mean 'sdar/Math-v0'\?"):
        tiny_policy_of("sdar/Maths-v0")


def test_an_environment_without_a_verifier_is_refused() -> None:
    with pytest.raises(ValueError, match="sdar/SearchQA-v0 has no problems with a verifier"):
        next(ProblemMix("sdar/SearchQA-v0", env_config={}).stream(0))
