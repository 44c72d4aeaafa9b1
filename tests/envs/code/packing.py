"""Rows as data sets publish them, for the tests of the loaders."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from typing import Any


def packed(value: Any) -> str:
    """Private tests as LiveCodeBench publishes them: base64 of zlib of a pickle of JSON."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(value)))).decode()


def stdin_row(**changes: Any) -> dict[str, Any]:
    """A row of LiveCodeBench with standard input; the program adds two numbers."""
    return {
        "question_title": "A. Sum",
        "question_content": "Print the sum of two numbers.",
        "platform": "codeforces",
        "question_id": "1873_A",
        "contest_id": "1873",
        "contest_date": "2024-08-21T00:00:00",
        "starter_code": "",
        "difficulty": "easy",
        "public_test_cases": json.dumps([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]),
        "private_test_cases": packed(
            [{"input": f"{n} 5", "output": f"{n + 5}", "testtype": "stdin"} for n in range(4)]
        ),
        "metadata": "{}",
        **changes,
    }


def functional_row(**changes: Any) -> dict[str, Any]:
    """A row of LiveCodeBench with a method to complete."""
    tests = [{"input": "[3, 1]\n1", "output": "[4, 2]", "testtype": "functional"}]
    return {
        **stdin_row(),
        "question_content": "Add k to each number.",
        "platform": "leetcode",
        "contest_date": "2025-02-01T00:00:00",
        "starter_code": "class Solution:\n    def addTo(self, nums: List[int], k: int) -> List[int]:\n        ",
        "public_test_cases": json.dumps(tests),
        "private_test_cases": json.dumps([{"input": "[]\n1", "output": "[]", "testtype": "functional"}]),
        "metadata": json.dumps({"func_name": "addTo"}),
        **changes,
    }


def apps_row(**changes: Any) -> dict[str, Any]:
    """A row of APPS."""
    return {
        "problem_id": 3,
        "question": "Print the number doubled.",
        "solutions": json.dumps(["print(int(input())*2)", "n = int(input())\nprint(n + n)"]),
        "input_output": json.dumps({"inputs": ["2\n", "5\n"], "outputs": ["4\n", "10\n"]}),
        "difficulty": "introductory",
        "starter_code": "",
        "url": "",
        **changes,
    }


def chat_row(**changes: Any) -> dict[str, Any]:
    """A row in the chat form."""
    truth = json.dumps({"inputs": [[1, 2], [3, 4]], "outputs": [3, 7], "fn_name": "add"})
    return {
        "data_source": "taco",
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Add two numbers."}],
        "reward_model": {"style": "rule", "ground_truth": truth},
        **changes,
    }
