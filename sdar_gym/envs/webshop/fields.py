"""Type-checked access to JSON fields of a data file; errors name the product and the field."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from sdar_gym.text import shortened, well_formed


class ProductFormatError(ValueError):
    """An entry of a data file has an unexpected format."""


class Fields:
    """A JSON object with type-checked fields; lone surrogates in strings are replaced.

    Args:
        place: Name in messages, such as `product 'B000000001'`.
        raw: The object.
        path: Path of the object inside the place, such as `options.size[0]`; empty for the place itself.

    Raises:
        ProductFormatError: It is not an object.
    """

    def __init__(self, place: str, raw: Any, path: str = ""):
        self.place = place
        self._path = path
        if not isinstance(raw, Mapping):
            raise ProductFormatError(f"{place}: {path or 'the entry'} must be an object, got {_shown(raw)}.")
        self._raw: Mapping[str, Any] = raw

    def __contains__(self, field: str) -> bool:
        return field in self._raw

    def any(self, field: str, *, optional: bool = False) -> Any:
        """A field of any type; None if it is null, or missing and optional.

        Raises:
            ProductFormatError: It is missing and not optional.
        """
        if field not in self._raw and not optional:
            raise ProductFormatError(f"{self.place}: {self._at(field)} is missing.")
        return self._raw.get(field)

    def text(self, field: str, *, null: str | None = None, optional: bool = False) -> str:
        """A string field.

        Args:
            field: Name of the field.
            null: Value for null and for a missing optional field; by default these raise.
            optional: Whether the field may be missing.

        Raises:
            ProductFormatError: It is missing or of another type.
        """
        value = self.any(field, optional=optional)
        if value is None and null is not None:
            return null
        if not isinstance(value, str):
            raise self._wrong(field, "a text", value)
        return well_formed(value)

    def texts(self, field: str, *, optional: bool = False) -> tuple[str, ...]:
        """A list of strings; null is an empty list, and null in it an empty string.

        Raises:
            ProductFormatError: It is missing and not optional, or of another type.
        """
        return tuple("" if value is None else self._text(at, value) for at, value in self._list(field, optional))

    def numbers(self, field: str) -> tuple[float, ...]:
        """A list of finite numbers of at least 0; null is an empty list.

        Raises:
            ProductFormatError: It is missing or of another type.
        """
        return tuple(self._number(at, value) for at, value in self._list(field))

    def each(self, field: str) -> Iterator[Fields]:
        """A list of objects; null is an empty list.

        Raises:
            ProductFormatError: It is missing or of another type.
        """
        for at, value in self._list(field):
            yield Fields(self.place, value, self._at(at))

    def inside(self, field: str) -> tuple[Fields, list[str]]:
        """An object field, and the names of its fields.

        Raises:
            ProductFormatError: It is missing or not an object.
        """
        value = self.any(field)
        inner = Fields(self.place, value, self._at(field))
        return inner, list(value)

    def _list(self, field: str, optional: bool = False) -> Iterator[tuple[str, Any]]:
        value = self.any(field, optional=optional)
        if value is not None and not isinstance(value, list | tuple):
            raise self._wrong(field, "a list", value)
        return ((f"{field}[{number}]", entry) for number, entry in enumerate(value or ()))

    def _text(self, at: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self._wrong(at, "a text", value)
        return well_formed(value)

    def _number(self, at: str, value: Any) -> float:
        number = math.nan
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
        if not (math.isfinite(number) and number >= 0):
            raise self._wrong(at, "a finite number of at least 0", value)
        return number

    def _at(self, field: str) -> str:
        return f"{self._path}.{field}" if self._path else field

    def _wrong(self, field: str, wanted: str, value: Any) -> ProductFormatError:
        return ProductFormatError(f"{self.place}: {self._at(field)} must be {wanted}, got {_shown(value)}.")


def _shown(value: Any) -> str:
    return "null" if value is None else shortened(value)
