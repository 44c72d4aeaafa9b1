"""`check_text_env`: accepts correct environments, and names each broken rule."""

from __future__ import annotations

import atexit
import itertools
import pickle
import random
import re
import sys
import time
from dataclasses import replace
from typing import Any, ClassVar

import gymnasium
import pytest

from sdar_gym.envs import Task, TaskNotFoundError, TextEnv, Turn
from sdar_gym.testing import ActionFuzzer, CheckSettings, EnvContractError, check_text_env, fingerprint, fuzz
from sdar_gym.testing.assertions import broken, checked_reset

IDS = {"train": tuple(f"train/{n}" for n in range(12)), "test": ("test/0", "test/1")}
QUICK = CheckSettings(tasks=4, turns=8, fuzz_actions=60)


class Sound(TextEnv):
    """Say the number in the task's name; a hint is all it knows."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(6, render_mode)
        self.left = 0

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(IDS)

    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        if split is not None and split not in IDS:
            raise TaskNotFoundError(f"No split {split!r}.")
        return IDS[split or "train"]

    def task_type(self, task_id: str) -> str:
        return "even" if int(task_id.rpartition("/")[2]) % 2 == 0 else "odd"

    def _load_task(self, task_id: str) -> Task:
        if not any(task_id in ids for ids in IDS.values()):
            raise TaskNotFoundError(f"No task {task_id!r}.")
        return Task(task_id, self.task_type(task_id), task_id.partition("/")[0], "say three times yes.")

    def _begin(self, task: Task) -> Turn:
        self.left = 3
        return self.now("")

    def _act(self, action: str) -> Turn:
        self.left -= action == "yes"
        return self.now(action)

    def now(self, action: str) -> Turn:
        done = self.left == 0
        return Turn(f"{self.left} to go", float(done), done, action == "yes", ("yes",), float(done), done)


class GlobalRandom(Sound):
    """Its text depends on a generator that all share."""

    def now(self, action: str) -> Turn:
        turn = super().now(action)
        return Turn(f"{random.random()}", *[getattr(turn, name) for name in Turn.__slots__[1:]])


class Remembers(Sound):
    """An episode knows of the ones before."""

    played = 0

    def _begin(self, task: Task) -> Turn:
        self.played += 1
        self.left = 3 if self.played == 1 else 2
        return self.now("")


class HashOrder(Sound):
    """Lists a set in the order that the process gives it."""

    def now(self, action: str) -> Turn:
        turn = super().now(action)
        text = " ".join({f"thing {n}" for n in range(20)})
        return Turn(text, *[getattr(turn, name) for name in Turn.__slots__[1:]])


class Raises(Sound):
    def _act(self, action: str) -> Turn:
        action.encode("ascii")
        return super()._act(action)


class Prints(Sound):
    def _begin(self, task: Task) -> Turn:
        print("begun")
        if "replay" in str(getattr(sys.modules["__main__"], "__file__", "")):
            atexit.register(print, "goodbye")  # In the fresh process, after its answer.
        return super()._begin(task)


class Hoards(Sound):
    kept: ClassVar[list[str]] = []

    def _act(self, action: str) -> Turn:
        self.kept.append(action + "!")
        return super()._act(action)


class Slow(Sound):
    def _act(self, action: str) -> Turn:
        if len(action) > 100_000:
            time.sleep(0.06)
        return super()._act(action)


class BadInfo(Sound):
    def now(self, action: str) -> Turn:
        turn = super().now(action)
        return Turn(turn.observation, 0.0, turn.terminated, True, ["yes"], 0.0, False)  # pyright: ignore[reportArgumentType]


class WonWithoutScore(Sound):
    def now(self, action: str) -> Turn:
        turn = super().now(action)
        return Turn(turn.observation, 0.0, turn.terminated, turn.action_valid, ("yes",), 0.5 * turn.won, turn.won)


class ScoreTooHigh(Sound):
    def now(self, action: str) -> Turn:
        turn = super().now(action)
        return Turn(turn.observation, 0.0, turn.terminated, turn.action_valid, ("yes",), 2.0, turn.won)


class IntReward(Sound):
    def now(self, action: str) -> Turn:
        turn = super().now(action)
        return Turn(turn.observation, 1, turn.terminated, turn.action_valid, ("yes",), turn.score, turn.won)


class HalfACharacter(Sound):
    """Shows text of a file as it was read."""

    def now(self, action: str) -> Turn:
        turn = super().now(action)
        return replace(turn, observation="a gift \ud83d for you")


class HalfACharacterInInfo(Sound):
    def now(self, action: str) -> Turn:
        return replace(super().now(action), extra={"shelf": [{"title": ("fine", "a\ude00")}]})


class HalfACharacterInAnAction(Sound):
    def now(self, action: str) -> Turn:
        return replace(super().now(action), admissible_actions=("yes", "yes \ud83d"))


class Echoes(Sound):
    """Repeats what it was told, which TextEnv has made encodable."""

    def now(self, action: str) -> Turn:
        return replace(super().now(action), extra={"heard": action})


class BracketsOfData(Sound):
    """Writes an action from a name, and reads it back by a pattern that ends at the first bracket; rarely so."""

    NAMES = (*(f"size {n}" for n in range(30)), "50x60 [2 pack]")

    def _act(self, action: str) -> Turn:
        found = re.fullmatch(r"click\[([^\]]*)\]", action)
        known = found is not None and found.group(1) in self.NAMES
        self.left -= action == "yes"
        return self.now("yes" if known else action)

    def now(self, action: str) -> Turn:
        turn = super().now(action)
        listed = ("yes", *(f"click[{name}]" for name in self.NAMES)) if self.left < 3 else ("yes",)
        return replace(turn, admissible_actions=() if turn.won else listed)


class TakesOptionsThatContradict(Sound):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if isinstance(options, dict) and "task_id" in options:
            options = {"task_id": options["task_id"]}
        return super().reset(seed=seed, options=options)


class TakesLists(Sound):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=seed, options=options or None)


class ListsWhatItRefuses(Sound):
    def now(self, action: str) -> Turn:
        turn = super().now(action)
        return Turn(turn.observation, 0.0, turn.terminated, turn.action_valid, ("yes", "no"), turn.score, turn.won)


class SharedGroup(Sound):
    def task_group(self, task_id: str) -> str:
        return "room 7"


class TrainLast(Sound):
    @property
    def splits(self) -> tuple[str, ...]:
        return ("test", "train")


class EmptySplit(Sound):
    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        return () if split == "test" else super().task_ids(split)


class AnySplit(Sound):
    def task_ids(self, split: str | None = None) -> tuple[str, ...]:
        return IDS.get(split or "train", IDS["train"] if split not in IDS else ())


class OtherTask(Sound):
    def _load_task(self, task_id: str) -> Task:
        task = super()._load_task(task_id)
        return Task("train/5", "odd", "train", task.goal)


class IgnoresSeed(Sound):
    counter = itertools.count()

    def _random_task_id(self, split: str | None) -> str:
        return IDS["train"][next(self.counter) % 12] if split is None else super()._random_task_id(split)


class SameForAllSeeds(Sound):
    def _random_task_id(self, split: str | None) -> str:
        return "train/3" if split is None else super()._random_task_id(split)


class NeverRefuses(Sound):
    def step(self, action: str) -> Any:
        self._ended = False
        return super().step(action)


class TakesNumbers(Sound):
    def step(self, action: Any) -> Any:
        return super().step(str(action))


class ClosesOnce(Sound):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


class HoldsALambda(Sound):
    def _begin(self, task: Task) -> Turn:
        self.judge = lambda action: action == "yes"
        return super()._begin(task)


class LosesState(Sound):
    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "left": 1}


class Narrow(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = gymnasium.spaces.Text(20)


def test_what_keeps_the_contract_passes() -> None:
    check_text_env(Sound(), settings=QUICK)
    check_text_env(Echoes(), settings=QUICK)


def test_a_message_shows_what_would_act_on_a_terminal() -> None:
    class Clears(Sound):
        def now(self, action: str) -> Turn:
            return replace(super().now(action), score="\x1b]0;title\x07")  # pyright: ignore[reportArgumentType]

        def close(self) -> None:
            raise RuntimeError("\x1b[2J")

    with pytest.raises(EnvContractError) as failed:
        checked_reset(Clears())
    assert "\\x1b]0;title" in str(failed.value) and "\x1b" not in str(failed.value)
    with pytest.raises(EnvContractError) as failed:
        broken(Sound(), "somewhere", "said \x1b[2J\u202e.", "Do not.")
    assert str(failed.value) == "Sound, somewhere: said \\x1b[2J\\u202e. Do not."


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"tasks": "5"}, "tasks must be a whole number of at least 1, got '5'"),
        ({"turns": 0}, "turns must be a whole number of at least 1, got 0"),
        ({"fuzz_actions": 2.5}, "fuzz_actions must be a whole number of at least 0, got 2.5"),
        ({"memory_mb": float("nan")}, "memory_mb must be a finite number of at least 0, got nan"),
        ({"slowest_s": 0}, "slowest_s must be a finite number above 0, got 0"),
        ({"fresh_process": "yes"}, "fresh_process must be true or false, got 'yes'"),
        ({"seed": None}, "seed must be a whole number of at least 0, got None"),
    ],
)
def test_senseless_settings_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        CheckSettings(**arguments)


def test_fuzzing_needs_tasks() -> None:
    for tasks in ((), "train/1"):
        with pytest.raises(ValueError, match="tasks must be a list with the id of at least one task"):
            fuzz(Sound(), 5, tasks)
    with pytest.raises(ValueError, match="actions must be a whole number of at least 0, got '5'"):
        fuzz(Sound(), "5", IDS["train"])  # pyright: ignore[reportArgumentType]


def test_an_environment_that_prints_does_not_spoil_the_answer_of_a_fresh_process() -> None:
    check_text_env(Prints(), settings=CheckSettings(tasks=2, turns=3, fuzz_actions=5, fresh_process=True))


def test_it_reaches_fresh_processes_and_asynchronous_vectors() -> None:
    check_text_env(
        Sound(), settings=CheckSettings(tasks=2, turns=5, fuzz_actions=10, fresh_process=True, async_vector=True)
    )


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (GlobalRandom, r"reset\(seed=1\) and seven more: differs from turn 0 on"),
        (Remembers, "in a fresh environment: differs from turn 0 on.*The task id has to say everything"),
        (Raises, r"step\(.*raises UnicodeEncodeError.*action_valid=False"),
        (BadInfo, r"info\['admissible_actions'\] is \['yes'\]. It has to be a tuple"),
        (WonWithoutScore, "won with a score of 0.5"),
        (ScoreTooHigh, r"info\['score'\] is 2.0. It has to lie between 0 and 1"),
        (IntReward, "the reward is 1. Give a finite float"),
        (HalfACharacter, r"the observation holds a lone surrogate: 'a gift \\ud83d for you'. Clean .*well_formed"),
        (HalfACharacterInInfo, r"info\['shelf'\] holds a lone surrogate: 'a\\ude00'"),
        (HalfACharacterInAnAction, r"info\['admissible_actions'\] holds a lone surrogate"),
        (
            BracketsOfData,
            r"step\('click\[50x60 \[2 pack\]\]'\) in task .* was listed as admissible and is called invalid",
        ),
        (TakesOptionsThatContradict, r"reset\(options=\{'task_id': 'train/0', 'split': 'test'\}\): is accepted"),
        (TakesLists, r"reset\(options=\[\]\): is accepted"),
        (ListsWhatItRefuses, r"step\('no'\) in task .* was listed as admissible and"),
        (SharedGroup, r"'train' and 'test': share the task group 'room 7' \('train/0' and 'test/0'\)"),
        (TrainLast, "Put 'train' first"),
        (EmptySplit, r"task_ids\('test'\): is empty"),
        (AnySplit, "returns ids. Raise TaskNotFoundError"),
        (OtherTask, "plays 'train/5'. Play the task that was asked for"),
        (IgnoresSeed, r"reset\(seed=1\) and seven more: differs"),
        (SameForAllSeeds, "draws the tasks of seed 1"),
        (NeverRefuses, r"step\(\) before reset\(\)|step\(\) after the end"),
        (TakesNumbers, r"step\(3\): is accepted"),
        (ClosesOnce, r"close\(\): raises RuntimeError"),
        (HoldsALambda, "pickling in mid-episode: raises"),
        (LosesState, "the copy pickled in mid-episode: differs"),
        (Narrow, "action_space: refuses the text ''"),
    ],
)
def test_each_breach_is_named_with_what_where_and_remedy(kind: type[Sound], says: str) -> None:
    with pytest.raises(EnvContractError, match=says) as failed:
        check_text_env(kind(), settings=QUICK)
    assert str(failed.value).startswith(f"{kind.__name__}, ")


def test_an_order_of_sets_is_seen_from_a_fresh_process_only() -> None:
    check_text_env(HashOrder(), settings=QUICK)
    with pytest.raises(EnvContractError, match="in a fresh process: differs from turn 0 on"):
        check_text_env(HashOrder(), settings=CheckSettings(tasks=2, turns=3, fuzz_actions=5, fresh_process=True))


def test_memory_that_grows_is_seen() -> None:
    settings = CheckSettings(tasks=2, turns=3, fuzz_actions=800, memory_mb=1.0)
    with pytest.raises(EnvContractError, match=r"800 fuzzed actions: \d.* MB stay allocated"):
        check_text_env(Hoards(), settings=settings)
    Hoards.kept.clear()
    check_text_env(Sound(), settings=settings)


def test_a_turn_that_takes_too_long_is_seen() -> None:
    settings = CheckSettings(tasks=2, turns=3, fuzz_actions=800, slowest_s=0.05)
    with pytest.raises(EnvContractError, match=r"1,000,000 characters.* took 0\.\d s"):
        check_text_env(Slow(), settings=settings)


def test_arguments_go_with_an_id_only() -> None:
    with pytest.raises(ValueError, match=r"\['scene'\] go with an id"):
        check_text_env(Sound(), scene="small")
    with pytest.raises(ValueError, match="takes an id or an environment, got 3"):
        check_text_env(3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(EnvContractError, match="is not a TextEnv"):
        check_text_env("CartPole-v1")


def test_the_fuzzer_repeats_itself_and_leaves_nothing_out() -> None:
    def stream(seed: int) -> list[str]:
        fuzzer = ActionFuzzer(seed, longest=5000)
        return [fuzzer.draw(("go to fridge 1", "look")) for _ in range(3000)]

    drawn = stream(1)
    assert drawn == stream(1)
    assert drawn != stream(2)
    assert {"", "look", "GO TO FRIDGE 1", "go to fridge 1\x00"} <= set(drawn)
    assert any(len(action) == 5000 for action in drawn)
    assert any(0xD800 <= ord(letter) < 0xE000 for action in drawn for letter in action)
    assert any(ord(letter) < 32 for action in drawn for letter in action)
    assert any(ord(letter) > 0xFFFF for action in drawn for letter in action)
    assert ActionFuzzer(3).draw(()) == ActionFuzzer(3).draw(())
    with pytest.raises(ValueError, match="long_share must be a finite number from 0 to 1, got 2"):
        ActionFuzzer(long_share=2)
    with pytest.raises(ValueError, match="longest must be a whole number of at least 1, got 0"):
        ActionFuzzer(longest=0)


def test_fuzzing_counts_what_happened() -> None:
    report = fuzz(Sound(), 500, IDS["train"])
    assert report.actions == 500
    assert report.won > 0
    assert 100 < report.invalid < 400
    assert fuzz(Sound(), 500, IDS["train"]).digest == report.digest
    assert fuzz(Sound(), 500, IDS["test"]).digest != report.digest


def test_fingerprints_tell_values_apart_and_not_containers_of_the_same() -> None:
    assert fingerprint({"a": 1, "b": (1.0, None)}) == fingerprint({"b": (1.0, None), "a": 1})
    assert fingerprint({"x", "y", "z"}) == fingerprint({"z", "y", "x"})
    different = [1, 1.0, True, "1", b"1", (1,), [1], None, "\ud800", {"a": 1}, Task("a", "b", "c", "d")]
    assert len({fingerprint(value) for value in different}) == len(different)
    assert fingerprint(object()) == fingerprint(object())


def test_the_check_leaves_the_environment_as_it_was() -> None:
    env = Sound()
    env.reset(seed=3, options={"task_id": "train/4"})
    env.step("yes")
    before = pickle.dumps(env)
    check_text_env_error = None
    try:
        check_text_env(env, settings=QUICK)
    except EnvContractError as error:
        check_text_env_error = str(error)
    # A running episode is no fresh environment: the check says so rather than resetting it.
    assert check_text_env_error is not None and "step() before reset()" in check_text_env_error
    assert pickle.dumps(env) == before
