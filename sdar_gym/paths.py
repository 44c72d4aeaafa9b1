"""User paths made absolute, addresses without passwords, and the exceptions of damaged files."""

from __future__ import annotations

import json
import lzma
import os
import re
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePath
from urllib.parse import unquote, urlsplit

from sdar_gym.text import shortened, terminal_safe

# Exceptions of reading a damaged file of any format; turn them into a `ValueError` with file, place and remedy.
DAMAGED: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    UnicodeError,
    json.JSONDecodeError,
    RecursionError,
    MemoryError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    struct.error,
    NotImplementedError,
)
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
# `Path("s3://bucket")` has a single slash; one letter is a Windows drive.
_ONE_SLASH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)(.*)", re.DOTALL)
_LONGEST = 4096


class PathError(ValueError):
    """A value that is not a valid local path."""


def is_uri(value: str) -> bool:
    """Whether a text is an address (`scheme://…`) and not a path."""
    return _SCHEME.match(value) is not None


def local_path(name: str, value: str | os.PathLike[str]) -> Path:
    """The absolute path of a user's path, independent of later changes of the working directory.

    `~` is the home folder, and `file:///…` is a local path; any other address is refused.

    Args:
        name: The setting or argument, for messages.
        value: The value to check.

    Raises:
        PathError: It is an address, is empty, too long, holds a NUL byte, or names an unknown user.
    """
    try:
        text = os.fspath(value)
    except TypeError as error:
        raise PathError(f"{name} must be a path, got {shortened(value)}.") from error
    if not isinstance(text, str):
        raise PathError(f"{name} must be a path as text, got {shortened(value)}.")
    if isinstance(value, PurePath) and (address := _ONE_SLASH.match(text)):
        text = f"{address[1]}://{'/' if address[1].lower() == 'file' else ''}{address[2]}"
    if is_uri(text):
        try:
            parts = urlsplit(text)
        except ValueError as error:
            raise PathError(
                f"{name}={shortened(without_password(text))} is not a valid address: {first_line(error)}."
            ) from error
        if parts.scheme.lower() != "file" or parts.netloc not in ("", "localhost"):
            raise PathError(
                f"{name} must be a local or mounted folder, got the address {shortened(without_password(text))}. "
                "Mount the bucket, or copy from or to it."
            )
        text = unquote(parts.path)
    if not text or "\x00" in text or len(text) > _LONGEST:
        raise PathError(f"{name} must be a path of 1 to {_LONGEST} characters without NUL bytes: {shortened(text)}.")
    try:
        return Path(os.path.abspath(Path(text).expanduser()))
    except (RuntimeError, OSError) as error:
        raise PathError(f"{name}={shortened(text)} cannot be resolved: {first_line(error)}") from error


def without_password(address: str, *, keep_query: bool = False) -> str:
    """An address without user, password and query, for records and messages.

    Args:
        address: Any text; other text than an address is returned unchanged.
        keep_query: Keep the query; for published addresses with a query that names the file.
    """
    if not is_uri(address):
        return address
    scheme, _, rest = address.partition("://")
    place, slash, path = rest.partition("/")
    port = place.rpartition(":")[2] if ":" in place and not place.endswith("]") else ""
    if "@" in path and "@" not in place and not port.isdigit() and port:
        place, slash, path = rest.rsplit("@", 1)[-1].partition("/")  # The password holds a slash.
    place = re.split("[?#]", place.rsplit("@", 1)[-1], maxsplit=1)[0]
    path = path.partition("#")[0]
    if not keep_query:
        path, question, _ = path.partition("?")
        path += "?…" if question else ""
    return f"{scheme}://{place}{slash}{path}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, printable and of limited length."""
    lines = str(error).strip().splitlines()
    return terminal_safe(lines[0])[:300] if lines else type(error).__name__
