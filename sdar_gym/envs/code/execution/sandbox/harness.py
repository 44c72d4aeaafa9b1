"""Harness in a test's process: runs the program, and writes one frame that says what came of it.

All of it is in the hands of the program: it may replace, forge or end anything here. What is believed of the frame is
what a program may say anyway: its own answer, or that it failed.
"""

from __future__ import annotations

import builtins
import json
import os
import resource
import sys
import types
from os import _exit  # Bound here: a program that replaces `os._exit` must not run on in the code around it.
from typing import Any, NoReturn

NAME = "program.py"
_FRAMES_FIRST, _FRAMES_LAST = 4, 8
_NAME_CHARACTERS, _LINE_CHARACTERS, _MESSAGE_CHARACTERS = 80, 200, 500


def run(program: bytes, prelude: str, kind: str, entry: str, payload: bytes, result: int) -> NoReturn:
    """Runs the program on one test, and ends the process.

    Args:
        program: Source text in UTF-8.
        prelude: Source text that runs before it, in the same namespace; trusted.
        kind: `stdin` or `call`.
        entry: The function or `Class.method` to call.
        payload: The arguments as JSON; unused for `stdin`, whose text is descriptor 0.
        result: Descriptor for the frame.
    """
    _streams()
    source = ""
    try:
        status, fields = "ok", {}
        source = program.decode("utf-8", "surrogatepass").removeprefix("\ufeff")  # A mark some editors write.
        code = _compiled(source)
        if isinstance(code, dict):
            status, fields = "syntax_error", code
        elif kind == "stdin":
            status, fields = _as_main(code, source, prelude)
        else:
            status, fields = _as_function(code, source, prelude, entry, payload)
    except BaseException as error:
        status, fields = _failure(error, source)
    exit_code = fields.pop("exit_code", 0 if status == "ok" else 1)
    if kind == "stdin" and status in ("ok", "exited"):
        failed = _finish()
        if failed is not None and status == "ok":
            (status, fields), exit_code = _failure(failed, source), 1
    else:
        _flush()
    _write(result, status, fields)
    _exit(exit_code)


def _streams() -> None:
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = [NAME]
    for name in [name for name in sys.modules if name.partition(".")[0] == "sandbox"]:
        del sys.modules[name]


def _compiled(source: str) -> types.CodeType | dict[str, Any]:
    try:
        return compile(source, NAME, "exec", dont_inherit=True)
    except SyntaxError as error:
        where = f'  File "{NAME}", line {error.lineno}\n' if isinstance(error.lineno, int) else ""
        line = f"    {_cut(error.text.strip(), _LINE_CHARACTERS)}\n" if error.text else ""
        return {"error": f"{where}{line}{type(error).__name__}: {_cut(str(error.msg), _MESSAGE_CHARACTERS)}"}
    except (ValueError, UnicodeError) as error:  # Null bytes, lone surrogates.
        return {"error": f"SyntaxError: {_cut(str(error), _MESSAGE_CHARACTERS)}"}
    except (MemoryError, RecursionError, OverflowError):
        return {"error": "SyntaxError: too deeply nested, or too large, for Python's compiler"}


