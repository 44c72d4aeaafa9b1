"""`ScienceEnv`: turns, rewards, feedback that shows the failed step, levels, files, pickling."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import sdar_gym  # noqa: F401  registers the environments
from sdar_gym.envs.policies import expert_of
from sdar_gym.envs.science import quantities
from sdar_gym.envs.science.env import ScienceEnv
from sdar_gym.envs.text_env import TaskNotFoundError
from sdar_gym.testing import CheckSettings, check_text_env

KEYS = {
    *("task_id", "task_type", "split", "goal", "admissible_actions", "action_valid", "score", "won", "turn"),
    *("data_source", "answer", "feedback", "reference"),
}


def make(**arguments: Any) -> ScienceEnv:
    env = gymnasium.make("sdar/Science-v0", **arguments).unwrapped
    assert isinstance(env, ScienceEnv)
    return env


def wrong_by(env: ScienceEnv, factor: float) -> str:
    assert env.problem.quantity is not None
    return f"<answer>{env.problem.quantity.value * factor:.6g} {env.problem.quantity.unit}</answer>"


def test_a_right_solution_ends_the_episode() -> None:
    env = make(success_reward=2)
    observation, info = env.reset(options={"task_id": "train/mechanics/1/000000"})
    assert observation == info["goal"] == env.problem.text
    assert set(info) == KEYS and info["feedback"] == "" and info["reference"] == env.problem.solution
    observation, reward, terminated, truncated, info = env.step(env.reference_answer())
    assert (observation, reward, terminated, truncated) == ("Correct.", 2.0, True, False)
    assert info["won"] and info["action_valid"] and info["score"] == 1.0 and info["answer"] == env.problem.answer
    assert set(info) == KEYS


def test_each_known_mistake_is_answered_with_its_step_and_reason() -> None:
    env = make()
    seen = 0
    for task_id in env.task_ids("dev")[:90]:
        env.reset(options={"task_id": task_id})
        for slip in env.problem.mistakes:
            env.reset(options={"task_id": task_id})
            action = "\n".join((*slip.steps, f"<answer>{slip.answer}</answer>"))
            observation, reward, terminated, _, info = env.step(action)
            assert reward == 0 and terminated and info["action_valid"]
            assert info["feedback"].startswith(f"Step {slip.step} failed: {slip.reason} Correct: ")
            assert info["feedback"].endswith(env.problem.steps[slip.step - 1])
            assert observation == "The value is not within 1 % of the expected one."
            seen += 1
    assert seen > 120


def test_another_wrong_result_shows_the_calculation_that_failed() -> None:
    env = make()
    env.reset(options={"task_id": "train/decay/1/000000"})
    steps, answer = env.problem.steps, env.problem.answer
    left, _, right = steps[-1].partition("=")
    action = "\n".join((*steps[:-1], f"{left} = {int(right) + 50} mg", wrong_by(env, 40)))
    *_, info = env.step(action)
    assert info["feedback"].split("\n") == [
        f"Step {len(steps)} failed: {left}={int(right) + 50} is wrong. Correct: {steps[-1]}",
        *("Check:", *steps),
        f"Expected: {answer}",
    ]


@pytest.mark.parametrize(
    ("action", "told", "valid"),
    [
        ("I do\nnot know", "No answer was found. Write it as <answer>…</answer>.", False),
        ("", "No answer was found. Write it as <answer>…</answer>.", False),
        ("<answer>much</answer>", "The answer is not a single number with a unit.", False),
        ("<answer>3</answer>", "The unit is missing.", True),
        ("<answer>3 kg m</answer>", "The unit measures something else than what is asked for.", True),
        ("<answer>3 blorp</answer>", "The unit is not known.", True),
        ("<answer>9999999 m/s</answer>", "The value is not within 1 % of the expected one.", True),
    ],
)
def test_an_observation_says_what_is_wrong_and_not_what_is_right(action: str, told: str, valid: bool) -> None:
    pytest.importorskip("pint")
    env = make(max_steps=2)
    task = next(task for task in env.task_ids("train") if env._source.load(task).answer.endswith("m/s"))
    env.reset(options={"task_id": task})
    observation, reward, terminated, truncated, info = env.step(action)
    assert (observation, reward, terminated, truncated, info["action_valid"]) == (told, 0.0, False, False, valid)
    assert info["feedback"].endswith(f"Expected: {env.problem.answer}")
    _, reward, terminated, truncated, _ = env.step(env.reference_answer())
    assert (reward, terminated, truncated) == (1.0, True, False)


def test_another_unit_counts_after_conversion() -> None:
    pytest.importorskip("pint")
    env = make(max_steps=2)
    task = next(task for task in env.task_ids("train") if env._source.load(task).answer.endswith("m/s"))
    env.reset(options={"task_id": task})
    assert env.problem.quantity is not None
    assert env.step(rf"so \boxed{{{env.problem.quantity.value * 3.6:.4g}\,\mathrm{{km/h}}}}")[1] == 1.0


def test_the_last_turn_ends_the_episode() -> None:
    env = make(max_steps=2)
    env.reset(seed=0)
    assert env.step(wrong_by(env, 7))[2:4] == (False, False)
    assert env.step(wrong_by(env, 7))[2:4] == (True, False)


@pytest.mark.parametrize("levels", [1, [2], (1, 3), [3, 1, 1]])
def test_levels_select_problems(levels: Any) -> None:
    env = make(levels=levels)
    chosen = {1: {"1"}, 2: {"1", "3"}}.get(len(set(levels))) if not isinstance(levels, int) else {"1"}
    chosen = {"2"} if levels == [2] else chosen
    assert {task.split("/")[2] for split in env.splits for task in env.task_ids(split)} == chosen
    assert {env.reset(seed=seed)[1]["task_id"].split("/")[2] for seed in range(20)} == chosen


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (4, "levels must be from 1 to 3 for these problems, got"),
        ([], "levels is empty"),
        (0, "levels must be a whole number from 1 to 5, got 0"),
        (["L3"], "levels must be a whole number from 1 to 5, got 'L3'"),
        ("3", "levels must be a list of whole numbers, got '3'"),
        (1.5, "levels must be a list of whole numbers, got 1.5"),
    ],
)
def test_levels_that_do_not_exist_are_refused(levels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(levels=levels)


def test_the_expert_solves_every_problem() -> None:
    env = make()
    expert = expert_of("sdar/Science-v0")
    assert expert is not None
    for split in env.splits:
        for task_id in env.task_ids(split)[:120]:
            observation, info = env.reset(options={"task_id": task_id})
            expert.begin(env, observation, info)
            assert env.step(expert.act(observation, info))[1] == 1.0


def test_unknown_tasks_are_refused_and_problems_need_an_episode() -> None:
    env = make()
    with pytest.raises(TaskNotFoundError, match="There is no embedded problem"):
        env.reset(options={"task_id": "train/mechanics/4/000000"})
    with pytest.raises(ValueError, match="No episode is running"):
        env.reference_answer()


def test_files_are_played_pickled_and_checked(tmp_path: Path) -> None:
    pytest.importorskip("pint")
    rows = [
        {"question": "Speed of light?", "answer": 299792.458, "unit": "km/s", "domain": "physics"},
        {"question": "Which is a metal?", "choices": ["Sulfur", "Iron"], "answer": "B", "domain": "chemistry"},
        {"question": "Powerhouse of the cell?", "answer": "mitochondrion", "accepted": ["mitochondria"]},
    ]
    for split, count in (("train", 3), ("test", 1)):
        text = "".join(json.dumps({**row, "question": f"{split}: {row['question']}"}) + "\n" for row in rows[:count])
        (tmp_path / f"{split}.jsonl").write_text(text)
    env = pickle.loads(pickle.dumps(make(problems=tmp_path)))
    assert not env.embedded and env.splits == ("train", "test")
    right = {"physics": "2.998 × 10^8 m/s", "chemistry": r"\boxed{\text{B}}", "science": "Mitochondria"}
    for task_id in env.task_ids("train"):
        _, info = env.reset(options={"task_id": task_id})
        assert info["reference"] == "" and env.reference_answer().startswith("<answer>")
        assert env.step(right[info["task_type"]])[1] == 1.0
        env.reset(options={"task_id": task_id})
        observation, reward, _, _, info = env.step("<answer>A</answer>")
        assert reward == 0 and info["feedback"] == f"{observation}\nExpected: " + {
            "physics": "299792.458 km/s",
            "chemistry": "B. Iron",
            "science": "mitochondrion",
        }.get(info["task_type"], "")
    check_text_env(make(problems=tmp_path), settings=CheckSettings(tasks=3, fuzz_actions=100))


def test_without_pint_another_unit_says_how_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sdar_gym.extras.missing_modules", lambda extra: ["pint"])
    for cache in (quantities._registry, quantities._named, quantities.scale_of):
        cache.cache_clear()
    env = make()
    env.reset(options={"task_id": "train/mechanics/1/000000"})
    observation, reward, *_ = env.step("<answer>3 furlong</answer>")
    assert reward == 0 and observation.endswith('to convert units: pip install "sdar-gym[science]"')
    (tmp_path / "a.jsonl").write_text('{"question": "x?", "answer": 3, "unit": "m"}\n')
    with pytest.raises(ValueError, match=r'needs the extra .* pip install "sdar-gym\[science\]"'):
        make(problems=tmp_path / "a.jsonl")


PLAY = """
import sys, gymnasium, sdar_gym
env = gymnasium.make("sdar/Science-v0").unwrapped
for task in env.task_ids("dev")[:36]:
    env.reset(options={"task_id": task})
    assert env.step(env.reference_answer())[1] == 1.0
    env.reset(options={"task_id": task})
    assert env.step(f"<answer>{env.problem.mistakes[0].answer}</answer>")[1] == 0.0
print(sorted({"ray", "torch", "pint", "pyarrow", "transformers", "sympy"} & set(sys.modules)))
"""


def test_embedded_problems_are_played_without_pint() -> None:
    found = subprocess.run([sys.executable, "-c", PLAY], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
