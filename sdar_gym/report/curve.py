"""Learning curve of one or several runs, as a PNG."""

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

_COLORS = ("#1f4e9c", "#c2571a", "#2f7d4f", "#7a3b8f")
_LONGEST_LABEL = 100
Points = list[tuple[float, ...]]


def draw_curve(records: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw the learning curve of one run.

    Args:
        records: The lines of `metrics.jsonl`.
        path: The PNG file.
        title: Its title.

    Raises:
        ValueError: A line is not a metrics record, or the file cannot be written.
    """
    draw_curves({title: records}, path, title)


def draw_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]], path: Path, title: str) -> None:
    """Draw success rates: on the panel with its 95 % interval, of training episodes (thin), of the teacher (dotted).

    Missing and non-finite numbers leave a gap, and the title counts them. Labels and titles are drawn verbatim: `$` and
    a leading `_` have no special meaning.

    Args:
        runs: The lines of `metrics.jsonl` by label.
        path: The PNG file, replaced atomically.
        title: Its title.

    Raises:
        ValueError: There are more runs than distinguishable colors, a line is not a metrics record (the message names
            run, line and field), or the file cannot be written.
    """
    if len(runs) > len(_COLORS):
        raise ValueError(f"At most {len(_COLORS)} curves fit in one figure, got {len(runs)}.")
    read = {label: _Curve(label, records) for label, records in runs.items()}
    _set_matplotlib_cache()
    # The object interface: no global state and no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7.2, 4.2), dpi=130, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    lines = []
    for color, curve in zip(_COLORS, read.values(), strict=False):
        steps, success, low, high = _columns(curve.panel, 4)
        axes.fill_between(steps, low, high, color=color, alpha=0.18, linewidth=0)
        lines += axes.plot(steps, success, color=color, marker="o", markersize=4)
        if curve.teacher:
            steps, success = _columns(curve.teacher, 2)
            axes.plot(steps, success, color=color, linestyle=":", linewidth=1.2, marker=".", markersize=4)
        steps, success = _columns(curve.train, 2)
        axes.plot(steps, success, color=color, linewidth=0.8, alpha=0.55)
    axes.set_ylim(0, 1)
    axes.set_xlabel("update")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("success")
    panel = next((curve.panel_text for curve in reversed(read.values()) if curve.panel_text), "")
    legend_text = "95 % intervals; thin: training episodes; dotted: the teacher, with its view"
    gaps = sum(curve.gaps for curve in read.values())
    if gaps:
        legend_text += f"; {gaps} number(s) missing or not finite"
    axes.set_title(f"{_shown(title)}\n{_shown(panel)}\n{legend_text}", fontsize=9, parse_math=False)
    axes.grid(alpha=0.25)
    if lines:
        # Labels are set afterwards: matplotlib skips those with a leading underscore.
        legend = axes.legend(lines, [str(number) for number in range(len(lines))], loc="lower right", frameon=False)
        for text, label in zip(legend.get_texts(), read, strict=True):
            text.set_parse_math(False)
            text.set_text(_shown(label))
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # A box is drawn for characters that the font lacks.
        canvas.print_png(picture)
    try:
        replace_bytes(path, picture.getvalue())
    except OSError as error:
        raise ValueError(f"The curve cannot be written to {path}: {error.strerror or first_line(error)}.") from error


class _Curve:
    """The points of one run: update and success; for the panel also both ends of the interval."""

    def __init__(self, label: str, records: Sequence[Mapping[str, Any]]):
        self.panel: Points = []
        self.teacher: Points = []
        self.train: Points = []
        self.panel_text = ""
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
            if success is not None:  # Null: an update without a finished episode.
                self.train.append((self._update(record, where), self._number(success, f"{where}, train.success")))

    def _evaluation(self, update: float, result: Mapping[str, Any], where: str) -> None:
        where = f"{where}, evaluation"
        keys = ("success", "success_low", "success_high")
        self.panel.append((update, *(self._number(_field(result, key, where), f"{where}.{key}") for key in keys)))
        if result.get("teacher"):
            teacher = _mapping(result["teacher"], f"{where}.teacher")
            success = _field(teacher, "success", f"{where}.teacher")
            self.teacher.append((update, self._number(success, f"{where}.teacher.success")))
        if not self.panel_text:
            name, tasks, mark = (_field(result, key, where) for key in ("panel", "tasks", "panel_hash"))
            temperature = self._number(_field(result, "temperature", where), f"{where}.temperature")
            self.panel_text = f"panel {name} ({tasks} tasks, T={temperature:g}, {mark})"

    def _update(self, record: Mapping[str, Any], where: str) -> float:
        update = _field(record, "update", where)
        if isinstance(update, bool) or not isinstance(update, Real) or not math.isfinite(update):
            raise ValueError(f"{where}: update is {shortened(update)}, which is not an update number. {_REMEDY}")
        return float(update)

    def _number(self, value: Any, where: str) -> float:
        """The number as a float; NaN if it is missing (null in JSON) or not finite, which is counted."""
        if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
            raise ValueError(f"{where} is {shortened(value)}, which is not a number. {_REMEDY}")
        try:
            number = math.nan if value is None else float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
        self.gaps += 1
        return math.nan


_REMEDY = "The curve needs the lines of a run's metrics.jsonl; remove this line."


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: this must be an object, got {type(value).__name__}. {_REMEDY}")
    return value


def _field(record: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in record:
        raise ValueError(f"{where}: {key!r} is missing. {_REMEDY}")
    return record[key]


def _columns(points: Points, width: int) -> list[tuple[float, ...]]:
    return [tuple(point[at] for point in points) for at in range(width)]


def _shown(text: str) -> str:
    """A text as one line for the figure."""
    text = terminal_safe(well_formed(" ".join(str(text).split())))
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 4]} ..."


def _set_matplotlib_cache() -> None:
    """Set a cache folder for matplotlib if the account has no home folder, as in some containers."""
    if "MPLCONFIGDIR" in os.environ:
        return
    try:
        Path.home()
    except RuntimeError:
        place = tempfile.mkdtemp(prefix="matplotlib-")
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        os.environ["MPLCONFIGDIR"] = place
