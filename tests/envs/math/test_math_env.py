"""`sdar/Math-v0`: episodes, rewards, turns, feedback, levels, files, copies, and play without the verifier library."""

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
from sdar_gym.envs import expert_of
from sdar_gym.envs.math import env as math_env
from sdar_gym.envs.math.env import MathEnv
from sdar_gym.envs.math.feedback import calculated
from sdar_gym.envs.math.prompt import TEMPLATES
from sdar_gym.envs.text_env import TaskNotFoundError
from sdar_gym.extras import MissingExtraError
from sdar_gym.testing import check_text_env

TASK = "train/arithmetic/1/000000"


def started(**arguments: Any) -> MathEnv:
    env = MathEnv(**arguments)
    env.reset(options={"task_id": TASK})
    return env


def other_answer(env: MathEnv) -> str:
    """An answer that is wrong and that of no known mistake."""
    taken = {env.problem.answer, *(mistake.answer for mistake in env.problem.mistakes)}
    return next(str(n) for n in range(1000) if str(n) not in taken)


def test_a_correct_answer_in_any_form_wins() -> None:
    env = started()
    answer = env.problem.answer
    forms = (
        answer,
        f"\\boxed{{{answer}}}",
        f"<answer>{answer}</answer>",
        f"3+4=7\n\\boxed{{{answer}.0}}",
        f"x={answer}",
    )
    for action in (*forms, env.reference_answer()):
        env.reset(options={"task_id": TASK})
        observation, reward, terminated, truncated, info = env.step(action)
        assert (reward, terminated, truncated, info["won"], info["score"]) == (1.0, True, False, True, 1.0), action
        assert info["action_valid"] and info["answer_found"] == 1.0
        assert observation.endswith("is correct.") and info["feedback"].endswith("is correct.")


def test_the_answer_of_a_known_mistake_is_told_with_its_step_and_reason() -> None:
    env = started(max_steps=2)
    (mistake, *_) = env.problem.mistakes
    steps = "\n".join(mistake.steps)
    observation, reward, terminated, _, info = env.step(f"{steps}\n\\boxed{{{mistake.answer}}}")
    assert (reward, terminated, info["known_mistake"], info["answer"]) == (0.0, False, 1.0, mistake.answer)
    # The agent is told that it is wrong; the teacher is told why, and what is right.
    assert observation == f"The answer {mistake.answer} is not correct."
    assert info["feedback"].splitlines() == [
        f"The answer {mistake.answer} is wrong; {env.problem.answer} is correct.",
        f"Step {mistake.step}: {mistake.reason}",
        "Worked steps:",
        *env.problem.steps,
    ]
    assert info["reference"] == env.problem.solution
    _, reward, terminated, _, info = env.step(env.reference_answer())
    assert (reward, terminated, info["turn"]) == (1.0, True, 2)


def test_the_first_wrong_line_is_told() -> None:
    env = started()
    steps, wrong = env.problem.steps, other_answer(env)
    left = steps[-1].partition("=")[0]

    def feedback(action: str) -> str:
        env.reset(options={"task_id": TASK})
        return env.step(action)[4]["feedback"].splitlines()[1]

    miscalculated = "\n".join([*steps[:-1], f"{left}={wrong}"])
    assert feedback(f"{miscalculated}\n\\boxed{{{wrong}}}") == (
        f"Line {len(steps)} is false: {left}={wrong}, but the left side is {env.problem.answer}."
    )
    assert (
        feedback(f"1+1=2\n\\boxed{{{wrong}}}") == f"Line 1 differs from the worked steps: 1+1=2 instead of {steps[0]}."
    )
    assert feedback(f"{steps[0]}\n\\boxed{{{wrong}}}") == f"Step 2 is missing: {steps[1]}."
    assert feedback(f"\\boxed{{{wrong}}}") == "Worked steps:"


