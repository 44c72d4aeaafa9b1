"""Problem sources: the protocol, problems in memory, and problems read from files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from sdar_gym.envs.data_files import SPLITS, identity_of, row_files, split_of
from sdar_gym.envs.problems.problem import Problem, ProblemFormatError
from sdar_gym.envs.text_env import TaskNotFoundError
from sdar_gym.skills.index.rows import SUFFIXES, RowReader, kind_of
from sdar_gym.text import shortened

P = TypeVar("P", bound=Problem)
P_co = TypeVar("P_co", bound=Problem, covariant=True)
ReadRow = Callable[[Any, str, str], P | None]


class ProblemSource(Protocol[P_co]):
    """Protocol of problem sources."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits with problems, in the order of `SPLITS`."""
        ...

    def task_ids(self, split: str) -> tuple[str, ...]:
        """Task ids of a split, in a fixed order.

        Raises:
            TaskNotFoundError: There is no such split.
        """
        ...

    def load(self, task_id: str) -> P_co:
        """Load a problem by task id.

        Raises:
            TaskNotFoundError: There is no such problem.
        """
        ...


class ListedProblems(Generic[P]):
    """Problem source over problems in memory.

    A problem that also occurs in a later split (of train, dev, test; by `group`) is left out of the earlier one and
    counted in `dropped`; one that occurs twice in a split is kept once.

    Args:
        problems: The problems; their `task_id` is replaced by `<split>/<task type>/<number>`, where the number counts
            the problems of the type in their order.
    """

    def __init__(self, problems: Iterable[P]):
        numbers: Counter[tuple[str, str]] = Counter()
        by_split: defaultdict[str, list[P]] = defaultdict(list)
        for problem in problems:
            key = problem.split, problem.task_type
            # Counted before filtering, so that ids do not depend on it.
            task_id = f"{problem.split}/{problem.task_type}/{numbers[key]:06d}"
            by_split[problem.split].append(replace(problem, task_id=task_id))
            numbers[key] += 1
        self.dropped = 0
        self._problems: dict[str, P] = {}
        ids: dict[str, tuple[str, ...]] = {}
        seen: set[str] = set()
        for split in reversed(SPLITS):
            kept = []
            for problem in by_split[split]:
                if problem.group in seen:
                    self.dropped += 1
                    continue
                seen.add(problem.group)
                kept.append(problem.task_id)
                self._problems[problem.task_id] = problem
            ids[split] = tuple(kept)
        self._ids = {split: ids[split] for split in SPLITS if ids[split]}

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits with problems."""
        return tuple(self._ids)

    def task_ids(self, split: str) -> tuple[str, ...]:
        """Task ids of a split, in file order."""
        if split not in self._ids:
            raise TaskNotFoundError(
                f"There is no split {shortened(split)} in these problems; there are: {', '.join(self._ids)}."
            )
        return self._ids[split]

    def load(self, task_id: str) -> P:
        """Load a problem by task id."""
        if task_id not in self._problems:
            raise TaskNotFoundError(
                f"There is no problem {shortened(task_id)}; ids look like {next(iter(self._problems), '')!r}."
            )
        return self._problems[task_id]


def open_problems(
    path: Path,
    read_row: ReadRow[P],
    *,
    columns: Iterable[str],
    needed: Sequence[str],
    default_split: Callable[[str], str] = lambda name: "train",
) -> ListedProblems[P]:
    """Read a file or folder of problems, cached per process until it changes.

    Args:
        path: A file (`.jsonl`, `.jsonl.gz`, `.json`, `.parquet`), with the split in its name (`train`, `dev`, `test`);
            or a folder of such files, or of folders of them named by data set.
        read_row: Makes a problem of a row, its split and its place ("file, row number", for messages); None leaves
            the row out. A module-level function, since it is part of the cache's key.
        columns: Columns that are read of a parquet file.
        needed: Columns of which a parquet file must have one.
        default_split: Split of a file without one in its name, by the file's name.

    Raises:
        ProblemFormatError: The path does not exist, has no problems, or a row is not a problem.
    """
    files = row_files(path) if path.exists() else []
    if not files:
        raise ProblemFormatError(
            f"There are no problems at {path}: no file such as problems.jsonl or train.parquet "
            f"({', '.join(SUFFIXES)}), nor a folder of them. Leave `problems` out to play the embedded ones."
        )
    return _read(identity_of(files), read_row, frozenset(columns), tuple(needed), default_split)


@lru_cache(maxsize=8)
def _read(
    identity: tuple[tuple[str, int, int], ...],
    read_row: ReadRow[P],
    columns: frozenset[str],
    needed: tuple[str, ...],
    default_split: Callable[[str], str],
) -> ListedProblems[P]:
    problems: list[P] = []
    for name, _, _ in identity:
        file = Path(name)
        split = split_of(file.name) or default_split(file.name)
        rows = RowReader(file, ProblemFormatError, columns=columns, needed=needed, unpack=_rows_of(file))
        for number, row in enumerate(rows, start=1):
            where = f"{file}, row {number}"
            if not isinstance(row, Mapping):
                raise ProblemFormatError(f"{where} is not a problem: expected an object, found {kind_of(row)}.")
            problem = read_row(row, split, where)
            if problem is not None:
                problems.append(problem)
    if not problems:
        raise ProblemFormatError(f"{identity[0][0]} holds no problems.")
    return ListedProblems(problems)


def _rows_of(file: Path) -> Callable[[Any], Iterable[Any]]:
    def unpack(content: Any) -> Iterable[Any]:
        if not isinstance(content, list):
            raise ProblemFormatError(f"{file} holds no problems: expected a list, found {kind_of(content)}.")
        return content

    return unpack
