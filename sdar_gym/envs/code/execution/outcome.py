"""Outcome of a test: what the supervisor reports and the program claims, read as something that may be forged."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from .job import Call, FunctionCall, Limits, Status, TestResult

ERROR_CHARACTERS = 8000
_CLAIMED = {
    Status.OK,
    Status.EXCEPTION,
    Status.MEMORY,
    Status.EXITED,
    Status.SYNTAX_ERROR,
    Status.MISSING_ENTRY,
}
# The longest first, so that a folder inside another is replaced as itself.
_HOST_PATHS = sorted(
    {
        (os.path.abspath(path), name)
        for path, name in (
            (sys.base_prefix, "<python>"),
            (sys.prefix, "<python>"),
            (os.path.dirname(os.__file__), "<python>/lib"),
            (str(Path(__file__).parent), "<sandbox>"),
            (tempfile.gettempdir() + "/sdar-code-", "<folder>/"),
        )
        if len(path) > 4
    },
    key=lambda pair: -len(pair[0]),
)


def outcome(call: Call, limits: Limits, head: dict[str, Any], printed: bytes, result: bytes) -> TestResult:
    """The result of a test.

    Args:
        call: What was asked.
        limits: What it was allowed.
        head: The supervisor's report: how the process ended, with which code, in what time.
        printed: Standard output.
        result: All that came over the result pipe. The program can write anything there.
    """
    ended, code = str(head.get("ended")), _integer(head.get("code"))
    is_call = isinstance(call, FunctionCall)
    value: Any = None
    claim = _claim(result, is_call)
    if ended in ("wall", "cpu"):
        status, error = Status.TIMEOUT, f"stopped after {getattr(limits, ended + '_seconds'):g} s ({_CLOCKS[ended]})"
    elif ended == "memory":
        status, error = Status.MEMORY, f"its processes used more than {limits.memory_bytes} bytes of memory"
    elif ended == "processes":
        status, error = Status.CRASHED, f"more than {limits.processes} processes"
    elif ended == "output":
        status, error = Status.OUTPUT_LIMIT, f"more than {limits.output_bytes} bytes of output"
    elif ended == "signal":
        status, error = Status.CRASHED, f"ended by signal {_signal_name(code)}"
    elif ended != "exit":
        status, error = Status.CRASHED, "the sandbox ended"
    elif claim is None:
        if code != 0:
            status, error = Status.EXITED, f"left with exit code {code}"
        elif not is_call:
            status, error = Status.OK, ""  # What counts is what it printed.
        elif result:
            status, error = Status.NO_RESULT, "what was written in place of a result cannot be read"
        else:
            status, error = Status.EXITED, "the program left before it returned a value"
    else:
        status, value, error = claim
        if status is Status.OK and code != 0:
            status, value, error = Status.EXITED, None, f"left with exit code {code}"
        elif status is Status.EXITED:
            error = error or f"left with exit code {code}"
    return TestResult(
        status,
        printed.decode("utf-8", "replace"),
        value if is_call and status is Status.OK else None,
        clean_error(error),
        _seconds(head.get("seconds")),
        _seconds(head.get("cpu_seconds")),
    )


def clean_error(text: str) -> str:
    """A message that is safe to show: bounded, valid Unicode, no control characters, no paths of this machine."""
    text = text[: 4 * ERROR_CHARACTERS].encode("utf-8", "backslashreplace").decode()
    for path, name in _HOST_PATHS:
        text = text.replace(path, name)
    text = "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)
    return text if len(text) <= ERROR_CHARACTERS else text[:ERROR_CHARACTERS] + "..."


_CLOCKS = {"wall": "wall clock", "cpu": "processor time"}


def _claim(result: bytes, is_call: bool) -> tuple[Status, Any, str] | None:
    """Status, value and message, where the bytes are exactly one frame of the right form."""
    if len(result) < 4 or int.from_bytes(result[:4], "big") != len(result) - 4:
        return None
    try:
        frame = json.loads(result[4:], parse_constant=_no_constant, parse_float=_finite)
        status = Status(frame["status"])
        value, error = frame.get("value"), frame.get("error", "")
        if status not in _CLAIMED or not isinstance(error, str):
            return None
        if status is Status.OK and ("value" in frame) != is_call:
            return None
        if b"\\u" in result:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return Status.EXCEPTION, None, "the returned value holds text that is no valid Unicode"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, MemoryError):
        return None
    return status, value, error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is too large")
    return number


def _integer(value: Any) -> int:
    return value if isinstance(value, int) else -1


def _seconds(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e9 else 0.0


def _signal_name(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)
