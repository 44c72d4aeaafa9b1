"""Streaming JSON parser: reads arrays, objects and lines of any size entry by entry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from typing import Any, TextIO

from sdar_gym.text import shortened

_BLANK = " \t\r\n"
# The empty string is the end of the buffer.
_NUMBER_CONTINUES = ("", *".eE+-0123456789")


class JsonStreamError(ValueError):
    """The file is not a JSON array or object, or is truncated."""


def iter_array(stream: TextIO, chunk: int = 1 << 20) -> Iterator[Any]:
    """Iterate over the elements of a JSON array.

    Args:
        stream: Open text file with one array.
        chunk: Characters to read at a time.

    Raises:
        JsonStreamError: It is not a valid array.
    """
    reader = _Reader(stream, chunk)
    reader.expect("[")
    if reader.peek() == "]":
        reader.expect("]")
        return reader.expect_end()
    while True:
        yield reader.value()
        if reader.expect(",]") == "]":
            return reader.expect_end()


def iter_object(stream: TextIO, chunk: int = 1 << 20) -> Iterator[tuple[str, Any]]:
    """Iterate over the items of a JSON object.

    Args:
        stream: Open text file with one object.
        chunk: Characters to read at a time.

    Raises:
        JsonStreamError: It is not a valid object.
    """
    reader = _Reader(stream, chunk)
    reader.expect("{")
    if reader.peek() == "}":
        reader.expect("}")
        return reader.expect_end()
    while True:
        key = reader.value()
        if not isinstance(key, str):
            raise JsonStreamError(f"expected a name in quotes, found {shortened(key)}")
        reader.expect(":")
        yield key, reader.value()
        if reader.expect(",}") == "}":
            return reader.expect_end()


def parsed(line: str) -> Any:
    """Parse a line of a JSON-lines file.

    Raises:
        JsonStreamError: It is not valid JSON.
    """
    return _Reader(StringIO(line), len(line)).only()


class _Reader:
    def __init__(self, stream: TextIO, chunk: int):
        self._stream = stream
        self._chunk = chunk
        self._buffer = ""
        self._at = 0
        self._ended = False
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """Next non-blank character; "" at the end."""
        while True:
            while self._at < len(self._buffer) and self._buffer[self._at] in _BLANK:
                self._at += 1
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def expect(self, characters: str) -> str:
        found = self.peek()
        if not found or found not in characters:
            wanted = " or ".join(repr(char) for char in characters)
            raise JsonStreamError(f"expected {wanted}, found {found or 'the end of the file'!r}")
        self._at += 1
        return found

    def only(self) -> Any:
        value = self.value()
        self.expect_end()
        return value

    def expect_end(self) -> None:
        if found := self.peek():
            raise JsonStreamError(f"expected the end of the file, found {found!r}")

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                # Usually the value continues in the next chunk. Without the position, which refers to the buffer.
                if not self._more():
                    raise JsonStreamError(f"a value cannot be read: {error.msg}") from error
                continue
            except RecursionError as error:
                raise JsonStreamError("a value is nested too deeply") from error
            except ValueError as error:  # Numbers with more digits than Python parses.
                raise JsonStreamError(f"a value cannot be read: {error}") from error
            # A number may continue: "12" at the end of the buffer may be "123", and "12." may be "12.5".
            if self._buffer[end : end + 1] not in _NUMBER_CONTINUES or not self._more():
                self._at = end
                return value

    def _more(self) -> bool:
        if self._ended:
            return False
        read = self._stream.read(self._chunk)
        self._ended = not read
        # Larger chunks for a huge value, so that it is not decoded again for each small chunk.
        self._buffer = self._buffer[self._at :] + read
        self._at = 0
        if len(self._buffer) > 2 * self._chunk:
            self._chunk *= 2
        return not self._ended
