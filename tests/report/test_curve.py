from __future__ import annotations

import errno
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from sdar_gym.report.curve import draw_curve, draw_curves


def records(rates: tuple[float, ...]) -> list[dict[str, Any]]:
    """Lines of `metrics.jsonl`: an evaluation before the first update and after each, and the updates themselves."""
    lines: list[dict[str, Any]] = []
    for update, rate in enumerate(rates):
        if update:
            lines.append({"update": update, "train": {"success": rate if update > 1 else None}, "learner": {}})
        result = {"success": rate, "success_low": max(0.0, rate - 0.1), "success_high": min(1.0, rate + 0.1)}
        panel = {"panel": "valid_seen-8", "tasks": 8, "temperature": 0.4, "panel_hash": "abc"}
        lines.append({"update": update, "evaluation": result | panel})
    return lines


def pixels(path: Path) -> Any:
    picture = imread(path)
    assert picture.shape[0] > 300
    assert picture.shape[1] > 600
    assert picture.std() > 0.01
    return picture


def test_one_run_becomes_a_readable_picture(tmp_path: Path) -> None:
    draw_curve(records((0.1, 0.5, 0.9)), tmp_path / "up.png", "quickstart · sdar")
    draw_curve(records((0.9, 0.5, 0.1)), tmp_path / "down.png", "quickstart · sdar")
    assert (pixels(tmp_path / "up.png") != pixels(tmp_path / "down.png")).any()


def test_a_second_run_is_drawn_beside_the_first(tmp_path: Path) -> None:
    draw_curves({"sdar": records((0.1, 0.5, 0.9))}, tmp_path / "one.png", "comparison")
    both = {"sdar": records((0.1, 0.5, 0.9)), "grpo": records((0.1, 0.2, 0.3, 0.4))}
    draw_curves(both, tmp_path / "two.png", "comparison")
    assert (pixels(tmp_path / "one.png") != pixels(tmp_path / "two.png")).any()


def test_a_run_that_has_not_been_evaluated_is_drawn_all_the_same(tmp_path: Path) -> None:
    draw_curve([{"update": 1, "train": {"success": 0.5}}, {"update": 2, "train": {}}], tmp_path / "a.png", "begun")
    draw_curve([], tmp_path / "b.png", "nothing yet")
    pixels(tmp_path / "a.png")
    pixels(tmp_path / "b.png")


def test_more_runs_than_colours_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="At most 4 curves fit in one figure, got 5"):
        draw_curves({str(number): records((0.1,)) for number in range(5)}, tmp_path / "many.png", "many")
    assert not (tmp_path / "many.png").exists()


HOSTILE = [
    "a$b$c",
    "$",
    "$\\frac{",
    r"$\undefined{x}$",
    "_hidden",
    "x^2_1",
    "a\nb\nc",
    "\x1b[2J",
    "\ud83d",
    "\u540d",
    "",
]
HOSTILE += ["x" * 5000]


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_runs_are_drawn_as_they_are(tmp_path: Path, text: str) -> None:
    lines = records((0.1, 0.5))
    for line in lines:
        if "evaluation" in line:
            line["evaluation"]["panel"] = text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_curves({text: lines, "other": records((0.9,))}, tmp_path / "a.png", text)
    pixels(tmp_path / "a.png")


def test_every_run_stands_in_the_legend_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    legends = []
    real = Axes.legend

    def keep(axes: Axes, *args: Any, **kwargs: Any) -> Any:
        legends.append(real(axes, *args, **kwargs))
        return legends[-1]

    monkeypatch.setattr(Axes, "legend", keep)
    draw_curves({"_a": records((0.1,)), "$x$ and $y$": records((0.2,))}, tmp_path / "a.png", "t")
    texts = legends[0].get_texts()
    assert [text.get_text() for text in texts] == ["_a", "$x$ and $y$"]
    assert not any(text.get_parse_math() for text in texts)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), 10**400])
@pytest.mark.parametrize("key", ["success", "success_low", "success_high", "temperature"])
def test_numbers_that_are_none_leave_a_gap_and_are_counted(
    tmp_path: Path, value: Any, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.axes import Axes

    titles: list[str] = []
    real = Axes.set_title
    monkeypatch.setattr(Axes, "set_title", lambda axes, text, **more: (titles.append(text), real(axes, text, **more)))
    lines = records((0.1, 0.5, 0.9))
    draw_curve(lines, tmp_path / "whole.png", "run")
    lines[0]["evaluation"][key] = value
    draw_curve(lines, tmp_path / "gap.png", "run")
    assert "not finite" not in titles[0]
    assert titles[1].endswith("; 1 number(s) missing or not finite")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ([1], "line 2 of the metrics: this must be an object, got list"),
        (1, "line 2 of the metrics: this must be an object, got int"),
        ({"evaluation": {"success": 1.0}}, "line 2 of the metrics: 'update' is missing"),
        ({"train": {"success": 1.0}}, "line 2 of the metrics: 'update' is missing"),
        ({"update": "x", "train": {"success": 1.0}}, "update is 'x', which is not an update number"),
        ({"update": float("nan"), "train": {"success": 1.0}}, "update is nan"),
        ({"update": 1, "evaluation": None}, "line 2 of the metrics, evaluation: this must be an object"),
        ({"update": 1, "evaluation": {}}, "line 2 of the metrics, evaluation: 'success' is missing"),
        ({"update": 1, "train": 5}, "line 2 of the metrics, train: this must be an object, got int"),
        ({"update": 1, "train": {"success": "much"}}, r"train.success is 'much', which is not a number"),
        ({"update": 1, "train": {"success": True}}, r"train.success is True, which is not a number"),
    ],
)
def test_lines_that_are_of_no_run_are_named(tmp_path: Path, line: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        draw_curve([{"update": 0}, line], tmp_path / "a.png", "my run")
    assert str(caught.value).startswith("'my run', line 2")
    assert list(tmp_path.iterdir()) == []


def test_a_teacher_without_its_result_is_named(tmp_path: Path) -> None:
    lines = records((0.1,))
    lines[0]["evaluation"]["teacher"] = {"won": 3}
    with pytest.raises(ValueError, match=r"evaluation\.teacher: 'success' is missing"):
        draw_curve(lines, tmp_path / "a.png", "run")


def test_a_picture_that_cannot_be_written_is_one_message_and_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"cannot be written to .*none/a\.png: No such file or directory"):
        draw_curve(records((0.1,)), tmp_path / "none" / "a.png", "run")
    draw_curve(records((0.1,)), tmp_path / "a.png", "run")
    before = (tmp_path / "a.png").read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ValueError, match=r"cannot be written to .*: No space left on device"):
        draw_curve(records((0.9,)), tmp_path / "a.png", "run")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == before


def test_an_account_without_a_home_folder_can_draw(tmp_path: Path) -> None:
    program = """
import pathlib, sys
def none(*_): raise RuntimeError("Could not determine home directory.")
pathlib.Path.home = none
from sdar_gym.report.curve import draw_curve
draw_curve([], pathlib.Path(sys.argv[1]), "run")
"""
    left_out = ("HOME", "MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    command = [sys.executable, "-c", program, str(tmp_path / "a.png")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    pixels(tmp_path / "a.png")
