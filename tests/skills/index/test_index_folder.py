"""Index folders of both backends: files, search results, and refused inputs."""

from __future__ import annotations

import gzip
import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from sdar_gym.skills.index import Document, Hit, SearchIndex
from sdar_gym.skills.index.build import build_folder
from sdar_gym.skills.index.corpus import Corpus, CorpusError
from sdar_gym.skills.index.manifest import IndexFolderError, load_manifest
from sdar_gym.skills.index.passages import PassageIndex, index_passages, open_passages
from sdar_gym.skills.index.store import DiskStore, MemoryStore, StoreError, StoreWriter

PASSAGES = [
    {"id": "p-1", "contents": '"Wolmark"\nWolmark lies on the river Olm.'},
    {"id": "p-2", "contents": '"Olm"\nThe Olm is a river. Its bed is ünïcödé and 中文.\u2028Next line.'},
    {"id": "p-3", "contents": "   "},
    {"id": "p-4", "contents": '"Other"\nNothing \ud800 here.'},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def build_and_ask(folder: Path, backend: str) -> dict[str, Any]:
    """Runs in the Java process too."""
    corpus = write(folder / f"{backend}.jsonl", PASSAGES)
    reported: list[tuple[int, float]] = []
    manifest = build_folder(
        corpus, folder / backend, backend, k1=1.2, b=0.75, report=lambda count, part: reported.append((count, part))
    )
    index = open_passages(folder / backend)
    found = index.search("where is the river Olm", 5)
    again = open_passages(folder / backend, k1=0.9, b=0.4).search("where is the river Olm", 5)
    result = {
        "manifest": manifest,
        "loaded": load_manifest(folder / backend),
        "reported": reported,
        "found": [(passage.id, passage.contents) for passage in found],
        "scores": [passage.score for passage in found],
        "scores_other_k1": [passage.score for passage in again],
        "blank": index.search("   ", 3),
        "surrogate": [passage.id for passage in index.search("nothing \udfff", 3)],
        "size": len(index),
        "info": index.info(),
        "left": sorted(path.name for path in folder.iterdir()),
    }
    index.close()
    index.close()
    return result


def check(result: dict[str, Any], backend: str) -> None:
    manifest = result["manifest"]
    assert manifest == result["loaded"]
    assert (manifest.backend, manifest.documents, manifest.k1, manifest.b) == (backend, 4, 1.2, 0.75)
    assert manifest.corpus == f"{backend}.jsonl" and len(manifest.corpus_sha256) == 64 and manifest.backend_version
    assert result["reported"][-1] == (4, 1.0)
    assert result["found"] == [(row["id"], row["contents"]) for row in PASSAGES[:2]]
    assert result["scores"] != result["scores_other_k1"]
    assert result["blank"] == [] and result["surrogate"] == ["p-4"] and result["size"] == 4
    assert result["info"]["passages"] == 4 and result["info"]["corpus_sha256"] == manifest.corpus_sha256
    # Nothing beside: no temporary folder is left.
    assert result["left"] == [backend, f"{backend}.jsonl"]


def test_a_folder_built_without_java_gives_passages_back(tmp_path: Path) -> None:
    check(build_and_ask(tmp_path, "bm25s"), "bm25s")


@pytest.mark.lucene
def test_a_lucene_folder_gives_passages_back(tmp_path: Path, java_process: Callable[..., Any]) -> None:
    check(java_process(build_and_ask, tmp_path, "lucene"), "lucene")


def lucene_refusals(folder: Path) -> None:
    corpus = write(folder / "c.jsonl", PASSAGES)
    build_folder(corpus, folder / "index", "lucene")
    for file in (folder / "index" / "lucene").glob("segments_*"):
        file.unlink()
    with pytest.raises(IndexFolderError, match="damaged"):
        open_passages(folder / "index")
    build_folder(corpus, folder / "altered", "lucene")
    for file in (folder / "altered" / "lucene").glob("segments_*"):
        file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(IndexFolderError, match=r"damaged .*cannot be opened.*build the index again"):
        open_passages(folder / "altered")
    # A corpus that breaks off after some thousand passages, in the middle of Lucene's work.
    rows = "".join(json.dumps({"id": str(row), "contents": f"word{row}"}) + "\n" for row in range(2500))
    (folder / "cut.jsonl").write_text(rows + '{"id": "cut')
    with pytest.raises(CorpusError, match="line 2501"):
        build_folder(folder / "cut.jsonl", folder / "cut", "lucene")
    # The same place can be used at once.
    (folder / "cut.jsonl").write_text(rows)
    build_folder(folder / "cut.jsonl", folder / "cut", "lucene")
    index = open_passages(folder / "cut")
    assert [passage.id for passage in index.search("word2499", 3)] == ["2499"]
    found: list[str] = []
    threads = [
        threading.Thread(
            target=lambda at=at: found.extend(index.search(f"word{row}", 1)[0].id for row in range(at, 400, 4))
        )
        for at in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, found)) == list(range(400))
    index.close()
    assert sorted(path.name for path in folder.iterdir()) == ["altered", "c.jsonl", "cut", "cut.jsonl", "index"]


