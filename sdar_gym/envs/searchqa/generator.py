"""Generated questions about the embedded world: one hop, two hops and comparisons, each determined by its task id."""

from __future__ import annotations

from functools import lru_cache
from random import Random

from sdar_gym.envs.data_files import SPLITS
from sdar_gym.envs.draws import pick, shuffled
from sdar_gym.envs.searchqa.tasks import Question
from sdar_gym.envs.searchqa.wordings import COMPARISON, ONE_HOP, TWO_HOP, Ask, Compare
from sdar_gym.envs.searchqa.world import GENERATOR_VERSION, Names, Thing, World, embedded_world
from sdar_gym.envs.text_env import TaskNotFoundError

SOURCE = "embedded"
TASK_TYPES = ("one_hop", "two_hop", "comparison")
# Questions of each task type.
_PER_TYPE = {"train": 2400, "dev": 400, "test": 400}


class EmbeddedQuestions:
    """Question source of the embedded world.

    The splits are about disjoint entities: no name in a question or on the path to its answer occurs in the passages
    of another split.

    Args:
        names: The names in it; see `embedded_world`.
    """

    def __init__(self, names: Names = "invented"):
        self._names: Names = names

    @property
    def splits(self) -> tuple[str, ...]:
        """All three splits."""
        return SPLITS

    def task_ids(self, split: str) -> tuple[str, ...]:
        """Task ids of a split; the three task types alternate."""
        if split not in SPLITS:
            raise TaskNotFoundError(
                f"There is no split {split!r} in the embedded world; there are: {', '.join(SPLITS)}."
            )
        return _task_ids(split)

    def load(self, task_id: str) -> Question:
        """Load a question by task id."""
        split = task_id.partition("/")[0]
        found = _questions(split, self._names).get(task_id) if split in SPLITS else None
        if found is not None:
            return found
        raise TaskNotFoundError(
            f"There is no question {task_id!r} in the embedded world; ids look like train/one_hop/000000."
        )


@lru_cache(maxsize=len(SPLITS))
def _task_ids(split: str) -> tuple[str, ...]:
    return tuple(f"{split}/{kind}/{number:06d}" for number in range(_PER_TYPE[split]) for kind in TASK_TYPES)


@lru_cache(maxsize=2 * len(SPLITS))
def _questions(split: str, names: Names) -> dict[str, Question]:
    world = embedded_world(names)
    rng = Random(f"search-qa questions {GENERATOR_VERSION} {split}")
    size = _PER_TYPE[split]
    found = {}
    for task_type, asks in (("one_hop", ONE_HOP), ("two_hop", TWO_HOP)):
        pairs = [(ask, thing) for ask in asks for thing in world.of(split, ask.kind)]
        for number, (ask, thing) in enumerate(shuffled(rng, pairs)[:size]):
            task_id = f"{split}/{task_type}/{number:06d}"
            found[task_id] = _about_one(task_id, task_type, split, world, ask, thing, rng)
    for number, (compare, first, second) in enumerate(_pairs(rng, world, split, size)):
        task_id = f"{split}/comparison/{number:06d}"
        found[task_id] = _about_two(task_id, split, compare, first, second, rng)
    return found


def _about_one(task_id: str, task_type: str, split: str, world: World, ask: Ask, thing: Thing, rng: Random) -> Question:
    at = thing
    for fact in ask.path[:-1]:
        at = world.things[at.facts[fact]]
    text = pick(rng, ask.wordings).format(x=thing.name)
    golden = _golden(ask.path[-1], at.facts[ask.path[-1]])
    return Question(task_id, text, golden, SOURCE, task_type, split, thing.name)


def _about_two(task_id: str, split: str, compare: Compare, first: Thing, second: Thing, rng: Random) -> Question:
    text = pick(rng, compare.wordings).format(x=first.name, y=second.name)
    years = int(first.facts[compare.fact]), int(second.facts[compare.fact])
    winner = first if (years[0] < years[1]) == compare.earliest else second
    group = " | ".join(sorted((first.name, second.name)))
    return Question(task_id, text, (winner.name,), SOURCE, "comparison", split, group)


def _pairs(rng: Random, world: World, split: str, size: int) -> list[tuple[Compare, Thing, Thing]]:
    """Distinct pairs of things of one kind with different years."""
    things = {compare.kind: world.of(split, compare.kind) for compare in COMPARISON}
    result: list[tuple[Compare, Thing, Thing]] = []
    seen = set()
    while len(result) < size:
        compare = pick(rng, COMPARISON)
        first, second = pick(rng, things[compare.kind]), pick(rng, things[compare.kind])
        key = (compare, *sorted((first.name, second.name)))
        if first.facts[compare.fact] != second.facts[compare.fact] and key not in seen:
            seen.add(key)
            result.append((compare, first, second))
    return result


def _golden(fact: str, value: str) -> tuple[str, ...]:
    """Correct answers; rivers and provinces count with and without the word."""
    if fact == "river":
        return value, f"River {value}", f"{value} River"
    if fact == "province":
        return value, f"province of {value}", f"{value} province"
    return (value,)
