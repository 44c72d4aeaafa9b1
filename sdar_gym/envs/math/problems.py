"""`MathProblem`, and what the families of embedded problems make: drafts with worked steps and known mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from sdar_gym.envs.draws import pick
from sdar_gym.envs.problems.embedded import Draft, Mistake
from sdar_gym.envs.problems.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class MathProblem(Problem):
    """A problem with its answer.

    Attributes:
        answer: The expected answer.
        level: Difficulty, from 1; 0 if it is not known.
        steps: Worked steps of an embedded problem.
        mistakes: Known mistakes in an embedded problem.
    """

    answer: str
    level: int = 0
    steps: tuple[str, ...] = ()
    mistakes: tuple[Mistake, ...] = ()


@dataclass(frozen=True, slots=True)
class MathDraft(Draft):
    """A generated problem.

    Attributes:
        key: Kind of the problem and its numbers, the same in every wording: no problem is in two splits under two
            wordings.
    """

    key: str = ""


Kind = Callable[[Random], MathDraft | None]
"""Makes a problem, or None where the drawn numbers make none; names itself in the first word of the key."""


def draw_from(kinds: Sequence[Sequence[Kind]]) -> Callable[[Random, int], MathDraft]:
    """The `draw` of a family.

    Args:
        kinds: The kinds of each level.
    """

    def draw(rng: Random, level: int) -> MathDraft:
        while True:
            draft = pick(rng, kinds[level - 1])(rng)
            if draft is not None:
                return draft

    return draw


def drafted(
    rng: Random,
    key: str,
    wordings: Sequence[str],
    steps: Sequence[str],
    mistakes: Sequence[tuple[int, str, Sequence[str]]],
    *,
    answer: Callable[[Sequence[str]], str] | None = None,
    **words: object,
) -> MathDraft | None:
    """A draft in one of the wordings.

    Args:
        rng: Draws the wording.
        key: See `MathDraft`.
        wordings: Texts with places for `words`.
        steps: The worked steps.
        mistakes: Step, reason and steps of each mistake.
        answer: The answer that steps lead to; default what stands after the last `=` of the last step.
        **words: What stands in the places.

    Returns:
        The draft; None if no mistake leads to a wrong answer. A mistake that leads to the right one is left out.
    """
    answer = answer or _last_value
    right = answer(steps)
    wrong: dict[str, Mistake] = {}
    for step, reason, line in mistakes:
        found = answer(line)
        if found != right:
            wrong.setdefault(found, Mistake(step, reason, found, tuple(line)))
    if not wrong:
        return None
    text = pick(rng, wordings).format(**words)
    return MathDraft(text, tuple(steps), right, tuple(wrong.values()), key)


def _last_value(steps: Sequence[str]) -> str:
    return steps[-1].rpartition("=")[2]