@pytest.mark.lucene
def test_lucene_folders_are_refused_when_damaged_and_shared_by_threads(
    tmp_path: Path, java_process: Callable[..., Any]
) -> None:
    java_process(lucene_refusals, tmp_path)


@pytest.mark.lucene
def test_the_backends_find_the_same_and_break_ties_alike(tmp_path: Path, java_process: Callable[..., Any]) -> None:
    rows = [{"id": f"x{row}", "contents": f"common word{row % 7} filler{row % 3}"} for row in range(60)]
    corpus = write(tmp_path / "c.jsonl", rows)
    build_folder(corpus, tmp_path / "bm25s", "bm25s")
    ours = [
        [(found.id, round(found.score, 4)) for found in open_passages(tmp_path / "bm25s").search(query, 12)]
        for query in QUERIES
    ]
    assert java_process(lucene_answers, tmp_path, corpus) == ours


QUERIES = ("common", "word3 filler1", "common word6")


def lucene_answers(folder: Path, corpus: Path) -> list[list[tuple[str, float]]]:
    build_folder(corpus, folder / "lucene", "lucene")
    index = open_passages(folder / "lucene")
    return [[(found.id, round(found.score, 4)) for found in index.search(query, 12)] for query in QUERIES]


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "json", "titles", "parquet"])
def test_corpora_are_read_in_the_forms_they_are_published_in(tmp_path: Path, kind: str) -> None:
    rows = [{"title": "A", "text": "first "}, {"id": 7, "title": "B", "text": "second"}]
    wanted = [Document("0", '"A"\nfirst'), Document("7", '"B"\nsecond')]
    path = tmp_path / f"corpus.{kind}"
    if kind == "jsonl":
        write(path, rows)
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    elif kind == "json":
        path.write_text(json.dumps(rows))
    elif kind == "titles":
        path = tmp_path / "corpus.json"
        path.write_text(json.dumps({"A": ["fir", "st "], "B": ["second"]}))
        wanted = [wanted[0], Document("1", '"B"\nsecond')]
    else:
        pa = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        rows = [{"id": "0", "contents": '"A"\nfirst'}, {"id": "7", "contents": '"B"\nsecond'}]
        parquet.write_table(pa.Table.from_pylist(rows), path)
    corpus = Corpus(path)
    assert list(corpus) == wanted
    assert list(corpus) == wanted
    assert corpus.fraction == 1.0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.jsonl", '{"id": "1", "contents": "a"}\nrubbish\n', "line 2 is not JSON"),
        ("c.jsonl", '{"id": "1", "body": "a"}\n', "row 1 has neither `contents` nor `text`; it has: id, body"),
        ("c.jsonl", "[]\n", "row 1 is no passage"),
        ("c.json", '{"a": 3}', "no passage corpus"),
        ("c.jsonl.gz", "plain", "cannot be read"),
        ("c.parquet", "plain", "cannot be read"),
        ("c.txt", "plain", "known endings"),
    ],
)
def test_damaged_corpora_are_refused_with_the_place(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CorpusError, match=message):
        build_folder(tmp_path / name, tmp_path / "index", "bm25s")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_builds_that_cannot_be_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    corpus = write(tmp_path / "c.jsonl", PASSAGES)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(IndexFolderError, match="not empty"):
        build_folder(corpus, tmp_path / "used", "bm25s")
    with pytest.raises(ValueError, match="k1 must be"):
        build_folder(corpus, tmp_path / "index", "bm25s", k1=-1)
    with pytest.raises(ValueError, match="Unknown search backend 'bm25'"):
        build_folder(corpus, tmp_path / "index", "bm25")
    with pytest.raises(CorpusError, match="no passage corpus at"):
        build_folder(tmp_path / "none.jsonl", tmp_path / "index", "bm25s")
    with pytest.raises(IndexFolderError, match="holds no passages"):
        build_folder(write(tmp_path / "empty.jsonl", []), tmp_path / "index", "bm25s")
    with pytest.raises(StoreError, match=r"'p-1' occurs twice, in rows 1 and 3"):
        build_folder(write(tmp_path / "twice.jsonl", [*PASSAGES[:2], PASSAGES[0]]), tmp_path / "index", "bm25s")
    assert not [path for path in tmp_path.iterdir() if "index" in path.name]


