"""`CodeEnv` with the real sandbox: turns, every kind of failure, feedback, arguments, sharing and pickling."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env
from packing import apps_row, functional_row, stdin_row

import sdar_gym  # noqa: F401  registers the environments
from sdar_gym.envs.code import env as code_env
from sdar_gym.envs.code.env import CodeEnv
from sdar_gym.envs.code.execution import CodePool, CodePoolError, Job, isolation, shared_pool
from sdar_gym.envs.code.generator import fenced
from sdar_gym.envs.code.verdicts import KnownJudgements
from sdar_gym.envs.policies import expert_of
from sdar_gym.envs.text_env import TaskNotFoundError

KEYS = {
    *("task_id", "task_type", "split", "goal", "admissible_actions", "action_valid", "score", "won", "turn"),
    *("data_source", "answer", "feedback", "reference", "public_passed", "hidden_passed", "isolation"),
}
LIMITS: dict[str, Any] = {"time_limit": 0.5, "memory_limit": 128}


def make(**arguments: Any) -> CodeEnv:
    env = gymnasium.make("sdar/Code-v0", **arguments).unwrapped
    assert isinstance(env, CodeEnv)
    return env


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has its programs run."""
    monkeypatch.setattr(code_env, "_JUDGEMENTS", KnownJudgements())


@pytest.fixture
def double(tmp_path: Path) -> Path:
    """One task: a function that doubles a number, with two public tests and three hidden ones."""
    tests = [{"input": str(n), "output": str(2 * n), "testtype": "functional"} for n in (1, 2, 3, 0, -4)]
    row = functional_row(
        starter_code="",
        question_content="Double a number.",
        public_test_cases=json.dumps(tests[:2]),
        private_test_cases=json.dumps(tests[2:]),
        metadata=json.dumps({"func_name": "f"}),
    )
    path = tmp_path / "test.json"
    path.write_text(json.dumps([row]))
    return path


def test_a_correct_program_wins() -> None:
    env = make(success_reward=3)
    observation, info = env.reset(options={"task_id": "train/lists/1/000000"})
    assert observation == info["goal"] and observation.startswith("f(xs): ")
    assert set(info) == KEYS
    assert (info["feedback"], info["answer"], info["score"], info["public_passed"]) == ("", "", 0.0, 0.0)
    assert info["reference"] == env.reference_answer() == fenced(env.problem.program)
    assert info["isolation"] in ("namespace", "process")
    observation, reward, terminated, truncated, info = env.step(f"So:\n{env.reference_answer()}")
    assert (reward, terminated, truncated, info["won"], info["score"]) == (3.0, True, False, True, 1.0)
    assert observation == info["feedback"] == "Correct: all 10 tests passed."
    assert (info["public_passed"], info["hidden_passed"], info["answer"]) == (1.0, 1.0, env.problem.program)
    assert set(info) == KEYS


def test_known_mistakes_of_every_family_lose_with_a_share_of_the_tests() -> None:
    env = make()
    seen = set()
    for task_id in env.task_ids("dev")[:40]:
        env.reset(options={"task_id": task_id})
        mistake = env.problem.mistakes[-1]
        _, reward, terminated, _, info = env.step(fenced(mistake.program))
        assert (reward, terminated, info["won"]) == (0.0, True, False)
        assert 0 <= info["score"] < 1 and info["hidden_passed"] < 1
        assert info["score"] == pytest.approx((2 * info["public_passed"] + 8 * info["hidden_passed"]) / 10)
        seen.add(info["task_type"])
    assert len(seen) == 7


