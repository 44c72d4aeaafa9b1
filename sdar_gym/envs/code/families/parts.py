"""Parts of generated tasks: conditions and operations on numbers with their wrong readings, and random inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from sdar_gym.envs.code.drafts import Recipe
from sdar_gym.envs.draws import pick, whole
from sdar_gym.envs.problems.embedded import Family

Maker = Callable[[Random], Recipe]
LETTERS = "abcdest"


def family(name: str, *levels: Sequence[Maker]) -> Family[Recipe]:
    """A family of tasks.

    Args:
        name: The task type.
        levels: The recipes of each level.
    """
    return Family(name, len(levels), lambda rng, level: pick(rng, levels[level - 1])(rng))


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on a number.

    Attributes:
        one: The numbers that it admits, in the singular.
        many: The same in the plural.
        code: Expression with `{x}` for the number.
        wrong: What a wrong reading does, and its expression.
    """

    one: str
    many: str
    code: str
    wrong: tuple[tuple[str, str], ...]

    def of(self, x: str = "x") -> str:
        """The condition of an expression."""
        return self.code.format(x=x)

    def wrongly(self, x: str = "x") -> list[tuple[str, str]]:
        """Reasons, and the wrong conditions of an expression."""
        return [(reason, code.format(x=x)) for reason, code in self.wrong]


def condition(rng: Random) -> Condition:
    """A random condition."""
    kind = whole(rng, 0, 4)
    if kind == 0:
        return Condition("even number", "even numbers", "{x}%2==0", (("It takes the odd numbers.", "{x}%2==1"),))
    if kind == 1:
        return Condition("odd number", "odd numbers", "{x}%2==1", (("It takes the even numbers.", "{x}%2==0"),))
    if kind == 2:
        n = whole(rng, 3, 5)
        wrong = (f"It takes the numbers that are no multiples of {n}.", f"{{x}}%{n}!=0")
        return Condition(f"multiple of {n}", f"multiples of {n}", f"{{x}}%{n}==0", (wrong,))
    n = whole(rng, 2, 8)
    above, below = "{x}>" + str(n), "{x}<" + str(n)
    if kind == 3:
        wrongs = (f"It takes {n} itself.", f"{{x}}>={n}"), (f"It takes the numbers below {n}.", below)
        return Condition(f"number above {n}", f"numbers above {n}", above, wrongs)
    wrongs = (f"It takes {n} itself.", f"{{x}}<={n}"), (f"It takes the numbers above {n}.", above)
    return Condition(f"number below {n}", f"numbers below {n}", below, wrongs)


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation on a number.

    Attributes:
        words: What follows the number: `plus 3`.
        code: What follows the expression: `+3`.
        wrong: What another reading does, and its code.
    """

    words: str
    code: str
    wrong: tuple[str, str]


def operation(rng: Random) -> Operation:
    """A random operation."""
    kind, n = whole(rng, 0, 2), whole(rng, 2, 6)
    if kind == 0:
        return Operation(f"plus {n}", f"+{n}", (f"It subtracts {n}.", f"-{n}"))
    if kind == 1:
        return Operation(f"minus {n}", f"-{n}", (f"It adds {n}.", f"+{n}"))
    return Operation(f"times {n}", f"*{n}", (f"It adds {n}.", f"+{n}"))


def ints(rng: Random, low: int = -4, high: int = 12, least: int = 3, most: int = 7) -> list[int]:
    """A list of whole numbers."""
    return [whole(rng, low, high) for _ in range(whole(rng, least, most))]


def word(rng: Random, least: int = 2, most: int = 6, letters: str = LETTERS) -> str:
    """A word of few different letters."""
    return "".join(pick(rng, letters) for _ in range(whole(rng, least, most)))


def words(rng: Random, least: int = 2, most: int = 5) -> str:
    """Words with a space between."""
    return " ".join(word(rng) for _ in range(whole(rng, least, most)))


def grid(rng: Random, low: int = 0, high: int = 9, least: int = 2, most: int = 4) -> list[list[int]]:
    """A grid of whole numbers."""
    rows, columns = whole(rng, least, most), whole(rng, least, most)
    return [[whole(rng, low, high) for _ in range(columns)] for _ in range(rows)]


def table(rng: Random, low: int = -3, high: int = 12, least: int = 2, most: int = 5) -> dict[str, int]:
    """A dictionary from letters to whole numbers, in random order."""
    found: dict[str, int] = {}
    for _ in range(whole(rng, least, most)):
        found[pick(rng, "abcdefgh")] = whole(rng, low, high)
    return found


def one(draw: Callable[..., Any], *arguments: Any) -> Callable[[Random], tuple[Any, ...]]:
    """Inputs of a single argument."""
    return lambda rng: (draw(rng, *arguments),)
