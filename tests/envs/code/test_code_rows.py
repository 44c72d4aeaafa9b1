"""Task files: the forms of LiveCodeBench, APPS, TACO and verl, damaged rows, and hostile ones."""

from __future__ import annotations

import base64
import datetime
import json
import logging
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest
from packing import apps_row, chat_row, functional_row, packed, stdin_row

from sdar_gym.envs.code import stored_tests
from sdar_gym.envs.code.problem import CodeProblem, TestCase, TestCases
from sdar_gym.envs.code.rows import default_split, open_tasks, read_task
from sdar_gym.envs.data_files import split_of
from sdar_gym.envs.problems.problem import ProblemFormatError


def read(row: dict[str, Any]) -> CodeProblem:
    problem = read_task(row, "test", "tasks.jsonl, row 3")
    assert problem is not None
    return problem


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_row_of_livecodebench_on_standard_input() -> None:
    problem = read(stdin_row())
    assert (problem.task_type, problem.source, problem.entry, problem.date) == (
        "codeforces",
        "livecodebench",
        "",
        "2024-08-21",
    )
    assert problem.text.startswith("Print the sum of two numbers.\n\nThe program reads standard input")
    assert list(problem.public) == [TestCase("1 2\n", ("3\n",))]
    assert list(problem.hidden) == [TestCase(f"{n} 5", (f"{n + 5}",)) for n in range(4)]
    assert problem.standard_names and not problem.solution


def test_a_row_of_livecodebench_with_a_method() -> None:
    problem = read(functional_row())
    assert (problem.task_type, problem.entry) == ("leetcode", "Solution.addTo")
    assert "Complete this code:\n```python\nclass Solution:" in problem.text
    assert list(problem.public) == [TestCase([[3, 1], 1], ([4, 2],))]
    assert list(problem.hidden) == [TestCase([[], 1], ([],))]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("text", ["[]", "[1]" + " " * 300, "\u00e9\n'\\"])
def test_packed_texts_of_all_protocols_are_read(protocol: int, text: str) -> None:
    content = base64.b64encode(zlib.compress(pickle.dumps(text, protocol))).decode()
    assert stored_tests.unpacked(content, "here") == text


def test_a_row_of_apps() -> None:
    problem = read(apps_row())
    assert (problem.task_type, problem.source, problem.entry) == ("introductory", "file", "")
    assert problem.program == "print(int(input())*2)"
    assert problem.solution == "```python\nprint(int(input())*2)\n```"
    assert list(problem.public) == [TestCase("2\n", ("4\n",))] and list(problem.hidden) == [TestCase("5\n", ("10\n",))]
    lines = read(apps_row(input_output={"inputs": [["1", "2"]], "outputs": [["3"]]}, source="aizu", difficulty=None))
    assert list(lines.public) == [TestCase("1\n2", ("3",))]
    assert (lines.task_type, lines.source) == ("aizu", "aizu")


def test_a_function_of_apps_accepts_a_wrapped_value_both_ways() -> None:
    tests = {"inputs": [[1, 2], [[3]], []], "outputs": [[3], [[4], 5], None], "fn_name": "add"}
    problem = read(apps_row(input_output=json.dumps(tests), starter_code="class Solution:\n    def add(self"))
    assert problem.entry == "Solution.add"
    assert [test.accepted for test in (*problem.public, *problem.hidden)] == [([3], 3), ([[4], 5],), (None,)]
    assert "Write the function add." in read(apps_row(input_output=json.dumps(tests))).text


def test_a_row_in_chat_form() -> None:
    problem = read(chat_row())
    assert (problem.task_type, problem.source, problem.entry) == ("taco", "taco", "add")
    assert problem.text.startswith("Add two numbers.")
    assert list(problem.hidden) == [TestCase([3, 4], (7,))]
    test = {"input": "[1]", "output": "1", "testtype": "functional", "metadata": {"func_name": "head"}}
    problem = read(chat_row(reward_model={"ground_truth": json.dumps([test])}, prompt="First element?"))
    assert problem.entry == "head" and list(problem.public) == [TestCase([[1]], (1,))]


