"""Question sources: the protocol, questions read from files, and the names of data sets."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sdar_gym.envs.data_files import SPLITS, words_of
from sdar_gym.envs.searchqa.reward import normalize
from sdar_gym.envs.text_env import TaskNotFoundError

# Spellings of the seven data sets on which results are usually reported.
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
    """A question file that is missing, unreadable, or without questions."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its golden answers.

    Attributes:
        task_id: `<split>/<source>/<number>`, where the number counts the questions of the source in file order.
        text: The question.
        golden: All correct answers.
        source: Data set.
        task_type: Kind of an embedded question; the source of a real one.
        split: Split.
        group: Leakage group (see `TextEnv.task_group`): the normalized question, or the entities of an embedded one.
    """

    task_id: str
    text: str
    golden: tuple[str, ...]
    source: str
    task_type: str
    split: str
    group: str


class QuestionSource(Protocol):
    """Protocol of question sources."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits with questions."""
        ...

    def task_ids(self, split: str) -> tuple[str, ...]:
        """Task ids of a split, in a fixed order.

        Raises:
            TaskNotFoundError: There is no such split.
        """
        ...

    def load(self, task_id: str) -> Question:
        """Load a question by task id.

        Raises:
            TaskNotFoundError: There is no such question.
        """
        ...


@dataclass(frozen=True, slots=True)
class RawQuestion:
    """A question as parsed from a file; the source may be unknown, and the question marked as unanswerable."""

    text: str
    golden: tuple[str, ...]
    source: str | None
    answerable: bool = True


class ListedQuestions:
    """Question source over questions in memory.

    A question that also occurs in a later split (of train, dev, test; by normalized text) is left out of the earlier
    one and counted in `dropped`. A question marked as unanswerable is left out and counted in `unanswerable`.

    Args:
        by_split: Questions by split.
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
                # Counted before filtering, so that ids do not depend on it.
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
        """Splits with questions."""
        return tuple(self._ids)

    def task_ids(self, split: str) -> tuple[str, ...]:
        """Task ids of a split, in file order."""
        if split not in self._ids:
            raise TaskNotFoundError(
                f"There is no split {split!r} in these questions; there are: {', '.join(self._ids)}."
            )
        return self._ids[split]

    def load(self, task_id: str) -> Question:
        """Load a question by task id."""
        if task_id not in self._questions:
            raise TaskNotFoundError(
                f"There is no question {task_id!r}; ids look like {next(iter(self._questions), '')!r}."
            )
        return self._questions[task_id]


def source_of(name: str) -> str | None:
    """Data set in a file, folder or `data_source` name, or None."""
    return next((_SOURCE_WORDS[word] for word in words_of(name) if word in _SOURCE_WORDS), None)


def source_name(path: Path) -> str:
    """Default source of a file: a known data set in the name of the file or its folder, else the file name."""
    stem = path.name.split(".")[0]
    return (
        source_of(stem)
        or source_of(path.parent.name)
        or re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")
        or "questions"
    )
