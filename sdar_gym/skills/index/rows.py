"""Streaming reader of rows in JSON lines, JSON and parquet files; errors name the place of the damage."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sdar_gym.paths import DAMAGED, first_line
from sdar_gym.text import shortened, terminal_safe, well_formed

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".parquet")
_PARQUET_ROWS = 4096
# A longer line is no row but a damaged file, or a decompression bomb.
_LONGEST_LINE = 64_000_000
# Years and ids are written as numbers; what has more digits than this is a mistake.
_LARGEST_NUMBER = 10**100
_KINDS = {bool: "a truth value", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
_BROKEN_BYTES = re.compile("[\udc80-\udcff]")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class RowReader:
    """The rows of a file; each iteration reads it from its beginning.

    Text is UTF-8, or UTF-16 with its mark; a byte order mark and any kind of line end are fine.

    Args:
        path: A file whose name ends in one of `SUFFIXES`.
        refuse: Error class for a file that cannot be read.
        columns: Columns that are read of a parquet file, where it has them.
        needed: Columns of which a parquet file has to have one.
        unpack: Function that turns the content of a `.json` file into rows.
    """

    def __init__(
        self,
        path: Path,
        refuse: type[ValueError],
        *,
        columns: Iterable[str],
        needed: Iterable[str],
        unpack: Callable[[Any], Iterable[Any]],
    ):
        self._path = path
        self._refuse = refuse
        self._columns = frozenset(columns)
        self._needed = tuple(needed)
        self._unpack = unpack
        self.fraction = 0.0
        """Share of the file that the running iteration has read, 0 to 1."""

    def __iter__(self) -> Iterator[Any]:
        """The rows, in the file's order.

        Raises:
            ValueError: Of the class `refuse`: the file is damaged.
        """
        self.fraction = 0.0
        name = self._path.name.lower()
        try:
            if name.endswith(".parquet"):
                yield from self._parquet_rows()
            elif name.endswith(".json"):
                yield from self._unpack(self._json())
            else:
                yield from self._json_lines(zipped=name.endswith(".gz"))
        except self._refuse:
            raise
        except DAMAGED as error:
            raise self._refuse(f"{self._path} cannot be read: {_reason(error)}. Copy or make it again.") from error
        self.fraction = 1.0

    def _json(self) -> Any:
        try:
            return json.loads(self._path.read_bytes())
        except json.JSONDecodeError as error:
            hint = " A file with one object a line is called .jsonl." if error.msg == "Extra data" else ""
            raise self._refuse(f"{self._path} cannot be read: it is not JSON: {_reason(error)}.{hint}") from error
        except (ValueError, RecursionError) as error:
            raise self._refuse(f"{self._path} cannot be read: {_reason(error)}.") from error

    def _json_lines(self, zipped: bool) -> Iterator[Any]:
        size = max(1, self._path.stat().st_size)
        with ExitStack() as stack:
            raw: BinaryIO = stack.enter_context(self._path.open("rb"))
            content: Any = stack.enter_context(gzip.open(raw, "rb")) if zipped else raw
            encoding = "utf-16" if content.peek(2)[:2] in _UTF_16 else "utf-8-sig"
            # Invalid bytes are kept as surrogates, to be reported with their line; Python decodes ahead of it.
            lines = stack.enter_context(io.TextIOWrapper(content, encoding, errors="surrogateescape", newline=None))
            number = 0
            while line := lines.readline(_LONGEST_LINE):
                number += 1
                self.fraction = min(1.0, raw.tell() / size)
                if not line.isspace():
                    yield self._json_line(line.removeprefix("\ufeff"), number)

    def _json_line(self, line: str, number: int) -> Any:
        where = f"{self._path}, line {number}"
        if len(line) >= _LONGEST_LINE:
            raise self._refuse(f"{where} is longer than {_LONGEST_LINE:,} characters; write one object a line.")
        if not line.isascii() and _BROKEN_BYTES.search(line):
            raise self._refuse(f"{where} is not UTF-8; save the file as UTF-8.")
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise self._refuse(f"{where} is not JSON: {_reason(error)}.") from error

    def _parquet_rows(self) -> Iterator[Any]:
        try:
            import pyarrow
            from pyarrow.parquet import ParquetFile
        except ImportError:
            raise self._refuse(
                f'Reading {self._path} needs pyarrow. Install it: pip install "sdar-gym[search]"'
            ) from None
        try:
            with ParquetFile(self._path) as file:
                names = file.schema_arrow.names
                if not any(name in names for name in self._needed):
                    raise self._refuse(
                        f"{self._path} has no column {' or '.join(f'`{name}`' for name in self._needed)}; "
                        f"it has: {fields_of(dict.fromkeys(names))}."
                    )
                total, read = max(1, file.metadata.num_rows), 0
                wanted = [name for name in names if name in self._columns]
                for batch in file.iter_batches(batch_size=_PARQUET_ROWS, columns=wanted):
                    rows = batch.to_pylist()
                    read += len(rows)
                    self.fraction = min(1.0, read / total)
                    yield from rows
        except self._refuse:
            raise
        except (pyarrow.ArrowException, ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
            raise self._refuse(f"{self._path} cannot be read: {_reason(error)}. Copy or make it again.") from error


def plain(value: Any) -> Any:
    """A value of a row with NumPy's types and tuples turned into Python's lists and scalars."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def as_text(value: Any) -> str | None:
    """A text, or a whole number as text; None for anything else, which has no unique spelling."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST_NUMBER:
        return str(value)
    return None


def kind_of(value: Any) -> str:
    """A value of a row in an error message: its kind and its beginning."""
    if value is None:
        return "null"
    return f"{_KINDS.get(type(value), f'a {type(value).__name__}')}: {shortened(value)}"


def fields_of(row: dict[str, Any]) -> str:
    """The names of a row's fields in an error message."""
    return terminal_safe(", ".join(map(str, row))[:200])


def _reason(error: BaseException) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else first_line(error).rstrip(".")
