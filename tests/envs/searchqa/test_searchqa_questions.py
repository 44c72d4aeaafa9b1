"""Question files of FlashRAG, Search-R1, HotpotQA and NQ-open; splits and sources from names."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdar_gym.envs.searchqa.questions import open_questions
from sdar_gym.envs.searchqa.tasks import QuestionFormatError
from sdar_gym.envs.text_env import TaskNotFoundError


def write(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        path.write_text(lines)
    return path


def ask(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"train_{number}", "question": f"question {number}?", "golden_answers": [f"answer {number}"], **more}


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".json"])
def test_flashrag_files_are_read(tmp_path: Path, ending: str) -> None:
    rows = [ask(0, golden_answers=["a", "b", "a", " "], metadata={}), ask(1)]
    source = open_questions(write(tmp_path / f"nq_test{ending}", rows))
    assert source.splits == ("test",)
    assert source.task_ids("test") == ("test/nq/000000", "test/nq/000001")
    question = source.load("test/nq/000000")
    assert question.golden == ("a", "b")
    assert (question.source, question.task_type, question.split) == ("nq", "nq", "test")


def test_search_r1_parquet_is_read_with_its_nested_answers(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [
        {
            "id": "test_0",
            "question": "Who?",
            "data_source": source,
            "reward_model": {"style": "rule", "ground_truth": {"target": ["X", "Y"]}},
            "prompt": [{"role": "user", "content": "Answer the given question. Who?"}],
            "extra_info": {"index": 0, "split": "test"},
        }
        for source in ("nq", "bamboogle", "nq", "my/own set")
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    source = open_questions(tmp_path / "test.parquet")
    assert source.task_ids("test") == (
        *("test/nq/000000", "test/bamboogle/000000", "test/nq/000001", "test/my-own set/000000"),
    )
    assert source.load("test/bamboogle/000000").golden == ("X", "Y")


def test_folders_by_set_are_one_benchmark(tmp_path: Path) -> None:
    write(tmp_path / "2wikimultihopqa" / "dev.jsonl", [ask(0)])
    write(tmp_path / "popqa" / "test.jsonl", [ask(1), ask(2)])
    write(tmp_path / "train.jsonl", [ask(3, data_source="hotpotqa")])
    write(tmp_path / "train_corpus.jsonl", [{"id": "0", "contents": "no question"}])
    write(tmp_path / "notes.jsonl", [{"nothing": 0}])
    source = open_questions(tmp_path)
    assert source.splits == ("train", "dev", "test")
    assert source.task_ids("dev") == ("dev/2wikimultihopqa/000000",)
    assert source.task_ids("test") == ("test/popqa/000000", "test/popqa/000001")
    assert source.task_ids("train") == ("train/hotpotqa/000000",)


def test_a_question_of_two_splits_stays_in_the_later_one_and_ids_stay_with_rows(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", [ask(0), ask(1), ask(2)])
    write(tmp_path / "test.jsonl", [ask(1, question="The Question, 1")])
    source = open_questions(tmp_path)
    assert source.task_ids("train") == ("train/train/000000", "train/train/000002")
    assert source.load("train/train/000002").text == "question 2?"
    assert source.dropped == 1
    with pytest.raises(TaskNotFoundError):
        source.load("train/train/000001")


def test_a_holdout_is_chosen_by_the_question_alone(tmp_path: Path) -> None:
    rows = [ask(number) for number in range(200)]
    source = open_questions(write(tmp_path / "train.jsonl", rows), 0.25)
    groups = {split: {source.load(task_id).group for task_id in source.task_ids(split)} for split in source.splits}
    assert 30 <= len(groups["test"]) <= 70 and not groups["train"] & groups["test"]
    other = open_questions(write(tmp_path / "again_train.jsonl", rows[::-1]), 0.25)
    assert {other.load(task_id).group for task_id in other.task_ids("test")} == groups["test"]
    with pytest.raises(ValueError, match="test split already"):
        open_questions(write(tmp_path / "test.jsonl", [ask(500)]), 0.5)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.jsonl", '{"question": "a"}\n', "row 1 has no answer.*question"),
        ("train.jsonl", '{"golden_answers": ["a"]}\n', "row 1 has no question"),
        ("train.jsonl", '{"question": "a", "answer": "b"}\nrubbish\n', "line 2 is not JSON"),
        ("train.jsonl", "[1]\n", "row 1 is not a question.*list"),
        ("train.jsonl", "", "holds no questions"),
        ("train.json", '{"a": 1}', "expected a list"),
        ("train.json", "[", "cannot be read"),
        ("train.jsonl.gz", "not zipped", "cannot be read"),
        ("train.parquet", "not parquet", "cannot be read"),
    ],
)
def test_damaged_files_are_refused_with_the_place(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(QuestionFormatError, match=message):
        open_questions(tmp_path / name)


def test_a_folder_without_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QuestionFormatError, match=r"no file such as train\.jsonl"):
        open_questions(tmp_path)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "split", "source", "count"),
    [
        ("NQ-open.dev.jsonl", "dev", "nq", 3610),
        ("hotpot_dev_v1_simplified.json", "dev", "hotpotqa", 7405),
        ("hotpotqa_train.json", "train", "hotpotqa", 100),
    ],
)
def test_real_sets_are_read_whole(
    data_dir: Callable[[str], Path], name: str, split: str, source: str, count: int
) -> None:
    questions = open_questions(data_dir("searchqa") / name)
    assert questions.splits == (split,)
    ids = questions.task_ids(split)
    assert len(ids) == count
    assert all(task_id.startswith(f"{split}/{source}/") for task_id in ids)
