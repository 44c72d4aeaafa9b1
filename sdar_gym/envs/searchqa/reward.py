"""The scores of an answer, as pure functions, and the mean over sources that results are reported with."""

from __future__ import annotations

import re
import string
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalize(text: str) -> str:
    """An answer as it is compared: lower case, without ASCII punctuation, articles and extra space.

    Source: the evaluation script of SQuAD 1.1 (arXiv 1606.05250): in this order, so that `e.g.` becomes one word.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, golden: Iterable[str]) -> bool:
    """Whether an answer equals one of the golden ones after `normalize`.

    Where nothing is left of either (the letter grade A), they have to be equal before it, but for case and outer space.
    """
    said = normalize(answer)
    return any(
        said == normalize(text) and (said != "" or answer.strip().lower() == text.strip().lower()) for text in golden
    )


def f1(answer: str, golden: Iterable[str]) -> float:
    """Overlap of words with the golden answer that fits best, 0 to 1.

    Source: SQuAD 1.1: harmonic mean of precision and recall over the words, counted with repetition. `yes`, `no` and
    `noanswer` score only as a whole (HotpotQA, arXiv 1809.09600).
    """
    return max((_f1(normalize(answer), normalize(text)) for text in golden), default=0.0)


def _f1(said: str, golden: str) -> float:
    if said != golden and {said, golden} & {"yes", "no", "noanswer"}:
        return 0.0
    a, b = Counter(said.split()), Counter(golden.split())
    shared = (a & b).total()
    return 2 * shared / (a.total() + b.total()) if shared else 0.0


def score_by_source(results: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Mean score of each source.

    Args:
        results: Source and score of every question, each question once.
    """
    scores: defaultdict[str, list[float]] = defaultdict(list)
    for source, score in results:
        scores[source].append(score)
    return {source: sum(found) / len(found) for source, found in sorted(scores.items())}


def mean_over_sources(by_source: Mapping[str, float]) -> float:
    """The unweighted mean over sources: each set counts once, however many questions it has.

    Published tables report this mean over seven sets. Each set's own score has to be the mean over its questions: the
    reference code averages over batches instead, and so counts the one question that is left over for Bamboogle's
    second batch as much as the 124 before it.

    Raises:
        ValueError: There are no sources.
    """
    if not by_source:
        raise ValueError("There are no sources to take the mean over; play at least one question.")
    return sum(by_source.values()) / len(by_source)
