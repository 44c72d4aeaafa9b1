"""Parses a math problem from a row of a file, in the published formats of the data sets."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdar_gym.envs.data_files import split_of, words_of
from sdar_gym.envs.math.answers import last_boxed
from sdar_gym.envs.math.problems import MathProblem
from sdar_gym.envs.problems.problem import ProblemFormatError
from sdar_gym.skills.index.rows import SUFFIXES, as_text, fields_of, kind_of, plain
from sdar_gym.text import well_formed

_TEXT = ("problem", "question", "Problem", "Question")
_ANSWER = ("final_answer", "expected_answer", "answer", "Answer")
_SOLUTION = ("solution", "Solution", "r1_solution_1")
_SUBJECT = ("subject", "type")
COLUMNS = frozenset(
    (*_TEXT, *_ANSWER, *_SOLUTION, *_SUBJECT, "level", "prompt", "reward_model", "data_source", "extra_info")
)
NEEDED = (*_TEXT, "prompt")
# Data sets by what their names contain, in lower case without signs and with years of two digits.
_SETS = (
    ("aime24", "aime24"), ("aime25", "aime25"), ("aime26", "aime26"), ("aime", "aime"), ("hmmt", "hmmt"),
    ("amc", "amc"), ("brumo", "brumo"), ("olympiad", "olympiadbench"), ("minerva", "minerva_math"),
    ("math500", "math500"), ("gsm8k", "gsm8k"), ("dapo", "dapo"), ("deepmath", "deepmath"), ("openr1", "openr1"),
    ("numina", "numina"), ("hendrycksmath", "math"), ("mathlighteval", "math"), ("lightevalmath", "math"),
    ("competitionmath", "math"),
)  # fmt: skip
# Sets to evaluate on, which are no training data where their file names no split.
_EVALUATION = ("aime", "hmmt", "amc", "brumo", "olympiadbench", "minerva_math", "math500")
_YEAR = re.compile(r"(?<!\d)20(\d\d)(?!\d)")
# What data sets for training put around the problem to ask for a form of the answer, which is the prompt's task here.
_FRAME_BEGIN = re.compile(r"\s*Solve the following math problem step by step\.[^\n]*Answer:[^\n]*\n+")
_FRAME_END = re.compile(
    r"\s*(?:Remember to put your answer on its own line after [^\n]*"
    r"|(?:Let's think step by step and|Please reason step by step,? and)\s"
    r"(?:output|put) (?:the|your) final answer [^\n]*)\s*$"
)
_GSM8K_ANSWER = "####"
_CALCULATOR = re.compile(r"<<[^<>]*>>")


def read_problem(row: Mapping[str, Any], split: str, where: str) -> MathProblem:
    """Parse a problem.

    Args:
        row: The row; values may be NumPy types or tuples.
        split: Split of its file.
        where: "file, row number": names the data set where the row does not, and the place in messages.

    Raises:
        ProblemFormatError: There is no problem or no answer, or a field has another type.
    """
    text = _text(row, where)
    solution = _string(row, _SOLUTION, where)
    answer, worked = _answer(row, solution, where)
    missing = "problem" if not text else "answer" if not answer else ""
    if missing:
        raise ProblemFormatError(f"{where} has no {missing}; it has: {fields_of(dict(row))}.")
    source = _source(row, where)
    subject = _name(_string(row, _SUBJECT, where)) if row.get("level") is not None else ""
    return MathProblem(
        task_id="",
        task_type=subject or source,
        split=split,
        text=text,
        source=source,
        group=" ".join(text.lower().split()),
        solution=solution or worked,
        answer=answer,
        level=_level(row.get("level")),
    )


def default_split(name: str) -> str:
    """Split of a file without one in its name: `test` for sets to evaluate on, else `train`."""
    return "test" if (known_set(name) or "").startswith(_EVALUATION) else "train"


def known_set(name: str) -> str | None:
    """The usual name of a data set that a file, a folder or a row names; None if it is not known."""
    squeezed = "".join(words_of(_YEAR.sub(r"\1", name.replace("_", "-"))))
    found = next((known for part, known in _SETS if part in squeezed), None)
    year = re.search(r"2\d", squeezed.partition(found)[2]) if found in ("hmmt", "amc", "brumo") else None
    return f"{found}{year.group()}" if year else found


def _text(row: Mapping[str, Any], where: str) -> str:
    text = _string(row, _TEXT, where)
    extra = row.get("extra_info")
    if not text and isinstance(extra, Mapping) and isinstance(extra.get("question"), str):
        text = well_formed(extra["question"])
    if not text and row.get("prompt") is not None:
        text = _of_prompt(plain(row["prompt"]), where)
    text = _FRAME_BEGIN.sub("", text, count=1) if _FRAME_BEGIN.match(text) else text
    return text[:-600] + _FRAME_END.sub("", text[-600:])


def _of_prompt(prompt: Any, where: str) -> str:
    if isinstance(prompt, str):
        return well_formed(prompt)
    if isinstance(prompt, list):
        messages = [message for message in map(plain, prompt) if isinstance(message, Mapping)]
        said = [message.get("content") for message in messages if message.get("role", "user") == "user"]
        if len(messages) == len(prompt) and said and isinstance(said[-1], str):
            return well_formed(said[-1])
    raise ProblemFormatError(
        f"{where}: `prompt` must be a text or a list of messages with `role` and `content`, found {kind_of(prompt)}."
    )


def _answer(row: Mapping[str, Any], solution: str, where: str) -> tuple[str, str]:
    """The answer, and the solution that stood with it."""
    for field in _ANSWER:
        value = plain(row.get(field))
        if value is None:
            continue
        text = _scalar(value)
        if text is None:
            raise ProblemFormatError(f"{where}: `{field}` must be a text or a number, found {kind_of(value)}.")
        if _GSM8K_ANSWER in text:
            worked, _, text = text.rpartition(_GSM8K_ANSWER)
            return text.strip(), _CALCULATOR.sub("", worked).strip()
        if text.strip():
            boxed = last_boxed(text)
            return (text if boxed is None else boxed).strip(), "" if boxed is None else text
    if row.get("reward_model") is not None:
        return _ground_truth(plain(row["reward_model"]), where), ""
    return (last_boxed(solution) or "").strip(), ""


def _ground_truth(value: Any, where: str) -> str:
    if not isinstance(value, Mapping):
        raise ProblemFormatError(
            f"{where}: `reward_model` must be an object with `ground_truth`, found {kind_of(value)}."
        )
    truth = plain(value.get("ground_truth"))
    if isinstance(truth, list) and len(truth) == 1:
        truth = plain(truth[0])
    text = "" if truth is None else _scalar(truth)
    if text is None:
        raise ProblemFormatError(
            f"{where}: `reward_model.ground_truth` must be a text or a number, found {kind_of(truth)}."
        )
    return text.strip()


def _scalar(value: Any) -> str | None:
    # Answers of AMC and AIME are stored as numbers, such as 27.0.
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return as_text(value)


def _string(row: Mapping[str, Any], fields: tuple[str, ...], where: str) -> str:
    for field in fields:
        value = plain(row.get(field))
        if value is None:
            continue
        if not isinstance(value, str):
            raise ProblemFormatError(f"{where}: `{field}` must be a text, found {kind_of(value)}.")
        if value.strip():
            return well_formed(value).strip()
    return ""


def _level(value: Any) -> int:
    """The number in "Level 3" or 3; 0 if there is none."""
    found = re.fullmatch(r"(?:level\s*)?(\d{1,2})", str(plain(value)).strip(), re.IGNORECASE)
    return int(found[1]) if found else 0


def _source(row: Mapping[str, Any], where: str) -> str:
    named = plain(row.get("data_source"))
    if named is not None and not isinstance(named, str):
        raise ProblemFormatError(f"{where}: `data_source` must be a text, found {kind_of(named)}.")
    if named and named.strip():
        return known_set(named) or _name(named)
    file = Path(where.rpartition(", row ")[0])
    stem = file.name.lower()
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        stem = stem.removesuffix(suffix)
    own = "_".join(word for word in words_of(stem) if split_of(word) is None and not word.isdigit())
    for name in (own and stem, file.parent.name):
        if name and (known := known_set(name)):
            return known
    return own or _name(file.parent.name) or "problems"


def _name(text: str) -> str:
    return "_".join(words_of(text.replace("&", "and")))