def test_the_agent_reads_a_public_test_in_full_and_of_hidden_ones_the_kind(double: Path) -> None:
    env = make(problems=double, max_steps=3)
    env.reset(seed=0)
    observation, _, terminated, _, info = env.step("def f(x): return x + 2")
    assert not terminated
    assert observation == (
        "1 of 2 public tests passed. The first that failed: wrong answer.\nInput: f(1)\nExpected: 2\nGot: 3"
    )
    assert info["feedback"] == (
        "1 of 5 tests passed: 1 of 2 public, 0 of 3 hidden. The first that failed, public test 1: wrong answer.\n"
        "Input: f(1)\nExpected: 2\nGot: 3"
    )
    assert (info["score"], info["public_passed"], info["hidden_passed"]) == (0.2, 0.5, 0.0)
    observation, _, terminated, _, info = env.step("def f(x):\n    return 2 * x if x > 0 else 1 / x")
    assert not terminated
    assert observation == "All 2 public tests passed. 2 of 3 hidden tests failed: ZeroDivisionError, wrong answer."
    assert "hidden test 2: ZeroDivisionError.\nInput: f(0)\nExpected: 0\nError:\nTraceback" in info["feedback"]
    assert "line 2, in f" in info["feedback"] and "3 of 5 tests passed" in info["feedback"]
    _, reward, terminated, truncated, info = env.step(fenced("def f(x):\n    return 2 * x"))
    assert (reward, terminated, truncated, info["turn"]) == (1.0, True, False, 3)


FAILURES = [
    ("def f(x): return x", "wrong answer", "Got: 1"),
    ("def f(x): return str(2 * x)", "wrong answer", "Got: '2'"),
    ("def f(x): print(2 * x)", "wrong answer", "Got: None"),
    ("def f(x): return [][x]", "IndexError", "list index out of range"),
    ("import nothing_of_that_name", "ModuleNotFoundError", "nothing_of_that_name"),
    ("class MyError(Exception): pass\ndef f(x): raise MyError('no')", "MyError", "no"),
    ("def f(x): return f(x)", "RecursionError", "maximum recursion depth"),
    ("def f(x): return {x}", "no JSON value", "set"),
    ("def f(x): return float('nan')", "no JSON value", "not JSON compliant"),
    ("def f(x):\n    while True: pass", "time limit", "stopped after"),
    ("import time\ndef f(x): time.sleep(60)", "time limit", "stopped after"),
    ("def f(x): return bytearray(10**9) and 2 * x", "memory limit", "MemoryError"),
    ("def f(x): return 'x' * 10**7", "output limit", "bytes of output"),
    ("import os\ndef f(x): os._exit(0)", "exited early", "before it returned"),
    ("import sys\ndef f(x): sys.exit(3)", "exited early", "the program left"),
    ("import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGKILL)", "crashed", "SIGKILL"),
    ("def g(x): return 2 * x", "missing function", "defines no f"),
    ("f = 3", "missing function", "f"),
    ("return 5", "syntax error", "outside function"),
]


@pytest.mark.parametrize(("program", "kind", "told"), FAILURES, ids=[row[0][:30] for row in FAILURES])
def test_every_kind_of_failure_is_told(double: Path, program: str, kind: str, told: str) -> None:
    env = make(problems=double, **LIMITS)
    env.reset(seed=0)
    observation, reward, terminated, _, info = env.step(fenced(program))
    assert (reward, terminated, info["won"], info["action_valid"]) == (0.0, True, False, True)
    assert f"The first that failed: {kind}" in observation and told in observation
    assert kind in info["feedback"] and told in info["feedback"]
    assert str(Path(__file__).parents[3]) not in observation + info["feedback"]


