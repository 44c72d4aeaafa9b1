"""`TextEnv`: reset, step, options and errors, on a minimal environment."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from sdar_gym.envs import Task, TaskNotFoundError, TextEnv, Turn


class Counter(TextEnv):
    """Counting: say the next number, up to the one in the task."""

    TASKS = ("count/2", "count/3", "count/4")

    def __init__(self, max_steps: int = 4, render_mode: str | None = None):
        super().__init__(max_steps, render_mode)
        self.at = self.goal = 0

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train",)

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        if split not in (None, "train"):
            raise TaskNotFoundError(f"No split {split!r}.")
        return self.TASKS

    def task_type(self, task_id: str) -> str:
        return task_id.split("/", maxsplit=1)[0]

    def _load_task(self, task_id: str) -> Task:
        if task_id not in self.TASKS:
            raise TaskNotFoundError(f"No task {task_id!r}.")
        return Task(task_id, "count", "train", f"count to {task_id[-1]}.")

    def _begin(self, task: Task) -> Turn:
        self.at, self.goal = 0, int(task.task_id[-1])
        return self._now(True)

    def _act(self, action: str) -> Turn:
        right = action == str(self.at + 1)
        self.at += right
        return self._now(right)

    def _now(self, valid: bool) -> Turn:
        won = self.at == self.goal
        return Turn(f"at {self.at}", float(won), won, valid, (str(self.at + 1),), self.at / self.goal, won)


@pytest.mark.usefixtures("clean_registry")
def test_gymnasium_finds_nothing_to_complain_about() -> None:
    gymnasium.register("sdar-test/Counter-v0", Counter)
    check_env(gymnasium.make("sdar-test/Counter-v0", render_mode="ansi").unwrapped)


def test_info_says_all_that_is_promised() -> None:
    env = Counter()
    observation, info = env.reset(options={"task_id": "count/2"})
    assert observation == "at 0"
    expected: dict[str, Any] = {
        "task_id": "count/2",
        "task_type": "count",
        "split": "train",
        "goal": "count to 2.",
        "admissible_actions": ("1",),
        "action_valid": True,
        "score": 0.0,
        "won": False,
        "turn": 0,
    }
    assert info == expected
    assert env.step("1") == (
        "at 1",
        0.0,
        False,
        False,
        expected | {"admissible_actions": ("2",), "score": 0.5, "turn": 1},
    )


@pytest.mark.parametrize("nonsense", ["", "\n", "11", "中" * 1000, "'); --"])
def test_nonsense_is_a_turn_like_any_other(nonsense: str) -> None:
    env = Counter()
    env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(nonsense)
    assert (observation, reward, terminated, truncated) == ("at 0", 0.0, False, False)
    assert not info["action_valid"]
    assert info["turn"] == 1


def test_winning_terminates_and_the_limit_truncates() -> None:
    env = Counter(max_steps=2)
    env.reset(options={"task_id": "count/2"})
    env.step("1")
    assert env.step("2")[1:4] == (1.0, True, False)  # Won in the last turn: not truncated.
    env.reset(options={"task_id": "count/3"})
    env.step("1")
    assert env.step("2")[1:4] == (0.0, False, True)


def test_an_ended_episode_needs_a_reset() -> None:
    env = Counter(max_steps=1)
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        env.step("1")
    env.reset(seed=0)
    env.step("1")
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        env.step("1")
    env.reset()
    env.step("1")


def test_an_action_is_text() -> None:
    env = Counter()
    env.reset(seed=0)
    with pytest.raises(TypeError, match="An action is a str, got int"):
        env.step(1)  # pyright: ignore[reportArgumentType]
    assert env.step("1")[4]["turn"] == 1  # The rejected action is not a turn.


def test_the_same_seed_gives_the_same_episodes() -> None:
    def play(env: Counter) -> list[Any]:
        first = env.reset(seed=7)
        return [first, *(env.reset() for _ in range(8))]

    assert play(Counter()) == play(Counter())
    tasks = {info["task_id"] for _, info in play(Counter())}
    assert tasks == set(Counter.TASKS)


def test_options_that_mean_nothing_are_refused_and_the_running_episode_goes_on() -> None:
    env = Counter()
    env.reset(options={"task_id": "count/3"})
    env.step("1")
    with pytest.raises(ValueError, match=r"Unknown reset option\(s\) \['task'\]; .*'task_id' and 'split'"):
        env.reset(options={"task": "count/2"})
    with pytest.raises(TaskNotFoundError, match="count/9"):
        env.reset(options={"task_id": "count/9"})
    with pytest.raises(TaskNotFoundError, match="test"):
        env.reset(options={"split": "test"})
    assert env.step("2")[0] == "at 2"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], r"must be a dict such as \{'split': 'train'\}, got \[\]"),
        ("abc", "must be a dict .* got 'abc'"),
        ([{"split": "train"}], "must be a dict"),
        (0, "must be a dict"),
        ({"split": ""}, "'split' is empty; leave it out, or name a split"),
        ({"task_id": ""}, "'task_id' is empty"),
        ({"split": 3}, "'split' must be a str, got 3"),
        ({"split": ["train"]}, "must be a str"),
        ({"task_id": ["count/2", "count/3"]}, r"got \['count/2', 'count/3'\].*AutoresetMode.DISABLED.*'reset_mask'"),
        ({"task_id": ("count/2",)}, "AutoresetMode.DISABLED"),
        ({1: "a", "b": 2, None: 3}, r"Unknown reset option\(s\) \["),
        ({"task_id": "count/2", "split": "other"}, "'count/2' is of split 'train'.* asks for 'other'; leave one"),
    ],
)
def test_options_of_another_type_or_that_contradict_each_other_are_refused(options: Any, says: str) -> None:
    env = Counter()
    env.reset(options={"task_id": "count/3"})
    env.step("1")
    with pytest.raises(ValueError, match=says):
        env.reset(options=options)
    assert env.step("2")[0] == "at 2"


@pytest.mark.parametrize("options", [None, {}, {"task_id": None}, {"task_id": "count/2", "split": "train"}])
def test_options_that_agree_are_taken(options: Any) -> None:
    assert Counter().reset(seed=1, options=options)[1]["split"] == "train"


@pytest.mark.parametrize("seed", [-1, "7", 1.0, True, [1]])
def test_an_invalid_seed_raises(seed: Any) -> None:
    with pytest.raises(ValueError, match=r"seed must be a whole number of at least 0, got"):
        Counter().reset(seed=seed)


def test_a_seed_of_numpy_is_a_seed() -> None:
    assert Counter().reset(seed=np.int64(7)) == Counter().reset(seed=7)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), 2.5, 2.0, True, "5", None, [5], 0, -1])
def test_a_limit_that_is_no_whole_number_is_refused(limit: Any) -> None:
    with pytest.raises(ValueError, match=r"max_steps must be a whole number of at least 1, got "):
        Counter(max_steps=limit)


def test_a_limit_of_numpy_is_a_limit() -> None:
    env = Counter(max_steps=np.int64(2))  # pyright: ignore[reportArgumentType]
    env.reset(options={"task_id": "count/4"})
    assert [type(env.step("1")[3]), type(env.step("2")[3])] == [bool, bool]


def test_an_environment_sees_only_text_that_can_be_encoded() -> None:
    seen: list[str] = []

    class Listens(Counter):
        def _act(self, action: str) -> Turn:
            seen.append(action)
            return super()._act(action)

    env = Listens()
    env.reset(seed=0)
    env.step("a\ud83d")
    env.step("\ud83d\ude00")
    env.step("é")
    assert seen == ["a\ufffd", "\U0001f600", "é"]


def test_there_is_nothing_to_open_before_a_run_by_default() -> None:
    Counter().check_ready()


def test_rendering_shows_what_acts_on_a_terminal() -> None:
    class Clears(Counter):
        def _begin(self, task: Task) -> Turn:
            return Turn("\x1b[2Jat\t0\n\u202e", 0.0, False, True, (), 0.0, False)

    env = Clears(render_mode="ansi")
    assert env.reset(seed=0)[0] == "\x1b[2Jat\t0\n\u202e"  # The observation itself is unchanged.
    assert env.render() == "\\x1b[2Jat\t0\n\\u202e"


def test_rendering_shows_the_last_text() -> None:
    env = Counter(render_mode="ansi")
    env.reset(seed=0)
    assert env.render() == "at 0"
    env.step("1")
    assert env.render() == "at 1"
    silent = Counter()
    silent.reset(seed=0)
    assert silent.render() is None


def test_invalid_arguments_raise() -> None:
    with pytest.raises(ValueError, match="max_steps must be a whole number of at least 1, got 0"):
        Counter(max_steps=0)
    with pytest.raises(ValueError, match="render_mode 'human' is not supported"):
        Counter(render_mode="human")
    with pytest.raises(ValueError, match=r"render_mode \['ansi'\] is not supported"):
        Counter(render_mode=["ansi"])  # pyright: ignore[reportArgumentType]


def test_a_running_episode_survives_pickling() -> None:
    env = Counter()
    env.reset(seed=1, options={"task_id": "count/4"})
    env.step("1")
    twin = pickle.loads(pickle.dumps(env))
    assert twin.step("2") == env.step("2")
    assert [twin.reset()[1]["task_id"] for _ in range(5)] == [env.reset()[1]["task_id"] for _ in range(5)]
    env.close()
    env.close()
