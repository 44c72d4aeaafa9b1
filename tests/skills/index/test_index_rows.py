"""Row files and corpora from other machines and tools, whole and damaged."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdar_gym.envs.searchqa.local_index import local_index
from sdar_gym.envs.searchqa.questions import open_questions
from sdar_gym.envs.searchqa.tasks import QuestionFormatError
from sdar_gym.skills.index import Document
from sdar_gym.skills.index import rows as rows_module
from sdar_gym.skills.index.build import build_folder
from sdar_gym.skills.index.corpus import Corpus, CorpusError, passage
from sdar_gym.skills.index.manifest import IndexFolderError
from sdar_gym.skills.index.passages import open_passages
from sdar_gym.skills.index.store import StoreError

ROWS = [{"question": f"wer {n}?", "answer": "Köln", "id": str(n), "contents": f"Köln {n}"} for n in range(3)]
LINES = [json.dumps(row, ensure_ascii=False) for row in ROWS]


def read_both(path: Path) -> None:
    """Both readers go through the same door."""
    questions = open_questions(path)
    assert [questions.load(task_id).text for task_id in questions.task_ids("train")] == [
        row["question"] for row in ROWS
    ]
    assert list(Corpus(path)) == [Document(row["id"], row["contents"]) for row in ROWS]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".json"])
def test_files_of_other_systems_are_read(tmp_path: Path, ending: str, end: str, encoding: str) -> None:
    path = tmp_path / f"train{ending}"
    text = f"[{end}{f',{end}'.join(LINES)}{end}]" if ending == ".json" else end.join([*LINES, "", " "])
    content = text.encode(encoding)
    path.write_bytes(gzip.compress(content) if ending.endswith(".gz") else content)
    read_both(path)


def test_files_with_marks_put_one_after_the_other_are_read(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(b"".join(b"\xef\xbb\xbf" + line.encode() + b"\r\n" for line in LINES))
    read_both(tmp_path / "train.jsonl")


def damaged(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for refuse, read in ((QuestionFormatError, open_questions), (CorpusError, lambda path: list(Corpus(path)))):
        with pytest.raises(refuse, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.json", b"[" * 100_000, "nested too deeply"),
        ("train.jsonl", LINES[0].encode() + b"\n" + b"[" * 100_000, "line 2 is not JSON: it is nested too deeply"),
        ("train.json", "\n".join(LINES).encode(), r"not JSON: Extra data.*\.jsonl"),
        ("train.json", b'{"a": 1, "b": 2}', "holds no questions|no passage corpus"),
        ("train.json", b"5", "holds no questions|no passage corpus"),
        ("train.json", b'[{"question": ' + b"9" * 5000 + b"}]", "cannot be read"),
        ("train.jsonl", b'{"question": ' + b"9" * 5000 + b"}", "line 1 is not JSON"),
        ("train.jsonl", LINES[0].encode() + b'\n{"question": "\xff\xfe"}\n', "line 2 is not UTF-8"),
        ("train.jsonl", b"\xff\xfea", "cannot be read"),
        ("train.json", b"\xe9", "cannot be read"),
        ("train.jsonl.gz", b"", "holds no"),
        ("train.jsonl.gz", gzip.compress(b"x" * 100, mtime=0)[:-9], "cannot be read"),
        ("train.jsonl.gz", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + b"\x07" * 20, "cannot be read"),
    ],
)
def test_damage_is_one_error_with_file_and_place(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    damaged(tmp_path, name, content, message)


def test_no_changed_byte_of_a_zipped_file_is_anything_but_a_refusal(tmp_path: Path) -> None:
    rows = "".join(json.dumps({**ROWS[0], "question": f"q {n * n}", "id": str(n)}) + "\n" for n in range(60))
    content = gzip.compress(rows.encode())
    path = tmp_path / "train.jsonl.gz"
    refused = 0
    for at in range(10, len(content), 3):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        os.utime(path, ns=(at * 10**9, at * 10**9))
        for read in (open_questions, lambda path: list(Corpus(path))):
            try:
                read(path)
            except (QuestionFormatError, CorpusError) as error:
                assert str(path) in str(error)
                refused += 1
    assert refused > 100


def test_a_changed_byte_of_a_parquet_file_is_refused_or_read(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "train.parquet"
    parquet.write_table(pa.Table.from_pylist(ROWS * 20), path)
    content = path.read_bytes()
    refused = 0
    for at in range(0, len(content), 11):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        try:
            list(Corpus(path))
        except CorpusError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 10


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "_LONGEST_LINE", 1000)
    damaged(tmp_path, "train.jsonl.gz", gzip.compress(LINES[0].encode() + b"\n" + b"[" * 5000), "line 2 is longer")


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"id": 7, "contents": "a"}, Document("7", "a")),
        ({"id": np.int64(7), "contents": "a"}, Document("7", "a")),
        ({"id": None, "_id": "x", "contents": "a"}, Document("x", "a")),
        ({"id": "", "contents": "a"}, Document("4", "a")),
        ({"title": 1984, "text": "a"}, Document("4", '"1984"\na')),
        ({"title": None, "text": "a "}, Document("4", "a ")),
        ({"title": "T", "text": np.array(["a ", "b"])}, Document("4", '"T"\na b')),
        ({"contents": None, "text": "a"}, Document("4", "a")),
        ({"id": "\ud83d", "title": "T\ud83d\ude00", "text": "\udfff"}, Document("\ufffd", '"T\U0001f600"\n\ufffd')),
    ],
)
def test_passages_are_read_in_their_forms(row: dict[str, Any], wanted: Document) -> None:
    assert passage(row, 4, "row 5") == wanted


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (5, "is no passage: expected an object, found a number"),
        ({"contents": 5}, "`contents` must be a text, found a number: 5"),
        ({"contents": {"text": "a"}}, "`contents` must be a text, found an object"),
        ({"contents": ["a"]}, "`contents` must be a text, found a list"),
        ({"text": ["a", 5.0]}, "`text` must be a text, found a list"),
        ({"text": {"a": 1}}, "`text` must be a text, found an object"),
        ({"title": ["T"], "text": "a"}, "`title` must be a text or a whole number, found a list"),
        ({"title": True, "text": "a"}, "`title` must be a text or a whole number, found a truth value"),
        ({"id": 1.5, "contents": "a"}, "`id` must be a text or a whole number, found a number: 1.5"),
        ({"id": {"a": 1}, "contents": "a"}, "`id` must be a text or a whole number, found an object"),
        ({"id": [1], "contents": "a"}, "`id` must be a text or a whole number, found a list"),
        ({"x\x1b[2J": 1}, r"neither `contents` nor `text`; it has: x\\x1b\[2J"),
    ],
)
def test_passages_of_another_form_are_refused_with_the_field(row: Any, message: str) -> None:
    with pytest.raises(CorpusError, match=f"^row 5.*{message}"):
        passage(row, 4, "row 5")


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([], IndexFolderError, "holds no passages"),
        ([{"contents": " "}, {"contents": ""}], IndexFolderError, "holds no passages with any text"),
        ([{"document": "a"}], CorpusError, "row 1 has neither `contents` nor `text`"),
        ([{"id": "a", "contents": "x"}, {"id": "a", "contents": "y"}], StoreError, "'a' occurs twice, in rows 1 and 2"),
        ([{"contents": "x"}, {"id": "0", "contents": "y"}], StoreError, "'0' occurs twice, in rows 1 and 2"),
    ],
)
def test_a_corpus_is_refused_alike_as_a_file_and_as_a_folder(
    tmp_path: Path, rows: list[dict[str, Any]], error: type[Exception], message: str
) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for search in (lambda: local_index(str(path)), lambda: build_folder(path, tmp_path / "index", "bm25s")):
        with pytest.raises(error, match=message):
            search()
    assert [file.name for file in tmp_path.iterdir()] == ["corpus.jsonl"]


def test_a_relative_path_stays_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.jsonl").write_text("\n".join(LINES))
    monkeypatch.chdir(tmp_path)
    corpus = Corpus("c.jsonl")
    build_folder("c.jsonl", "index", "bm25s")
    index = open_passages("index")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(list(corpus)) == 3
    assert [found.id for found in index.search("1", 3)] == ["1"]
    index.close()


@pytest.mark.parametrize("path", ["s3://bucket/c.jsonl", "~nobody-of-that-name/c.jsonl", "x" * 5000, "a\0b", "x" * 300])
def test_paths_that_can_be_none_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="corpus"):
        Corpus(path)
    with pytest.raises(ValueError, match="questions"):
        open_questions(path)


def test_an_output_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text("\n".join(LINES))
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file" / "index", tmp_path / ("x" * 300)):
        with pytest.raises(IndexFolderError, match=r"is not empty|cannot be written"):
            build_folder(tmp_path / "c.jsonl", output, "bm25s")
