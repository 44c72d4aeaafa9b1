"""Opens question files and folders, and assigns splits."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from sdar_gym.envs.data_files import identity_of, row_files, split_of
from sdar_gym.envs.searchqa.reward import normalize
from sdar_gym.envs.searchqa.rows import FIELDS, NEEDED, read_question
from sdar_gym.envs.searchqa.tasks import (
    ListedQuestions,
    QuestionFormatError,
    RawQuestion,
    source_name,
)
from sdar_gym.paths import local_path
from sdar_gym.skills.index.rows import SUFFIXES, RowReader, kind_of
from sdar_gym.text import terminal_safe
from sdar_gym.validation import finite_number

_log = logging.getLogger(__name__)
# Files with this word in their name are passages, not questions.
_CORPUS_WORD = "corpus"


def open_questions(path: str | os.PathLike[str], holdout: float = 0.0) -> ListedQuestions:
    """Read a file or folder of questions, cached per process until it changes.

    Args:
        path: A file (`.jsonl`, `.jsonl.gz`, `.json`, `.parquet`), with the split in its name (`train`, `dev`, `test`;
            default `train`); or a folder of such files, or of folders of them named by data set.
        holdout: Fraction of the training questions that becomes the split `test`, chosen by the hash of their text.

    Raises:
        QuestionFormatError: The path does not exist, has no questions, or a row is not a question.
        ValueError: `holdout` is not between 0 and 1, or there is a test split already.
    """
    holdout = check_holdout(holdout)
    files = _files(local_path("questions", path))
    return _read(identity_of(files), holdout)


def check_holdout(holdout: float) -> float:
    """Validate the holdout fraction.

    Raises:
        ValueError: It is not a number, below 0, or not below 1.
    """
    share = finite_number("holdout", holdout, 0, 1)
    if share == 1:
        raise ValueError("holdout is a share of the training questions, at least 0 and below 1; got 1.")
    return share


def _files(place: Path) -> list[Path]:
    if not os.path.exists(place):
        raise QuestionFormatError(
            f"There are no questions at {place}: no such file or folder. "
            "Leave `questions` out to play the embedded world."
        )
    found = row_files(place, without=_CORPUS_WORD)
    if not found:
        raise QuestionFormatError(
            f"{place} holds no questions: no file such as train.jsonl or nq/test.parquet ({', '.join(SUFFIXES)})."
        )
    return found


@lru_cache(maxsize=4)
def _read(identity: tuple[tuple[str, int, int], ...], holdout: float) -> ListedQuestions:
    by_split: defaultdict[str, list[RawQuestion]] = defaultdict(list)
    for name, _, _ in identity:
        file = Path(name)
        default = source_name(file)
        split = split_of(file.name) or "train"
        for number, row in enumerate(_reader(file), start=1):
            raw = read_question(row, f"{file}, row {number}")
            by_split[split].append(replace(raw, source=raw.source or default))
    if not any(by_split.values()):
        raise QuestionFormatError(f"{identity[0][0]} holds no questions.")
    if holdout:
        _hold_out(by_split, holdout)
    questions = ListedQuestions(by_split)
    if not questions.splits:
        raise QuestionFormatError(f"{identity[0][0]} holds no questions with an answer: all are `answerable: false`.")
    if questions.unanswerable:
        _log.warning(
            "%s: %d question(s) are left out, since they are marked `answerable: false`.",
            terminal_safe(identity[0][0]),
            questions.unanswerable,
        )
    return questions


def _hold_out(by_split: defaultdict[str, list[RawQuestion]], share: float) -> None:
    if by_split.get("test"):
        raise ValueError("There is a test split already, so `holdout` must be 0.")
    kept: list[RawQuestion] = []
    for raw in by_split["train"]:
        number = int.from_bytes(hashlib.sha256(normalize(raw.text).encode("utf-8", "replace")).digest()[:8], "big")
        (by_split["test"] if number < share * 2**64 else kept).append(raw)
    by_split["train"] = kept
    if not all(any(raw.answerable for raw in by_split[split]) for split in ("train", "test")):
        raise ValueError(f"A holdout of {share} leaves one of the splits empty; choose another share.")


def _reader(file: Path) -> RowReader:
    def unpack(content: Any) -> Iterable[Any]:
        # TriviaQA's original files have the rows beside a version and a domain.
        rows = content.get("Data") if isinstance(content, dict) else content
        if not isinstance(rows, list):
            raise QuestionFormatError(f"{file} holds no questions: expected a list, found {kind_of(content)}.")
        return rows

    return RowReader(file, QuestionFormatError, columns=FIELDS, needed=NEEDED, unpack=unpack)
