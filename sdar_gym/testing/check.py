"""`check_text_env`: contract check for text environments, built-in or plug-in."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import gymnasium

from sdar_gym.envs.registry import EnvEntry, entries
from sdar_gym.testing.assertions import broken, spread, text_env
from sdar_gym.testing.calls import check_listed, check_out_of_turn, check_refusals
from sdar_gym.testing.determinism import (
    ONLY_TASK_ID,
    check_fuzzed,
    check_pickling,
    check_same_episodes,
    check_seeds,
    check_vector,
)
from sdar_gym.testing.episodes import compare
from sdar_gym.testing.fresh_process import replay_elsewhere
from sdar_gym.testing.settings import CheckSettings
from sdar_gym.testing.task_tables import check_spaces, check_tasks
from sdar_gym.text import shortened

Env = gymnasium.Env[Any, Any]


def check_text_env(env: Env | str, *, settings: CheckSettings | None = None, **make_kwargs: Any) -> None:
    """Check that a text environment keeps the contract of `TextEnv`; returns if it does.

    Checks spaces, splits, task ids, task types and task groups; keys and types of `info`, and that its texts can be
    encoded as UTF-8; that listed actions are understood; that wrong options, steps out of turn and actions that are not
    text are refused; that a task id gives the same episode under any seed and after any other episode; that the same
    seed draws the same tasks and another seed others; pickling in mid-episode; vectors against single environments;
    adversarial actions, with limits on time and memory; closing twice.

    Args:
        env: A registered id, or an environment, which is pickled to make fresh copies and not changed.
        settings: Amounts and limits; default `CheckSettings()`.
        **make_kwargs: Arguments of `gymnasium.make`, with an id only.

    Raises:
        EnvContractError: A rule is broken; says which one, where, and what to do.
        ValueError: `make_kwargs` given with an environment, or `env` is neither an id nor an environment.
    """
    settings = settings or CheckSettings()
    make, entry = _factory(env, make_kwargs)
    first = make()
    try:
        text_env(first)
        check_spaces(first)
        ids = check_tasks(first)
        per_split = max(1, settings.tasks // len(ids))
        tasks = [task_id for split in ids for task_id in spread(ids[split], per_split)]
        check_out_of_turn(first, tasks[0])
        check_refusals(first, tasks[0], tuple(ids))
        check_seeds(make, len(text_env(first).task_ids()))
        recordings = check_same_episodes(make, tasks, settings)
        if settings.fresh_process:
            elsewhere = replay_elsewhere(
                make(), entry, make_kwargs, [(task, actions) for task, actions, _ in recordings], 4711, 300.0
            )
            for (task_id, _, prints), others in zip(recordings, elsewhere, strict=True):
                compare(first, f"task {task_id!r} in a fresh process", prints, others, ONLY_TASK_ID)
        check_pickling(make, tasks, settings)
        check_listed(make, tasks, settings)
        check_vector(make, settings, gymnasium.vector.SyncVectorEnv)
        if settings.async_vector:
            check_vector(make, settings, lambda fns: gymnasium.vector.AsyncVectorEnv(fns, shared_memory=False))
        check_fuzzed(make, tasks, settings)
    finally:
        first.close()
    try:
        first.close()
    except Exception as error:
        broken(first, "close()", f"raises {error!r} the second time.", "Allow closing twice.")


def _factory(env: Env | str, make_kwargs: dict[str, Any]) -> tuple[Callable[[], Env], EnvEntry | None]:
    if isinstance(env, str):
        env_id = env
        entry = next((entry for entry in entries() if entry.id == env_id.rpartition(":")[2]), None)
        return (lambda: gymnasium.make(env_id, **make_kwargs)), entry
    if not isinstance(env, gymnasium.Env):
        raise ValueError(f"check_text_env() takes an id or an environment, got {shortened(env)}.")
    if make_kwargs:
        raise ValueError(f"Arguments {sorted(make_kwargs)} go with an id, and an environment was given.")
    try:
        image = pickle.dumps(env)
    except Exception as error:
        broken(
            env,
            "pickling",
            f"raises {error!r}.",
            "Leave out what cannot be pickled in __getstate__.",
        )
    return (lambda: pickle.loads(image)), None
