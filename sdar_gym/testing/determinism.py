"""Determinism checks: seeds, replays, pickled copies, vectors of environments, repeated fuzzing."""

from __future__ import annotations

import gc
import pickle
import tracemalloc
from collections.abc import Callable
from typing import Any

import gymnasium

from sdar_gym.testing.action_fuzzer import ActionFuzzer
from sdar_gym.testing.assertions import broken, checked_reset, checked_step
from sdar_gym.testing.episodes import compare, fingerprint, fuzz, record, replay
from sdar_gym.testing.settings import CheckSettings

Env = gymnasium.Env[Any, Any]
# Remedy for episodes that differ though the task id is the same.
ONLY_TASK_ID = (
    "The task id has to say everything: no global random state, no clock, no order of a set or of a directory."
)


def check_seeds(make: Callable[[], Env], tasks: int) -> None:
    """The same seed draws the same tasks, another seed draws others.

    Raises:
        EnvContractError: A rule is broken.
    """

    def drawn(seed: int) -> list[str]:
        env = make()
        first = fingerprint(checked_reset(env, seed=seed))
        result = [first, *(fingerprint(checked_reset(env)) for _ in range(7))]
        env.close()
        return result

    one, again, other = drawn(1), drawn(1), drawn(2)
    env = make()
    compare(env, "reset(seed=1) and seven more", one, again, "Draw tasks from self.np_random alone.")
    # Eight draws from ten tasks agree by chance with probability 1e-8.
    if tasks >= 10 and one == other:
        broken(env, "reset(seed=2)", "draws the tasks of seed 1.", "Draw tasks from self.np_random.")
    env.close()


def check_same_episodes(
    make: Callable[[], Env], tasks: list[str], settings: CheckSettings
) -> list[tuple[str, list[str], list[str]]]:
    """A task id gives the same episode in a fresh environment, after other episodes, and under any seed.

    Returns:
        Task id, actions, and the fingerprint of every turn, for each task.

    Raises:
        EnvContractError: A rule is broken.
    """
    fuzzer = ActionFuzzer(settings.seed, longest=10_000)
    used = make()
    recordings = [(task, *record(used, task, fuzzer, settings.turns, seed=5)) for task in tasks]
    for task_id, actions, prints in recordings:
        fresh = make()
        compare(used, f"task {task_id!r} in a fresh environment", prints, replay(fresh, task_id, actions), ONLY_TASK_ID)
        fresh.close()
    for task_id, actions, prints in reversed(recordings):
        others = replay(used, task_id, actions, seed=99)
        compare(used, f"task {task_id!r} under another seed, after other episodes", prints, others, ONLY_TASK_ID)
    used.close()
    return recordings


def check_pickling(make: Callable[[], Env], tasks: list[str], settings: CheckSettings) -> None:
    """A copy pickled in mid-episode continues exactly like the original.

    Raises:
        EnvContractError: A rule is broken.
    """
    fuzzer = ActionFuzzer(settings.seed + 1, longest=10_000)
    for task_id, depth in zip((tasks * 3)[-3:], (0, 1, 3), strict=True):
        env = make()
        info = checked_reset(env, seed=settings.seed, options={"task_id": task_id})[1]
        over = False
        for _ in range(depth):
            if not over:
                *_, terminated, truncated, info = checked_step(env, fuzzer.draw(info["admissible_actions"]), info)
                over = terminated or truncated
        try:
            twin: Env = pickle.loads(pickle.dumps(env))
        except Exception as error:
            broken(env, "pickling in mid-episode", f"raises {error!r}.", "Keep the episode as plain data.")
        ours, theirs = [], []
        for _ in range(settings.turns):
            if over:
                break
            action = fuzzer.draw(info["admissible_actions"])
            step = checked_step(env, action, info)
            ours.append(fingerprint(step))
            try:
                theirs.append(fingerprint(twin.step(action)))
            except Exception as error:
                theirs.append(repr(error))  # It ended or failed where the original continues: a difference.
                break
            info, over = step[4], step[2] or step[3]
        for _ in range(4):
            ours.append(fingerprint(env.reset()))
            theirs.append(fingerprint(twin.reset()))
        remedy = "The pickled state has to include all that the episode needs, the random generator too."
        compare(env, "the copy pickled in mid-episode", ours, theirs, remedy)
        env.close()
        twin.close()


def check_vector(make: Callable[[], Env], settings: CheckSettings, vector_of: Callable[[Any], Any]) -> None:
    """A vector of two environments equals two single ones, turn by turn.

    Raises:
        EnvContractError: A rule is broken.
    """
    singles = [make(), make()]
    vector = vector_of([make, make])
    where = f"{type(vector).__name__} of two"
    fuzzer = ActionFuzzer(settings.seed + 2, longest=10_000)
    alone = [checked_reset(env, seed=settings.seed + n) for n, env in enumerate(singles)]
    observations, vector_info = vector.reset(seed=settings.seed)
    infos = [info for _, info in alone]
    ours = [fingerprint([shown for shown, _ in alone])]
    theirs = [fingerprint(list(observations))]
    same_tasks = [info["task_id"] for info in infos] == list(vector_info["task_id"])
    over = False
    while same_tasks and not over and len(ours) < settings.turns:
        actions = [fuzzer.draw(info["admissible_actions"]) for info in infos]
        steps = [checked_step(env, a, info) for env, a, info in zip(singles, actions, infos, strict=True)]
        infos = [step[4] for step in steps]
        shown, rewards, terminated, truncated, vector_info = vector.step(tuple(actions))
        ours.append(fingerprint([(step[0], step[1], step[2], step[3], step[4]["score"]) for step in steps]))
        columns = (shown, rewards.tolist(), terminated.tolist(), truncated.tolist(), vector_info["score"].tolist())
        theirs.append(fingerprint(list(zip(*columns, strict=True))))
        over = any(step[2] or step[3] for step in steps)  # Vectors reset by themselves, single environments do not.
    vector.close()
    compare(singles[0], where, ours, theirs, "Share no mutable state between environments.")
    if not same_tasks:
        broken(
            singles[0],
            where,
            "plays other tasks than single environments.",
            "Draw tasks from self.np_random alone.",
        )
    for env in singles:
        env.close()


def check_fuzzed(make: Callable[[], Env], tasks: list[str], settings: CheckSettings) -> None:
    """Repeated rounds of fuzzed actions give the same episodes and leave no memory allocated.

    Raises:
        EnvContractError: A rule is broken.
    """
    env = make()

    def play() -> str:
        fuzzer = ActionFuzzer(settings.seed + 3)
        return fuzz(env, settings.fuzz_actions, tasks, fuzzer=fuzzer, slowest_s=settings.slowest_s).digest

    digests = [play()]  # Not counted: the first round loads shared games and indices.
    watched = not tracemalloc.is_tracing()
    if watched:
        tracemalloc.start()
    try:
        left = []
        for _ in range(2):
            digests.append(play())
            gc.collect()
            left.append(tracemalloc.get_traced_memory()[0] / 1e6)
    finally:
        if watched:
            tracemalloc.stop()
    compare(env, "the same fuzzed actions again", digests[:1] * 2, digests[1:], ONLY_TASK_ID)
    if left[1] - left[0] > settings.memory_mb:
        broken(
            env,
            f"{settings.fuzz_actions} fuzzed actions",
            f"{left[1] - left[0]:.1f} MB stay allocated.",
            "Drop the state of an episode when the next one begins, and limit what is kept of an action.",
        )
    env.close()