def test_rows_that_are_published_without_usable_tests_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    for content in ("", None, json.dumps({"inputs": [], "outputs": []})):
        assert read_task(apps_row(input_output=content), "train", "row 1") is None
    long = '{"inputs": [["1"]], "outputs": [' + "9" * 5000 + "]}"
    with caplog.at_level(logging.WARNING):
        assert read_task(apps_row(input_output=long), "train", "row 1") is None
    assert "row 1, `input_output` has a number that is too long" in caplog.text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "Why?", "test_list": ["assert 1"]}, "has no tests.*question, test_list.*MBPP"),
        (stdin_row(question_content=" "), "has no `question_content`"),
        (stdin_row(question_content=5), "`question_content` must be a text, found a number: 5"),
        (stdin_row(platform=["x"]), "`platform` must be a text, found a list"),
        (stdin_row(public_test_cases="[", private_test_cases=None), "`public_test_cases` is not JSON"),
        (stdin_row(public_test_cases={"a": 1}), "`public_test_cases` must be a list of tests, found an object"),
        (stdin_row(public_test_cases="[]", private_test_cases="[]"), "has no tests"),
        (stdin_row(public_test_cases='["x"]'), "`public_test_cases`, test 1 must be an object, found a text"),
        (stdin_row(public_test_cases='[{"input": 1, "output": ""}]'), "test 1, `input` must be a text, found a number"),
        (stdin_row(public_test_cases='[{"input": "1"}]'), "test 1, `output` must be a text, found null"),
        (
            stdin_row(public_test_cases='[{"input": "", "output": "", "testtype": "x"}]'),
            "`testtype` must be stdin or functional, found a text: 'x'",
        ),
        (stdin_row(metadata='{"func_name": "f"}'), "is of type stdin, but `metadata` names the function f"),
        (functional_row(metadata="{}"), "is of type functional, but `metadata` has no `func_name`"),
        (functional_row(metadata="{"), "`metadata` is not JSON"),
        (functional_row(metadata="[1]"), "`metadata` must be an object, found a list"),
        (functional_row(metadata='{"func_name": "a b"}'), "`func_name` must be the name of a function"),
        (
            functional_row(public_test_cases='[{"input": "[1", "output": "1", "testtype": "functional"}]'),
            "test 1, `input` is not JSON",
        ),
        (
            functional_row(public_test_cases='[{"input": "NaN", "output": "1", "testtype": "functional"}]'),
            "NaN cannot be given",
        ),
        (stdin_row(contest_date="soon"), "`contest_date` must be a day such as 2025-01-31, found a text: 'soon'"),
        (stdin_row(private_test_cases="!!!"), "`private_test_cases` is neither JSON nor packed tests"),
        (stdin_row(private_test_cases=base64.b64encode(b"abc").decode()), "neither JSON nor packed tests"),
        (stdin_row(private_test_cases=packed([])[: 4 * (len(packed([])) // 8)]), "is cut off"),
        (apps_row(input_output="{"), "`input_output` is not JSON"),
        (apps_row(input_output="[1]"), "`input_output` must be an object with `inputs` and `outputs`, found a list"),
        (apps_row(input_output='{"inputs": []}'), "must have lists under `inputs` and `outputs`; it has: inputs"),
        (apps_row(input_output='{"inputs": ["1"], "outputs": []}'), "has 1 inputs and 0 outputs"),
        (apps_row(input_output='{"inputs": [1], "outputs": ["1"]}'), "test 1, input must be a text or a list of lines"),
        (
            apps_row(input_output='{"inputs": ["1"], "outputs": [1], "fn_name": "f"}'),
            "input must be a list of arguments, found a text",
        ),
        (apps_row(input_output='{"inputs": [], "outputs": [], "fn_name": 3}'), "`fn_name` must be the name"),
        (apps_row(solutions="print"), "`solutions` is not JSON"),
        (apps_row(solutions="[1]"), "`solutions` must be a list of programs"),
        (apps_row(question=None), "has no `question`"),
        (chat_row(reward_model="x"), "`reward_model` must be an object with `ground_truth`, found a text"),
        (chat_row(reward_model={"ground_truth": "4"}), "`reward_model.ground_truth` must be an object with"),
        (chat_row(prompt=[{"role": "system", "content": "x"}]), "`prompt` must be a text or messages"),
        (chat_row(reward_model={"ground_truth": "[]"}), "has no tests"),
    ],
)
def test_any_other_form_is_refused_with_the_field_and_what_was_found(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ProblemFormatError, match=rf"(?s)^tasks\.jsonl, row 3\b.*{message}") as caught:
        read_task(row, "test", "tasks.jsonl, row 3")
    assert len(str(caught.value)) < 600


class Bomb:
    """A pickle that would run a command when it is loaded."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_with_code_in_it_is_not_loaded(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for value in (Bomb(marker), [Bomb(marker)], {"a": "b"}, 5, b"bytes", ("x", "y")):
        content = base64.b64encode(zlib.compress(pickle.dumps(value))).decode()
        with pytest.raises(ProblemFormatError, match=r"pickle of something else than a text \(opcode"):
            read_task(stdin_row(private_test_cases=content), "test", "row 1")
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"\x80\x04",
        b"X\xff\xff\xff\x7fabc.",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        b"r\xff\xff\xff\x7f.",
        b"X\x01\x00\x00\x00\xff.",
        b"\xff" * 20,
    ],
)
def test_damaged_pickles_are_refused(content: bytes) -> None:
    with pytest.raises(ProblemFormatError, match="pickle"):
        stored_tests.unpacked(base64.b64encode(zlib.compress(content)).decode(), "row 1")


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_tests, "LARGEST_UNPACKED", 1_000_000)
    bomb = base64.b64encode(zlib.compress(pickle.dumps("x" * 50_000_000))).decode()
    assert len(bomb) < 100_000
    with pytest.raises(ProblemFormatError, match="row 1 unpacks to more than 1,000,000 bytes"):
        stored_tests.unpacked(bomb, "row 1")


def test_deeply_nested_json_is_refused() -> None:
    with pytest.raises(ProblemFormatError, match="nested too deeply"):
        read_task(apps_row(input_output="[" * 100_000), "train", "row 1")


def test_files_and_folders_are_read_with_their_splits(tmp_path: Path) -> None:
    folder = tmp_path / "livecodebench"
    folder.mkdir()
    write(folder / "test.jsonl", [stdin_row()])
    write(folder / "test6.jsonl", [functional_row()])
    tasks = open_tasks(folder)
    assert tasks.splits == ("test",)
    assert tasks.task_ids("test") == ("test/codeforces/000000", "test/leetcode/000000")
    assert open_tasks(write(tmp_path / "lcb_v6.jsonl", [stdin_row()])).splits == ("test",)
    assert open_tasks(write(tmp_path / "apps.jsonl", [apps_row()])).splits == ("train",)
    (tmp_path / "apps_dev.json").write_text(json.dumps([apps_row()]))
    assert open_tasks(tmp_path / "apps_dev.json").task_ids("dev") == ("dev/introductory/000000",)


def test_a_number_behind_a_split_does_not_matter() -> None:
    assert [split_of(name) for name in ("test6.jsonl", "train-00001.parquet", "dev500.json", "6.jsonl")] == [
        "test",
        "train",
        "dev",
        None,
    ]
    assert [default_split(name) for name in ("LiveCodeBench.json", "lcb.json", "taco.json")] == [
        "test",
        "test",
        "train",
    ]


def test_parquet_is_read_like_json(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [stdin_row(contest_date=datetime.datetime(2024, 8, 21)), functional_row(contest_date=None)]
    for name, content in (("test", rows), ("train", [apps_row(), chat_row()])):
        parquet.write_table(pyarrow.Table.from_pylist(content), tmp_path / f"{name}.parquet")
    tasks = open_tasks(tmp_path)
    assert tasks.load("test/codeforces/000000").date == "2024-08-21"
    assert len(tasks.load("test/codeforces/000000").hidden) == 4
    assert tasks.load("train/introductory/000000").program


def test_files_without_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ProblemFormatError, match="no problems at"):
        open_tasks(tmp_path / "none.jsonl")
    with pytest.raises(ProblemFormatError, match=r"bad\.jsonl, row 2.*`question_content`"):
        open_tasks(write(tmp_path / "bad.jsonl", [stdin_row(), stdin_row(question_content="")]))
    with pytest.raises(ProblemFormatError, match="holds no problems"):
        open_tasks(write(tmp_path / "empty.jsonl", [apps_row(input_output="")]))


def test_large_tests_are_kept_compressed_and_come_out_the_same() -> None:
    tests = [TestCase("1 " * 50_000 + f"{n}\n", ("\u00e9" * 10, "x")) for n in range(5)]
    kept = TestCases(tests)
    assert len(kept) == 5 and list(kept) == tests == list(pickle.loads(pickle.dumps(kept)))
    assert len(pickle.dumps(kept)) < 20_000
    assert list(TestCases([])) == []
