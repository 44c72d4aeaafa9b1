"""Lucene backend: index folder, JVM with forks and signals, and reference scores."""

from __future__ import annotations

import os
import pickle
import random
import signal
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdar_gym.skills.index import Document, SearchIndex, open_index
from sdar_gym.skills.index.jvm import ForkedJvmError

FRUIT = [Document("d2", "a red apple"), Document("d1", "the green pear and the apple, apple"), Document("e", " ")]


def ids(index: SearchIndex, query: str, k: int = 10) -> list[str]:
    return [hit.id for hit in index.search(query, k)]


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
def test_lucene_indices_live_at_a_path(tmp_path: Path, java_process: Callable[..., Any]) -> None:
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
def test_lucene_removes_its_temporary_folder(java_process: Callable[..., Any]) -> None:
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
def test_java_after_a_fork_is_an_error_not_a_hang(java_process: Callable[..., Any]) -> None:
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
def test_ctrl_c_still_reaches_python(java_process: Callable[..., Any]) -> None:
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
def test_both_backends_rank_short_texts_alike(java_process: Callable[..., Any]) -> None:
    # Below 40 words Lucene stores lengths exactly, and only the last digit of a sum may differ.
    assert java_process(compare_backends, 0) == 1.0
