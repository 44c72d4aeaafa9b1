"""`check_text_env`: holds any text environment, ours or yours, to the contract of `TextEnv`."""

from __future__ import annotations

import gc
import pickle
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import gymnasium

from sdar_gym.envs.registry import EnvEntry, entries
from sdar_gym.envs.text_env import TaskNotFoundError
from sdar_gym.testing.action_fuzzer import ActionFuzzer
from sdar_gym.testing.assertions import broken, check_spaces, check_tasks, checked_reset, checked_step, spread, text_env
from sdar_gym.testing.episodes import compare, fingerprint, fuzz, record, replay
from sdar_gym.testing.fresh_process import replay_elsewhere
from sdar_gym.text import shortened
from sdar_gym.validation import finite_number, flag, whole_number

Env = gymnasium.Env[Any, Any]
# Depths of an episode at which listed actions are tried, and how many of them at each.
_DEPTHS = 4
_LISTED = 40
_SAME = "The task id has to say everything: no global random state, no clock, no order of a set or of a directory."


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """How thorough `check_text_env` is.

    Attributes:
        tasks: How many tasks are played, spread over all splits.
        turns: Turns of a played episode, at most.
        fuzz_actions: Fuzzed actions in each of the three rounds that memory is watched over.
        memory_mb: What may remain allocated after a round more than after the one before, in megabytes.
        slowest_s: What a single turn may take, in seconds.
        fresh_process: Also play the episodes again in a new process, with another order of sets and dicts' hashes.
        async_vector: Also compare with an asynchronous vector, which starts processes.
        seed: Of the draws of tasks and actions.
    """

    tasks: int = 6
    turns: int = 25
    fuzz_actions: int = 200
    memory_mb: float = 4.0
    slowest_s: float = 30.0
    fresh_process: bool = False
    async_vector: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("tasks", 1), ("turns", 1), ("fuzz_actions", 0), ("seed", 0)):
            whole_number(name, getattr(self, name), low)
        finite_number("memory_mb", self.memory_mb, 0)
        finite_number("slowest_s", self.slowest_s, above=0)
        flag("fresh_process", self.fresh_process)
        flag("async_vector", self.async_vector)


