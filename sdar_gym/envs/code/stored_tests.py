"""Tests as files hold them: LiveCodeBench's, packed or not, and the inputs and outputs of APPS and TACO."""

from __future__ import annotations

import base64
import binascii
import json
import pickletools
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from sdar_gym.envs.code.problem import TestCase
from sdar_gym.envs.problems.problem import ProblemFormatError
from sdar_gym.skills.index.rows import fields_of, kind_of, plain
from sdar_gym.text import well_formed

# Packed tests of LiveCodeBench unpack to tens of megabytes; what unpacks to more than this is a decompression bomb.
LARGEST_UNPACKED = 256 * 1024 * 1024
_TEXT_OPCODES = {"UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
_OTHER_OPCODES = {"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"}


class NumberTooLongError(ProblemFormatError):
    """JSON with a whole number of more digits than Python reads."""


def read_json(text: str, where: str) -> Any:
    """JSON from a field, with values that a program can be given: no nan and no infinity.

    Args:
        text: The text.
        where: Place and field, for messages.

    Raises:
        NumberTooLongError: A number is too long for Python.
        ProblemFormatError: It is not JSON.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ProblemFormatError(f"{where} is not JSON: {error}; found {kind_of(text)}.") from error
    except RecursionError as error:
        raise ProblemFormatError(f"{where} is not JSON: it is nested too deeply.") from error
    except ValueError as error:
        if "digits" in str(error):
            raise NumberTooLongError(f"{where} has a number that is too long: {error}.") from error
        raise ProblemFormatError(f"{where} is not JSON: {error}.") from error


def livecodebench_tests(value: Any, entry: str, where: str) -> list[TestCase]:
    """Tests in LiveCodeBench's form: a list of objects with `input`, `output` and `testtype`, or such a list as JSON.

    Private tests may be packed: base64 of zlib of a pickle of the JSON. The pickle is not loaded: it is read by
    opcode, and one that is anything but a single text is refused, so that no code in it can run.

    Args:
        value: The field.
        entry: The function that is called; empty for programs on standard input.
        where: Place and field, for messages.

    Raises:
        ProblemFormatError: The field is damaged, hostile, or of another form.
    """
    rows = plain(value)
    if isinstance(rows, str):
        text = rows.strip()
        rows = (
            read_json(text if text[:1] in ("[", "") or text == "null" else unpacked(text, where), where) if text else []
        )
    if rows is None:
        rows = []
    if not isinstance(rows, list):
        raise ProblemFormatError(f"{where} must be a list of tests, found {kind_of(rows)}.")
    return [_livecodebench_test(row, entry, f"{where}, test {number}") for number, row in enumerate(rows, start=1)]


def unpacked(text: str, where: str) -> str:
    """The text in base64 of zlib of a pickled text.

    Raises:
        ProblemFormatError: It is something else, or unpacks to more than `LARGEST_UNPACKED` bytes.
    """
    try:
        packed = base64.b64decode(text, validate=True)
        engine = zlib.decompressobj()
        content = engine.decompress(packed, LARGEST_UNPACKED)
        if engine.unconsumed_tail:
            raise ProblemFormatError(
                f"{where} unpacks to more than {LARGEST_UNPACKED:,} bytes; it is no list of tests."
            )
        if not engine.eof:
            raise ProblemFormatError(f"{where} cannot be unpacked: it is cut off. Copy the file again.")
    except (binascii.Error, ValueError, zlib.error) as error:
        if isinstance(error, ProblemFormatError):
            raise
        raise ProblemFormatError(
            f"{where} is neither JSON nor packed tests (base64 of zlib): {error}; found {kind_of(text)}."
        ) from error
    return _pickled_text(content, where)


def inputs_and_outputs(value: Any, where: str) -> tuple[list[TestCase], str]:
    """Tests and function name in the form of APPS and TACO: an object with `inputs`, `outputs` and maybe `fn_name`.

    Inputs and outputs of standard input and output are texts, or lists of lines. For functions they are lists of
    arguments, and values; a value may be wrapped in a list of one, so that both readings are accepted.

    Args:
        value: The object.
        where: Place and field, for messages.

    Raises:
        ProblemFormatError: It has another form.
    """
    if not isinstance(value, Mapping):
        raise ProblemFormatError(f"{where} must be an object with `inputs` and `outputs`, found {kind_of(value)}.")
    inputs, outputs = plain(value.get("inputs")), plain(value.get("outputs"))
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        raise ProblemFormatError(
            f"{where} must have lists under `inputs` and `outputs`; it has: {fields_of(dict(value))}."
        )
    if len(inputs) != len(outputs):
        raise ProblemFormatError(f"{where} has {len(inputs)} inputs and {len(outputs)} outputs; they belong together.")
    entry = function_name(value.get("fn_name"), f"{where}, `fn_name`")
    read = _called if entry else _piped
    tests = [
        read(given, output, f"{where}, test {number}")
        for number, (given, output) in enumerate(zip(inputs, outputs, strict=True), start=1)
    ]
    return tests, entry


def function_name(value: Any, where: str) -> str:
    """Name of a function, or an empty text for none.

    Raises:
        ProblemFormatError: It is no name.
    """
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or not value.isidentifier():
        raise ProblemFormatError(f"{where} must be the name of a function, found {kind_of(value)}.")
    return value


def _livecodebench_test(row: Any, entry: str, where: str) -> TestCase:
    if not isinstance(row, Mapping):
        raise ProblemFormatError(f"{where} must be an object, found {kind_of(row)}.")
    given, output, kind = row.get("input"), row.get("output"), row.get("testtype", "functional" if entry else "stdin")
    for name, value in (("input", given), ("output", output)):
        if not isinstance(value, str):
            raise ProblemFormatError(f"{where}, `{name}` must be a text, found {kind_of(value)}.")
    if kind == "stdin":
        if entry:
            raise ProblemFormatError(f"{where} is of type stdin, but `metadata` names the function {entry}.")
        return TestCase(well_formed(str(given)), (well_formed(str(output)),))
    if kind != "functional":
        raise ProblemFormatError(f"{where}, `testtype` must be stdin or functional, found {kind_of(kind)}.")
    if not entry:
        raise ProblemFormatError(f"{where} is of type functional, but `metadata` has no `func_name`.")
    lines = [line for line in str(given).split("\n") if line.strip()]
    arguments = [read_json(line, f"{where}, `input`") for line in lines]
    return TestCase(arguments, (read_json(str(output), f"{where}, `output`"),))


def _piped(given: Any, output: Any, where: str) -> TestCase:
    return TestCase(_joined(given, f"{where}, input"), (_joined(output, f"{where}, output"),))


def _joined(value: Any, where: str) -> str:
    lines = plain(value)
    if isinstance(lines, Sequence) and not isinstance(lines, str) and all(isinstance(line, str) for line in lines):
        lines = "\n".join(lines)
    if not isinstance(lines, str):
        raise ProblemFormatError(f"{where} must be a text or a list of lines, found {kind_of(value)}.")
    return well_formed(lines)


def _called(given: Any, output: Any, where: str) -> TestCase:
    if not isinstance(given, list):
        raise ProblemFormatError(f"{where}, input must be a list of arguments, found {kind_of(given)}.")
    wrapped = isinstance(output, list) and len(output) == 1
    return TestCase(given, (output, output[0]) if wrapped else (output,))


def _pickled_text(content: bytes, where: str) -> str:
    found: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name in _TEXT_OPCODES and not found and isinstance(argument, str):
                found.append(argument)
            elif opcode.name not in _OTHER_OPCODES:
                raise ProblemFormatError(
                    f"{where} holds a pickle of something else than a text (opcode {opcode.name}); it is not loaded."
                )
    except (ValueError, IndexError, OverflowError, UnicodeDecodeError) as error:
        if isinstance(error, ProblemFormatError):
            raise
        raise ProblemFormatError(f"{where} holds a damaged pickle: {error}.") from error
    if not found:
        raise ProblemFormatError(f"{where} holds a pickle without a text.")
    return found[0]


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} cannot be given to a program")
