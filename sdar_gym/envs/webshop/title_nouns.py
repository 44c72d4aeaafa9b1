"""Noun extraction from product titles for the type factor: spaCy if it is installed, else a word list."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import Any

Nouns = Callable[[str], tuple[str, ...]]
NOUN_SOURCES = ("auto", "spacy", "words")
SPACY_MODEL = "en_core_web_sm"

_WORD = re.compile(r"[^\W_]+(?:['’.][^\W_]+)*")
# fmt: off
# Function words; most other words in titles are nouns.
_FUNCTION_WORDS = frozenset({
    "a", "about", "above", "after", "all", "also", "an", "and", "any", "are", "as", "at", "be", "been", "before",
    "between", "both", "but", "by", "can", "could", "do", "does", "down", "each", "every", "few", "for", "from",
    "had", "has", "have", "he", "her", "here", "his", "how", "i", "if", "in", "into", "is", "it", "its", "just",
    "less", "many", "may", "me", "more", "most", "much", "must", "my", "no", "nor", "not", "of", "off", "on", "once",
    "one", "only", "or", "other", "our", "out", "over", "own", "per", "please", "same", "she", "should", "so", "some",
    "such", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "through",
    "to", "too", "under", "until", "up", "upon", "us", "very", "via", "was", "we", "were", "what", "when", "where",
    "which", "while", "who", "whole", "why", "will", "with", "within", "without", "would", "you", "your",
})
# fmt: on


@lru_cache(maxsize=1 << 14)
def words_as_nouns(title: str) -> tuple[str, ...]:
    """Approximate nouns: lower-cased words that contain a letter and are not function words."""
    words = (word.lower() for word in _WORD.findall(title))
    return tuple(word for word in words if word not in _FUNCTION_WORDS and any(char.isalpha() for char in word))


@lru_cache(maxsize=1 << 14)
def spacy_nouns(title: str) -> tuple[str, ...]:
    """Lower-cased nouns and proper nouns by spaCy's small English model.

    Source: the reference (which also lists the tag PNOUN, which spaCy does not have).
    """
    return tuple(token.text.lower() for token in _pipeline()(title) if token.pos_ in ("NOUN", "PROPN"))


def noun_source(name: str) -> Nouns:
    """The noun extraction of a setting; `auto` is spaCy if it and its model are installed, else `words_as_nouns`.

    Raises:
        ValueError: An unknown name, or `spacy` without spaCy or its model.
    """
    if name not in NOUN_SOURCES:
        raise ValueError(f"Unknown title_nouns {name!r}; choose from {', '.join(NOUN_SOURCES)}.")
    installed = find_spec("spacy") is not None and find_spec(SPACY_MODEL) is not None
    if name == "spacy" and not installed:
        raise ValueError(
            "title_nouns='spacy' needs spaCy and its model: pip install spacy && python -m spacy download "
            f"{SPACY_MODEL}. title_nouns='words' works without."
        )
    return spacy_nouns if installed and name != "words" else words_as_nouns


@cache
def _pipeline() -> Any:
    import spacy  # pyright: ignore[reportMissingImports]

    return spacy.load(SPACY_MODEL)
