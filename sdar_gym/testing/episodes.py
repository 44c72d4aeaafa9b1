"""Episode recording and replay with fixed actions, compared by hashes of every turn."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium

from sdar_gym.testing.action_fuzzer import ActionFuzzer
from sdar_gym.testing.assertions import broken, checked_reset, checked_step
from sdar_gym.text import shortened
from sdar_gym.validation import finite_number, whole_number


@dataclass(frozen=True, slots=True)
class FuzzReport:
    """Statistics of a stream of fuzzed actions.

    Attributes:
        actions: Actions played.
        episodes: Episodes started.
        won: Episodes won by chance.
        invalid: Actions with `action_valid=False`.
        slowest_s: The slowest turn in seconds.
        digest: Hash of all turns, in order.
    """

    actions: int
    episodes: int
    won: int
    invalid: int
    slowest_s: float
    digest: str


def fingerprint(value: Any) -> str:
    """Hash of a turn or an episode: equal if and only if the texts, numbers and containers in it are.

    Sets are compared without order. Any other object counts by its type alone, since its `repr` may include a memory
    address.
    """
    return hashlib.sha256(_canonical(value).encode("ascii", "backslashreplace")).hexdigest()[:16]


def _canonical(value: Any) -> str:
    if value is None or isinstance(value, (str, bytes, bool, int, float)):
        return f"{type(value).__name__}:{value!r}"
    if isinstance(value, Mapping):
        return "{" + ",".join(sorted(f"{_canonical(key)}={_canonical(item)}" for key, item in value.items())) + "}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}[" + ",".join(map(_canonical, value)) + "]"
    if isinstance(value, (set, frozenset)):
        return "set[" + ",".join(sorted(map(_canonical, value))) + "]"
    if dataclasses.is_dataclass(value):
        fields = ",".join(_canonical(getattr(value, field.name)) for field in dataclasses.fields(value))
        return f"{type(value).__name__}({fields})"
    if hasattr(value, "tolist"):
        return f"array:{_canonical(value.tolist())}"
    return f"<{type(value).__name__}>"


def record(
    env: gymnasium.Env[Any, Any], task_id: str, fuzzer: ActionFuzzer, turns: int, *, seed: int | None = None
) -> tuple[list[str], list[str]]:
    """Play a task with fuzzed actions, checking every call.

    Returns:
        The actions, and the fingerprint of every turn, that of the reset first.
    """
    observation, info = checked_reset(env, seed=seed, options={"task_id": task_id})
    actions: list[str] = []
    prints = [fingerprint((observation, info))]
    while len(actions) < turns:
        actions.append(fuzzer.draw(info["admissible_actions"]))
        step = checked_step(env, actions[-1], info)
        info = step[4]
        prints.append(fingerprint(step))
        if step[2] or step[3]:
            break
    return actions, prints


def replay(env: gymnasium.Env[Any, Any], task_id: str, actions: Sequence[str], *, seed: int | None = None) -> list[str]:
    """Play given actions; returns the fingerprint of every turn, up to the end of the episode."""
    prints = [fingerprint(env.reset(seed=seed, options={"task_id": task_id}))]
    for action in actions:
        step = env.step(action)
        prints.append(fingerprint(step))
        if step[2] or step[3]:
            break
    return prints


def compare(env: gymnasium.Env[Any, Any], where: str, ours: Sequence[str], theirs: Sequence[str], remedy: str) -> None:
    """Compare two recorded episodes.

    Raises:
        EnvContractError: They differ; says from which turn on.
    """
    if list(ours) == list(theirs):
        return
    turn = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    broken(env, where, f"differs from turn {turn} on ({len(ours) - 1} and {len(theirs) - 1} turns).", remedy)


def fuzz(
    env: gymnasium.Env[Any, Any],
    actions: int,
    tasks: Sequence[str],
    *,
    fuzzer: ActionFuzzer | None = None,
    slowest_s: float = 30.0,
) -> FuzzReport:
    """Play fuzzed actions, one episode after another, cycling over the tasks, and check every call.

    Args:
        env: The environment.
        actions: Number of actions.
        tasks: Ids of the tasks.
        fuzzer: Draws the actions; default `ActionFuzzer()`.
        slowest_s: Time limit of a single turn, in seconds.

    Raises:
        EnvContractError: A turn raises, breaks the contract, or takes too long.
        ValueError: There are no tasks, or an argument is not a number.
    """
    actions = whole_number("actions", actions, 0)
    slowest_s = finite_number("slowest_s", slowest_s, above=0)
    if isinstance(tasks, str) or not tasks:
        raise ValueError(f"tasks must be a list with the id of at least one task, got {shortened(tasks)}.")
    fuzzer = fuzzer or ActionFuzzer()
    digest = hashlib.sha256()
    episodes = won = invalid = 0
    slowest = 0.0
    info: dict[str, Any] | None = None
    for _ in range(actions):
        if info is None:
            observation, info = checked_reset(env, options={"task_id": tasks[episodes % len(tasks)]})
            digest.update(fingerprint((observation, info)).encode())
            episodes += 1
        action = fuzzer.draw(info["admissible_actions"])
        started = time.perf_counter()
        step = checked_step(env, action, info)
        took = time.perf_counter() - started
        if took > slowest_s:
            where = f"step({action[:60]!r}…, {len(action):,} characters) in task {info['task_id']!r}"
            broken(env, where, f"took {took:.1f} s.", "Truncate or refuse long text before parsing it.")
        slowest = max(slowest, took)
        digest.update(fingerprint(step).encode())
        info = step[4]
        invalid += not info["action_valid"]
        if step[2] or step[3]:
            won += info["won"]
            info = None
    return FuzzReport(actions, episodes, won, invalid, slowest, digest.hexdigest()[:16])
