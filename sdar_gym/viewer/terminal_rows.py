"""Rows in the terminal: one line each, so that what they name can be copied; columns make room where it is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.text import Text

from sdar_gym.cli.terminal import Terminal, symbol
from sdar_gym.text import terminal_safe

# These are cut where room is missing, to no less than this.
_CUT = ("type", "goal")
_SHORTEST = 16
_BETWEEN = 2


def print_rows(
    console: Terminal, heads: Sequence[str], rows: Iterable[Iterable[str | Text]], dispensable: Sequence[str] = ()
) -> None:
    """Prints a table within the console's width, without breaking a line.

    Args:
        console: Where to print.
        heads: The columns; `type` and `goal` are cut where room is missing.
        rows: Their cells.
        dispensable: Columns that are left out, from the first on, until the others fit.
    """
    cells = [[_safe(cell) for cell in row] for row in rows]
    widths = {head: max(cell_len(head), *(row[at].cell_len for row in cells)) for at, head in enumerate(heads)}
    least = {head: min(width, _SHORTEST) if head in _CUT else width for head, width in widths.items()}
    shown = list(heads)

    def room_left() -> int:
        return console.width - sum(least[head] for head in shown) - _BETWEEN * (len(shown) - 1)

    for head in dispensable:
        if room_left() < 0:
            shown.remove(head)
    room = max(0, room_left())
    for head in shown:
        added = min(room, widths[head] - least[head])
        widths[head], room = least[head] + added, room - added
    console.tell(_line(shown, [Text(head, style="bold") for head in shown], widths))
    for row in cells:
        console.tell(_line(shown, [cell for head, cell in zip(heads, row, strict=True) if head in shown], widths))


def _line(heads: Sequence[str], cells: Iterable[Text], widths: dict[str, int]) -> Text:
    line = Text()
    for head, cell in zip(heads, cells, strict=True):
        if cell.cell_len > widths[head]:
            cell = cell.copy()
            cell.truncate(widths[head] - 1, overflow="crop")
            cell.append(symbol("…", "~"))
        line.append(" " * (_BETWEEN if line else 0)).append_text(cell)
        line.append(" " * (widths[head] - cell.cell_len))
    line.rstrip()
    return line


def _safe(cell: str | Text) -> Text:
    return Text(terminal_safe(cell)) if isinstance(cell, str) else cell
