"""Exact match and F1 of an answer, and the mean over data sets for reports."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalize(text: str) -> str:
    """Normalize an answer: lower case, without ASCII punctuation, articles and extra space.

    Source: the evaluation script of SQuAD 1.1 (arXiv 1606.05250), in this order, so that `e.g.` becomes one word.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, golden: Iterable[str]) -> bool:
    """Exact match: whether an answer equals one of the golden answers after `normalize`.

    If both normalize to nothing (such as the grade A), they must be equal except for case and outer white space.
    """
    normalized = normalize(answer)
    return any(
        normalized == normalize(text) and (normalized != "" or answer.strip().lower() == text.strip().lower())
        for text in golden
    )


def f1(answer: str, golden: Iterable[str]) -> float:
    """Token F1 with the best golden answer, 0 to 1.

    Source: SQuAD 1.1: harmonic mean of precision and recall over words, counted with repetition. `yes`, `no` and
    `noanswer` score only as exact matches (HotpotQA, arXiv 1809.09600).
    """
    return max((_f1(normalize(answer), normalize(text)) for text in golden), default=0.0)


def _f1(answer: str, golden: str) -> float:
    if answer != golden and {answer, golden} & {"yes", "no", "noanswer"}:
        return 0.0
    a, b = Counter(answer.split()), Counter(golden.split())
    shared = (a & b).total()
    return 2 * shared / (a.total() + b.total()) if shared else 0.0


def mean_over_sources(by_source: Mapping[str, float]) -> float:
    """Macro average over data sets: the unweighted mean of their scores.

    Published tables report this mean over seven data sets. The score of each set must be the mean over its questions:
    the reference code averages over batches instead, and so gives the one question in Bamboogle's second batch the
    weight of the 124 in the first.

    Args:
        by_source: Mean score by data set.

    Raises:
        ValueError: There are no sources.
    """
    if not by_source:
        raise ValueError("There are no sources to take the mean over; play at least one question.")
    return sum(by_source.values()) / len(by_source)
