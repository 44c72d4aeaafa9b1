r"""Disputes about answers: notations that mean the same, and those that do not, each with the reason."""

from __future__ import annotations

import pytest

from sdar_gym.envs.math.checking import check_answer

SAME = [
    ("1/2", r"\frac12", "a fraction of two digits needs no braces"),
    ("1/2", r"\dfrac{1}{2}", "the size of a fraction means nothing"),
    ("1/2", "0.5", "one half has a finite decimal form"),
    ("1/2", ".5", "a leading zero may be left out"),
    ("1/2", r"\frac{2}{4}", "a fraction that is not reduced has the same value"),
    (r"-\frac{1}{2}", r"\frac{-1}{2}", "the sign may stand above"),
    ("3/2", r"1\frac{1}{2}", "a number before a proper fraction is a mixed number"),
    ("1.5", "1 1/2", "a mixed number as text"),
    ("-3/2", r"-1\frac12", "the sign of a mixed number is that of the whole"),
    ("1/3", "0.333333", "six digits of a number without a finite decimal form"),
    ("1/3", r"0.\overline{3}", "a repeating decimal is exact"),
    ("-7/30", r"-0.2\overline{3}", "a repeating decimal after other digits"),
    ("5000000", "5 million", "a number with a word for a power of ten"),
    (r"5\text{ million}", "5,000,000", "a number with a word for a power of ten"),
    (r"\$5\text{ million}", "5 million dollars", "a word for a power of ten and a unit"),
    ("[0,1)", r"\left[0, 1\right)", "sizes of brackets mean nothing"),
    (r"[0,1)\cup(2,3]", r"(2,3] \cup [0,1)", "a union has no order"),
    (r"(-\infty,3]", r"(-\infty, 3]", "spaces mean nothing"),
    (r"x \in [0,1)", "[0,1)", "the name of the variable may be left out"),
    ("5", r"5\text{ cm}", "a unit where none is expected"),
    (r"5\text{ cm}", "5", "a unit that is left out"),
    ("5 cm", r"50\text{ mm}", "the same length"),
    (r"6\text{ cm}^2", r"6\text{ square centimeters}", "the same area"),
    (r"60\text{ mph}", "60 miles per hour", "the same speed"),
    ("90", r"90^\circ", "a degree sign where none is expected"),
    (r"90^{\circ}", "90 degrees", "degrees in words"),
    ("5", r"\$5", "a currency sign"),
    ("5", "$5$", "dollar signs of mathematics"),
    ("5", r"5\text{ apples}", "what is counted"),
    ("1000", "1,000", "thousands"),
    ("1000", "1{,}000", "thousands as LaTeX writes them"),
    ("1000", r"1,\!000", "thousands as LaTeX writes them"),
    ("1000", "1 000", "thousands with a space"),
    ("1000", r"1\,000", "thousands with a thin space"),
    ("1000, 2000", "1,000, 2,000", "thousands in a list"),
    ("100, 200", "100,200", "a list without spaces, where a list is expected"),
    (r"\{1,2\}", r"\{2,1\}", "a set has no order"),
    (r"\{1,2\}", r"\{1,2,2\}", "a set has each element once"),
    (r"\{1,2\}", "2, 1", "the braces of a set may be left out"),
    ("5", r"\{5\}", "the set of the one solution"),
    ("1,2", "2, 1", "several solutions have no order"),
    ("1,2", r"2 \text{ and } 1", "several solutions joined by a word"),
    ("1,2", r"x=1\text{ or }x=2", "several solutions with their names"),
    (r"\emptyset", r"\varnothing", "two signs for the empty set"),
    ("(1,2)", "1,2", "the brackets of a pair may be left out"),
    ("(1,2)", "x=1, y=2", "a pair by its names, in order"),
    ("2,-2", r"\pm 2", "plus or minus is two numbers"),
    ("1,3", r"2\pm1", "plus or minus is two numbers"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1 & 2\\ 3 & 4\end{bmatrix}", "brackets of a matrix"),
    ("1011_2", "1011_{2}", "braces mean nothing"),
    ("1011_{2}", r"1011_{\text{two}}", "the base in a word"),
    ("1011_2", "1011 (base 2)", "the base after the number"),
    ("1011_2", "1011", "the base that was asked for may be left out"),
    ("1011_2", "11_{10}", "the same number in another base that is given"),
    ("x=5", "5", "the name of the unknown may be left out"),
    ("5", "x = 5", "the name of the unknown may be given"),
    ("5", "x = 2+3 = 5", "the last value of a chain"),
    ("50", r"50\%", "a percent sign where the question asks for percents"),
    (r"50\%", "0.5", "the same number"),
    (r"50\%", "50", "a percent sign that is left out"),
    ("1200", "1.2e3", "scientific notation"),
    ("1200", r"1.2 \times 10^{3}", "scientific notation"),
    ("1000", "10^3", "a power of ten"),
    ("0.0012", r"1.2\cdot10^{-3}", "a negative power of ten"),
    ("A", "(A)", "the letter of a choice in brackets"),
    (r"\text{(A)}", "A", "the letter of a choice without brackets"),
    ("C", r"\textbf{(C)}\ 42", "the letter of a choice with what it says"),
    ("yes", "Yes", "words are compared in lower case"),
    (r"\text{even}", "even", "words with and without \\text"),
    ("025", "25", "leading zeros, as in the answers of AIME"),
    ("2", "2.0", "an integer as a decimal"),
    ("-3", "−3", "the sign for minus in Unicode"),
    ("5", "{5}", "a group of TeX"),
]
OTHER = [
    ("[0,1)", "(0,1)", "0 belongs to one of them only"),
    ("[0,1]", "[0,1)", "1 belongs to one of them only"),
    (r"[0,1)\cup(2,3]", r"[0,1)\cup(2,3)", "3 belongs to one of them only"),
    ("1000", "(1,000)", "a pair is no number"),
    ("12", "1 2", "a space between digits that are no thousands"),
    ("100200", "100, 200", "a list with a space is no number"),
    ("1/3", "0.333", "too few digits"),
    ("1/3", "0.3333334", "another number, with seven digits"),
    ("0.3", "0.30001", "both have a finite decimal form"),
    ("0.0000001", "0.0000002", "small numbers differ too"),
    ("(1,2)", "(2,1)", "a pair has an order"),
    ("(1,2)", r"\{1,2\}", "a set has no order, a pair does"),
    ("1,2", "1,2,2", "one value too many"),
    ("2,3", "2", "one value is missing"),
    ("2", r"\pm2", "one value too many"),
    ("x=5", "y=5", "another unknown"),
    (r"5\text{ cm}", r"5\text{ m}", "another length"),
    (r"6\text{ cm}^2", r"6\text{ cm}", "an area is no length"),
    ("5", "5x", "a variable is no unit"),
    ("5", "5 million", "a word for a power of ten is no unit"),
    ("5", r"5\text{ thousand}", "a word for a power of ten is no unit"),
    ("5", "5 squared", "a power is no unit"),
    ("5", "5 halves", "a fraction is no unit"),
    ("5", "5m", "a letter without a space is a variable"),
    ("0.5", r"0.5\%", "below one the percent sign decides"),
    ("1011_2", "11", "a numeral of another base"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&3\\2&4\end{pmatrix}", "the transposed matrix"),
    ("A", "B", "another choice"),
    ("yes", "no", "another word"),
    ("5", "-5", "another sign"),
    ("0", "1/0", "no number"),
    ("5", "", "nothing is no answer"),
    ("", "", "nothing is no answer, even where nothing is expected"),
]
BY_LIBRARY = [
    (r"\sqrt8", r"2\sqrt2", True, "roots are compared by value"),
    (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", True, "a root in the denominator"),
    (r"\sqrt{2}", "1.414214", True, "a decimal with six digits"),
    (r"\sqrt{2}", "1.41", False, "too few digits"),
    (r"10^{-7}\pi", "0.0000002", False, "small numbers are not all equal"),
    (r"(\sqrt2,1)", r"(\sqrt{2},1)", True, "a pair of roots"),
    (r"(\sqrt2,1)", r"(1,\sqrt{2})", False, "a pair has an order"),
    (r"\{\sqrt2,1\}", r"\{1,\sqrt{2}\}", True, "a set has none"),
    (r"[0,\sqrt8)", r"[0,2\sqrt2)", True, "ends of an interval are compared by value"),
    (r"[0,\sqrt2)", r"(0,\sqrt2)", False, "0 belongs to one of them only"),
    (r"(-\infty,\sqrt8]\cup(5,\infty)", r"(5,\infty)\cup(-\infty,2\sqrt2]", True, "a union has no order"),
    (r"1\pm\sqrt3", r"1+\sqrt3, 1-\sqrt3", True, "plus or minus is two numbers"),
    (r"[0,1)", r"0\le x<1", True, "an inequality for an interval"),
    (r"0\le x<1", "[0,1)", True, "an interval for an inequality"),
    ("(x+1)^2", "x^2+2x+1", True, "expanded"),
    ("x^2", "x**2", True, "powers as in programs"),
    ("x+1", "x+2", False, "another expression"),
    ("xy", "yx", True, "a product has no order"),
    ("2x+3y=6", "4x+6y=12", True, "a multiple of the equation"),
    ("y=2x+1", "2x+1", True, "the left side may be left out"),
    ("y=2x+1", "y-2x=1", True, "the same line"),
    (r"3\pi\text{ cm}", r"3\pi", True, "a unit that is left out"),
    (r"3\pi\text{ cm}", r"3\pi\text{ m}", False, "another unit"),
    ("1024", "2^{10}", True, "a power"),
    ("120", "5!", True, "a factorial"),
    ("6", r"\frac{12}{\frac{4}{2}}", True, "nested fractions"),
    ("1/2", r"\int_0^1 x\,dx", False, "an integral that is left to be worked out is no answer"),
    (r"\begin{pmatrix}\sqrt4\\1\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}", True, "entries by value"),
]


@pytest.mark.parametrize("timeout", [None, 10.0], ids=["exact", "with the library"])
@pytest.mark.parametrize(("gold", "answer", "why"), SAME, ids=[f"{a} = {b}" for a, b, _ in SAME])
def test_the_same_answer(gold: str, answer: str, why: str, timeout: float | None) -> None:
    assert check_answer(gold, answer, timeout).equal, why


@pytest.mark.parametrize("timeout", [None, 10.0], ids=["exact", "with the library"])
@pytest.mark.parametrize(("gold", "answer", "why"), OTHER, ids=[f"{a} is not {b}" for a, b, _ in OTHER])
def test_another_answer(gold: str, answer: str, why: str, timeout: float | None) -> None:
    check = check_answer(gold, answer, timeout)
    assert not check.equal and check.reason, why


@pytest.mark.parametrize(("gold", "answer", "same", "why"), BY_LIBRARY, ids=[f"{a}, {b}" for a, b, *_ in BY_LIBRARY])
def test_expressions_by_the_library(gold: str, answer: str, same: bool, why: str) -> None:
    pytest.importorskip("math_verify")
    assert check_answer(gold, answer, 20.0).equal is same, why


def test_without_the_library_an_expression_equals_its_own_text_only() -> None:
    assert check_answer(r"2\sqrt{2}", r"2 \sqrt{2}").equal
    assert not check_answer(r"2\sqrt{2}", r"\sqrt{8}").equal
    # The calculation that was asked for is no answer to it.
    assert not check_answer("17", "3*4+5").equal


@pytest.mark.parametrize(
    ("gold", "answer", "reason"),
    [
        ("(1, 2)", "3", "expected a tuple, found a number"),
        ("1, 2", "1, 2, 3", "expected 2 values, found 3"),
        ("[0,1)", "[0,1]", "open and closed ends differ"),
        ("[0,1)", "[0,2)", "the ends of the interval differ"),
        ("5 cm", "5 seconds", "the units differ"),
        ("x=5", "y=5", "the names differ"),
        ("5", "6", "the numbers differ"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "1", "expected a matrix, found a number"),
    ],
)
def test_the_reason_says_what_differs(gold: str, answer: str, reason: str) -> None:
    assert check_answer(gold, answer).reason == reason
