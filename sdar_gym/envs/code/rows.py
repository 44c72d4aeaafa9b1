"""Parses a programming task from a row of a file, in the forms of LiveCodeBench, APPS, TACO and verl."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from sdar_gym.envs.code.generator import fenced
from sdar_gym.envs.code.problem import CodeProblem, TestCase, TestCases
from sdar_gym.envs.code.stored_tests import (
    NumberTooLongError,
    function_name,
    inputs_and_outputs,
    livecodebench_tests,
    read_json,
)
from sdar_gym.envs.data_files import words_of
from sdar_gym.envs.problems.problem import ProblemFormatError
from sdar_gym.envs.problems.sources import ListedProblems, open_problems
from sdar_gym.skills.index.rows import fields_of, kind_of, plain
from sdar_gym.text import terminal_safe, well_formed

_log = logging.getLogger(__name__)
LIVECODEBENCH = "livecodebench"
_NEEDED = ("public_test_cases", "input_output", "reward_model")
_COLUMNS = (
    *_NEEDED,
    *("question_content", "platform", "contest_date", "starter_code", "difficulty", "private_test_cases", "metadata"),
    *("question", "solutions", "source", "data_source", "prompt"),
)
# In the names of LiveCodeBench's files, which hold tasks to evaluate on.
_LIVECODEBENCH_WORDS = {"livecodebench", "lcb"}


def open_tasks(path: Path) -> ListedProblems[CodeProblem]:
    """Read a file or folder of programming tasks.

    Raises:
        ProblemFormatError: It does not exist, has no tasks, or a row is damaged.
    """
    return open_problems(path, read_task, columns=_COLUMNS, needed=_NEEDED, default_split=default_split)


def default_split(name: str) -> str:
    """Split of a file without one in its name: `test` for LiveCodeBench's, else `train`."""
    return "test" if _LIVECODEBENCH_WORDS & set(words_of(name)) else "train"


def read_task(row: Mapping[str, Any], split: str, where: str) -> CodeProblem | None:
    """The task of a row, or None for one that is published without tests.

    Args:
        row: The row.
        split: The split of its file.
        where: File and row number, for messages.

    Raises:
        ProblemFormatError: The row is no task; names the field and what was found.
    """
    row = {name: plain(value) for name, value in row.items()}
    try:
        if "public_test_cases" in row or "private_test_cases" in row:
            return _livecodebench(row, split, where)
        if row.get("reward_model") is not None:
            return _chat(row, split, where)
        if "input_output" in row:
            return _inputs_outputs(row, split, where)
    except NumberTooLongError as error:
        _log.warning("A task is left out: %s", terminal_safe(str(error)))
        return None
    raise ProblemFormatError(
        f"{where} has no tests: no `public_test_cases`, `input_output` or `reward_model`; it has: {fields_of(row)}. "
        "Tests that are assert statements, as in HumanEval and MBPP, are not supported."
    )


def _livecodebench(row: dict[str, Any], split: str, where: str) -> CodeProblem:
    metadata = _object(row.get("metadata"), f"{where}, `metadata`")
    entry = function_name(metadata.get("func_name"), f"{where}, `metadata`, `func_name`")
    public, hidden = (
        livecodebench_tests(row.get(name), entry, f"{where}, `{name}`")
        for name in ("public_test_cases", "private_test_cases")
    )
    return _task(
        _text(row, "question_content", where),
        split,
        where,
        entry=entry,
        starter=_optional(row, "starter_code", where),
        public=public,
        hidden=hidden,
        task_type=_optional(row, "platform", where) or _optional(row, "difficulty", where),
        source=LIVECODEBENCH,
        day=_day(row.get("contest_date"), f"{where}, `contest_date`"),
    )


def _inputs_outputs(row: dict[str, Any], split: str, where: str) -> CodeProblem | None:
    place = f"{where}, `input_output`"
    content = row["input_output"]
    if content is None or (isinstance(content, str) and not content.strip()):
        return None
    tests, entry = inputs_and_outputs(read_json(content, place) if isinstance(content, str) else content, place)
    if not tests:
        return None
    return _task(
        _text(row, "question", where),
        split,
        where,
        entry=entry,
        starter=_optional(row, "starter_code", where),
        public=tests[:1],
        hidden=tests[1:],
        task_type=_optional(row, "difficulty", where),
        source=_optional(row, "source", where) or _optional(row, "data_source", where),
        program=_first_solution(row.get("solutions"), f"{where}, `solutions`"),
    )


