r"""Checking an answer against the expected one: exactly where both can be read exactly, else by math-verify.

Most answers are integers, fractions, decimals, tuples, intervals or words, which are read and compared here in less
than 100 µs, without SymPy. Other expressions go to a process of their own (`verifier.py`), which is ended at a limit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from sdar_gym.envs.math.equivalence import difference, equivalent, opaque
from sdar_gym.envs.math.forms import LONGEST, read
from sdar_gym.envs.math.latex import plain, squeezed
from sdar_gym.envs.math.verifier import ComparisonStoppedError, shared_verifier

# Comparisons of parts that one answer may cost: a set of nine values compared in any order.
_MOST_COMPARISONS = 100
# An answer that leaves the sum or integral to be worked out repeats the problem.
_UNFINISHED = re.compile(r"\\(?:i*int|sum|prod|lim)(?![a-z])")


@dataclass(frozen=True, slots=True)
class Check:
    """The result of checking an answer.

    Attributes:
        equal: Whether the answer is equivalent to the expected one.
        reason: Why not; empty if it is.
        stopped: Whether the comparison was stopped by its limit, so that the answer counts as different.
    """

    equal: bool
    reason: str = ""
    stopped: bool = False


_EQUAL = Check(True)


def check_answer(gold: str, answer: str, timeout: float | None = None) -> Check:
    """Check an answer. Never raises for any text.

    Args:
        gold: The expected answer.
        answer: The answer that was found.
        timeout: Seconds for comparisons by math-verify; None to decide without it, so that an answer which cannot be
            read exactly is different.

    Raises:
        MissingExtraError: math-verify is needed and not installed.
    """
    if answer == gold:
        return _EQUAL if answer.strip() else Check(False, "the answer is empty")
    if max(len(answer), len(gold)) > LONGEST:
        return Check(False, f"answers of more than {LONGEST:,} characters are equal only if they are the same text")
    expected, found = read(gold), read(answer)
    if timeout is not None and (opaque(expected) or opaque(found)):
        if _same_text(gold, answer):
            return _EQUAL
        if _UNFINISHED.search(answer) and not _UNFINISHED.search(gold):
            return Check(False, "the answer is not worked out")
        return _verified(gold, answer, timeout)
    if equivalent(expected, found, _same_text) or _same_text(gold, answer):
        return _EQUAL
    return Check(False, difference(expected, found))


def _same_text(gold: str, answer: str) -> bool:
    first, second = squeezed(plain(gold)), squeezed(plain(answer))
    return bool(first) and first == second


def _verified(gold: str, answer: str, timeout: float) -> Check:
    try:
        return _compared(gold, answer, timeout)
    except ComparisonStoppedError as error:
        # Not remembered: on a machine that is less busy it may come to its end.
        return Check(False, f"{error} (limit {timeout:g} s)", stopped=True)


@lru_cache(maxsize=4096)
def _compared(gold: str, answer: str, timeout: float) -> Check:
    asked, left = 0, timeout

    def compare(first: str, second: str) -> bool:
        nonlocal asked, left
        if _same_text(first, second):
            return True
        asked += 1
        if asked > _MOST_COMPARISONS or left <= 0:
            raise ComparisonStoppedError("the comparison took too long")
        result, seconds = shared_verifier().timed(first, second, left)
        left -= seconds
        return result

    expected, found = read(gold), read(answer)
    if equivalent(expected, found, compare):
        return _EQUAL
    if type(expected) is not type(found) and compare(gold, answer):
        # Such as an inequality and an interval.
        return _EQUAL
    return Check(False, difference(expected, found))
