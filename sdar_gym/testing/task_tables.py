"""Checks before any episode: spaces, splits, task ids, task types and task groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium

from sdar_gym.envs.text_env import TaskNotFoundError
from sdar_gym.testing.assertions import broken, spread, text_env


def check_spaces(env: gymnasium.Env[Any, Any]) -> None:
    """Both spaces contain any text, and samples from them are text.

    Raises:
        EnvContractError: A space refuses text.
    """
    for name in ("observation_space", "action_space"):
        space = getattr(env, name)
        for text in ("", "two\nlines", "\ud800", "中" * 5000):
            if not space.contains(text):
                broken(env, name, f"refuses the text {text[:20]!r}.", "Leave the FreeText that TextEnv sets.")
        drawn = space.sample()
        if not isinstance(drawn, str) or not space.contains(drawn):
            broken(env, name, f"draws {drawn!r}, which it does not contain.", "Leave the FreeText that TextEnv sets.")


def check_tasks(env: gymnasium.Env[Any, Any]) -> dict[str, tuple[str, ...]]:
    """Splits, task ids, types and groups are well formed and stable, and splits are disjoint.

    Returns:
        The ids of each split.

    Raises:
        EnvContractError: A rule is broken.
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
        broken(env, "task_ids()", "gives ids of no single split.", "Without a split, return those of the default.")
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
    broken(env, f"task_ids({missing!r})", "returns ids.", "Raise TaskNotFoundError.")


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
                        "Keep splits disjoint, or evaluation measures memorization.",
                    )
