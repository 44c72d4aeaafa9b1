"""Checking of answers: the verdict, with what the agent is told and the feedback for a teacher."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sdar_gym.envs.problems.problem import Verdict
from sdar_gym.envs.science.answers import LONGEST_LINE, chosen, find_answer, same_text
from sdar_gym.envs.science.problem import Kind, ScienceProblem
from sdar_gym.envs.science.quantities import DEFAULT_TOLERANCE, Outcome, Quantity, compare
from sdar_gym.extras import install_command

_NO_ANSWER = "No answer was found. Write it as <answer>…</answer>."
_RIGHT = "Correct."
_OUTCOMES = {
    Outcome.UNREADABLE: "The answer is not a single number with a unit.",
    Outcome.NO_UNIT: "The unit is missing.",
    Outcome.UNKNOWN_UNIT: "The unit is not known.",
    Outcome.OTHER_DIMENSION: "The unit measures something else than what is asked for.",
    Outcome.UNCHECKED: f"The unit could not be compared; to convert units: {install_command('science')}",
}
# A written step of the form `12/4=3`; longer lines are prose.
_LONGEST_STEP = 200
_MOST_LINES = 200
_SPACE = re.compile(r"\s+")
_RESULT = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?(?![0-9.*/^(])")


@dataclass(frozen=True, slots=True)
class _Result:
    """What a comparison found: whether the answer is right, in the required form, and the reason if it is not."""

    won: bool
    valid: bool
    reason: str = ""


def judge(problem: ScienceProblem, action: str) -> Verdict:
    """Check an action; takes time linear in its length, and never raises.

    Args:
        problem: The problem.
        action: A whole solution.
    """
    answer = find_answer(action)
    result = _compared(answer, problem) if answer else _Result(False, False, _NO_ANSWER)
    return Verdict(
        answer=answer[:LONGEST_LINE],
        valid=result.valid,
        won=result.won,
        score=float(result.won),
        observation=_RIGHT if result.won else result.reason,
        feedback=_RIGHT if result.won else _feedback(problem, action, answer, result.reason),
    )


def _compared(answer: str, problem: ScienceProblem) -> _Result:
    if problem.quantity is not None:
        return _of_quantity(compare(answer, problem.quantity), problem.quantity)
    if problem.kind == Kind.CHOICE:
        named = chosen(answer, problem.options)
        labels = ", ".join(option.label for option in problem.options)
        reason = "Another option is correct." if named else f"The answer is none of the options {labels}."
        return _Result(problem.answer in named, bool(named), reason)
    return _Result(same_text(answer, problem.accepted), True, "Another answer is expected.")


def _of_quantity(outcome: Outcome, expected: Quantity) -> _Result:
    outside = f"The value is not within {expected.tolerance * 100:g} % of the expected one."
    return _Result(outcome == Outcome.EQUAL, outcome != Outcome.UNREADABLE, _OUTCOMES.get(outcome, outside))


def _feedback(problem: ScienceProblem, action: str, answer: str, reason: str) -> str:
    """The step that failed, if it can be told; else the reason with the worked check and the expected answer."""
    slip = next((slip for slip in problem.mistakes if _is_answer_of(answer, slip.answer, problem)), None)
    if slip is not None:
        return f"Step {slip.step} failed: {slip.reason} Correct: {problem.steps[slip.step - 1]}"
    failed = _failed_step(problem.steps, action)
    lines = [failed or reason]
    if problem.steps:
        lines += ["Check:", *problem.steps]
    return "\n".join([*lines, f"Expected: {_shown(problem)}"])


def _is_answer_of(answer: str, wrong: str, problem: ScienceProblem) -> bool:
    if not answer or problem.quantity is None:
        return False
    number, _, unit = wrong.partition(" ")
    # Closer than the tolerance, since results of two mistakes may be one percent apart.
    return compare(answer, Quantity(float(number), unit, 0.005)) == Outcome.EQUAL


def _failed_step(steps: tuple[str, ...], action: str) -> str:
    """The first calculation of the worked steps that stands in the action with another result; empty without one."""
    written: dict[str, str] = {}
    for line in action.split("\n", _MOST_LINES)[:_MOST_LINES]:
        if len(line) <= _LONGEST_STEP:
            left, equals, right = _SPACE.sub("", line).rpartition("=")
            if equals:
                written.setdefault(left, right)
    for number, step in enumerate(steps, start=1):
        left, equals, right = _SPACE.sub("", step).rpartition("=")
        # Results that are no numbers, such as formulas, are not compared.
        found, wanted = _RESULT.match(written.get(left, "")), _RESULT.match(right)
        if equals and found and wanted:
            value = float(wanted[0])
            if abs(float(found[0]) - value) > DEFAULT_TOLERANCE * abs(value):
                return f"Step {number} failed: {left}={found[0]} is wrong. Correct: {step}"
    return ""


def _shown(problem: ScienceProblem) -> str:
    option = next((option for option in problem.options if option.label == problem.answer), None)
    return problem.answer if option is None else f"{option.label}. {option.text}"
