"""Learning curve in characters: success on the panel with its interval, and training success as a sparkline."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean

_ROWS = 10
_BARS = "▁▂▃▄▅▆▇█"
_DIGITS = "12345678"
# Before the plot: the rate and the axis.
_MARGIN = 6
_NARROWEST = 30


def text_curve(
    points: Sequence[tuple[int, float, float | None, float | None]], width: int, symbol: Callable[[str, str], str]
) -> list[str]:
    """Success by update, from 0 to 100 %, with bars for the intervals.

    Args:
        points: Update, success and both ends of the interval, where there are any; in order, at least one.
        width: Columns of the whole plot.
        symbol: Returns a character, or its replacement where the console lacks it.

    Returns:
        The lines. Where several points share a column, the last one is shown.
    """
    first, last = points[0][0], points[-1][0]
    columns = max(2, min(width - _MARGIN - 1, max(_NARROWEST, 3 * len(points))))
    cells = [[" "] * columns for _ in range(_ROWS + 1)]
    bar, point, axis, corner = symbol("│", "|"), symbol("●", "o"), symbol("┤", "|"), symbol("└", "+")
    for update, success, low, high in points:
        place = round((update - first) / max(1, last - first) * (columns - 1))
        for row in cells:
            row[place] = " "
        if low is not None and high is not None:
            for level in range(_level(low), _level(high) + 1):
                cells[level][place] = bar
        cells[_level(success)][place] = point
    lines = [f"{100 * level // _ROWS:4}%{axis}{''.join(cells[level])}".rstrip() for level in range(_ROWS, -1, -1)]
    lines.append(f"{'':5}{corner}{symbol('─', '-') * columns}")
    ends = f"{first}{last:>{max(1, columns - len(str(first)))}}" if last > first else str(first)
    return [*lines, f"{'':{_MARGIN}}{ends}"]


def sparkline(values: Sequence[float], width: int, symbol: Callable[[str, str], str]) -> str:
    """Rates as one line of bars from 0 to 1; neighbors share a column if there are more than columns.

    Args:
        values: Between 0 and 1.
        width: Most columns.
        symbol: Returns a character, or its replacement where the console lacks it.
    """
    columns = min(width, len(values))
    means = [
        fmean(values[place * len(values) // columns : (place + 1) * len(values) // columns]) for place in range(columns)
    ]
    return "".join(
        symbol(_BARS[level], _DIGITS[level])
        for level in (min(len(_BARS) - 1, max(0, math.floor(mean * len(_BARS)))) for mean in means)
    )


def _level(rate: float) -> int:
    return min(_ROWS, max(0, round(rate * _ROWS)))
