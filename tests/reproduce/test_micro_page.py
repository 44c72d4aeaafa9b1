"""docs/results/micro.md: its tables are those of the runs in the file beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import study_log  # pyright: ignore[reportMissingImports]

from sdar_gym.reproduce.micro import PARTS
from sdar_gym.reproduce.runs import read_log
from sdar_gym.reproduce.study import Arm, Part, Setting, final_jobs, tuning_jobs
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


def test_the_study_goes_on_from_its_result_without_playing_anything_again(tmp_path: Path) -> None:
    log = tmp_path / "new" / "runs.jsonl"
    study_log.main([str(RESULTS / "micro.json"), str(log)])
    done = read_log(log)
    parts = [part for part in PARTS if part.name in CONTENT["runs"]]
    wanted = [job for part in parts for job in final_jobs(part, CONTENT["chosen"][part.tuned_in.name], range(8))]
    wanted += [job for part in parts for job in tuning_jobs(part.tuned_in, 2)]
    assert not [job.key for job in wanted if job.key not in done]
    with pytest.raises(SystemExit):
        study_log.main([str(RESULTS / "micro.json"), str(log)])
