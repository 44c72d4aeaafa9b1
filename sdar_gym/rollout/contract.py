"""Contract checks: what an environment returned, in every turn, so that an error names the task and the turn."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from numbers import Real
from typing import Any

from sdar_gym.text import shortened, well_formed

# Longer texts are slips: a whole file, a page with its pictures. Tokenizing one takes seconds.
LARGEST_TEXT = 1_000_000
_OF_A_TASK = ("task_type", "split", "goal")


class ContractError(ValueError):
    """An environment returned what the contract of `TextEnv` does not allow."""


def check_reset(observation: Any, info: Any) -> None:
    """Checks the result of `reset`.

    Raises:
        ContractError: With the part that is wrong, and its value.
    """
    _check_turn(observation, info)
    for name in _OF_A_TASK:
        _check_text(f"info[{name!r}]", info.get(name))


def check_step(observation: Any, reward: Any, info: Any) -> None:
    """Checks the result of `step`.

    Raises:
        ContractError: With the part that is wrong, and its value.
    """
    _check_turn(observation, info)
    _check_number("the reward", reward)
    if "action_valid" not in info:
        raise ContractError("info has no 'action_valid'")


def _check_turn(observation: Any, info: Any) -> None:
    _check_text("the observation", observation)
    if not isinstance(info, Mapping):
        raise ContractError(f"info is a {type(info).__name__}, not a dictionary")
    for name in ("won", "score", "admissible_actions"):
        if name not in info:
            raise ContractError(f"info has no {name!r}")
    _check_number("the score", info["score"])
    actions = info["admissible_actions"]
    if isinstance(actions, str) or not hasattr(actions, "__iter__"):
        raise ContractError(f"the admissible actions are {shortened(actions)}, not a sequence of texts")
    for action in actions:
        _check_text("an admissible action", action)


def _check_text(what: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ContractError(f"{what} is {shortened(value)} of type {type(value).__name__}, not a text")
    if len(value) > LARGEST_TEXT:
        raise ContractError(f"{what} has {len(value):,} characters; the limit is {LARGEST_TEXT:,}")
    if not value.isascii() and well_formed(value) != value:
        raise ContractError(f"{what} has lone surrogates, which UTF-8 cannot encode: {shortened(value)}")


def _check_number(what: str, value: Any) -> None:
    if not isinstance(value, Real) or not isfinite(value):
        raise ContractError(f"{what} is {shortened(value)}, which is no finite number")
