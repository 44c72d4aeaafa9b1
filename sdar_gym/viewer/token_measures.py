"""Token measures: the values that color the tokens of a response in the terminal, and their scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
Clip = tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Measure:
    """A value of each token.

    Attributes:
        about: What it means.
        value: Of a token row, a token's place and the range of ratios that are not clipped; None where it is missing.
        unit: `nats` or nothing.
        diverging: Whether it has a sign that matters.
        range: The size with the strongest color; None for the largest one of the episode.
    """

    about: str
    value: Callable[[Row, int, Clip], float | None]
    unit: str = ""
    diverging: bool = False
    range: float | None = None

    def values(self, row: Row, clip: Clip) -> list[float | None]:
        """The values of all tokens of a row."""
        return [self.value(row, place, clip) for place in range(len(row["token"]))]

    def scale(self, rows: Iterable[Row], clip: Clip) -> float:
        """The size with the strongest color, for these rows."""
        if self.range is not None:
            return self.range
        sizes = (abs(value) for row in rows for value in self.values(row, clip) if value is not None)
        return max(sizes, default=0.0) or 1.0


def _of(name: str) -> Callable[[Row, int, Clip], float | None]:
    return lambda row, place, clip: None if row[name] is None else row[name][place]


def _change(row: Row, place: int, clip: Clip) -> float | None:
    ratio = _of("ratio")(row, place, clip)
    return math.log(ratio) if ratio is not None and ratio > 0 else None


def _clipped(row: Row, place: int, clip: Clip) -> float | None:
    ratio, advantage = _of("ratio")(row, place, clip), _of("token_advantage")(row, place, clip)
    if ratio is None or advantage is None or clip is None:
        return None
    if advantage > 0 and ratio > clip[1]:
        return 1.0
    return -1.0 if advantage < 0 and ratio < clip[0] else 0.0


MEASURES: Mapping[str, Measure] = {
    "gap": Measure(
        "log p teacher - log p student: positive where the teacher, with its privileged context, finds the token "
        "likelier",
        _of("gap"),
        unit="nats",
        diverging=True,
        range=2.0,
    ),
    "gate": Measure("weight of the distillation loss on the token", _of("gate"), range=1.0),
    "advantage": Measure(
        "the token's advantage in the loss: positive is reinforced, negative is discouraged",
        _of("token_advantage"),
        diverging=True,
    ),
    "weight": Measure("the token's share of the whole loss", _of("weight")),
    "entropy": Measure("entropy of the student's distribution", _of("entropy"), unit="nats"),
    "change": Measure(
        "log p after the update - log p before it: positive became likelier",
        _change,
        unit="nats",
        diverging=True,
        range=1.0,
    ),
    "clip": Measure(
        "1 or -1 where the ratio after the update is above or below the range of the clipped loss, on the side that "
        "the advantage pushes to",
        _clipped,
        diverging=True,
        range=1.0,
    ),
}
