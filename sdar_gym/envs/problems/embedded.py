"""Embedded problems: families of generated problems with unique answers, worked steps and known mistakes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Generic, TypeVar

from sdar_gym.envs.data_files import SPLITS
from sdar_gym.envs.problems.problem import Problem
from sdar_gym.envs.text_env import TaskNotFoundError
from sdar_gym.text import shortened

P = TypeVar("P", bound=Problem)
SOURCE = "embedded"
# Of 20 hash values, those that belong to each split; see `_split_of_text`.
_SHARES = {"train": range(0, 16), "dev": range(16, 18), "test": range(18, 20)}
# Draws for one new problem; a family that needs more is too small for its number of problems.
_MOST_DRAWS = 10_000


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake that solvers make in a problem.

    Attributes:
        step: Number of the worked step in which it happens, from 1.
        reason: What went wrong, one sentence.
        answer: The wrong answer that it leads to, written as a correct answer is.
        steps: The worked steps with the mistake in them, as an unskilled solver writes them.
    """

    step: int
    reason: str
    answer: str
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """A generated problem before it has an id.

    Attributes:
        text: The problem.
        steps: Its worked solution, a line a step.
        answer: The only correct answer.
        mistakes: Known mistakes; none has the correct answer.
    """

    text: str
    steps: tuple[str, ...]
    answer: str
    mistakes: tuple[Mistake, ...] = ()


D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Family(Generic[D]):
    """A kind of problems, with levels of difficulty.

    Attributes:
        name: The task type.
        levels: Number of levels; level 1 is the easiest.
        draw: Makes a problem of a level (from 1) from a random generator. Uses `rng.random()` and functions of
            `sdar_gym.envs.draws` only, whose sequences do not change between Python versions.
    """

    name: str
    levels: int
    draw: Callable[[Random, int], D]


class EmbeddedProblems(Generic[D, P]):
    """Problem source over families of generated problems.

    A problem's text is in exactly one split: the hash of the text decides. Problems of one family and level are
    generated on first use, in a fixed order, each text once.

    Args:
        families: The families.
        sizes: Problems of each split, by family and level.
        version: Generator version, part of the seeds: another version has other problems.
        text_of: The text of a draft.
        finish: Makes a problem of task id, family name, split and draft.
    """

    def __init__(
        self,
        families: Sequence[Family[D]],
        sizes: Mapping[str, int],
        version: str,
        text_of: Callable[[D], str],
        finish: Callable[[str, str, str, D], P],
    ):
        self._families = {family.name: family for family in families}
        self._sizes = dict(sizes)
        self._version = version
        self._text_of = text_of
        self._finish = finish
        self._drawn: dict[tuple[str, str, int], list[D]] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        """All three splits."""
        return SPLITS

    @property
    def families(self) -> tuple[str, ...]:
        """Names of the families: the task types."""
        return tuple(self._families)

    def task_ids(self, split: str) -> tuple[str, ...]:
        """Task ids of a split; families and levels alternate."""
        if split not in SPLITS:
            raise TaskNotFoundError(
                f"There is no split {shortened(split)} in the embedded problems; there are: {', '.join(SPLITS)}."
            )
        return self._ids[split]

    @cached_property
    def _ids(self) -> dict[str, tuple[str, ...]]:
        return {
            split: tuple(
                f"{split}/{family.name}/{level}/{number:06d}"
                for number in range(self._sizes[split])
                for family in self._families.values()
                for level in range(1, family.levels + 1)
            )
            for split in SPLITS
        }

    def draft(self, task_id: str) -> D:
        """The generated problem of a task id.

        Raises:
            TaskNotFoundError: There is no such problem.
        """
        parts = task_id.split("/")
        if (
            len(parts) == 4
            and parts[0] in SPLITS
            and parts[1] in self._families
            and _number(parts[2], 1)
            and len(parts[3]) == 6
            and _number(parts[3], 6)
        ):
            split, name, level, number = parts[0], parts[1], int(parts[2]), int(parts[3])
            if 1 <= level <= self._families[name].levels and number < self._sizes[split]:
                return self._drafts(split, name, level)[number]
        raise TaskNotFoundError(
            f"There is no embedded problem {shortened(task_id)}; ids look like {self._ids['train'][0]}."
        )

    def load(self, task_id: str) -> P:
        """Load a problem by task id."""
        draft = self.draft(task_id)
        split, name = task_id.split("/")[:2]
        return self._finish(task_id, name, split, draft)

    def _drafts(self, split: str, name: str, level: int) -> list[D]:
        key = split, name, level
        if key not in self._drawn:
            rng = Random(f"{self._version} {split} {name} {level}")
            found: dict[str, D] = {}
            draws = 0
            while len(found) < self._sizes[split]:
                draft = self._families[name].draw(rng, level)
                text = self._text_of(draft)
                if _split_of_text(text) == split and text not in found:
                    found[text], draws = draft, 0
                draws += 1
                if draws > _MOST_DRAWS:
                    raise ValueError(
                        f"The family {name!r} has fewer than {self._sizes[split]} problems of level {level} in {split}."
                    )
            self._drawn[key] = list(found.values())
        return self._drawn[key]


def _number(text: str, digits: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) == digits


def _split_of_text(text: str) -> str:
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 20
    return next(split for split, share in _SHARES.items() if number in share)
