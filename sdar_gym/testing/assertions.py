"""The contract itself: what `reset`, `step` and the task tables of a `TextEnv` have to look like."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, cast

import gymnasium

from sdar_gym.envs.text_env import TaskNotFoundError, TextEnv
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
    """An environment breaks the contract: says what, where in its life, and what to do.

    An `AssertionError`, so that test runners count it as a failed test and not as a broken one.
    """


def broken(env: gymnasium.Env[Any, Any] | None, where: str, what: str, remedy: str) -> NoReturn:
    """Raise the error of one broken rule.

    Raises:
        EnvContractError: Always.
    """
    name = "the environment" if env is None else type(env.unwrapped).__name__
    # Observations, ids and messages of the environment are quoted in it.
    raise EnvContractError(terminal_safe(f"{name}, {where}: {what} {remedy}"))


def text_env(env: gymnasium.Env[Any, Any]) -> TextEnv:
    """The text environment under its wrappers.

    Raises:
        EnvContractError: It is none.
    """
    inner = env.unwrapped
    if not isinstance(inner, TextEnv):
        broken(env, "made", f"is no TextEnv but {type(inner)!r}.", "Subclass sdar_gym.envs.TextEnv.")
    return inner


def check_spaces(env: gymnasium.Env[Any, Any]) -> None:
    """Both spaces accept any text and can draw some.

    Raises:
        EnvContractError: One does not.
    """
    for name in ("observation_space", "action_space"):
        space = getattr(env, name)
        for text in ("", "two\nlines", "\ud800", "中" * 5000):
            if not space.contains(text):
                broken(env, name, f"refuses the text {text[:20]!r}.", "Leave the FreeText that TextEnv sets.")
        drawn = space.sample()
        if not isinstance(drawn, str) or not space.contains(drawn):
            broken(env, name, f"draws {drawn!r}, which is not its own.", "Leave the FreeText that TextEnv sets.")


def check_tasks(env: gymnasium.Env[Any, Any]) -> dict[str, tuple[str, ...]]:
    """Splits, ids, types and groups are well formed, stable, and disjoint between splits.

    Returns:
        The ids of each split.

    Raises:
        EnvContractError: They are not.
    """
    inner = text_env(env)
    splits = inner.splits
    if not isinstance(splits, tuple) or not splits or not all(isinstance(split, str) and split for split in splits):
        broken(env, "splits", f"is {splits!r}.", "Return a tuple with the name of every split that has tasks.")
    if len(set(splits)) != len(splits):
        broken(env, "splits", f"names one twice: {splits!r}.", "Name each once.")
    if "train" in splits and splits[0] != "train":
        broken(env, "splits", f"is {splits!r}.", "Put 'train' first.")
    tasks = {split: _split_ids(env, split) for split in splits}
    default = inner.task_ids()
    if not any(set(default) <= set(ids) for ids in tasks.values()):
        broken(env, "task_ids()", "gives ids of no single split.", "Without a split, answer for the default one.")
    _check_disjoint(env, tasks)
    for ids in tasks.values():
        for task_id in spread(ids, 25):
            kind = inner.task_type(task_id)
            if not isinstance(kind, str) or not kind:
                broken(env, f"task_type({task_id!r})", f"is {kind!r}.", "Return the name of its type as text.")
    missing = "no such split, nor ever was"
    try:
        inner.task_ids(missing)
    except TaskNotFoundError:
        return tasks
    except Exception as error:
        broken(env, f"task_ids({missing!r})", f"raises {error!r}.", "Raise TaskNotFoundError.")
    broken(env, f"task_ids({missing!r})", "is answered.", "Raise TaskNotFoundError.")


def _split_ids(env: gymnasium.Env[Any, Any], split: str) -> tuple[str, ...]:
    ids, where = text_env(env).task_ids(split), f"task_ids({split!r})"
    if not isinstance(ids, tuple) or not all(isinstance(task_id, str) and task_id for task_id in ids):
        broken(env, where, f"is {str(ids)[:80]}.", "Return a tuple of ids, each a non-empty str.")
    if not ids:
        broken(env, where, "is empty.", "Leave splits without tasks out of `splits`.")
    if len(set(ids)) != len(ids):
        broken(env, where, "holds an id twice.", "Give each task one id.")
    if ids != text_env(env).task_ids(split):
        broken(env, where, "changes from one call to the next.", "Keep a fixed order.")
    return ids


def _check_disjoint(env: gymnasium.Env[Any, Any], tasks: Mapping[str, tuple[str, ...]]) -> None:
    inner = text_env(env)
    for what, name_of in (("task id", str), ("task group", inner.task_group)):
        owner: dict[str, tuple[str, str]] = {}
        for split, ids in tasks.items():
            for task_id in ids:
                name = name_of(task_id)
                if not isinstance(name, str):
                    broken(env, f"task_group({task_id!r})", f"is {name!r}.", "Return the group's name as text.")
                other, other_id = owner.setdefault(name, (split, task_id))
                if other != split:
                    broken(
                        env,
                        f"the splits {other!r} and {split!r}",
                        f"share the {what} {name!r} ({other_id!r} and {task_id!r}).",
                        "Keep splits disjoint, or results on one are memory of the other.",
                    )


def checked_reset(
    env: gymnasium.Env[Any, Any], *, seed: int | None = None, options: dict[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """`env.reset`, held to the contract.

    Raises:
        EnvContractError: What it gives breaks the contract.
    """
    where = f"reset(seed={seed}, options={options})"
    try:
        observation, info = env.reset(seed=seed, options=options)
    except Exception as error:
        broken(env, where, f"raises {error!r}.", "A task that is listed has to begin.")
    _check_turn(env, where, observation, info)
    inner = text_env(env)
    if info["turn"] != 0:
        broken(env, where, f"info['turn'] is {info['turn']}.", "Let TextEnv count the turns.")
    if not info["goal"].strip():
        broken(env, where, "info['goal'] is empty.", "Say the task in a sentence.")
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
    """`env.step`, held to the contract.

    Args:
        env: The environment, in an episode.
        action: Any text.
        before: The `info` that the action follows.

    Raises:
        EnvContractError: It raises, or what it gives breaks the contract.
    """
    shown = f"{action[:60]!r}" + (f"… ({len(action):,} characters)" if len(action) > 60 else "")
    where = f"step({shown}) in task {before['task_id']!r}, turn {before['turn'] + 1}"
    try:
        observation, reward, terminated, truncated, info = env.step(action)
    except Exception as error:
        broken(env, where, f"raises {error!r}.", "However odd the text, answer it with action_valid=False.")
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
        broken(env, where, "terminated and truncated at once.", "`truncated` is the time limit alone.")
    limit = text_env(env).max_steps
    if info["turn"] >= limit and not (terminated or truncated):
        broken(env, where, f"goes on after max_steps={limit}.", "Let TextEnv truncate.")
    if not info["action_valid"] and action in before["admissible_actions"]:
        remedy = "List only actions that would do something, written so that they are read back."
        broken(env, where, "was admissible and is called invalid.", remedy)
    return observation, reward, terminated, truncated, cast(dict[str, Any], info)


def _check_turn(env: gymnasium.Env[Any, Any], where: str, observation: Any, info: Any) -> None:
    if not isinstance(observation, str):
        broken(env, where, f"the observation is {type(observation).__name__}.", "Give text.")
    if not isinstance(info, dict):
        broken(env, where, f"info is {type(info).__name__}.", "Give a dict.")
    for key, kind in INFO_TYPES.items():
        if key not in info:
            broken(env, where, f"info lacks {key!r}.", "Return Turn and Task objects and let TextEnv build info.")
        # bool is an int, and numpy's numbers are near enough to fool isinstance; JSON and vectors tell them apart.
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
    """The first text in a value that UTF-8 cannot encode, and no tokenizer reads."""
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
    """Up to `count` ids or actions, evenly from first to last."""
    if len(ids) <= count:
        return list(ids)
    return [ids[position * (len(ids) - 1) // (count - 1)] for position in range(count)] if count > 1 else [ids[0]]
