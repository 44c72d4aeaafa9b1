"""Reading of skill files as bytes and lines, and the error that names file, line and fix."""

from __future__ import annotations

from pathlib import Path

from sdar_gym.paths import DAMAGED, first_line


class SkillFormatError(ValueError):
    """A skill file that breaks its format; the message names file, line and fix."""


def line_error(where: str, number: int, what: str) -> SkillFormatError:
    """The error for one line of a file, counted from 1."""
    return SkillFormatError(f"{where}, line {number}: {what}")


def read_bytes(path: Path, where: str) -> bytes:
    """The contents of a file.

    Args:
        path: The file.
        where: Its name in messages.

    Raises:
        SkillFormatError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except DAMAGED as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or first_line(error)
        raise SkillFormatError(f"{where}: cannot be read ({reason}); check the file and its permissions.") from None


def decode_lines(data: bytes, where: str) -> list[str]:
    """The lines of a UTF-8 text file with any line ends.

    Raises:
        SkillFormatError: It is not UTF-8.
    """
    try:
        # splitlines() would also split at form feeds and Unicode separators, and line numbers would be wrong.
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1
        raise line_error(where, line, "the text is not UTF-8; save the file as UTF-8.") from None
