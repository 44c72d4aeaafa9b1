"""`ScienceProblem`: a problem with a quantity, a choice or a short text as its answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sdar_gym.envs.problems.embedded import Mistake
from sdar_gym.envs.problems.problem import Problem
from sdar_gym.envs.science.quantities import Quantity


class Kind(StrEnum):
    """How an answer is compared."""

    QUANTITY = "quantity"
    CHOICE = "choice"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Option:
    """One of the options of a choice."""

    label: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScienceProblem(Problem):
    """A problem of science.

    Attributes:
        kind: How answers are compared.
        answer: The correct answer, as it is shown: a quantity with its unit, the label of an option, or a text.
        quantity: The answer of a quantity.
        options: The options of a choice.
        accepted: Correct spellings of a text.
        steps: The worked solution, a line a step; empty if there is none.
        mistakes: Known mistakes.
    """

    kind: Kind
    answer: str
    quantity: Quantity | None = None
    options: tuple[Option, ...] = ()
    accepted: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    mistakes: tuple[Mistake, ...] = ()


def written_solution(steps: tuple[str, ...], answer: str) -> str:
    """A solution as an action: its steps, and the answer in tags."""
    return "\n".join((*steps, f"<answer>{answer}</answer>"))
