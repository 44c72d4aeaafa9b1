r"""Where the answer of a solution is: the last box, else answer tags, else a short line."""

from __future__ import annotations

import time

import pytest

from sdar_gym.envs.math.answers import find_answer


@pytest.mark.parametrize(
    ("action", "answer"),
    [
        (r"3*4=12" "\n" r"\boxed{12}", "12"),
        (r"\boxed{1} or \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{\left\{1\right.}", r"\left\{1\right."),
        (r"\boxed {5}", "5"),
        (r"\fbox{5}", "5"),
        (r"\boxed{x=\boxed{5}}", "5"),
        (r"\boxed{1} and \boxed{2", "1"),
        (r"\boxed{}", ""),
        (r"\boxed{1} \boxed{ }", ""),
        (r"\boxed{1", ""),
        (r"\boxed", ""),
        (r"<answer>3</answer> \boxed{4}", "4"),
        ("<answer>3</answer><answer> 4 </answer>", "4"),
        ("text\nand <answer>4</answer> more", "4"),
        ("<answer></answer>", ""),
        ("42", "42"),
        ("  x = 5 ", "x = 5"),
        ("The answer is 42", "42"),
        ("Final answer: 42.", "42."),
        ("3*4=12\n12", ""),
        ("<think>42", ""),
        ("!?", ""),
        ("", ""),
        (" \n\t", ""),
        ("7" * 201, ""),
    ],
)
def test_the_answer_is_found(action: str, answer: str) -> None:
    assert find_answer(action) == answer


@pytest.mark.parametrize(
    "piece", ["{", "}", r"\boxed{", r"\boxed{}", "<answer>", "\\", r"\{", "{}", r"\boxed{\boxed{1}"]
)
def test_long_texts_take_little_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece)) + r"\boxed{5}" + "}" * 50_000
    begun = time.process_time()
    find_answer(text)
    # A search for the closing brace of each box would take hours.
    assert time.process_time() - begun < 3
