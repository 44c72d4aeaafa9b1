"""Reads questions from the files they are published in: FlashRAG, Search-R1, HotpotQA, NQ-open."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from sdar_gym.envs.search_qa.reward import normalise
from sdar_gym.envs.search_qa.tasks import (
    ListedQuestions,
    QuestionFormatError,
    RawQuestion,
    source_name,
    source_of,
    split_of,
)
from sdar_gym.skills.index.corpus import SUFFIXES, CorpusError, parquet_file

# A corpus may lie beside the questions; by this word in its name it is not taken for one.
_CORPUS_WORD = "corpus"


def open_questions(path: str | os.PathLike[str], holdout: float = 0.0) -> ListedQuestions:
    """Read a file or a folder of questions, once a process while it does not change.

    Args:
        path: A file (`.jsonl`, `.jsonl.gz`, `.json`, `.parquet`), whose split is read off its name (`train`, `dev`,
            `test`; `train` if it has none of them); or a folder of such files, or of folders of them named by set.
        holdout: Share of the training questions that become the split `test`, chosen by the hash of their text.

    Raises:
        QuestionFormatError: Nothing is there, it holds no questions, or a row is none.
        ValueError: `holdout` is not between 0 and 1, or there is a test split already.
    """
    if not 0 <= holdout < 1:
        raise ValueError(f"holdout is a share of the training questions, at least 0 and below 1; got {holdout!r}.")
    place = Path(path).expanduser()
    files = _files(place)
    # Path, size and time of each, to tell replaced files from those that were read before.
    identity = tuple((str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    return _read(identity, holdout)


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise QuestionFormatError(
            f"There are no questions at {place}: no such file or folder. "
            "Leave `questions` out to play the embedded world."
        )
    found = [
        file
        for pattern in ("*", "*/*")
        for file in sorted(place.glob(pattern))
        if file.is_file()
        and file.name.lower().endswith(SUFFIXES)
        and _CORPUS_WORD not in file.name.lower()
        and split_of(file.name) is not None
    ]
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
        for number, row in enumerate(_rows(file), start=1):
            raw = read_question(row, f"{file}, row {number}")
            by_split[split].append(RawQuestion(raw.text, raw.golden, raw.source or default))
    if not any(by_split.values()):
        raise QuestionFormatError(f"{identity[0][0]} holds no questions.")
    if holdout:
        _hold_out(by_split, holdout)
    return ListedQuestions(by_split)


def _hold_out(by_split: defaultdict[str, list[RawQuestion]], share: float) -> None:
    if by_split.get("test"):
        raise ValueError("There is a test split already, so `holdout` must be 0.")
    kept: list[RawQuestion] = []
    for raw in by_split["train"]:
        number = int.from_bytes(hashlib.sha256(normalise(raw.text).encode("utf-8", "replace")).digest()[:8], "big")
        (by_split["test"] if number < share * 2**64 else kept).append(raw)
    by_split["train"] = kept
    if not kept or not by_split["test"]:
        raise ValueError(f"A holdout of {share} leaves one of the splits empty; choose another share.")


def read_question(row: Any, where: str) -> RawQuestion:
    """A question from one row.

    The answers are `golden_answers` (FlashRAG), `reward_model.ground_truth.target` (Search-R1), or `answer`.

    Raises:
        QuestionFormatError: There is no question, or no answer.
    """
    if not isinstance(row, dict):
        raise QuestionFormatError(f"{where} is no question: expected an object, got {type(row).__name__}.")
    text = row.get("question")
    golden = _golden(row)
    if not isinstance(text, str) or not text.strip() or not golden:
        missing = "answer" if isinstance(text, str) and text.strip() else "question"
        raise QuestionFormatError(f"{where} has no {missing}; it has: {', '.join(map(str, row))[:200]}.")
    named = row.get("data_source")
    source = source_of(named) or named.strip().replace("/", "-") if isinstance(named, str) and named.strip() else None
    return RawQuestion(text.strip(), golden, source)


def _golden(row: dict[str, Any]) -> tuple[str, ...]:
    target = (row.get("reward_model") or {}).get("ground_truth")
    if isinstance(target, dict):
        target = target.get("target")
    for answers in (row.get("golden_answers"), target, row.get("answer")):
        listed = answers if isinstance(answers, list) else [] if answers is None else [answers]
        # In order, each once; aliases of some sets repeat themselves.
        found = tuple(dict.fromkeys(str(answer) for answer in listed if str(answer).strip()))
        if found:
            return found
    return ()


def _rows(file: Path) -> Iterator[Any]:
    name = file.name.lower()
    try:
        if name.endswith(".parquet"):
            with parquet_file(file) as table:
                wanted = {"question", "golden_answers", "answer", "data_source", "reward_model"}
                columns = [column for column in table.schema_arrow.names if column in wanted]
                for batch in table.iter_batches(columns=columns):
                    yield from batch.to_pylist()
        elif name.endswith(".json"):
            content = json.loads(file.read_bytes())
            if not isinstance(content, list):
                raise QuestionFormatError(f"{file} holds no questions: expected a list, got {type(content).__name__}.")
            yield from content
        else:
            content = gzip.decompress(file.read_bytes()) if name.endswith(".gz") else file.read_bytes()
            for number, line in enumerate(content.splitlines(), start=1):
                if line.strip():
                    try:
                        yield json.loads(line)
                    except ValueError as error:
                        raise QuestionFormatError(f"{file}, line {number} is not JSON: {error}.") from error
    except QuestionFormatError:
        raise
    except (CorpusError, OSError, EOFError, ValueError) as error:
        raise QuestionFormatError(f"{file} cannot be read: {error}") from error