def _module(name: str, prelude: str) -> dict[str, Any]:
    module = types.ModuleType(name)
    module.__dict__.update(__file__=NAME, __builtins__=builtins)
    sys.modules[name] = module
    if prelude:
        exec(compile(prelude, "prelude", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


def _as_main(code: types.CodeType, source: str, prelude: str) -> tuple[str, dict[str, Any]]:
    try:
        namespace = _module("__main__", prelude)
        exec(code, namespace)
    except SystemExit as leaving:
        exit_code = _exit_code(leaving)
        return ("ok", {}) if exit_code == 0 else ("exited", {"exit_code": exit_code})
    except BaseException as error:
        return _failure(error, source)
    return "ok", {}


def _as_function(
    code: types.CodeType, source: str, prelude: str, entry: str, payload: bytes
) -> tuple[str, dict[str, Any]]:
    arguments = json.loads(payload)
    sys.modules["__main__"] = types.ModuleType("__main__")
    namespace = _module("program", prelude)
    try:
        exec(code, namespace)
        name, _, method = entry.partition(".")
        if name not in namespace:
            return "missing_entry", {"error": f"the program defines no {name}"}
        function = namespace[name]
        if method:
            if not callable(function):
                return "missing_entry", {"error": f"{name} is no class"}
            function = getattr(function(), method, None)
        if not callable(function):
            return "missing_entry", {"error": f"{entry} is no function"}
        value = function(*arguments)
    except SystemExit as leaving:
        return "exited", {"exit_code": _exit_code(leaving), "error": "the program left before it returned a value"}
    except BaseException as error:
        return _failure(error, source)
    try:
        return "ok", {"value": _as_json(value)}
    except MemoryError as error:
        return _failure(error, source)
    except RecursionError:
        reason = "is too deeply nested"
    except (TypeError, ValueError) as error:
        reason = f"is no JSON value: {_cut(str(error), _MESSAGE_CHARACTERS)}"
    return "exception", {"error": f"the value that {entry} returned {reason}"}


def _as_json(value: Any) -> str:
    text = json.dumps(value, allow_nan=False)
    pending = [value]
    while pending:  # `dumps` would turn other keys into texts.
        item = pending.pop()
        if isinstance(item, dict):
            for key in item:
                if not isinstance(key, str):
                    raise TypeError(f"key of type {type(key).__name__}")
            pending.extend(item.values())
        elif isinstance(item, list | tuple):
            pending.extend(each for each in item if isinstance(each, dict | list | tuple))
    return text


def _exit_code(leaving: SystemExit) -> int:
    if leaving.code is None:
        return 0
    return leaving.code & 0xFF if isinstance(leaving.code, int) else 1


def _finish() -> BaseException | None:
    """What the interpreter does at its end: waits for threads, calls functions registered for the exit, flushes."""
    try:
        import atexit
        import threading

        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BaseException as error:
        return error
    return None


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BaseException:
        return


def _failure(error: BaseException, source: str) -> tuple[str, dict[str, Any]]:
    memory = isinstance(error, MemoryError)
    if memory:
        # A little more, to be able to say so.
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    try:
        described = _traceback(error, source)
    except BaseException:
        described = _cut(type(error).__name__, _NAME_CHARACTERS)
    return ("memory" if memory else "exception"), {"error": described}


def _traceback(error: BaseException, source: str) -> str:
    """The program's own frames with their lines, and the exception."""
    places: list[tuple[int, str]] = []
    left_out, step = 0, error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if code.co_filename == NAME:
            places.append((step.tb_lineno, code.co_name))
            if len(places) > _FRAMES_FIRST + _FRAMES_LAST:
                del places[_FRAMES_FIRST]
                left_out += 1
        step = step.tb_next
    error.__traceback__ = None  # The frames hold what the program computed.
    del step
    lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    parts = ["Traceback (most recent call last):"] if places else []
    for index, (number, name) in enumerate(places):
        if index == _FRAMES_FIRST and left_out:
            parts.append(f"  ... {left_out} more ...")
        parts.append(f'  File "{NAME}", line {number}, in {_cut(name, _NAME_CHARACTERS)}')
        if 0 < number <= len(lines) and (line := lines[number - 1].strip()):
            parts.append(f"    {_cut(line, _LINE_CHARACTERS)}")
    try:
        message = _cut(str(error), _MESSAGE_CHARACTERS)
    except BaseException:
        message = "<its text cannot be made>"
    kind = _cut(type(error).__name__, _NAME_CHARACTERS)
    parts.append(f"{kind}: {message}" if message else kind)
    return "\n".join(parts)


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[:characters] + "..."


def _write(result: int, status: str, fields: dict[str, Any]) -> None:
    try:
        value = fields.pop("value", None)
        head = json.dumps({"status": status, **fields})
        payload = (head if value is None else f'{head[:-1]}, "value": {value}}}').encode()
        payload = len(payload).to_bytes(4, "big") + payload
        while payload:
            payload = payload[os.write(result, payload) :]
    except BaseException:
        _exit(70)
