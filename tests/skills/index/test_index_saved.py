"""Saved bm25s indices: equal to a fresh one, memory-mapped, checked, and rebuilt for folders of an older version."""

from __future__ import annotations

import json
import logging
import pickle
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from sdar_gym.skills.index import Document, analysis, bm25s_index, open_index
from sdar_gym.skills.index.bm25s_index import Bm25sIndex
from sdar_gym.skills.index.build import build_folder
from sdar_gym.skills.index.manifest import IndexFolderError
from sdar_gym.skills.index.passages import numbered, open_passages
from sdar_gym.skills.index.postings import bags_of, make_postings
from sdar_gym.skills.index.store import DiskStore

WORDS = [f"w{number}" for number in range(60)] + ["Grüße", "中文", "naïve", "🙂", "it's", "x" * 300]
ARRAYS = ("rows", "lengths", "terms", "term_starts", "starts", "documents", "counts", "scores")


def texts(count: int) -> list[str]:
    rng = random.Random(3)
    drawn = [" ".join(rng.choices(WORDS, weights=range(len(WORDS), 0, -1), k=rng.randrange(30))) for _ in range(count)]
    return [*drawn, "", "the of and", "w1 " * 500, "w0", "w0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index folder of some hundred passages."""
    place = tmp_path_factory.mktemp("saved")
    corpus = place / "c.jsonl"
    corpus.write_text(
        "".join(json.dumps({"id": f"p{n}", "contents": text}) + "\n" for n, text in enumerate(texts(400)))
    )
    build_folder(corpus, place / "index", "bm25s", k1=1.2, b=0.75)
    return place / "index"


QUERIES = [
    *WORDS,
    "w1 w1 w2",
    "w0 w59 Grüße 中文",
    "w1 " * 9 + "w3",
    "zeppelin",
    "",
    "the",
    "w0 w0 zeppelin",
    "X" * 300,
]


@pytest.mark.parametrize(("k1", "b"), [(None, None), (0.9, 0.4), (1.2, 0.4), (0.0, 0.0)])
def test_a_saved_index_has_the_ids_and_scores_of_a_fresh_one(folder: Path, k1: float | None, b: float | None) -> None:
    saved = open_passages(folder, k1=k1, b=b)
    given = {"k1": 1.2 if k1 is None else k1, "b": 0.75 if b is None else b}
    fresh = open_index([Document(str(n), text) for n, text in enumerate(texts(400))], "bm25s", **given)
    found = 0
    for query in QUERIES:
        for k in (1, 10, 1000):
            hits = [(f"p{hit.id}", hit.score) for hit in fresh.search(query, k)]
            assert [(passage.id, passage.score) for passage in saved.search(query, k)] == hits
            found += len(hits)
    assert found > 5000
    assert saved.info()["documents"] == fresh.info()["documents"] == 405
    saved.close()


def test_nothing_is_indexed_when_a_folder_is_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("the passages are read again")

    monkeypatch.setattr(DiskStore, "__iter__", never)
    monkeypatch.setattr(bm25s_index, "make_postings", never)
    index = open_passages(folder)
    assert index.search("w5", 3)
    model = index._index._state[0]  # type: ignore[attr-defined]
    # What is mapped belongs to the file, not to the process.
    arrays = (model.postings.documents, model.postings.counts, model.scores, model.postings.ids)
    assert not any(array.flags.owndata or array.flags.writeable for array in arrays)


def test_terms_of_documents_are_not_kept() -> None:
    index = Bm25sIndex(Document(str(n), text) for n, text in enumerate(texts(50)))
    index.search("w1", 1)
    assert index._state[1] == {}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("damage", ["cut", "longer", "altered", "missing"])
def test_changed_arrays_are_noticed(folder: Path, tmp_path: Path, name: str, damage: str) -> None:
    copy = tmp_path / "index"
    shutil.copytree(folder, copy)
    file = copy / "bm25s" / f"{name}.bin"
    content = file.read_bytes()
    middle = len(content) // 2
    if damage == "missing":
        file.unlink()
    else:
        altered = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        file.write_bytes({"cut": content[:-1], "longer": content + b"\0", "altered": altered}[damage])
    with pytest.raises(IndexFolderError, match="build the index again"):
        open_passages(copy)


@pytest.mark.parametrize(
    "about",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 100_000,
        b"\xff",
        b'{"format": 1}',
        b'{"format": 99}',
        b'{"format": 1, "files": 5}',
        None,
    ],
)
def test_a_changed_list_of_arrays_is_noticed(folder: Path, tmp_path: Path, about: bytes | None) -> None:
    copy = tmp_path / "index"
    shutil.copytree(folder, copy)
    if about is None:
        (copy / "bm25s" / "arrays.json").unlink()
    else:
        (copy / "bm25s" / "arrays.json").write_bytes(about)
    with pytest.raises(IndexFolderError, match="build the index again"):
        open_passages(copy)


