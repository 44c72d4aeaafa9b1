"""Where questions come from: files in the forms they are published in, or the embedded world. Ids, splits, sources."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sdar_gym.envs.searchqa.reward import normalize
from sdar_gym.envs.text_env import TaskNotFoundError

SPLITS = ("train", "dev", "test")
# How files and folders spell the splits.
_SPLIT_WORDS = {"train": "train", "dev": "dev", "valid": "dev", "validation": "dev", "val": "dev", "test": "test"}
# How they spell the seven sets that results are usually reported on.
_SOURCE_WORDS = {
    "nq": "nq",
    "naturalquestions": "nq",
    "triviaqa": "triviaqa",
    "popqa": "popqa",
    "hotpotqa": "hotpotqa",
    "hotpot": "hotpotqa",
    "2wikimultihopqa": "2wikimultihopqa",
    "2wiki": "2wikimultihopqa",
    "musique": "musique",
    "bamboogle": "bamboogle",
}


class QuestionFormatError(ValueError):
    """A file of questions that is not there, cannot be read, or holds no questions."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        task_id: `<split>/<source>/<number>`, the number counting the questions of this source in order.
        text: The question.
        golden: All answers that count.
        source: The set it comes from.
        task_type: Kind of question in the embedded world; for real sets the source.
        split: Its split.
        group: What splits must not share: for real sets the question itself, else the things asked about.
    """

    task_id: str
    text: str
    golden: tuple[str, ...]
    source: str
    task_type: str
    split: str
    group: str


class QuestionSource(Protocol):
    """A set of questions, by split."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have questions."""
        ...

    def task_ids(self, split: str) -> tuple[str, ...]:
        """The ids of a split, in a fixed order.

        Raises:
            TaskNotFoundError: There is no such split.
        """
        ...

    def load(self, task_id: str) -> Question:
        """One question.

        Raises:
            TaskNotFoundError: There is no such question.
        """
        ...


@dataclass(frozen=True, slots=True)
class RawQuestion:
    """A question as a file has it: source may be unknown, and a set may say that nothing answers it."""

    text: str
    golden: tuple[str, ...]
    source: str | None
    answerable: bool = True


class ListedQuestions:
    """Questions that were read from files, all in memory.

    A question that is asked in a later split too (train, dev, test), by its normalized text, is left out of the earlier
    one; `dropped` counts them. One that is marked as without an answer is left out too; `unanswerable` counts those.

    Args:
        by_split: Questions with their sources by split.
    """

    def __init__(self, by_split: Mapping[str, list[RawQuestion]]):
        self._questions: dict[str, Question] = {}
        ids: defaultdict[str, list[str]] = defaultdict(list)
        self.dropped = 0
        self.unanswerable = 0
        later: set[str] = set()
        for split in sorted(by_split, key=SPLITS.index, reverse=True):
            numbers: Counter[str] = Counter()
            groups = set()
            for raw in by_split[split]:
                source = raw.source or "questions"
                task_id = f"{split}/{source}/{numbers[source]:06d}"
                # Counted before anything is left out, so that an id stays with its row.
                numbers[source] += 1
                if not raw.answerable:
                    self.unanswerable += 1
                    continue
                group = normalize(raw.text) or raw.text
                if group in later:
                    self.dropped += 1
                    continue
                groups.add(group)
                self._questions[task_id] = Question(task_id, raw.text, raw.golden, source, source, split, group)
                ids[split].append(task_id)
            later |= groups
        self._ids = {split: tuple(ids[split]) for split in SPLITS if ids[split]}

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have questions."""
        return tuple(self._ids)

    def task_ids(self, split: str) -> tuple[str, ...]:
        """The ids of a split, in the files' order."""
        if split not in self._ids:
            raise TaskNotFoundError(
                f"There is no split {split!r} in these questions; there are: {', '.join(self._ids)}."
            )
        return self._ids[split]

    def load(self, task_id: str) -> Question:
        """One question."""
        if task_id not in self._questions:
            raise TaskNotFoundError(
                f"There is no question {task_id!r}; ids look like {next(iter(self._questions), '')!r}."
            )
        return self._questions[task_id]


def split_of(name: str) -> str | None:
    """The split that a file or folder name speaks of, or None."""
    return next((_SPLIT_WORDS[word] for word in _words(name) if word in _SPLIT_WORDS), None)


def source_of(name: str) -> str | None:
    """The set that a file, folder or `data_source` name speaks of, or None."""
    return next((_SOURCE_WORDS[word] for word in _words(name) if word in _SOURCE_WORDS), None)


def source_name(path: Path) -> str:
    """The source of questions that name none: a known set in the file's or the folder's name, else the file's name."""
    stem = path.name.split(".")[0]
    return (
        source_of(stem)
        or source_of(path.parent.name)
        or re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")
        or "questions"
    )


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", name.lower())
