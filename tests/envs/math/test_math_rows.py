"""Problem rows: all published formats of the data sets, and errors for any other format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdar_gym.envs.math.env import MathEnv
from sdar_gym.envs.math.rows import default_split, known_set, read_problem
from sdar_gym.envs.problems.problem import ProblemFormatError

WHERE = "/data/problems.jsonl, row 3"
DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
    "$Answer (without quotes) where $Answer is the answer to the problem.\n\nWhat is 1 + 1?\n\n"
    'Remember to put your answer on its own line after "Answer:".'
)
GSM8K = "Ann has 2 pens, Bob 40.\nTogether 2+40=<<2+40=42>>42.\n#### 1,042"
PUBLISHED: list[tuple[str, dict[str, Any], str, str]] = [
    ("AIME24", {"problem": "P?", "answer": "025", "solution": "So.", "url": "u", "year": "2024"}, "025", "So."),
    ("AIME24 with capitals", {"ID": "2024-I-1", "Problem": "P?", "Answer": 25, "Solution": "So."}, "25", "So."),
    ("AIME25", {"question": "P?", "answer": "70"}, "70", ""),
    (
        "HMMT25",
        {"problem_idx": 1, "problem": "P?", "answer": r"\frac{1}{2}", "problem_type": ["Algebra"]},
        r"\frac{1}{2}",
        "",
    ),
    ("AMC23", {"id": 0, "question": "P?", "answer": 27.0, "url": "u"}, "27", ""),
    (
        "Minerva",
        {"problem": "P?", "solution": r"It is \boxed{4.5e33}.", "type": "Physics"},
        "4.5e33",
        r"It is \boxed{4.5e33}.",
    ),
    (
        "MATH",
        {"problem": "P?", "solution": r"\boxed{\frac{1}{2}}", "level": "Level 5", "type": "Algebra"},
        r"\frac{1}{2}",
        r"\boxed{\frac{1}{2}}",
    ),
    ("GSM8K", {"question": "P?", "answer": GSM8K}, "1,042", "Ann has 2 pens, Bob 40.\nTogether 2+40=42."),
    (
        "verl",
        {
            "prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "P?"}],
            "reward_model": {"ground_truth": "72"},
        },
        "72",
        "",
    ),
    ("verl with a list", {"prompt": "P?", "reward_model": {"style": "rule", "ground_truth": ["72"]}}, "72", ""),
    (
        "verl with NumPy",
        {
            "prompt": np.array([{"role": "user", "content": "P?"}], dtype=object),
            "reward_model": {"ground_truth": np.array(["72"])},
        },
        "72",
        "",
    ),
    (
        "OpenR1",
        {"problem": "P?", "solution": "So.", "answer": "x^2", "problem_type": "Algebra", "generations": []},
        "x^2",
        "So.",
    ),
    (
        "DeepMath",
        {"question": "P?", "final_answer": r"\infty", "difficulty": 4.5, "topic": "T", "r1_solution_1": "So."},
        r"\infty",
        "So.",
    ),
    ("expected_answer", {"problem": "P?", "expected_answer": "3"}, "3", ""),
    ("an answer in a box", {"problem": "P?", "answer": r"$\boxed{3}$"}, "3", r"$\boxed{3}$"),
    ("nulls of parquet", {"problem": "P?", "question": None, "answer": "3", "solution": None, "level": None}, "3", ""),
]


@pytest.mark.parametrize(
    ("row", "answer", "solution"), [row[1:] for row in PUBLISHED], ids=[row[0] for row in PUBLISHED]
)
def test_every_published_form_is_read(row: dict[str, Any], answer: str, solution: str) -> None:
    problem = read_problem(row, "train", WHERE)
    assert (problem.text, problem.answer, problem.solution) == ("P?", answer, solution)


def test_the_frame_around_a_problem_is_left_out() -> None:
    row = {
        "prompt": [{"role": "user", "content": DAPO}],
        "reward_model": {"ground_truth": "2"},
        "data_source": "math_dapo",
    }
    problem = read_problem(row, "train", WHERE)
    assert (problem.text, problem.source, problem.task_type) == ("What is 1 + 1?", "dapo", "dapo")
    asked = 'P? Let\'s think step by step and output the final answer after "####".'
    row = {"prompt": [{"role": "user", "content": asked}], "reward_model": {"ground_truth": "2"}}
    assert read_problem(row, "train", WHERE).text == "P?"
    row["extra_info"] = {"question": "The plain problem?", "index": 3}
    assert read_problem(row, "train", WHERE).text == "The plain problem?"
    long = "Let a = 1. " * 200 + "What is a?"
    assert read_problem({"problem": long, "answer": "1"}, "train", WHERE).text == long


def test_task_types_are_subjects_or_data_sets() -> None:
    row: dict[str, Any] = {"problem": "P?", "answer": "1", "level": 3, "subject": "Counting & Probability"}
    problem = read_problem(row, "test", "/data/MATH-500/test.jsonl, row 1")
    assert (problem.task_type, problem.source, problem.level) == ("counting_and_probability", "math500", 3)
    problem = read_problem({"problem": "P?", "answer": "1"}, "test", "/data/math/hmmt_feb_2025.parquet, row 1")
    assert (problem.task_type, problem.source, problem.level) == ("hmmt25", "hmmt25", 0)
    problem = read_problem({"problem": "P?", "answer": "1", "data_source": "my/own set"}, "test", WHERE)
    assert problem.task_type == problem.source == "my_own_set"
    assert read_problem({"problem": "P?", "answer": "1"}, "train", "/data/own/train.jsonl, row 1").source == "own"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("AIME_2024", "aime24"), ("aime2025-I.jsonl", "aime25"), ("HuggingFaceH4/aime_2024", "aime24"),
        ("math-ai/amc23", "amc23"), ("hmmt_feb_2025", "hmmt25"), ("MathArena/hmmt_nov_2025", "hmmt25"),
        ("HuggingFaceH4/MATH-500", "math500"), ("lighteval/MATH", "math"), ("openai/gsm8k", "gsm8k"),
        ("DigitalLearningGmbH/MATH-lighteval", "math"), ("math_dapo", "dapo"), ("dapo-math-17k.parquet", "dapo"),
        ("zwhe99/DeepMath-103K", "deepmath"), ("open-r1/OpenR1-Math-220k", "openr1"), ("minerva_math", "minerva_math"),
        ("own", None), ("", None),
    ],
)  # fmt: skip
def test_known_data_sets_are_named_as_usual(name: str, known: str | None) -> None:
    assert known_set(name) == known


def test_sets_to_evaluate_on_are_no_training_data() -> None:
    tests = ("aime24.parquet", "AIME2025.jsonl", "hmmt25.json", "amc23.jsonl", "minerva.jsonl", "math-500.jsonl")
    assert {default_split(name) for name in tests} == {"test"}
    assert {default_split(name) for name in ("dapo-math-17k.parquet", "gsm8k.jsonl", "own.jsonl")} == {"train"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "row 3 has no problem; it has: "),
        ({"problem": "P?"}, "row 3 has no answer; it has: problem"),
        ({"problem": " ", "answer": "1"}, "row 3 has no problem"),
        ({"problem": "P?", "answer": ""}, "row 3 has no answer"),
        ({"problem": "P?", "answer": "So.\n####"}, "row 3 has no answer"),
        ({"problem": "P?", "solution": "It is 5."}, "row 3 has no answer; it has: problem, solution"),
        ({"problem": 3, "answer": "1"}, "row 3: `problem` must be a text, found a number: 3"),
        ({"problem": "P?", "answer": {"a": 1}}, "row 3: `answer` must be a text or a number, found an object"),
        ({"problem": "P?", "answer": True}, "`answer` must be a text or a number, found a truth value"),
        ({"problem": "P?", "answer": float("nan")}, "`answer` must be a text or a number, found a number: nan"),
        ({"problem": "P?", "final_answer": ["1", "2"]}, "`final_answer` must be a text or a number, found a list"),
        ({"problem": "P?", "answer": "1", "solution": ["So."]}, "`solution` must be a text, found a list"),
        ({"problem": "P?", "reward_model": "1"}, "`reward_model` must be an object with `ground_truth`, found a text"),
        ({"problem": "P?", "reward_model": {"ground_truth": ["1", "2"]}}, "`reward_model.ground_truth` must be a text"),
        ({"problem": "P?", "reward_model": {}}, "row 3 has no answer"),
        ({"prompt": 3, "answer": "1"}, "`prompt` must be a text or a list of messages"),
        (
            {"prompt": [{"role": "system", "content": "S"}], "answer": "1"},
            "`prompt` must be a text or a list of messages",
        ),
        ({"prompt": ["P?"], "answer": "1"}, "`prompt` must be a text or a list of messages"),
        ({"problem": "P?", "answer": "1", "data_source": 3}, "`data_source` must be a text, found a number: 3"),
        ({"problem": "P?", "answer": "1", "level": 1, "type": 2}, "`type` must be a text, found a number: 2"),
    ],
)
def test_a_damaged_row_is_named_with_its_field(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ProblemFormatError) as error:
        read_problem(row, "train", WHERE)
    assert message in str(error.value)
    assert "/data/problems.jsonl" in str(error.value)


def test_texts_are_made_encodable() -> None:
    problem = read_problem({"problem": "P\ud800?", "answer": "\ud800 1", "solution": "\udfff"}, "train", WHERE)
    assert "".join((problem.text, problem.answer, problem.solution, problem.group)).encode()


def test_files_in_all_formats_and_folders(tmp_path: Path) -> None:
    pytest.importorskip("math_verify")
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"problem": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(5)]
    folder = tmp_path / "data"
    (folder / "gsm8k").mkdir(parents=True)
    (folder / "math500").mkdir()
    (folder / "gsm8k" / "train.json").write_text(json.dumps(rows))
    parquet.write_table(pyarrow.Table.from_pylist(rows[:2]), folder / "math500" / "test.parquet")
    env = MathEnv(folder)
    # A problem of the test split is left out of the training split.
    assert env.task_ids("train") == tuple(f"train/gsm8k/{n:06d}" for n in range(2, 5))
    assert env.task_ids("test") == ("test/math500/000000", "test/math500/000001")
    (tmp_path / "own.jsonl").write_text("{}\n")
    with pytest.raises(ProblemFormatError, match=r"own\.jsonl, row 1 has no problem"):
        MathEnv(tmp_path / "own.jsonl")
    with pytest.raises(ProblemFormatError, match="Leave `problems` out to play the embedded ones"):
        MathEnv(tmp_path / "missing")
    parquet.write_table(pyarrow.Table.from_pylist([{"answer": "1"}]), tmp_path / "train.parquet")
    with pytest.raises(ProblemFormatError, match="has no column `problem` or"):
        MathEnv(tmp_path / "train.parquet")