def test_arrays_of_another_index_are_noticed(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "index"
    (tmp_path / "c.jsonl").write_text('{"contents": "a word"}\n')
    build_folder(tmp_path / "c.jsonl", copy, "bm25s")
    shutil.rmtree(copy / "bm25s")
    shutil.copytree(folder / "bm25s", copy / "bm25s")
    with pytest.raises(IndexFolderError, match="of another index"):
        open_passages(copy)


def test_a_folder_of_an_older_version_opens_with_a_note(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "index"
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "bm25s")
    with caplog.at_level(logging.WARNING):
        old = open_passages(copy)
    assert "sdar-gym index" in caplog.text and str(copy) in caplog.text
    new = open_passages(folder)
    for query in QUERIES:
        assert old.search(query, 20) == new.search(query, 20)


def test_a_corpus_of_stop_words_is_saved_too(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"contents": "the of and"}\n')
    build_folder(tmp_path / "c.jsonl", tmp_path / "index", "bm25s")
    index = open_passages(tmp_path / "index")
    assert index.search("the", 3) == [] and len(index) == 1


def test_documents_can_be_added_to_an_index_of_any_kind(folder: Path) -> None:
    whole = Bm25sIndex([Document(str(n), text) for n, text in enumerate([*texts(400), "w7 new"])], k1=1.2, b=0.75)
    grown = Bm25sIndex([Document(str(n), text) for n, text in enumerate(texts(400))], k1=1.2, b=0.75)
    grown.search("w7", 1)
    saved = Bm25sIndex.open(folder / "bm25s", k1=1.2, b=0.75)
    for index in (grown, saved, pickle.loads(pickle.dumps(saved))):
        with pytest.raises(ValueError, match="'400' is taken"):
            index.add([Document("400", "w7")])  # It has no terms, and is there all the same.
        index.add([Document("405", "w7 new")])
        for query in QUERIES:
            assert index.search(query, 50) == whole.search(query, 50)
        assert index.info()["documents"] == 406


def test_postings_give_their_documents_back() -> None:
    bags = {f"d{n}": sorted(analysis.terms(text)) for n, text in enumerate(texts(80)) if analysis.terms(text)}
    postings = make_postings(bags)
    assert postings is not None
    assert {doc_id: sorted(words) for doc_id, words in bags_of(postings).items()} == bags
    assert postings.counts.max() == 500 and postings.lengths.sum() == sum(map(len, bags.values()))
    assert make_postings({"a": []}) is None and np.all(np.diff(postings.starts) > 0)


def test_numbered_documents_keep_their_texts() -> None:
    assert list(numbered([Document("x", "a"), Document("y", "b")])) == [Document("0", "a"), Document("1", "b")]


def test_a_damaged_passage_is_named_when_it_is_found(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "index"
    shutil.copytree(folder, copy)
    file = copy / "documents.jsonl"
    content = file.read_bytes()
    at = content.index(b'["p0"')
    file.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    index = open_passages(copy)
    with pytest.raises(ValueError, match=r"documents\.jsonl, row 1 is damaged"):
        index.search(texts(400)[0], 1000)


@pytest.mark.parametrize(
    "change", [{"k1": "0.9"}, {"documents": True}, {"documents": 405.0}, {"backend": None}, {"b": []}, {"corpus": 5}]
)
def test_a_manifest_of_other_types_is_refused(folder: Path, tmp_path: Path, change: dict[str, object]) -> None:
    copy = tmp_path / "index"
    shutil.copytree(folder, copy)
    manifest = json.loads((copy / "index.json").read_text())
    (copy / "index.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(IndexFolderError, match=rf"damaged .*`{next(iter(change))}`.*build the index again"):
        open_passages(copy)
