"""Question rows: all published formats of the data sets, and errors for any other format."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import sdar_gym  # noqa: F401  registers the environments
from sdar_gym.envs.searchqa.questions import open_questions
from sdar_gym.envs.searchqa.rows import read_question
from sdar_gym.envs.searchqa.tasks import ListedQuestions, QuestionFormatError, RawQuestion

TRIVIA = {
    **{"value": "York", "aliases": ["York", "City of York"], "type": "WikipediaEntity"},
    **{"normalized_aliases": ["york", "city of york"], "normalized_value": "york"},
}
PUBLISHED: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    (
        "FlashRAG",
        {"id": "test_0", "golden_answers": ["York", "Yorke"], "metadata": {"level": "easy"}},
        ("York", "Yorke"),
    ),
    (
        "Search-R1",
        {"golden_answers": ["York"], "reward_model": {"style": "rule", "ground_truth": {"target": ["York", "Yorke"]}}},
        ("York", "Yorke"),
    ),
    ("verl", {"reward_model": {"ground_truth": "York"}}, ("York",)),
    ("NQ-open", {"answer": ["York", "Yorke"]}, ("York", "Yorke")),
    ("HotpotQA", {"answer": "York", "type": "bridge", "supporting_facts": [["York", 0]], "context": []}, ("York",)),
    ("2WikiMultihopQA", {"answer": "York", "answer_id": "Q42462", "evidences": [["a", "b", "York"]]}, ("York",)),
    (
        "MuSiQue",
        {"answer": "York", "answer_aliases": ["City of York", "York"], "answerable": True, "paragraphs": []},
        ("York", "City of York"),
    ),
    (
        "PopQA",
        {
            **{"subj": "Ann", "prop": "place of birth", "obj": "York", "s_aliases": '["Annie"]', "o_pop": 5},
            **{"o_aliases": '["Eboracum"]', "possible_answers": '["York", "City of York"]'},
        },
        ("York", "City of York", "Eboracum"),
    ),
    ("PopQA as lists", {"obj": "York", "possible_answers": ["York", "Jorvik"]}, ("York", "Jorvik")),
    ("PopQA without possible_answers", {"obj": "York", "o_aliases": ["Jorvik"]}, ("York", "Jorvik")),
    ("TriviaQA", {"question_id": "x_1", "answer": TRIVIA}, ("York", "City of York")),
    ("one alias", {"answer": {"value": "York", "aliases": []}}, ("York",)),
    ("DPR", {"answers": ["York", "Jorvik"]}, ("York", "Jorvik")),
    ("aliases beside", {"answer": "York", "aliases": ["Jorvik"]}, ("York", "Jorvik")),
    ("a year", {"answer": 1943}, ("1943",)),
    ("NumPy", {"golden_answers": np.array(["York", "Jorvik"], dtype=object)}, ("York", "Jorvik")),
    ("NumPy text", {"answer": np.array(["York"])}, ("York",)),
    ("NumPy number", {"answer": np.int64(1943)}, ("1943",)),
    ("NumPy inside", {"reward_model": {"ground_truth": {"target": np.array(["York"])}}}, ("York",)),
    ("NumPy struct", {"answer": {"value": "York", "aliases": np.array(["Jorvik"])}}, ("York", "Jorvik")),
    ("a tuple", {"answer": ("York", "Jorvik")}, ("York", "Jorvik")),
    ("nulls of parquet", {"golden_answers": ["York", None, " "], "answer": None, "answerable": None}, ("York",)),
]


@pytest.mark.parametrize(("row", "golden"), [row[1:] for row in PUBLISHED], ids=[row[0] for row in PUBLISHED])
def test_every_published_form_is_read_with_all_its_answers(row: dict[str, Any], golden: tuple[str, ...]) -> None:
    assert read_question({"question": " Where? ", **row}, "row 1") == RawQuestion("Where?", golden, None)


def test_fields_may_begin_with_capitals_as_in_bamboogle_and_triviaqa() -> None:
    assert read_question({"Question": "Where?", "Answer": "York"}, "row 1").golden == ("York",)
    answer = {"Value": "York", "Aliases": ["Jorvik"], "HumanAnswers": ["Yorke"], "NormalizedValue": "york"}
    assert read_question({"Question": "Where?", "Answer": answer}, "row 1").golden == ("York", "Jorvik", "Yorke")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer": {"text": "York"}}, "`answer` is an object without `value` and `aliases`, found an object"),
        ({"answer": {"value": {"x": 1}}}, "`answer.value` must be a text or a list of texts, found an object"),
        ({"answer": [{"text": "York"}]}, "`answer` must be a text or a list of texts, found an object"),
        ({"answer": [["York"]]}, "`answer` must be a text or a list of texts, found a list"),
        ({"answer": True}, "`answer` must be a text.*found a truth value: True"),
        ({"answer": 19.5}, "`answer` must be a text.*found a number: 19.5"),
        ({"answer": float("nan")}, "found a number: nan"),
        ({"answer": b"York"}, "found a bytes"),
        ({"golden_answers": {"0": "York"}}, "`golden_answers` is an object"),
        ({"golden_answers": ["York", {"a": 1}]}, "`golden_answers` must be a text"),
        ({"answers": {"answer_start": [3]}}, "`answers` is an object"),
        ({"answer": "York", "answer_aliases": {"a": 1}}, "`answer_aliases` must be a text or a list"),
        ({"answer": "York", "aliases": [3.5]}, "`aliases` must be a text or a list"),
        ({"possible_answers": "[York"}, "`possible_answers` is not a JSON list"),
        ({"possible_answers": "[" * 100_000}, "`possible_answers` is not a JSON list"),
        ({"reward_model": 5}, "`reward_model` must be an object with `ground_truth`, found a number: 5"),
        ({"reward_model": "York"}, "`reward_model` must be an object with `ground_truth`, found a text"),
        ({"reward_model": {"ground_truth": {"answer": "York"}}}, "`reward_model.ground_truth` must have `target`"),
        ({"reward_model": {"ground_truth": {"target": {"a": 1}}}}, "`reward_model.ground_truth` must be a text"),
        ({"answer": "York", "answerable": "false"}, "answerable must be true or false, got 'false'"),
        ({"answer": "York", "data_source": 5}, "`data_source` must be a text, found a number: 5"),
        ({"answer": "York", "data_source": ["nq"]}, "`data_source` must be a text, found a list"),
        ({"question": {"text": "Where?"}, "answer": "York"}, "`question` must be a text, found an object"),
        ({"question": 5, "answer": "York"}, "`question` must be a text, found a number"),
        ({"question": " ", "answer": "York"}, "has no question; it has: question, answer"),
        ({"answer": {"value": "<unk>", "aliases": []}}, "published without its answers"),
        ({"answer": {"value": "", "aliases": []}}, "has no answer; it has: question, answer"),
        ({"obj": "York"}, "has no answer; it has: question, obj"),
        ({"answer_aliases": ["York"]}, "has no answer"),
        ({"answer": None}, "has no answer"),
    ],
)
def test_any_other_form_is_refused_with_the_field_and_what_was_found(row: dict[str, Any], message: str) -> None:
    with pytest.raises(QuestionFormatError, match=rf"^train\.jsonl, row 3\b.*{message}") as caught:
        read_question({"question": "Where?", **row}, "train.jsonl, row 3")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("row", [5, "text", None, [1], True])
def test_a_row_that_is_no_object_is_refused(row: Any) -> None:
    with pytest.raises(QuestionFormatError, match="row 3 is not a question: expected an object"):
        read_question(row, "row 3")


def test_texts_can_be_encoded_whatever_the_file_holds() -> None:
    row = {"question": "Where \ud83d?", "answer": ["a\ud83d\ude00", "b\udc80"], "data_source": "my\ud800set"}
    question = read_question(row, "row 1")
    assert question == RawQuestion("Where \ufffd?", ("a\U0001f600", "b\ufffd"), "my\ufffdset")


def test_questions_without_an_answer_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        {"question": "one?", "answer": "1", "answerable": True},
        {"question": "two?", "answer": "2", "answerable": False},
        {"question": "three?", "answer": "3"},
        # An unanswerable question needs no answer.
        {"question": "four?", "answer": "", "answerable": False},
    ]
    path = tmp_path / "musique_full_train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with caplog.at_level(logging.WARNING):
        source = open_questions(path)
    assert source.task_ids("train") == ("train/musique/000000", "train/musique/000002")
    assert source.load("train/musique/000002").text == "three?"
    assert (source.unanswerable, source.dropped) == (2, 0)
    assert "2 question(s) are left out" in caplog.text
    path.write_text(json.dumps(rows[1]) + "\n")
    with pytest.raises(QuestionFormatError, match="no questions with an answer"):
        open_questions(path)


def test_what_is_left_out_does_not_fill_a_split() -> None:
    unanswerable = RawQuestion("q", ("a",), "musique", answerable=False)
    source = ListedQuestions({"train": [RawQuestion("q", ("a",), "musique")], "test": [unanswerable]})
    # It does not remove the same question from an earlier split.
    assert source.splits == ("train",) and source.dropped == 0 and source.unanswerable == 1


def play(path: Path, said: str) -> bool:
    corpus = path.with_name("passages.jsonl")
    corpus.write_text(json.dumps({"id": "1", "contents": '"York"\nYork is a city.'}) + "\n")
    env = gymnasium.make("sdar/SearchQA-v0", questions=path, corpus=corpus)
    env.reset(seed=0)
    return env.step(f"<answer>{said}</answer>")[4]["won"]


@pytest.mark.parametrize("said", ["York", "the city of York!"])
def test_an_answer_with_aliases_is_right_by_any_of_them(tmp_path: Path, said: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"question": "Where?", "answer": TRIVIA}) + "\n")
    assert play(path, said)
    path.write_text(json.dumps({"question": "Where?", "answer": "York", "answer_aliases": ["City of York"]}) + "\n")
    assert play(path, said)


def test_struct_columns_of_parquet_are_read(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{"question": "Where?", "answer": TRIVIA, "search_results": {"title": ["x"]}, "answerable": True}]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    source = open_questions(tmp_path / "train.parquet")
    assert source.load(source.task_ids("train")[0]).golden == ("York", "City of York")
    parquet.write_table(pa.Table.from_pylist([{"question": "q", "answer": {"text": "York"}}]), tmp_path / "b.parquet")
    with pytest.raises(QuestionFormatError, match=r"b\.parquet, row 1: `answer` is an object"):
        open_questions(tmp_path / "b.parquet")
    parquet.write_table(pa.Table.from_pylist([{"query": "q", "answer": "York"}]), tmp_path / "c.parquet")
    with pytest.raises(QuestionFormatError, match="no column `question` or `Question`; it has: query, answer"):
        open_questions(tmp_path / "c.parquet")


@pytest.mark.data
def test_triviaqas_own_files_are_read(data_dir: Callable[[str], Path]) -> None:
    source = open_questions(data_dir("searchqa") / "triviaqa_sample.json")
    question = source.load("train/triviaqa/000000")
    assert question.text == "Which Lloyd Webber musical premiered in the US on 10th December 1993?"
    assert question.golden[:2] == ("Sunset Boulevard", "Sunset Blvd")