def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    rows = [{"id": str(row), "contents": "text"} for row in range(5000)]
    corpus = write(tmp_path / "c.jsonl", rows)

    def interrupt(count: int, part: float) -> None:
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            build_folder(corpus, tmp_path / "index", "bm25s", report=interrupt)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [path.name for path in tmp_path.iterdir()] == ["c.jsonl"]


def test_an_empty_folder_may_be_the_output(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    build_folder(write(tmp_path / "c.jsonl", PASSAGES), tmp_path / "index", "bm25s")
    assert len(open_passages(tmp_path / "index")) == 4


@pytest.mark.parametrize("damage", ["no manifest", "not json", "other format", "cut documents", "cut offsets", "fewer"])
def test_damaged_folders_are_refused(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "index"
    build_folder(write(tmp_path / "c.jsonl", PASSAGES), folder, "bm25s")
    manifest = json.loads((folder / "index.json").read_text())
    if damage == "no manifest":
        (folder / "index.json").unlink()
    elif damage == "not json":
        (folder / "index.json").write_text("{")
    elif damage == "other format":
        (folder / "index.json").write_text(json.dumps({**manifest, "format": 99}))
    elif damage == "fewer":
        (folder / "index.json").write_text(json.dumps({**manifest, "documents": 3}))
    else:
        file = folder / ("documents.jsonl" if "documents" in damage else "offsets.bin")
        file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises((IndexFolderError, StoreError), match=r"build the index again|sdar-gym index"):
        open_passages(folder)


def test_the_store_finds_any_row_without_reading_the_others(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path)
    docs = [Document(f"id{row}", "x" * (row % 11) + str(row)) for row in range(70_000)]
    for doc in docs:
        writer.add(doc)
    writer.finish()
    store = DiskStore(tmp_path)
    assert len(store) == len(docs)
    assert [store[row] for row in (0, 65_535, 65_536, 69_999)] == [docs[row] for row in (0, 65_535, 65_536, 69_999)]
    for row in (-1, 70_000):
        with pytest.raises(IndexError):
            store[row]
    store.close()


def test_threads_share_an_index_from_its_first_search(tmp_path: Path) -> None:
    index = index_passages(Document(str(row), f"word{row}") for row in range(500))
    found: list[str] = []
    barrier = threading.Barrier(8)

    def ask(at: int) -> None:
        barrier.wait()
        found.extend(index.search(f"word{row}", 1)[0].id for row in range(at, 500, 8))

    threads = [threading.Thread(target=ask, args=(at,)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(int, found)) == list(range(500))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "count", "first"),
    [
        ("hotpotqa_train_corpus.json", 994, '"Demon Dice"\nDemon Dice, originally'),
        ("2wikimultihopqa_corpus.json", 6119, '"Teutberga"\nTeutberga( died'),
        ("search_r1_example_corpus.jsonl", None, '"Evan Morris"\nEvan Morris Evan'),
    ],
)
def test_real_corpora_are_read_whole(data_dir: Callable[[str], Path], name: str, count: int | None, first: str) -> None:
    docs = list(Corpus(data_dir("searchqa") / name))
    assert len(docs) == count or count is None
    assert docs[0].text.startswith(first)
    assert all(doc.text.startswith('"') and "\n" in doc.text for doc in docs)


def test_the_model_is_built_once_however_many_threads_search_first() -> None:
    class Lazy:
        """Builds on the first search, as the Python backend does, and takes its time."""

        built = 0
        ready = False

        def search(self, query: str, k: int) -> list[Hit]:
            if not self.ready:
                time.sleep(0.05)
                self.built += 1
                self.ready = True
            return []

    lazy = Lazy()
    index = PassageIndex(cast(SearchIndex, lazy), MemoryStore([]))
    threads = [threading.Thread(target=index.search, args=("who", 1)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lazy.built == 1