def _chat(row: dict[str, Any], split: str, where: str) -> CodeProblem:
    reward = row["reward_model"]
    place = f"{where}, `reward_model.ground_truth`"
    if not isinstance(reward, Mapping) or "ground_truth" not in reward:
        raise ProblemFormatError(
            f"{where}, `reward_model` must be an object with `ground_truth`, found {kind_of(reward)}."
        )
    content = plain(reward["ground_truth"])
    content = read_json(content, place) if isinstance(content, str) else content
    if isinstance(content, list):
        first = content[0] if content and isinstance(content[0], Mapping) else {}
        metadata = _object(first.get("metadata"), f"{place}, `metadata`")
        entry = function_name(metadata.get("func_name"), f"{place}, `func_name`")
        tests = livecodebench_tests(content, entry, place)
    else:
        tests, entry = inputs_and_outputs(content, place)
    return _task(
        _asked(row.get("prompt"), f"{where}, `prompt`"),
        split,
        where,
        entry=entry,
        public=tests[:1],
        hidden=tests[1:],
        source=_optional(row, "data_source", where),
    )


def _task(
    text: str,
    split: str,
    where: str,
    *,
    entry: str,
    public: Sequence[TestCase],
    hidden: Sequence[TestCase],
    starter: str = "",
    task_type: str = "",
    source: str = "",
    program: str = "",
    day: str = "",
) -> CodeProblem:
    if not public and not hidden:
        raise ProblemFormatError(f"{where} has no tests.")
    if starter.strip():
        told = f"Complete this code:\n{fenced(starter.rstrip())}"
    elif entry:
        told = f"Write the function {entry}."
    else:
        told = "The program reads standard input and prints to standard output."
    kind = "_".join(words_of(task_type or source)) or "tasks"
    return CodeProblem(
        task_id="",
        task_type=kind,
        split=split,
        text=f"{text}\n\n{told}",
        source=source or "file",
        group=" ".join(text.split()),
        solution=fenced(program) if program else "",
        # On LeetCode the function is a method of a class, which its starter code shows.
        entry=f"Solution.{entry}" if entry and "class Solution" in starter else entry,
        starter=starter,
        public=TestCases(public),
        hidden=TestCases(hidden),
        program=program,
        standard_names=True,
        date=day,
    )


def _text(row: Mapping[str, Any], field: str, where: str) -> str:
    text = _optional(row, field, where)
    if not text.strip():
        raise ProblemFormatError(f"{where} has no `{field}`; it has: {fields_of(dict(row))}.")
    return text.strip()


def _optional(row: Mapping[str, Any], field: str, where: str) -> str:
    value = row.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ProblemFormatError(f"{where}, `{field}` must be a text, found {kind_of(value)}.")
    return well_formed(value)


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if isinstance(value, str) and value.strip():
        value = read_json(value, where)
    if value is None or value == "":
        return {}
    if not isinstance(value, Mapping):
        raise ProblemFormatError(f"{where} must be an object, found {kind_of(value)}.")
    return value


def _day(value: Any, where: str) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, date):
        return value.isoformat()[:10]
    try:
        # LiveCodeBench writes a time of midnight behind the day.
        return date.fromisoformat(value[:10]).isoformat()
    except (TypeError, ValueError):
        raise ProblemFormatError(f"{where} must be a day such as 2025-01-31, found {kind_of(value)}.") from None


def _first_solution(value: Any, where: str) -> str:
    if isinstance(value, str):
        value = read_json(value, where) if value.strip() else []
    if value is None:
        return ""
    if not isinstance(value, list) or not all(isinstance(program, str) for program in value):
        raise ProblemFormatError(f"{where} must be a list of programs, found {kind_of(value)}.")
    return next((well_formed(program).strip() for program in value if program.strip()), "")


def _asked(value: Any, where: str) -> str:
    if isinstance(value, str) and value.strip():
        return well_formed(value).strip()
    for message in reversed(value if isinstance(value, list) else []):
        if isinstance(message, Mapping) and message.get("role") == "user" and isinstance(message.get("content"), str):
            return well_formed(message["content"]).strip()
    raise ProblemFormatError(f"{where} must be a text or messages with one of the user, found {kind_of(value)}.")
