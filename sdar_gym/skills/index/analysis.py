"""Turns text into index terms the way Lucene's English analyser does, so that both backends match the same words."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any

# Lucene's English stop set, complete.
# fmt: off
STOP_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not", "of",
    "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with",
})
# fmt: on
# Unicode word boundaries (UAX #29) for the scripts with spaces: apostrophes, full stops and colons hold a word together
# between letters, commas and full stops hold a number together between digits.
_WORD = re.compile(r"\w+(?:(?:(?<=[^\W\d_])['’‘.:·․﹕：﹒＇．](?=[^\W\d_])|(?<=\d)['’‘.,;․﹐﹒﹔，．；](?=\d))\w+)*")
_POSSESSIVE = re.compile(r"['’＇][sS]$")


@cache
def _stemmer() -> Any:
    import Stemmer

    return Stemmer.Stemmer("porter")


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    # Snowball's Porter also strips the s of two-letter words; Lucene's leaves words of that length alone.
    return word if len(word) <= 2 else _stemmer().stemWord(word)


def terms(text: str) -> list[str]:
    """The index terms of a text: words in lower case, without possessive 's and stop words, stemmed (Porter).

    Two things differ from Lucene: emoji and ideographs are no terms of their own here, and a handful of rare words is
    stemmed differently.
    """
    words = (_POSSESSIVE.sub("", word).lower() for word in _WORD.findall(text))
    return [_stem(word) for word in words if word and word not in STOP_WORDS]
