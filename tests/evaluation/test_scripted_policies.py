"""Random and scripted-expert baselines: measurement, page and JSON, without torch and Ray."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import sdar_gym
from sdar_gym.cli import main
from sdar_gym.envs import TextEnv, entries, register
from sdar_gym.envs.tasks import split_panel
from sdar_gym.evaluation.scripted_policies import Baseline, markdown, measure_baselines
from sdar_gym.evaluation.summary import wilson_interval

ID = "sdar/ALFWorld-v0"
PAGE = Path(sdar_gym.__file__).parents[1] / "docs" / "environments" / "baselines.md"


@pytest.fixture(autouse=True)
def _embedded_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    monkeypatch.delenv("SDAR_GYM_DATA", raising=False)


def test_random_and_expert_play_the_frozen_panel_of_each_split() -> None:
    told: list[str] = []
    rows = measure_baselines([ID], 6, 1, told.append)
    assert [(row.split, row.policy) for row in rows] == [
        (split, policy) for split in ("train", "valid_seen", "valid_unseen") for policy in ("random", "expert")
    ]
    assert told[0] == f"{ID} train random"
    env = gymnasium.make(ID).unwrapped
    assert isinstance(env, TextEnv)
    expert = rows[-1]
    assert expert.panel_hash == rows[-2].panel_hash == split_panel(ID, env, "valid_unseen", 6).hash
    assert (expert.success, expert.mean_score, expert.invalid_actions, expert.tasks) == (1.0, 1.0, 0.0, 6)
    assert (expert.success_low, expert.success_high) == wilson_interval(6, 6)
    assert expert.mean_turns < 20 < rows[-2].mean_turns
    assert measure_baselines([ID], 6, 1) == rows


def test_an_environment_without_expert_has_one_line_a_split(clean_registry: None) -> None:
    register("mylab/Kitchen-v0", "sdar_gym.envs.alfworld.env:ALFWorldEnv")
    assert {row.policy for row in measure_baselines(["mylab/Kitchen-v0"], 1)} == {"random"}


def test_senseless_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one task per split, got 0"):
        measure_baselines([ID], 0)
    with pytest.raises(ValueError, match="No environment 'sdar/AlfWorld-v0'"):
        measure_baselines(["sdar/AlfWorld-v0"], 1)


def test_the_table_says_all_that_a_figure_depends_on() -> None:
    row = Baseline(ID, "train", "random", "train-8", "abc123", 8, 0.25, 0.071, 0.591, 0.25, 41.5, 0.125, 0)
    page = markdown([row], "sdar-gym baselines")
    assert page.splitlines()[-1] == (
        f"| `{ID}` | train | random | 0.250 [0.071, 0.591] | 0.250 | 41.5 | 0.125 | 8 | `abc123` |"
    )
    assert "Made by `sdar-gym baselines`" in page


def test_the_command_line_writes_page_and_json(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, data = tmp_path / "new" / "b.md", tmp_path / "b.json"
    arguments = ["baselines", ID, "--episodes", "2", "--output", str(page), "--json", str(data)]
    monkeypatch.setattr(sys, "argv", ["sdar-gym", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    content: dict[str, Any] = json.loads(data.read_text())
    assert len(content["baselines"]) == 6
    assert content["command"] == f"sdar-gym baselines {ID} --episodes 2 --seed 0"
    assert page.read_text().count(f"| `{ID}` |") == 6
    assert "valid_unseen" in capsys.readouterr().out


def test_the_committed_page_has_every_environment_on_its_present_panels() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for entry in entries():
        env = gymnasium.make(entry.id).unwrapped
        assert isinstance(env, TextEnv)
        for split in env.splits:
            digest = split_panel(entry.id, env, split, 200).hash
            lines = [line for line in text.splitlines() if line.startswith(f"| `{entry.id}` | {split} |")]
            assert lines, f"{entry.id} {split} is missing: run sdar-gym baselines --episodes 200 --output {PAGE}"
            assert all(f"`{digest}`" in line for line in lines), f"{entry.id} {split} was measured on other tasks."


def test_no_torch_and_no_ray() -> None:
    code = (
        "import sdar_gym.cli, sdar_gym.cli.baselines, sys\n"
        "from sdar_gym.evaluation.scripted_policies import measure_baselines\n"
        f"measure_baselines([{ID!r}], 1)\n"
        "assert not {'torch', 'ray', 'transformers', 'pydantic'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