def test_an_action_without_a_program_is_not_run(double: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = make(problems=double, max_steps=9)
    env.reset(seed=0)

    def refuse(*_: Any) -> None:
        raise AssertionError("the pool was used")

    monkeypatch.setattr(CodePool, "run", refuse)
    for action in ("", "I do not know.", "42", "<answer>42</answer>", "def f(x): return [x"):
        observation, _, _, _, info = env.step(action)
        assert not info["action_valid"] and not info["won"] and info["score"] == 0.0
        assert observation == info["feedback"] != ""
    assert observation == "The program was not run: SyntaxError: '[' was never closed (line 1)."
    # In the required form it is an answer, if a wrong one.
    assert env.step("```python\ndef f(x: return\n```")[4]["action_valid"]


def test_a_method_of_leetcode_may_use_names_without_importing_them(tmp_path: Path) -> None:
    path = tmp_path / "test.json"
    path.write_text(json.dumps([functional_row()]))
    env = make(problems=path)
    env.reset(seed=0)
    program = (
        "class Solution:\n    def addTo(self, nums: List[int], k: int) -> List[int]:\n"
        "        return list(map(lambda x: x + k, deque(nums)))"
    )
    assert env.step(fenced(program))[4]["won"]
    env.reset(seed=0)
    _, _, _, _, info = env.step(fenced(program.replace("return ", "x = Counter(nums)[7] // 0\n        return ")))
    assert "line 3, in addTo" in info["feedback"]
    with pytest.raises(ValueError, match="has no solution in its file"):
        env.reference_answer()
    expert = expert_of("sdar/Code-v0")
    assert expert is not None
    with pytest.raises(ValueError, match="no solution"):
        expert.begin(env, "", {})


def test_programs_on_standard_input_are_compared_by_lines_and_numbers(tmp_path: Path) -> None:
    path = tmp_path / "test.json"
    path.write_text(json.dumps([stdin_row()]))
    env = make(problems=path, max_steps=3)
    env.reset(seed=0)
    assert "Expected: 3\nGot: -1" in env.step("a, b = map(int, input().split())\nprint(a - b)")[0]
    assert "Got: nothing" in env.step("import sys\nx = sys.stdin.read()")[0]
    program = "if __name__ == '__main__':\n    print(sum(map(float, input().split())), '\\n\\n')"
    assert env.step(program)[4]["won"]


def test_long_inputs_and_results_are_cut_in_the_middle(tmp_path: Path) -> None:
    content = {"inputs": ["9" * 100_000], "outputs": ["1" * 100_000]}
    path = tmp_path / "test.json"
    path.write_text(json.dumps([apps_row(input_output=json.dumps(content))]))
    env = make(problems=path)
    env.reset(seed=0)
    observation, _, _, _, info = env.step("print(input() * 2)")
    assert len(observation) < 3000 and len(info["feedback"]) < 3000
    assert observation.count("characters left out") == 3 and "99,400 characters left out" in observation


def test_addresses_do_not_change_from_run_to_run(double: Path) -> None:
    texts = set()
    for _ in range(2):
        env = make(problems=double, workers=1)
        env.reset(seed=0)
        texts.add(env.step("def f(x): raise ValueError(object())")[0])
        code_env._JUDGEMENTS = KnownJudgements()
    (text,) = texts
    assert "ValueError: <object object at 0x…>" in text


def test_a_failure_of_the_pool_is_no_verdict(double: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = make(problems=double)
    env.reset(seed=0)

    def fail(*_: Any, **__: Any) -> None:
        raise CodePoolError("Code pool: a job could not be run, twice.")

    with monkeypatch.context() as patch:
        patch.setattr(CodePool, "run", fail)
        with pytest.raises(CodePoolError, match="twice"):
            env.step("def f(x): return 2 * x")
        with pytest.raises(ValueError, match="Programs cannot be run: Code pool"):
            env.check_ready()
    # The turn did not count, and the same step can be repeated.
    assert env.step("def f(x): return 2 * x")[4]["turn"] == 1


def test_readiness_is_that_of_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make()
    env.check_ready()
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(isolation, "_known", {})  # Another test may have found it where it is.
    missing = make(isolation="bubblewrap", workers=3)
    with pytest.raises(ValueError, match="isolation=bubblewrap is not available here"):
        missing.check_ready()


def test_a_program_is_run_once_for_a_task_unless_the_machine_had_a_part_in_its_end(
    double: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []
    run = CodePool.run

    def count(pool: CodePool, job: Job) -> Any:
        jobs.append(job)
        return run(pool, job)

    monkeypatch.setattr(CodePool, "run", count)
    first, second = make(problems=double, **LIMITS), make(problems=double, **LIMITS)
    for program, expected in (("def f(x): return 2 * x", 2), ("def f(x):\n    while True: pass", 2)):
        results = []
        for env in (first, second):
            env.reset(seed=0)
            results.append(env.step(program))
        assert results[0] == results[1]
        assert len(jobs) == expected
        jobs.clear()
    first.reset(seed=0)
    first.step("def f(x): return x * 2")
    assert len(jobs) == 2


def test_gymnasium_checks_pass() -> None:
    check_env(make(), skip_render_check=True)


def test_an_episode_pickles_small_and_goes_on_where_it_was() -> None:
    env = make(max_steps=3, split="dev")
    env.reset(seed=1)
    env.step(fenced(env.problem.mistakes[0].program))
    content = pickle.dumps(env)
    assert len(content) < 10_000
    copy = pickle.loads(content)
    answer = env.reference_answer()
    assert env.step(answer) == copy.step(answer)
    assert copy.reset() == env.reset()


def test_vector_environments_play_in_their_processes() -> None:
    envs = gymnasium.make_vec(
        "sdar/Code-v0", num_envs=2, vectorization_mode="async", vector_kwargs={"shared_memory": False}, split="dev"
    )
    try:
        _, infos = envs.reset(seed=1)
        _, rewards, terminated, _, infos = envs.step(tuple(infos["reference"]))
        assert list(rewards) == [1.0, 1.0] and all(terminated) and all(infos["won"])
    finally:
        envs.close()


def test_the_environments_of_a_process_share_tasks_and_sandbox() -> None:
    first, second = make(), make(max_steps=2)
    assert first._source is second._source
    assert first._pool() is second._pool() is shared_pool(None, "auto", first._limits)
    assert make(time_limit=1)._pool() is not first._pool()


def test_levels_select_tasks_under_their_own_ids() -> None:
    env = make(levels=[1])
    every = make()
    assert env.task_ids() == tuple(task_id for task_id in every.task_ids() if task_id.split("/")[2] == "1")
    assert env.splits == ("train", "dev", "test")
    task_id = env.task_ids("test")[0]
    assert env.reset(options={"task_id": task_id})[0] == every.reset(options={"task_id": task_id})[0]
    with pytest.raises(TaskNotFoundError, match="is not one of those of level 1"):
        env.reset(options={"task_id": "train/lists/2/000000"})
    assert len(make(levels=(1, 3)).task_ids("dev")) == 12 * 7 + 12 * 5


def test_a_window_of_time_selects_tasks(tmp_path: Path) -> None:
    path = tmp_path / "lcb.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (stdin_row(), functional_row())))
    assert len(make(problems=path).task_ids()) == 2
    assert make(problems=path, since="2024-08-22").task_ids() == ("test/leetcode/000000",)
    assert make(problems=path, since="2024-08-21", until="2024-08-21").task_ids() == ("test/codeforces/000000",)
    with pytest.raises(ValueError, match="no tasks published since 2026-01-01"):
        make(problems=path, since="2026-01-01")
    path.write_text(json.dumps(apps_row()))
    with pytest.raises(ValueError, match="has no `contest_date`"):
        make(problems=path, until="2026-01-01")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "valid"}, "there are: train, dev, test"),
        ({"levels": [9]}, "levels must be a list of levels"),
        ({"levels": [1], "problems": "x.json"}, "Only embedded tasks have levels"),
        ({"since": "2024-01-01"}, "Embedded tasks have no date"),
        ({"since": "yesterday", "problems": "x.json"}, "since must be a day such as 2025-01-31, got 'yesterday'"),
        ({"until": 5, "problems": "x.json"}, "until must be a day"),
        ({"isolation": "docker"}, "isolation must be one of auto"),
        ({"workers": 0}, "workers must be a whole number"),
        ({"time_limit": 0}, "time_limit must be a finite number"),
        ({"time_limit": float("nan")}, "time_limit"),
        ({"memory_limit": 1}, "memory_limit must be a whole number from 16"),
        ({"max_steps": 0}, "max_steps"),
        ({"success_reward": "1"}, "success_reward"),
        ({"problems": "/no/such/file.jsonl"}, "no problems at /no/such/file.jsonl"),
    ],
)
def test_wrong_arguments_are_refused_with_a_reason(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_a_closed_environment_has_no_problem() -> None:
    env = make()
    env.reset(seed=0)
    env.close()
    env.close()
    for ask in (lambda: env.problem, env.reference_answer):
        with pytest.raises(ValueError, match="reset"):
            ask()
