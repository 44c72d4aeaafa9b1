"""Texts about a judgement: what the agent is told, and what a teacher or a log reads."""

from __future__ import annotations

from sdar_gym.envs.code.judge import Failure, Judgement
from sdar_gym.envs.code.show import shown_error

NO_PROGRAM = (
    "There is no program in your answer. Write it as one block that begins with a line ```python and ends with a line "
    "```."
)
_MOST_KINDS = 4


def correct(result: Judgement) -> str:
    """A program that passes all tests."""
    return f"Correct: all {result.public + result.hidden} tests passed."


def observation(result: Judgement) -> str:
    """What the agent is told: a public test in full, of hidden tests only their number and why they failed."""
    if result.won:
        return correct(result)
    if result.first_public is not None:
        passed = f"{result.public_passed} of {_tests(result.public, 'public')} passed."
        return f"{passed} The first that failed: {_in_full(result.first_public)}"
    failed = f"{result.hidden - result.hidden_passed} of {_tests(result.hidden, 'hidden')} failed"
    kinds = ", ".join(result.kinds[:_MOST_KINDS]) + (", …" if len(result.kinds) > _MOST_KINDS else "")
    before = f"All {_tests(result.public, 'public')} passed. " if result.public > 1 else ""
    before = "The public test passed. " if result.public == 1 else before
    return f"{before}{failed}: {kinds}."


def feedback(result: Judgement) -> str:
    """The first failing test in full, public or hidden, and the numbers of passed tests."""
    if result.won:
        return correct(result)
    numbers = (
        f"{result.public_passed + result.hidden_passed} of {result.public + result.hidden} tests passed: "
        f"{result.public_passed} of {result.public} public, {result.hidden_passed} of {result.hidden} hidden"
        f"{'' if result.hidden_run else ' (these were not run)'}."
    )
    first = result.first_public or result.first_hidden
    if first is None:
        return numbers
    name = f"{'public' if first.public else 'hidden'} test {first.number}"
    return f"{numbers} The first that failed, {name}: {_in_full(first)}"


def _tests(count: int, kind: str) -> str:
    return f"{count} {kind} test{'' if count == 1 else 's'}"


def _in_full(failure: Failure) -> str:
    parts = [f"{failure.kind}.", _part("Input", failure.given), _part("Expected", failure.expected)]
    if failure.error:
        parts.append(_part("Error", shown_error(failure.error)))
    else:
        parts.append(_part("Got", failure.got))
    return "\n".join(parts)


def _part(name: str, text: str) -> str:
    if not text:
        return f"{name}: nothing"
    return f"{name}:\n{text}" if "\n" in text else f"{name}: {text}"
