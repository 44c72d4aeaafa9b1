"""Contract assertions: `reset` and `step` with their results checked, and the error of a broken rule."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, cast

import gymnasium

from sdar_gym.envs.text_env import TextEnv
from sdar_gym.text import terminal_safe, well_formed

INFO_TYPES: Mapping[str, type] = {
    "task_id": str,
    "task_type": str,
    "split": str,
    "goal": str,
    "admissible_actions": tuple,
    "action_valid": bool,
    "score": float,
    "won": bool,
    "turn": int,
}
Step = tuple[str, float, bool, bool, dict[str, Any]]


class EnvContractError(AssertionError):
    """An environment breaks the contract of `TextEnv`: which rule, at which call, and what to do.

    A subclass of `AssertionError`, so that test runners report a failure and not an error.
    """


def broken(env: gymnasium.Env[Any, Any] | None, where: str, what: str, remedy: str) -> NoReturn:
    """Raise an `EnvContractError` for one broken rule.

    Raises:
        EnvContractError: Always.
    """
    name = "the environment" if env is None else type(env.unwrapped).__name__
    # It quotes observations, ids and messages of the environment.
    raise EnvContractError(terminal_safe(f"{name}, {where}: {what} {remedy}"))


def text_env(env: gymnasium.Env[Any, Any]) -> TextEnv:
    """The text environment under its wrappers.

    Raises:
        EnvContractError: It is not a `TextEnv`.
    """
    inner = env.unwrapped
    if not isinstance(inner, TextEnv):
        broken(env, "made", f"is not a TextEnv but {type(inner)!r}.", "Subclass sdar_gym.envs.TextEnv.")
    return inner


def checked_reset(
    env: gymnasium.Env[Any, Any], *, seed: int | None = None, options: dict[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """Call `env.reset` and check its result.

    Raises:
        EnvContractError: It raises, or its result breaks the contract.
    """
    where = f"reset(seed={seed}, options={options})"
    try:
        observation, info = env.reset(seed=seed, options=options)
    except Exception as error:
        broken(env, where, f"raises {error!r}.", "Every listed task must be playable.")
    _check_turn(env, where, observation, info)
    inner = text_env(env)
    if info["turn"] != 0:
        broken(env, where, f"info['turn'] is {info['turn']}.", "Let TextEnv count the turns.")
    if not info["goal"].strip():
        broken(env, where, "info['goal'] is empty.", "State the task in a sentence.")
    if options and "task_id" in options and info["task_id"] != options["task_id"]:
        broken(env, where, f"plays {info['task_id']!r}.", "Play the task that was asked for, under its own id.")
    if options and "split" in options and info["split"] != options["split"]:
        broken(env, where, f"plays a task of {info['split']!r}.", "Draw from the split that was asked for.")
    if info["split"] not in inner.splits:
        broken(env, where, f"info['split'] is {info['split']!r}.", f"Name one of {inner.splits}.")
    if info["task_type"] != inner.task_type(info["task_id"]):
        broken(env, where, f"info['task_type'] is {info['task_type']!r}.", "Agree with task_type(task_id).")
    return observation, info


def checked_step(env: gymnasium.Env[Any, Any], action: str, before: Mapping[str, Any]) -> Step:
    """Call `env.step` and check its result.

    Args:
        env: The environment, in an episode.
        action: Any text.
        before: The `info` before the action.

    Raises:
        EnvContractError: It raises, or its result breaks the contract.
    """
    shown = f"{action[:60]!r}" + (f"… ({len(action):,} characters)" if len(action) > 60 else "")
    where = f"step({shown}) in task {before['task_id']!r}, turn {before['turn'] + 1}"
    try:
        observation, reward, terminated, truncated, info = env.step(action)
    except Exception as error:
        broken(
            env,
            where,
            f"raises {error!r}.",
            "Accept any text; set action_valid=False for nonsense.",
        )
    _check_turn(env, where, observation, info)
    if type(reward) is not float or not math.isfinite(reward):
        broken(env, where, f"the reward is {reward!r}.", "Give a finite float.")
    if type(terminated) is not bool or type(truncated) is not bool:
        broken(env, where, f"ends are {terminated!r} and {truncated!r}.", "Give two bool.")
    for key in ("task_id", "task_type", "split", "goal"):
        if info[key] != before[key]:
            broken(env, where, f"info[{key!r}] becomes {info[key]!r}.", "An episode keeps its task.")
    if info["turn"] != before["turn"] + 1:
        broken(env, where, f"info['turn'] is {info['turn']}.", "Every action is one turn; let TextEnv count.")
    if terminated and truncated:
        broken(env, where, "terminated and truncated at once.", "Set `truncated` for the time limit only.")
    limit = text_env(env).max_steps
    if info["turn"] >= limit and not (terminated or truncated):
        broken(env, where, f"goes on after max_steps={limit}.", "Let TextEnv truncate.")
    if not info["action_valid"] and action in before["admissible_actions"]:
        remedy = "List only actions that have an effect, written so that the parser reads them."
        broken(env, where, "was listed as admissible and is called invalid.", remedy)
    return observation, reward, terminated, truncated, cast(dict[str, Any], info)


def _check_turn(env: gymnasium.Env[Any, Any], where: str, observation: Any, info: Any) -> None:
    if not isinstance(observation, str):
        broken(env, where, f"the observation is {type(observation).__name__}.", "Give text.")
    if not isinstance(info, dict):
        broken(env, where, f"info is {type(info).__name__}.", "Give a dict.")
    for key, kind in INFO_TYPES.items():
        if key not in info:
            broken(env, where, f"info lacks {key!r}.", "Return Turn and Task objects and let TextEnv build info.")
        # Exact types: bool is an int and NumPy floats pass isinstance, but JSON and vectors treat them differently.
        if type(info[key]) is not kind:
            broken(env, where, f"info[{key!r}] is {info[key]!r}.", f"It has to be a {kind.__name__}.")
    strange = [action for action in info["admissible_actions"] if not isinstance(action, str)]
    if strange:
        broken(env, where, f"an admissible action is {strange[0]!r}.", "Each has to be a str.")
    for name, value in (("the observation", observation), *((f"info[{key!r}]", info[key]) for key in info)):
        spoiled = _unencodable(value)
        if spoiled is not None:
            cut = spoiled if len(spoiled) <= 80 else f"{spoiled[:80]}…"
            broken(
                env,
                where,
                f"{name} holds a lone surrogate: {cut!r}.",
                "Clean text of files and actions with sdar_gym.text.well_formed where it is read.",
            )
    if not 0.0 <= info["score"] <= 1.0:
        broken(env, where, f"info['score'] is {info['score']!r}.", "It has to lie between 0 and 1.")
    if info["won"] and info["score"] != 1.0:
        broken(env, where, f"won with a score of {info['score']}.", "A goal that is reached scores 1.")


def _unencodable(value: Any) -> str | None:
    """The first text in a value that UTF-8 cannot encode, which tokenizers refuse; None if there is none."""
    if isinstance(value, str):
        return value if well_formed(value) != value else None
    parts: Iterable[Any] = ()
    if isinstance(value, Mapping):
        parts = (*value.keys(), *value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        parts = value
    elif dataclasses.is_dataclass(value):
        parts = (getattr(value, field.name) for field in dataclasses.fields(value))
    return next((found for part in parts if (found := _unencodable(part)) is not None), None)


def spread(ids: tuple[str, ...], count: int) -> list[str]:
    """Up to `count` ids or actions, evenly spaced from first to last."""
    if len(ids) <= count:
        return list(ids)
    return [ids[position * (len(ids) - 1) // (count - 1)] for position in range(count)] if count > 1 else [ids[0]]