def check_text_env(env: Env | str, *, settings: CheckSettings | None = None, **make_kwargs: Any) -> None:
    """Check that a text environment keeps the contract; returns if it does.

    Checked are: spaces, splits, task ids, types and groups; keys and types of `info`, and that its texts can be
    encoded; that listed actions are understood; refused options, steps out of turn, actions that are no text; the same
    episode for the same task id whatever the seed and whatever was played before; the same tasks for the same seed,
    others for another; pickling in mid-episode; a vector of environments against single ones; hostile actions of every
    kind, with time and memory watched; closing twice.

    Args:
        env: A registered id, or an environment (which is pickled for fresh copies, and left as it is).
        settings: How thorough to be.
        **make_kwargs: Arguments of `gymnasium.make`, for an id.

    Raises:
        EnvContractError: A rule is broken; says which, where, and what to do.
        ValueError: `make_kwargs` with an environment that is made already, or `env` is neither id nor environment.
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
        _check_out_of_turn(first, tasks[0])
        _check_refusals(first, tasks[0], tuple(ids))
        _check_seeds(make, len(text_env(first).task_ids()))
        recordings = _check_same_episodes(make, tasks, settings)
        if settings.fresh_process:
            elsewhere = replay_elsewhere(
                make(), entry, make_kwargs, [(task, actions) for task, actions, _ in recordings], 4711, 300.0
            )
            for (task_id, _, prints), others in zip(recordings, elsewhere, strict=True):
                compare(first, f"task {task_id!r} in a fresh process", prints, others, _SAME)
        _check_pickling(make, tasks, settings)
        _check_listed(make, tasks, settings)
        _check_vector(make, settings, gymnasium.vector.SyncVectorEnv)
        if settings.async_vector:
            _check_vector(make, settings, lambda fns: gymnasium.vector.AsyncVectorEnv(fns, shared_memory=False))
        _check_fuzzed(make, tasks, settings)
    finally:
        first.close()
    try:
        first.close()
    except Exception as error:
        broken(first, "close()", f"raises {error!r} the second time.", "Closing twice has to be fine.")


def _factory(env: Env | str, make_kwargs: dict[str, Any]) -> tuple[Callable[[], Env], EnvEntry | None]:
    if isinstance(env, str):
        env_id = env
        entry = next((entry for entry in entries() if entry.id == env_id.rpartition(":")[2]), None)
        return (lambda: gymnasium.make(env_id, **make_kwargs)), entry
    if not isinstance(env, gymnasium.Env):
        raise ValueError(f"check_text_env() takes an id or an environment, got {shortened(env)}.")
    if make_kwargs:
        raise ValueError(f"Arguments {sorted(make_kwargs)} go with an id; this environment is made already.")
    try:
        image = pickle.dumps(env)
    except Exception as error:
        broken(env, "pickling", f"raises {error!r}.", "Hold nothing that cannot be pickled, or drop it on the way.")
    return (lambda: pickle.loads(image)), None


def _check_out_of_turn(env: Env, task_id: str) -> None:
    fresh_or_ended = "Call super().step(), which refuses steps out of turn."
    for where in ("step() before reset()", "step() after the end"):
        try:
            env.step("look")
        except gymnasium.error.ResetNeeded:
            pass
        except Exception as error:
            broken(env, where, f"raises {error!r} instead of gymnasium.error.ResetNeeded.", fresh_or_ended)
        else:
            broken(env, where, "is answered.", fresh_or_ended)
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
        checked_step(env, "", info)  # The refused one was no turn.
    except Exception as error:
        broken(env, "step(3)", f"raises {error!r}.", "An action that is no text is a TypeError.")
    else:
        broken(env, "step(3)", "is answered.", "An action that is no text is a TypeError.")


def _check_refusals(env: Env, task_id: str, splits: tuple[str, ...]) -> None:
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


def _check_seeds(make: Callable[[], Env], tasks: int) -> None:
    def drawn(seed: int) -> list[str]:
        env = make()
        first = fingerprint(checked_reset(env, seed=seed))
        result = [first, *(fingerprint(checked_reset(env)) for _ in range(7))]
        env.close()
        return result

    one, again, other = drawn(1), drawn(1), drawn(2)
    env = make()
    compare(env, "reset(seed=1) and seven more", one, again, "Draw tasks from self.np_random alone.")
    # Eight draws from ten tasks agree by chance once in a hundred million.
    if tasks >= 10 and one == other:
        broken(env, "reset(seed=2)", "draws the tasks of seed 1.", "Draw tasks from self.np_random.")
    env.close()


def _check_same_episodes(
    make: Callable[[], Env], tasks: list[str], settings: CheckSettings
) -> list[tuple[str, list[str], list[str]]]:
    fuzzer = ActionFuzzer(settings.seed, longest=10_000)
    used = make()
    recordings = [(task, *record(used, task, fuzzer, settings.turns, seed=5)) for task in tasks]
    for task_id, actions, prints in recordings:
        fresh = make()
        compare(used, f"task {task_id!r} in a fresh environment", prints, replay(fresh, task_id, actions), _SAME)
        fresh.close()
    for task_id, actions, prints in reversed(recordings):
        others = replay(used, task_id, actions, seed=99)
        compare(used, f"task {task_id!r} under another seed, after other episodes", prints, others, _SAME)
    used.close()
    return recordings


def _check_pickling(make: Callable[[], Env], tasks: list[str], settings: CheckSettings) -> None:
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
            broken(env, "pickling in mid-episode", f"raises {error!r}.", "Hold the episode as plain data.")
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
                theirs.append(repr(error))  # It ended, or broke, where the original goes on: different.
                break
            info, over = step[4], step[2] or step[3]
        for _ in range(4):
            ours.append(fingerprint(env.reset()))
            theirs.append(fingerprint(twin.reset()))
        remedy = "The state has to hold all that the episode needs, the random generator too."
        compare(env, "the copy pickled in mid-episode", ours, theirs, remedy)
        env.close()
        twin.close()


def _check_listed(make: Callable[[], Env], tasks: list[str], settings: CheckSettings) -> None:
    # Actions are often written from data and read back by a pattern, and the two agree for ordinary data only.
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


def _check_vector(make: Callable[[], Env], settings: CheckSettings, vector_of: Callable[[Any], Any]) -> None:
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
        over = any(step[2] or step[3] for step in steps)  # A vector begins anew by itself; the singles do not.
    vector.close()
    compare(singles[0], where, ours, theirs, "Share nothing that an episode changes.")
    if not same_tasks:
        broken(singles[0], where, "plays other tasks than the single ones.", "Draw tasks from self.np_random alone.")
    for env in singles:
        env.close()


def _check_fuzzed(make: Callable[[], Env], tasks: list[str], settings: CheckSettings) -> None:
    env = make()

    def play() -> str:
        fuzzer = ActionFuzzer(settings.seed + 3)
        return fuzz(env, settings.fuzz_actions, tasks, fuzzer=fuzzer, slowest_s=settings.slowest_s).digest

    digests = [play()]  # What this first round loads, shared games and indices, is not counted.
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
    compare(env, "the same fuzzed actions again", digests[:1] * 2, digests[1:], _SAME)
    if left[1] - left[0] > settings.memory_mb:
        broken(
            env,
            f"{settings.fuzz_actions} fuzzed actions",
            f"{left[1] - left[0]:.1f} MB stay allocated.",
            "Drop what an episode gathered when the next one begins, and bound what is kept of an action.",
        )
    env.close()
