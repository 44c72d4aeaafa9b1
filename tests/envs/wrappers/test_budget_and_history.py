"""`TurnBudget`: truncation by turns or tokens; `TextHistory`: past turns in the observation."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

from sdar_gym.envs import FreeText
from sdar_gym.envs.wrappers import Budget, TextHistory, TurnBudget, count_words

ID = "sdar/ALFWorld-v0"
SMALL = {"games": "generated", "scene": "small"}


class Echo(gymnasium.Env[str, str]):
    """Echoes the action; `stop` terminates."""

    def __init__(self) -> None:
        self.observation_space = self.action_space = FreeText()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        return "hello you there", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return f"you said {action}", 0.0, action == "stop", False, {}


def test_turns_run_out() -> None:
    env = TurnBudget(Echo(), max_turns=2)
    assert env.reset()[1]["budget"] == Budget(0, 3, 2, None, "")
    assert env.step("a")[2:4] == (False, False)
    *_, terminated, truncated, info = env.step("b")
    assert (terminated, truncated) == (False, True)
    assert info["budget"] == Budget(2, 3 + 4 + 4, 0, None, "turns")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("c")
    assert env.reset()[1]["budget"].turns_left == 2


def test_tokens_of_observations_and_actions_run_out() -> None:
    env = TurnBudget(Echo(), max_tokens=11)
    env.reset()
    info = env.step("a")[4]
    assert info["budget"] == Budget(1, 7, None, 4, "")
    *_, terminated, truncated, info = env.step("b")
    assert (terminated, truncated) == (False, True)
    assert info["budget"] == Budget(2, 11, None, 0, "tokens")
    env.reset()
    *_, truncated, info = env.step("one two three four five six seven eight")
    assert truncated
    assert info["budget"] == Budget(1, 3 + 8 + 10, None, 0, "tokens")


def test_termination_in_the_last_turn_is_not_truncation() -> None:
    env = TurnBudget(Echo(), max_turns=1, max_tokens=4)
    env.reset()
    *_, terminated, truncated, info = env.step("stop")
    assert (terminated, truncated) == (True, False)
    assert info["budget"].spent == "turns"


def test_the_count_is_the_tokenizers() -> None:
    env = TurnBudget(Echo(), max_tokens=100, count=len)
    assert env.reset()[1]["budget"].tokens == len("hello you there")
    assert env.step("ab")[4]["budget"].tokens == len("hello you there" + "ab" + "you said ab")
    assert count_words(" a\nb\tc ") == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "needs max_turns, max_tokens or both"),
        ({"max_turns": 0}, "max_turns must be a whole number of at least 1, got 0"),
        ({"max_tokens": -5}, "max_tokens must be a whole number of at least 1, got -5"),
        ({"max_turns": "5"}, "max_turns must be a whole number of at least 1, got '5'"),
        ({"max_turns": True}, "max_turns must be a whole number of at least 1, got True"),
        ({"max_tokens": 2.5}, "max_tokens must be a whole number of at least 1, got 2.5"),
        ({"max_tokens": float("nan")}, "max_tokens must be a whole number of at least 1, got nan"),
        ({"max_tokens": 9, "count": 3}, "count must be a function from a text to a number, got 3"),
    ],
)
def test_invalid_budgets_raise(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TurnBudget(Echo(), **arguments)


def test_numbers_of_numpy_are_numbers() -> None:
    env = TurnBudget(Echo(), max_turns=np.int64(2), max_tokens=np.int32(50), count=lambda text: np.int64(len(text)))  # pyright: ignore
    env.reset()
    budget = env.step("a")[4]["budget"]
    assert {type(value) for value in (budget.turns_left, budget.tokens_left, budget.tokens)} == {int}
    assert type(env.step("b")[3]) is bool
    assert type(TextHistory(Echo(), turns=np.int64(1)).turns) is int  # pyright: ignore


def test_an_invalid_count_raises() -> None:
    # tokenizer.encode returns the tokens, not their number.
    env = TurnBudget(Echo(), max_tokens=50, count=lambda text: text.split())  # pyright: ignore
    with pytest.raises(ValueError, match=r"What count\(\) returns must be a whole number of at least 0, got \['hello'"):
        env.reset()


def test_a_lone_surrogate_in_an_action_reaches_neither_tokenizer_nor_history() -> None:
    env = TextHistory(TurnBudget(Echo(), max_tokens=500, count=lambda text: len(text.encode())))
    env.reset()
    env.step("look \ud83d")
    shown = env.step("up \ud83d\ude00")[0]
    assert "> look \ufffd\n" in shown
    assert "> up \U0001f600\n" in shown


def test_the_history_is_the_last_turns_and_what_is_seen_now() -> None:
    env = TextHistory(Echo(), turns=2)
    assert env.reset()[0] == "hello you there"
    assert env.step("a")[0] == "hello you there\n> a\n\nyou said a"
    env.step("b")
    assert env.step("c{action}")[0] == "you said a\n> b\n\nyou said b\n> c{action}\n\nyou said c{action}"
    assert env.reset()[0] == "hello you there"


def test_the_history_can_be_cut_formatted_or_left_out() -> None:
    env = TextHistory(
        Echo(), turns=3, turn_format="<{action}|{observation}|{action}>", separator="+", max_characters=45
    )
    env.reset()
    assert env.step("a")[0] == "<a|hello you there|a>+you said a"
    assert env.step("b")[0] == "<b|you said a|b>+you said b"
    assert env.step("x" * 80)[0] == "you said " + "x" * 80
    env = TextHistory(Echo(), turns=0)
    env.reset()
    assert env.step("a")[0] == "you said a"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"turns": -1}, "turns must be a whole number of at least 0, got -1"),
        ({"turns": None}, "turns must be a whole number of at least 0, got None"),
        ({"turns": "3"}, "turns must be a whole number of at least 0, got '3'"),
        ({"max_characters": 0}, "max_characters must be a whole number of at least 1"),
        ({"max_characters": 1e3}, "max_characters must be a whole number of at least 1, got 1000.0"),
        ({"turn_format": "{observation}"}, "lacks {action}"),
        ({"turn_format": 5}, "turn_format must be a text, got 5"),
        ({"separator": None}, "separator must be a text, got None"),
    ],
)
def test_invalid_histories_raise(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TextHistory(Echo(), **arguments)


WRAPPERS: list[Callable[[gymnasium.Env[str, str]], gymnasium.Env[str, str]]] = [
    lambda env: TurnBudget(env, max_turns=3, max_tokens=500),
    lambda env: TextHistory(env, turns=2),
]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_they_pickle_in_mid_episode_and_come_back_from_their_spec(wrap: Any) -> None:
    env = wrap(gymnasium.make(ID, **SMALL))
    env.reset(seed=0)
    env.step("look")
    twin = pickle.loads(pickle.dumps(env))
    assert twin.step("inventory") == env.step("inventory")
    assert env.spec is not None
    again = gymnasium.make(env.spec)
    assert type(again) is type(env)
    fresh = wrap(gymnasium.make(ID, **SMALL))
    assert again.reset(seed=4) == fresh.reset(seed=4)
    assert again.step("look") == fresh.step("look")


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_they_work_in_vectors(wrap: Any, mode: str) -> None:
    more = {"vector_kwargs": {"shared_memory": False}} if mode == "async" else {}
    envs = gymnasium.make_vec(ID, 2, mode, wrappers=[wrap], **more, **SMALL)
    alone = wrap(gymnasium.make(ID, **SMALL))
    assert envs.reset(seed=7)[0][0] == alone.reset(seed=7)[0]
    assert envs.step(("look", "look"))[0][0] == alone.step("look")[0]
    envs.close()