def test_no_answer_is_invalid_and_a_turn() -> None:
    env = started(max_steps=2)
    observation, reward, terminated, truncated, info = env.step("I do not\nknow")
    assert (reward, terminated, truncated, info["action_valid"], info["turn"]) == (0.0, False, False, False, 1)
    assert observation == r"No answer was found. Write it in \boxed{} at the end."
    assert info["answer"] == "" and info["answer_found"] == 0.0
    assert info["feedback"].startswith(f"There is no answer; {env.problem.answer} is correct.")
    assert env.step("0" if env.problem.answer != "0" else "1")[2]


def test_nothing_that_the_agent_sees_gives_the_answer_away() -> None:
    env = MathEnv(max_steps=3)
    for task_id in env.task_ids("dev")[:240]:
        env.reset(options={"task_id": task_id})
        problem = env.problem
        for action in ("", other_answer(env), problem.mistakes[0].answer):
            observation, _, _, _, info = env.step(action)
            assert problem.solution not in observation
            assert problem.answer not in observation.replace(info["answer"], "").split()


def test_the_info_of_a_reset_has_the_same_keys_and_no_feedback() -> None:
    env = MathEnv()
    _, first = env.reset(options={"task_id": TASK})
    last = env.step("1")[4]
    assert set(first) == set(last)
    assert first["feedback"] == first["answer"] == ""
    assert first["reference"] == last["reference"] != ""


def test_levels_limit_the_tasks() -> None:
    every, first, some = MathEnv(), MathEnv(levels=1), MathEnv(levels=[3, 2])
    assert len(every.task_ids("dev")) == 1200
    assert {task.split("/")[2] for task in first.task_ids()} == {"1"}
    assert {task.split("/")[2] for task in some.task_ids()} == {"2", "3"}
    assert set(first.task_ids("test")) | set(some.task_ids("test")) == set(every.task_ids("test"))
    # The same problem under the same id.
    assert first.reset(options={"task_id": TASK})[0] == every.reset(options={"task_id": TASK})[0]
    with pytest.raises(TaskNotFoundError, match="is of level 1, and this environment plays level 2, 3"):
        some.reset(options={"task_id": TASK})
    for wrong in (0, 4, [], "1", [1.5], True, [[1]]):
        with pytest.raises(ValueError, match="levels"):
            MathEnv(levels=wrong)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("wrong", [0, -1, "1", float("nan"), True])
def test_the_time_limit_is_checked(wrong: Any) -> None:
    with pytest.raises(ValueError, match="check_timeout"):
        MathEnv(check_timeout=wrong)


def test_the_expert_wins_everything() -> None:
    expert = expert_of("sdar/Math-v0")
    assert expert is not None
    env = MathEnv()
    for task_id in env.task_ids("test"):
        observation, info = env.reset(options={"task_id": task_id})
        expert.begin(env, observation, info)
        assert env.step(expert.act(observation, info))[1] == 1.0, task_id


def problems_file(folder: Path, name: str = "aime24.jsonl") -> Path:
    rows = [
        {"problem": "What is the square root of 8?", "answer": r"2\sqrt{2}", "solution": "8 is 4 times 2."},
        {"problem": "What is 1 + 1?", "answer": "2"},
        {"problem": "Solve x + 1 = 3.", "answer": "2", "solution": r"Subtract 1: \boxed{2}"},
    ]
    file = folder / name
    file.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return file


