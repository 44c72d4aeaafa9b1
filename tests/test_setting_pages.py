"""The page of the settings: every declared setting is on it, and the committed one is current."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import setting_pages  # pyright: ignore[reportMissingImports]

from sdar_gym.algorithms.objectives.gates import Gate
from sdar_gym.configs import RunConfig
from sdar_gym.configs.record import flat_settings
from sdar_gym.configs.sections import LoraSettings, PolicySettings


def test_the_committed_page_is_up_to_date() -> None:
    assert setting_pages.PAGE.read_text(encoding="utf-8") == setting_pages.page(), (
        "docs/settings.md does not say what the declarations say: run python scripts/setting_pages.py"
    )


def test_every_setting_of_a_run_is_on_the_page_with_its_meaning() -> None:
    run = RunConfig(name="x", env="sdar/ALFWorld-v0", policy=PolicySettings(lora=LoraSettings()))
    lines = setting_pages.page().splitlines()
    for name in flat_settings(asdict(run)):
        (line,) = (line for line in lines if line.startswith(f"| `{name}` |"))
        cells = line.removeprefix("| ").removesuffix(" |").split(" | ")
        assert len(cells) == 5 and cells[1].strip() and cells[4].strip().endswith((".", "…")), line


def test_types_defaults_and_ranges_are_those_of_the_declarations() -> None:
    text = setting_pages.page()
    for row in (
        "| `training.lr` | number | `1e-06` | > 0, ≤ 1 | Peak",
        "| `training.adam_betas` | list of 2 numbers | `[0.9, 0.999]` | ≥ 0, < 1 |",
        "| `policy.dtype` | one of | `float32` | `float32`, `bfloat16`, `auto`, `float64` |",
        "| `name` | text | *required* |",
        "| `training.objective.dual_clip` | number or null | `3` | > 1 |",
        "| `policy.teacher_residence` | `policy.offload_teacher` |",
    ):
        assert f"\n{row}" in text
    for name in Gate.registry:
        assert f"\n### `training.objective.distill.gate: {name}`\n" in text


def test_checking_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setting_pages, "PAGE", tmp_path / "settings.md")
    assert setting_pages.main(["--check"]) == 1
    assert capsys.readouterr().out == "out of date: settings.md\n"
    assert list(tmp_path.iterdir()) == []
    assert setting_pages.main([]) == setting_pages.main(["--check"]) == 0
