"""Draws a run's learning curve."""

from __future__ import annotations

import atexit
import io
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from sdar_gym.files import replace_bytes
from sdar_gym.paths import first_line
from sdar_gym.text import shortened, terminal_safe, well_formed

_COLOURS = ("#1f4e9c", "#c2571a", "#2f7d4f", "#7a3b8f")
_LONGEST_LABEL = 100
Points = list[tuple[float, ...]]


def draw_curve(records: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw one run.

    Args:
        records: The lines of `metrics.jsonl`.
        path: The picture, PNG.
        title: Its title.

    Raises:
        ValueError: A line is not of a run, or the picture cannot be written.
    """
    draw_curves({title: records}, path, title)


def draw_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]], path: Path, title: str) -> None:
    """Draw success on the panel with its 95 % interval, of the training episodes (thin), of the teacher (dotted).

    Numbers that are missing or not finite leave a gap; how many there are stands in the picture. Labels and titles are
    drawn as they are: `$` and a leading `_` mean nothing in them.

    Args:
        runs: The lines of `metrics.jsonl` by label.
        path: The picture, PNG; it appears when it is whole.
        title: Its title.

    Raises:
        ValueError: There are more runs than colours that can be told apart, a line is not of a run (the message names
            run, line and field), or the picture cannot be written.
    """
    if len(runs) > len(_COLOURS):
        raise ValueError(f"At most {len(_COLOURS)} curves fit one picture, got {len(runs)}.")
    read = {label: _Curve(label, records) for label, records in runs.items()}
    _have_a_place_for_caches()
    # The object interface: no global state, no display, no font cache of an interactive session.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7.2, 4.2), dpi=130, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    lines = []
    for colour, curve in zip(_COLOURS, read.values(), strict=False):
        steps, success, low, high = _columns(curve.panel, 4)
        axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
        lines += axes.plot(steps, success, color=colour, marker="o", markersize=4)
        if curve.teacher:
            steps, success = _columns(curve.teacher, 2)
            axes.plot(steps, success, color=colour, linestyle=":", linewidth=1.2, marker=".", markersize=4)
        steps, success = _columns(curve.train, 2)
        axes.plot(steps, success, color=colour, linewidth=0.8, alpha=0.55)
    axes.set_ylim(0, 1)
    axes.set_xlabel("update")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("success")
    panel = next((curve.told for curve in reversed(read.values()) if curve.told), "")
    told = "95 % intervals; thin: training episodes; dotted: the teacher, with skills"
    gaps = sum(curve.gaps for curve in read.values())
    if gaps:
        told += f"; {gaps} number(s) missing or not finite"
    axes.set_title(f"{_shown(title)}\n{_shown(panel)}\n{told}", fontsize=9, parse_math=False)
    axes.grid(alpha=0.25)
    if lines:
        # Named afterwards: the library leaves out labels that begin with an underscore.
        legend = axes.legend(lines, [str(number) for number in range(len(lines))], loc="lower right", frameon=False)
        for text, label in zip(legend.get_texts(), read, strict=True):
            text.set_parse_math(False)
            text.set_text(_shown(label))
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # The font lacks some scripts; a box is drawn.
        canvas.print_png(picture)
    try:
        replace_bytes(path, picture.getvalue())
    except OSError as error:
        raise ValueError(f"The curve cannot be written to {path}: {error.strerror or first_line(error)}.") from error


class _Curve:
    """What is drawn of a run: points of update and success, the panel's with both ends of the interval."""

    def __init__(self, label: str, records: Sequence[Mapping[str, Any]]):
        self.panel: Points = []
        self.teacher: Points = []
        self.train: Points = []
        self.told = ""
        self.gaps = 0
        for number, record in enumerate(records, start=1):
            where = f"{shortened(label)}, line {number} of the metrics"
            record = _mapping(record, where)
            if "evaluation" in record:
                self._evaluation(
                    self._update(record, where), _mapping(record["evaluation"], f"{where}, evaluation"), where
                )
            train = record.get("train")
            success = None if train is None else _mapping(train, f"{where}, train").get("success")
            if success is not None:  # Null is an update without a finished episode.
                self.train.append((self._update(record, where), self._number(success, f"{where}, train.success")))

    def _evaluation(self, update: float, result: Mapping[str, Any], where: str) -> None:
        where = f"{where}, evaluation"
        keys = ("success", "success_low", "success_high")
        self.panel.append((update, *(self._number(_field(result, key, where), f"{where}.{key}") for key in keys)))
        if result.get("teacher"):
            teacher = _mapping(result["teacher"], f"{where}.teacher")
            success = _field(teacher, "success", f"{where}.teacher")
            self.teacher.append((update, self._number(success, f"{where}.teacher.success")))
        if not self.told:
            name, tasks, mark = (_field(result, key, where) for key in ("panel", "tasks", "panel_hash"))
            temperature = self._number(_field(result, "temperature", where), f"{where}.temperature")
            self.told = f"panel {name} ({tasks} tasks, T={temperature:g}, {mark})"

    def _update(self, record: Mapping[str, Any], where: str) -> float:
        update = _field(record, "update", where)
        if isinstance(update, bool) or not isinstance(update, Real) or not math.isfinite(update):
            raise ValueError(f"{where}: update is {shortened(update)}, which is no number of an update. {_REMEDY}")
        return float(update)

    def _number(self, value: Any, where: str) -> float:
        """A number, or nan for one that is missing (null in JSON) or not finite, which is counted."""
        if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
            raise ValueError(f"{where} is {shortened(value)}, which is no number. {_REMEDY}")
        try:
            number = math.nan if value is None else float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
        self.gaps += 1
        return math.nan


_REMEDY = "The curve is drawn from the lines that a run writes to metrics.jsonl; take out what is none."


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: this has to be an object, and is {type(value).__name__}. {_REMEDY}")
    return value


def _field(record: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in record:
        raise ValueError(f"{where}: {key!r} is missing. {_REMEDY}")
    return record[key]


def _columns(points: Points, width: int) -> list[tuple[float, ...]]:
    return [tuple(point[at] for point in points) for at in range(width)]


def _shown(text: str) -> str:
    """A text in one line of the picture."""
    text = terminal_safe(well_formed(" ".join(str(text).split())))
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 4]} ..."


def _have_a_place_for_caches() -> None:
    """Matplotlib asks for the home folder when it is imported, and an account in a container may have none."""
    if "MPLCONFIGDIR" in os.environ:
        return
    try:
        Path.home()
    except RuntimeError:
        place = tempfile.mkdtemp(prefix="matplotlib-")
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        os.environ["MPLCONFIGDIR"] = place
