"""Rich feedback on a wrong answer: the mistake behind it, the first wrong line, and the worked steps."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise

from sdar_gym.envs.math.checking import Check, check_answer
from sdar_gym.envs.math.latex import squeezed
from sdar_gym.envs.math.problems import MathProblem
from sdar_gym.envs.problems.embedded import Mistake

# Lines of a solution that are checked, and their length.
_MOST_LINES, _LONGEST_LINE = 60, 120
_CALCULATION = re.compile(r"[\d\s+\-*/().=^]+")
_TOKEN = re.compile(r"\d+|[+\-*/^()]")
_LONGEST_SHOWN = 200


def known_mistake(problem: MathProblem, answer: str) -> Mistake | None:
    """The known mistake that leads to an answer, or None."""
    return next((known for known in problem.mistakes if check_answer(known.answer, answer).equal), None)


def feedback_on(problem: MathProblem, action: str, answer: str, check: Check, mistake: Mistake | None) -> str:
    """Feedback for a teacher, with the expected answer.

    Args:
        problem: The problem.
        action: The whole solution.
        answer: The answer found in it; empty if there is none.
        check: Its check.
        mistake: The known mistake that leads to it.
    """
    if check.equal:
        return f"The answer {shown(answer)} is correct."
    said = f"The answer {shown(answer)} is wrong" if answer else "There is no answer"
    if not problem.steps:
        reason = f": {check.reason}" if answer and check.reason else ""
        return f"{said}{reason}. The expected answer is {shown(problem.answer)}."
    lines = [f"{said}; {problem.answer} is correct."]
    if mistake is not None:
        lines.append(f"Step {mistake.step}: {mistake.reason}")
    else:
        lines += [fault] if (fault := _first_fault(action, problem.steps)) else []
    return "\n".join([*lines, "Worked steps:", *problem.steps])


def shown(answer: str) -> str:
    """An answer in a sentence: one line, shortened."""
    line = " ".join(answer.split())
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}…"


def _first_fault(action: str, steps: tuple[str, ...]) -> str:
    """The first line that is false; else the first that is not the worked step; empty if there are no lines."""
    lines = [
        line.strip()
        for line in action[: _MOST_LINES * _LONGEST_LINE].splitlines()
        if "=" in line and len(line) <= _LONGEST_LINE and r"\boxed" not in line
    ][:_MOST_LINES]
    for number, line in enumerate(lines, start=1):
        value = _false(line)
        if value is not None:
            return f"Line {number} is false: {line}, but the left side is {value}."
    for number, (line, step) in enumerate(zip(lines, steps, strict=False), start=1):
        if squeezed(line) != squeezed(step):
            return f"Line {number} differs from the worked steps: {line} instead of {step}."
    if lines and len(lines) < len(steps):
        return f"Step {len(lines) + 1} is missing: {steps[len(lines)]}."
    return ""


def _false(line: str) -> Fraction | None:
    """The value of the left side of the first equation in a line that is false; None if all hold."""
    if not _CALCULATION.fullmatch(line):
        return None
    for left, right in pairwise(line.split("=")):
        a, b = calculated(left), calculated(right)
        if a is not None and b is not None and a != b:
            return a
    return None


def calculated(text: str) -> Fraction | None:
    """The value of a calculation with `+ - * / ^` and brackets; None if it is none, or its numbers are too large."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text.replace(" ", "") or not tokens or len(tokens) > 60 or max(map(len, tokens)) > 12:
        return None
    try:
        value, rest = _sum(tokens)
    except (ValueError, ZeroDivisionError, IndexError):
        return None
    return None if rest else value


def _sum(tokens: list[str]) -> tuple[Fraction, list[str]]:
    value, rest = _product(tokens)
    while rest and rest[0] in "+-":
        sign, (other, rest) = rest[0], _product(rest[1:])
        value = value + other if sign == "+" else value - other
    return value, rest


def _product(tokens: list[str]) -> tuple[Fraction, list[str]]:
    value, rest = _power(tokens)
    while rest and rest[0] in "*/":
        sign, (other, rest) = rest[0], _power(rest[1:])
        value = value * other if sign == "*" else value / other
    return value, rest


def _power(tokens: list[str]) -> tuple[Fraction, list[str]]:
    if tokens[0] == "-":
        value, rest = _power(tokens[1:])
        return -value, rest
    if tokens[0] == "(":
        value, rest = _sum(tokens[1:])
        if rest[0] != ")":
            raise ValueError("a bracket is open")
        rest = rest[1:]
    else:
        value, rest = Fraction(int(tokens[0])), tokens[1:]
    if rest and rest[0] == "^":
        exponent, rest = _power(rest[1:])
        if exponent.denominator != 1 or not 0 <= exponent <= 20:
            raise ValueError("an exponent is too large")
        value = value ** int(exponent)
    return value, rest
