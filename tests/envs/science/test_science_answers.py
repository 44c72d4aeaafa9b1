"""Answers: where they are found in an action, choices by letter and text, short texts and formulas."""

from __future__ import annotations

import pytest

from sdar_gym.envs.science.answers import chosen, find_answer, same_text, spellings_of
from sdar_gym.envs.science.problem import Option

OPTIONS = (Option("A", "5 m/s"), Option("B", "The mitochondrion"), Option("C", "same"), Option("D", "same"))


@pytest.mark.parametrize(
    ("action", "answer"),
    [
        ("v=d/t\n<answer>3 m/s</answer>", "3 m/s"),
        ("<answer>1</answer> no: <answer> 2 m </answer> done", "2 m"),
        ("<answer><answer>3</answer>", "3"),
        ("<answer>3</answer></answer>", "3</answer>"),
        (r"\boxed{1} \boxed{3\,\mathrm{m}} so", r"3\,\mathrm{m}"),
        (r"\boxed{4} <answer>3</answer>", "3"),
        (r"long \boxed{3" + "\nAnswer: 4 m", "4 m"),
        ("work\nAnswer: 3 m", "3 m"),
        ("work\n**Final answer:** 3 m", "3 m"),
        ("The answer is: 3 m", "3 m"),
        ("  3 m/s \n", "3 m/s"),
        ("B", "B"),
        ("two\nlines", ""),
        ("Answer: 3 m\nand more", ""),
        ("x" * 201, ""),
        ("<answer> </answer>", ""),
        ("<answer>3", "<answer>3"),
        ("", ""),
        (" \n\t", ""),
    ],
)
def test_the_last_answer_counts(action: str, answer: str) -> None:
    assert find_answer(action) == answer


@pytest.mark.parametrize(
    ("answer", "labels"),
    [
        *((text, ("B",)) for text in ("B", "b", "(B)", "[b].", "B.", "B)", "**B**", r"\text{B}", "Option B", "$B$")),
        *((text, ("B",)) for text in ("{B}", "B. The mitochondrion", "B) mitochondrion", "the  Mitochondrion.")),
        ("5 m/s", ("A",)),
        ("same", ("C", "D")),
        ("C. same", ("C",)),
        *((text, ()) for text in ("E", "A or B", "A, B", "AB", "B. same", "A. The mitochondrion", "", "mito", "not B")),
    ],
)  # fmt: skip
def test_an_option_is_named_by_its_letter_its_text_or_both(answer: str, labels: tuple[str, ...]) -> None:
    assert chosen(answer, OPTIONS) == labels


def test_labels_may_be_numbers() -> None:
    options = (Option("1", "two"), Option("2", "one"))
    assert chosen("2", options) == ("2",) and chosen("two", options) == ("1",)


@pytest.mark.parametrize(
    ("answer", "accepted", "same"),
    [
        ("Mitosis", ("mitosis",), True),
        ("the  mitosis.", ("mitosis",), True),
        ("meiosis", ("mitosis",), False),
        ("Jorvik", ("York", "Jorvik"), True),
        ("2H2+O2=2H2O", ("2H2 + O2 = 2H2O",), True),
        (r"2\,H_2 + O_2 \rightarrow 2\,H_2O".replace(r"\,", ""), ("2H2 + O2 = 2H2O",), True),
        ("2H₂ + O₂ → 2H₂O", ("2H2 + O2 = 2H2O",), True),
        ("H2 + O2 = H2O", ("2H2 + O2 = 2H2O",), False),
        ("CO", ("Co",), False),
        ("co", ("CO",), False),
        ("DNA", ("dna",), True),
        ("Yes", spellings_of("Yes"), True),
        ("TRUE", spellings_of("yes"), True),
        ("no", spellings_of("Yes"), False),
        ("no.", spellings_of("No"), True),
        ("yes and no", spellings_of("Yes"), False),
    ],
)
def test_texts_are_compared_after_normalization(answer: str, accepted: tuple[str, ...], same: bool) -> None:
    assert same_text(answer, accepted) is same
