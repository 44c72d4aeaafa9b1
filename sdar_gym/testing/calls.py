"""Checks of single `reset` and `step` calls: wrong order, wrong options, actions that are not text, listed actions."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from random import Random
from typing import Any

import gymnasium

from sdar_gym.envs.text_env import TaskNotFoundError
from sdar_gym.testing.assertions import broken, checked_reset, checked_step, spread
from sdar_gym.testing.settings import CheckSettings

Env = gymnasium.Env[Any, Any]
# Depths of an episode at which listed actions are tried, and how many are tried at each.
_DEPTHS = 4
_LISTED = 40


def check_out_of_turn(env: Env, task_id: str) -> None:
    """`step` before `reset`, after the end, or with an action that is not text is refused.

    Raises:
        EnvContractError: A rule is broken.
    """
    fresh_or_ended = "Call super().step(), which refuses steps out of turn."
    for where in ("step() before reset()", "step() after the end"):
        try:
            env.step("look")
        except gymnasium.error.ResetNeeded:
            pass
        except Exception as error:
            broken(env, where, f"raises {error!r} instead of gymnasium.error.ResetNeeded.", fresh_or_ended)
        else:
            broken(env, where, "is accepted.", fresh_or_ended)
        if where.startswith("step() before"):
            info = checked_reset(env, options={"task_id": task_id})[1]
            over = False
            while not over:
                *_, terminated, truncated, info = checked_step(env, "", info)
                over = terminated or truncated
    info = checked_reset(env, options={"task_id": task_id})[1]
    try:
        env.step(3)
    except TypeError:
        checked_step(env, "", info)  # The refused step was not a turn.
    except Exception as error:
        broken(env, "step(3)", f"raises {error!r}.", "Raise TypeError for an action that is not text.")
    else:
        broken(env, "step(3)", "is accepted.", "Raise TypeError for an action that is not text.")


def check_refusals(env: Env, task_id: str, splits: tuple[str, ...]) -> None:
    """`reset` refuses wrong options, and a refused reset leaves the episode as it was.

    Raises:
        EnvContractError: A rule is broken.
    """
    info = checked_reset(env, options={"task_id": task_id})[1]
    wrong: list[tuple[Any, type[Exception]]] = [
        ({"task_id": "no such task, nor ever was"}, TaskNotFoundError),
        ({"split": "no such split, nor ever was"}, TaskNotFoundError),
        ({"task_id": 3}, ValueError),
        ({"split": 3}, ValueError),
        ({"split": ""}, TaskNotFoundError),
        ({"no_such_option": splits[0]}, ValueError),
        ([], ValueError),
        ("split", ValueError),
    ]
    wrong += [({"task_id": task_id, "split": other}, TaskNotFoundError) for other in splits if other != info["split"]]
    for options, expected in wrong:
        where = f"reset(options={options})"
        try:
            env.reset(options=options)
        except expected:
            continue
        except Exception as error:
            broken(env, where, f"raises {error!r}.", f"Raise {expected.__name__} and say what there is.")
        broken(env, where, "is accepted.", f"Raise {expected.__name__} and say what there is.")
    checked_step(env, "", info)  # A refused reset leaves the episode as it was.


def check_listed(make: Callable[[], Env], tasks: list[str], settings: CheckSettings) -> None:
    """Every action listed as admissible is understood, at several depths of each task.

    Raises:
        EnvContractError: A rule is broken.
    """
    # Actions are often generated from data and parsed by a pattern; the two tend to agree for ordinary data only.
    rng = Random(settings.seed)
    for task_id in tasks:
        env = make()
        info = checked_reset(env, options={"task_id": task_id})[1]
        for _ in range(_DEPTHS):
            listed = info["admissible_actions"]
            image = pickle.dumps(env)
            for action in spread(listed, _LISTED):
                twin: Env = pickle.loads(image)
                checked_step(twin, action, info)
                twin.close()
            if not listed:
                break
            *_, terminated, truncated, info = checked_step(env, rng.choice(listed), info)
            if terminated or truncated:
                break
        env.close()
