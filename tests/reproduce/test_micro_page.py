"""docs/results/micro.md: its tables are those of the runs in the file beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdar_gym.reproduce.study import Arm, Part, Setting
from sdar_gym.reproduce.tables import markdown, part_table

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
CONTENT = json.loads((RESULTS / "micro.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(CONTENT["runs"]))
def test_the_table_is_made_of_the_runs(name: str) -> None:
    runs = CONTENT["runs"][name]
    tuned = {row["arm"]: row["tuned"] for row in CONTENT["tables"][name]}
    arms = tuple(Arm(arm, tuple(changes), tuned.get(arm, "")) for arm, changes in CONTENT["arms"][name].items())
    setting = Setting("quickstart", (), (), ())
    table = part_table(Part(name, name, setting, arms, baseline=CONTENT["baselines"][name]), runs)
    assert markdown(table) in (RESULTS / "micro.md").read_text(encoding="utf-8")


def test_all_runs_of_a_part_played_one_panel_and_the_others_were_tuned_on_another() -> None:
    for name, runs in CONTENT["runs"].items():
        panels = {tuple(row["panel"]) for row in runs}
        assert len(panels) == 1, name
        seeds = {arm: sorted(row["seed"] for row in runs if row["arm"] == arm) for arm in CONTENT["arms"][name]}
        assert len({tuple(each) for each in seeds.values()}) == 1
        assert len(next(iter(seeds.values()))) >= 8
    tuning = {tuple(row["panel"]) for rows in CONTENT["tuning"].values() for row in rows}
    assert tuning.isdisjoint({tuple(row["panel"]) for rows in CONTENT["runs"].values() for row in rows})
