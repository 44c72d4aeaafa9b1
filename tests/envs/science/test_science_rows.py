"""Rows of problems: SciKnowEval and the plain form, rows that are left out, and errors for any other format."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdar_gym.envs.problems.problem import ProblemFormatError
from sdar_gym.envs.science.problem import Kind, Option, ScienceProblem
from sdar_gym.envs.science.quantities import Quantity
from sdar_gym.envs.science.rows import RowReading, open_science

pytest.importorskip("pint")

LABELS = ["A", "B", "C", "D"]
DETAILS = {"level": "L3", "task": "diffusion_rate_analysis", "subtask": "x", "source": "y"}
ASKED = {"prompt": {"default": "Answer without any explanation."}, "domain": "Material", "details": DETAILS}
CHOICE = {
    **ASKED,
    **{"question": "Which diffuses fastest?", "choices": {"text": ["p", "q", "r", "s"], "label": LABELS}},
    **{"answerKey": "C", "type": "mcq-4-choices", "answer": ""},
}
TRUTH = {
    **ASKED,
    **{"question": "Is it soluble?", "answer": "No", "type": "true_or_false", "domain": "Biology"},
    **{"answerKey": "", "choices": {"text": [], "label": []}},
}
FILLING = {**TRUTH, "question": "Balance H2 + O2 = H2O", "answer": "2H2 + O2 = 2H2O", "type": "filling"}


def read(row: dict[str, Any], levels: tuple[int, ...] = (3,)) -> ScienceProblem:
    problem = RowReading(levels)(row, "test", "file.jsonl, row 7")
    assert problem is not None
    return problem


def written(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_choice_of_sciknoweval_lists_its_options() -> None:
    problem = read(CHOICE)
    assert problem.text == "Which diffuses fastest?\nA. p\nB. q\nC. r\nD. s"
    assert (problem.kind, problem.answer, problem.task_type) == (Kind.CHOICE, "C", "material")
    assert problem.options[2] == Option("C", "r") and problem.source == "sciknoweval"
    two = {**CHOICE, "type": "mcq-2-choices", "choices": {"text": ["p", "q"], "label": ["A", "B"]}, "answerKey": "b"}
    assert read(two).answer == "B"


def test_a_truth_value_and_a_text_to_fill_in_of_sciknoweval() -> None:
    problem = read(TRUTH)
    assert problem.text == "Is it soluble?\nAnswer yes or no." and problem.task_type == "biology"
    assert (problem.kind, problem.answer, problem.accepted) == (Kind.TEXT, "No", ("no", "false", "incorrect"))
    assert read(FILLING).accepted == ("2H2 + O2 = 2H2O",)


def test_numpy_and_parquet_values_are_read() -> None:
    choices = {"text": np.array(["p", "q"], dtype=object), "label": np.array(["A", "B"], dtype=object)}
    row = {**CHOICE, "choices": choices, "answerKey": "A", "solution": None, "unit": None}
    assert read(row).options == (Option("A", "p"), Option("B", "q"))


def test_levels_are_selected_and_rows_without_one_are_kept() -> None:
    reader = RowReading((3,))
    assert reader({**CHOICE, "details": {**DETAILS, "level": "L1"}}, "test", "x") is None
    assert reader({**CHOICE, "details": {**DETAILS, "level": None}}, "test", "x") is not None
    assert reader.left_out == {"of level L1": 1}
    assert read({**CHOICE, "details": {"level": "l4"}}, (3, 4)).answer == "C"


def test_rows_that_no_rule_can_check_are_left_out_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        CHOICE,
        {**TRUTH, "type": "open-ended-qa", "answer": "An essay."},
        {**TRUTH, "type": "relation_extraction", "answer": "(a, b)"},
        {**TRUTH, "type": "open-ended-qa", "question": "Another?"},
        {**CHOICE, "choices": {"text": ["p", "q", "r"], "label": LABELS}},
        {**CHOICE, "answerKey": "E", "question": "Which?"},
        {**CHOICE, "details": {**DETAILS, "level": "L5"}},
    ]
    with caplog.at_level(logging.WARNING):
        problems = open_science(written(tmp_path, "sciknoweval.jsonl", rows), (3,))
    assert problems.task_ids("train") == ("train/material/000000",)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.endswith(
        "Rows left out: 1 of level L5, 2 of type open-ended-qa that no rule can check, "
        "1 of type relation_extraction that no rule can check, 2 with damaged choices."
    )
    with pytest.raises(ProblemFormatError, match=r"holds no problems\. Rows left out: 6 of level L3, 1 of level L5\."):
        open_science(tmp_path / "sciknoweval.jsonl", (1,))


def test_a_changed_file_is_read_and_counted_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_ended = {**TRUTH, "type": "open-ended-qa"}
    first = open_science(written(tmp_path, "a.jsonl", [CHOICE, open_ended]), (3,))
    assert open_science(tmp_path / "a.jsonl", (3,)) is first
    caplog.clear()
    second = open_science(written(tmp_path, "a.jsonl", [CHOICE, TRUTH, open_ended]), (3,))
    assert len(second.task_ids("train")) == 2
    assert [record.getMessage().partition("Rows left out: ")[2] for record in caplog.records] == [
        "1 of type open-ended-qa that no rule can check."
    ]


@pytest.mark.parametrize(
    ("fields", "quantity", "shown"),
    [
        ({"answer": 12.5, "unit": "m/s"}, Quantity(12.5, "m/s"), "12.5 m/s"),
        ({"answer": "1,000", "unit": "m", "tolerance": 0.05}, Quantity(1000, "m", 0.05), "1,000 m"),
        ({"answer": "3.0 × 10^8 m/s"}, Quantity(3e8, "m/s"), "3.0 × 10^8 m/s"),
        ({"answer": "45%"}, Quantity(45, "%"), "45%"),
        ({"answer": 7}, Quantity(7), "7"),
        ({"answer": np.float64(0.25), "tolerance": 0}, Quantity(0.25, "", 0), "0.25"),
    ],
)
def test_a_quantity_of_the_plain_form(fields: dict[str, Any], quantity: Quantity, shown: str) -> None:
    problem = read({"question": "How much?", **fields})
    assert (problem.kind, problem.quantity, problem.answer) == (Kind.QUANTITY, quantity, shown)
    assert (problem.task_type, problem.source, problem.solution) == ("science", "science", "")


def test_texts_choices_and_solutions_of_the_plain_form() -> None:
    problem = read({"question": "What?", "answer": "2H2O", "accepted": ["two water"], "domain": "Materials"})
    assert (problem.kind, problem.accepted, problem.task_type) == (Kind.TEXT, ("2H2O", "two water"), "material")
    assert read({"question": "True?", "answer": "Yes"}).accepted == ("yes", "true", "correct")
    assert read({"question": "How many?", "answer": "2 apples"}).kind == Kind.TEXT
    problem = read({"question": "Which?", "choices": ["one", "two"], "answer": "two", "data_source": "quiz"})
    assert (problem.answer, problem.source, problem.text) == ("B", "quiz", "Which?\nA. one\nB. two")
    problem = read({"question": "How far?", "answer": "3 m", "solution": "d=v*t"})
    assert problem.solution == "d=v*t\n<answer>3 m</answer>"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer": 3}, "has no question; it has: answer"),
        ({"question": 5, "answer": 3}, "`question` must be a text, found a number: 5"),
        ({"question": "x"}, "has no answer; it has: question"),
        ({"question": "x", "answer": [3]}, "`answer` must be a text, found a list"),
        ({"question": "x", "answer": True}, "`answer` must be a text, found a truth value"),
        ({"question": "x", "answer": "much", "unit": "m"}, "`answer` must be a number, since there is a `unit`"),
        ({"question": "x", "answer": "3 m", "unit": "m"}, "`answer` must be a number alone, since there is a `unit`"),
        ({"question": "x", "answer": 3, "unit": "blorp"}, "`unit`: 'blorp' is not a unit that is known"),
        ({"question": "x", "answer": float("nan"), "unit": "m"}, "`answer` must be a number"),
        ({"question": "x", "answer": 3, "tolerance": "wide"}, "`tolerance`: tolerance must be a finite number"),
        ({"question": "x", "answer": 3, "tolerance": 1}, "`tolerance`: tolerance must be a finite number"),
        ({"question": "x", "answer": 3, "unit": 5}, "`unit` must be a text, found a number: 5"),
        ({"question": "x", "answer": "a", "accepted": "b"}, "`accepted` must be a list of texts, found a text"),
        ({"question": "x", "answer": "a" * 301}, "`answer` has 301 characters"),
        ({"question": "x", "choices": [], "answer": "A"}, "`choices` must be a list of texts, found a list"),
        ({"question": "x", "choices": ["a", {}], "answer": "A"}, "`choices` must be a list of texts"),
        ({"question": "x", "choices": ["a", "b"], "answer": "C"}, "`answer` must be one of A, B, found 'C'"),
        ({**CHOICE, "choices": None}, "`choices` must be a list of texts, found null"),
        ({**CHOICE, "details": "L3"}, "`details` must be an object, found a text"),
        ({**CHOICE, "details": {"level": "L9"}}, "`details.level` must be L1 to L5, found a text: 'L9'"),
        ({**CHOICE, "type": 4}, "`type` must be a text, found a number: 4"),
        ({**CHOICE, "domain": ["Physics"]}, "`domain` must be a text, found a list"),
        ({**TRUTH, "answer": "Maybe"}, "`answer` must be Yes or No, found a text: 'Maybe'"),
        ({**FILLING, "answer": ""}, "`answer` is empty"),
    ],
)
def test_any_other_row_is_an_error_with_file_row_and_field(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ProblemFormatError) as error:
        RowReading((3,))(row, "train", "file.jsonl, row 7")
    assert str(error.value).startswith("file.jsonl, row 7")
    assert message in str(error.value)


def test_json_parquet_folders_and_splits(tmp_path: Path) -> None:
    rows = [{"question": f"{number}?", "answer": number} for number in range(1, 4)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.json").write_text(json.dumps(rows))
    written(tmp_path / "data", "test.jsonl", rows[:1])
    problems = open_science(tmp_path / "data", (3,))
    # The question that is also in `test` is left out of `train`.
    assert (len(problems.task_ids("train")), len(problems.task_ids("test")), problems.dropped) == (2, 1, 1)
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist([CHOICE, TRUTH]), tmp_path / "sciknoweval.parquet")
    problems = open_science(tmp_path / "sciknoweval.parquet", (3,))
    assert {problems.load(task).answer for task in problems.task_ids("train")} == {"C", "No"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "{", "line 1 is not JSON"),
        ("a.jsonl", "[3]", "row 1 is not a problem: expected an object, found a list"),
        ("a.jsonl", "", "holds no problems"),
        ("a.json", "{}", "holds no problems: expected a list, found an object"),
        ("a.parquet", "PAR1", "cannot be read"),
    ],
)
def test_a_damaged_file_is_named(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ProblemFormatError, match=message) as error:
        open_science(tmp_path / name, (3,))
    assert name in str(error.value)


def test_a_missing_file_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(ProblemFormatError, match=r"There are no problems at .* Leave `problems` out"):
        open_science(tmp_path / "none.jsonl", (3,))
