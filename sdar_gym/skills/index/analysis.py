"""English analyzer equal to Lucene's: lower case, stop words, Porter stems; so both backends match the same words."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any

from sdar_gym.skills.index.words import split_words

# Lucene's English stop set, complete.
# fmt: off
STOP_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not", "of",
    "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with",
})
# fmt: on
_POSSESSIVE = re.compile(r"['’＇][sS]$")
# Word ends that earlier rules of the stemmer turn into an i.
_ENDS_IN_I = ("y", "i", "ies", "ied", "ying")
_VOWEL_THEN_CONSONANT = re.compile(r"(?:[aeiou]|(?<=[^aeiou])y)(?:.*[^aeiouy]|y$|.*[aeiou]y)")


@cache
def _stemmer() -> Any:
    import Stemmer

    return Stemmer.Stemmer("porter")


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    # Snowball's Porter also strips the s of two-letter words; Lucene's leaves words of that length alone.
    if len(word) <= 2:
        return word
    stem = _stemmer().stemWord(word)
    # Lucene has the two rules that Porter added to his program after the paper: -logi becomes -log, -bli becomes -ble.
    # They apply early: a word that gets such an end by a later rule, like "technologie" without its e, keeps it.
    if not word.endswith(_ENDS_IN_I):
        return stem
    if stem.endswith("logi") and _VOWEL_THEN_CONSONANT.search(stem[:-4]):
        return stem[:-1]
    if stem.endswith("bli") and _VOWEL_THEN_CONSONANT.search(stem[:-3]):
        return _stemmer().stemWord(stem[:-1] + "e")
    return stem


def _lower(word: str) -> str:
    # Java lower-cases each letter separately: no final sigma, and a dotted capital I loses its dot.
    return word.lower() if word.isascii() else word.replace("İ", "i").replace("Σ", "σ").lower()


def terms(text: str) -> list[str]:
    """The index terms of a text: words in lower case, without possessive 's and stop words, stemmed (Porter).

    Source: Lucene's English analyzer as Anserini configures it. Characters newer than its Unicode tables are no
    terms there, and may be terms here.
    """
    words = (_lower(_POSSESSIVE.sub("", word)) for word in split_words(text))
    return [_stem(word) for word in words if word and word not in STOP_WORDS]