def test_problems_of_a_file(tmp_path: Path) -> None:
    pytest.importorskip("math_verify")
    env = MathEnv(problems_file(tmp_path), check_timeout=60, max_steps=2)
    env.check_ready()
    assert env.splits == ("test",) and not env.embedded
    ids = env.task_ids()
    assert ids == tuple(f"test/aime24/{n:06d}" for n in range(3))
    env.reset(options={"task_id": ids[0]})
    info = env.step(r"\boxed{\sqrt{2}}")[4]
    assert info["feedback"] == r"The answer \sqrt{2} is wrong: the answers differ. The expected answer is 2\sqrt{2}."
    assert env.step(r"\boxed{\sqrt{8}}")[1] == 1.0
    assert env.reference_answer() == "8 is 4 times 2.\n\\boxed{2\\sqrt{2}}"
    for task_id, reference in zip(ids[1:], (r"\boxed{2}", r"Subtract 1: \boxed{2}"), strict=True):
        env.reset(options={"task_id": task_id})
        assert env.reference_answer() == reference
        assert env.step(reference)[1] == 1.0
    check_text_env(env)
    with pytest.raises(ValueError, match="levels is for the embedded problems"):
        MathEnv(problems_file(tmp_path), levels=1)


def test_a_comparison_that_is_stopped_is_told(tmp_path: Path) -> None:
    pytest.importorskip("math_verify")
    env = MathEnv(problems_file(tmp_path), check_timeout=1.0, max_steps=2)
    env.reset(options={"task_id": "test/aime24/000000"})
    observation, reward, _, _, info = env.step(r"\boxed{9^{9^{9^9}}}")
    assert (reward, info["check_stopped"]) == (0.0, 1.0)
    assert observation == "The answer 9^{9^{9^9}} could not be compared in time. Write it in a simpler form."


def test_files_need_the_library_and_say_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(extra: str, purpose: str) -> None:
        raise MissingExtraError(f'{purpose} needs {extra!r}. Install it: pip install "sdar-gym[{extra}]"')

    monkeypatch.setattr(math_env, "require", missing)
    with pytest.raises(MissingExtraError, match=r'pip install "sdar-gym\[math\]"'):
        MathEnv(problems_file(tmp_path))
    MathEnv()


def test_a_copy_goes_on_with_the_episode() -> None:
    env = started(max_steps=2)
    env.step("")
    copy = pickle.loads(pickle.dumps(env))
    assert copy.step(copy.reference_answer())[:4] == env.step(env.reference_answer())[:4]
    made = gymnasium.make("sdar/Math-v0", levels=[1], max_steps=3)
    assert pickle.loads(pickle.dumps(made)).unwrapped.task_ids() == made.unwrapped.task_ids()  # pyright: ignore[reportAttributeAccessIssue]


PLAY = """
import sys, gymnasium, sdar_gym
from sdar_gym.testing import fuzz
env = gymnasium.make("sdar/Math-v0").unwrapped
fuzz(env, 300, env.task_ids()[:20])
env.reset(seed=0)
for action in ("\\\\boxed{\\\\sqrt{16}}", env.reference_answer()):
    env.reset(options={"task_id": env.task_ids()[0]})
    env.step(action)
print(sorted({"sympy", "mpmath", "math_verify", "latex2sympy2_extended", "antlr4", "torch", "ray"} & set(sys.modules)))
"""


def test_the_embedded_problems_are_played_with_the_base_packages_alone() -> None:
    found = subprocess.run([sys.executable, "-c", PLAY], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_prompt_takes_the_solution_as_the_action() -> None:
    for template in TEMPLATES.values():
        parsed = template.parse("<think>It is 5.</think>\n2+2=4\n\\boxed{4}", think=True)
        assert (parsed.action, parsed.valid) == ("2+2=4\n\\boxed{4}", True)
        assert not template.parse("2+2=4\nso four", think=False).valid


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3+4*5", "23"), ("(3+4)*5", "35"), ("2^10", "1024"), ("7/2", "7/2"), ("-3*-2", "6"), ("2^3^2", "512"),
        ("1/0", None), ("9^9^9", None), ("9^21", None), ("(1", None), ("1)", None), ("", None), ("1+", None),
        ("x", None), ("1" * 13, None), ("+".join("1" * 40), None), ("(" * 50, None),
    ],
)  # fmt: skip
def test_calculations_of_lines(text: str, value: str | None) -> None:
    result = calculated(text)
    assert (None if result is None else str(result)) == value
