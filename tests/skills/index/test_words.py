"""Tokens, stems, lengths and scores equal to Lucene's; expected values were taken from Lucene 9 (Anserini 1.7)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sdar_gym.skills.index import Document, open_index
from sdar_gym.skills.index.analysis import terms
from sdar_gym.skills.index.bm25s_index import stored_lengths

# fmt: off
TOKENS: list[tuple[str, list[str]]] = [
    ("naïve ★ ❤️❤️ 🤞🏽 👨\u200d👩\u200d👧", ["naïv", "★", "❤️", "❤️", "🤞🏽", "👨\u200d👩\u200d👧"]),
    ("1️⃣ 2⃣ #️⃣ 🇺🇸🇬🇧 🇺", ["1️⃣", "2⃣", "#️⃣", "🇺🇸", "🇬🇧"]),
    ("☀☑✔◎▸♬🌻—– abc™ ©2020", ["☀", "☑", "✔", "♬", "🌻", "abc", "™", "©", "2020"]),
    ("text☑text x👑5 x🏻", ["text", "☑", "text", "x", "👑", "5", "x🏻"]),
    ("中文ab ab中 ひらがな", ["中", "文", "ab", "ab", "中", "ひ", "ら", "が", "な"]),
    ("カタカナab カタ_ab 한국어ab", ["カタカナ", "ab", "カタ_ab", "한국어ab"]),
    ("ก ขไทย ٣٤ a٣ ⓐⓑ ①② x²x 1½", ["ก", "ขไทย", "٣٤", "a٣", "ⓐⓑ", "x", "x", "1"]),
    ("a.b.c 1.2.3 a.1 1.a 5,5 5;5 5'5", ["a.b.c", "1.2.3", "1", "1", "5,5", "5;5", "5'5"]),
    ("a'b 'x' x:y x::y a_b _ __ _c _1", ["a'b", "x", "x:y", "x", "y", "a_b", "_c", "_1"]),
    ("x\u0301x\u00adx x\u200bx x\u200dx a·b a‿b", ["x\u0301x\u00adx", "x", "x", "x\u200dx", "a·b", "a‿b"]),
    ("dog's men’s dog＇s dogs' o'neill", ["dog", "men", "dog", "dog", "o'neil"]),
    ("İstanbul ΣΑΣ ẞ ＡＢＣ ﬁne ǅ", ["istanbul", "σασ", "ß", "ａｂｃ", "ﬁne", "ǆ"]),
    ("【new】 black/white U.S.A. 3.5m", ["new", "black", "white", "u.s.a", "3.5m"]),
    ("assembly technology possibly incredibly", ["assembl", "technolog", "possibl", "incred"]),
    ("biology humbly ponies us technologie", ["biologi", "humbl", "poni", "us", "technologi"]),
    ("x" * 600, ["x" * 255, "x" * 255, "x" * 90]),
]
# fmt: on


@pytest.mark.parametrize(("text", "expected"), TOKENS)
def test_terms_of_any_text(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


@pytest.mark.parametrize(
    "piece", ["_", "a_", "a.", "1,", "_\u0301", "é_", "\u0301", "\u200d", "❤\u200d", "中", "#\ufe0f", "ก", "é'", "ア_"]
)
def test_hostile_text_takes_linear_time(piece: str) -> None:
    def seconds(count: int) -> float:
        start = time.process_time()
        terms("é " + piece * count)
        terms(piece * count)
        return time.process_time() - start

    seconds(10)
    # Quadratic time would be minutes here.
    assert seconds(40_000) < 5


def test_lengths_fit_into_a_byte() -> None:
    lengths = np.array([0, 1, 23, 24, 39, 40, 41, 42, 55, 56, 57, 87, 88, 200, 1000, 100_000])
    # Exact to 40, then in steps of 2, 4, 8, …
    expected = [0, 1, 23, 24, 39, 40, 40, 42, 54, 56, 56, 84, 88, 200, 984, 98328]
    assert stored_lengths(lengths).tolist() == expected


def test_a_repeated_word_counts_twice_and_k1_of_zero_is_fine() -> None:
    docs = [Document("a", "apple pear pear"), Document("b", "apple apple")]
    index = open_index(docs)
    once, twice = (index.search(query, 1)[0].score for query in ("pear", "pear pear"))
    assert twice == pytest.approx(2 * once)
    flat = open_index(docs, k1=0.0)
    assert len({hit.score for hit in flat.search("apple", 5)}) == 1


def compare_with_lucene(seed: int) -> tuple[int, int, float]:
    """Queries, how many have the same documents in the same order, and the largest difference of two scores."""
    rng = random.Random(seed)
    words = [f"word{number}" for number in range(400)] + ["assembly", "★", "❤️", "中文", "naïve", "dog's", "a_b", "the"]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    docs = [
        Document(f"d{number}", " ".join(rng.choices(words, weights, k=rng.choice((3, 30, 41, 100, 700)))))
        for number in range(400)
    ]
    python, java = open_index(docs, "bm25s"), open_index(docs, "lucene")
    same, off = 0, 0.0
    for _ in range(300):
        query = " ".join(rng.choices(words, k=rng.randint(1, 12)))
        ours, theirs = python.search(query, 50), java.search(query, 50)
        same += [hit.id for hit in ours] == [hit.id for hit in theirs]
        scores = {hit.id: hit.score for hit in theirs}
        off = max([off, *(abs(hit.score - scores[hit.id]) for hit in ours if hit.id in scores)])
    java.close()
    return 300, same, off


@pytest.mark.lucene
def test_long_texts_rank_as_in_lucene(java_process: Callable[..., Any]) -> None:
    queries, same, off = java_process(compare_with_lucene, 0)
    assert same == queries
    assert off < 1e-5


def lucene_tokens() -> list[list[str]]:
    from sdar_gym.skills.index.jvm import java

    with java() as jnius:
        analyzer = jnius.autoclass("io.anserini.analysis.DefaultEnglishAnalyzer").newDefaultInstance()
        analyze = jnius.autoclass("io.anserini.analysis.AnalyzerUtils").analyze
        return [[str(token) for token in analyze(analyzer, text).toArray()] for text, _ in TOKENS]


@pytest.mark.lucene
def test_the_expected_terms_are_what_lucene_says(java_process: Callable[..., Any]) -> None:
    assert java_process(lucene_tokens) == [expected for _, expected in TOKENS]
