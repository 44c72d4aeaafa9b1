"""`FreeText`, the space of all Unicode strings, for observations and actions of text environments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import Space

from sdar_gym.validation import whole_number

# Printable ASCII, line breaks and a few non-ASCII letters, so that samples exercise the parser of an environment.
_SAMPLE_ALPHABET = tuple(
    " !\"#$%&'()*+,-./0123456789:;<=>?@[]_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\n\téß中"
)


class FreeText(Space[str]):
    """Space of all Unicode strings, including the empty string and newlines.

    Gymnasium's `Text` space has a fixed character set and maximum length, and so rejects newlines, the empty string or
    the response of a language model.

    Args:
        sample_length: Maximum length of a string drawn by `sample()`, in characters.
        seed: Seed or generator for `sample()`.
    """

    def __init__(self, sample_length: int = 32, seed: int | np.random.Generator | None = None):
        self.sample_length = whole_number("sample_length", sample_length, 1)
        super().__init__(shape=None, dtype=str, seed=seed)

    @property
    def is_np_flattenable(self) -> bool:
        """False: strings have no array form."""
        return False

    def sample(self, mask: Any | None = None, probability: Any | None = None) -> str:
        """Draw a random string of 0 to `sample_length` characters (masks are not supported)."""
        if mask is not None or probability is not None:
            raise ValueError("FreeText.sample() does not support mask and probability.")
        length = int(self.np_random.integers(0, self.sample_length + 1))
        return "".join(_SAMPLE_ALPHABET[i] for i in self.np_random.integers(0, len(_SAMPLE_ALPHABET), size=length))

    def contains(self, x: Any) -> bool:
        """Whether `x` is a string."""
        return isinstance(x, str)

    def to_jsonable(self, sample_n: Sequence[str]) -> list[str]:
        """The samples; strings are JSON."""
        return list(sample_n)

    def from_jsonable(self, sample_n: list[Any]) -> list[str]:
        """The samples; strings are JSON."""
        return [str(sample) for sample in sample_n]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FreeText) and other.sample_length == self.sample_length

    def __hash__(self) -> int:
        return hash((FreeText, self.sample_length))

    def __repr__(self) -> str:
        return "FreeText()"
