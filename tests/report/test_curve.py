from __future__ import annotations

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
    with pytest.raises(ValueError, match="At most 4 curves fit one picture, got 5"):
        draw_curves({str(number): records((0.1,)) for number in range(5)}, tmp_path / "many.png", "many")
    assert not (tmp_path / "many.png").exists()
