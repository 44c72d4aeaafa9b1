"""The page of the methods says what the objects say, its YAML gives them back, and the committed one is current."""

from __future__ import annotations

import re
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import method_pages  # pyright: ignore[reportMissingImports]
import pytest
import yaml

from sdar_gym.algorithms.methods import CHAPTERS, METHODS, Method
from sdar_gym.algorithms.methods.released_settings import RELEASED_BASE, SKILLS_LIVE
from sdar_gym.algorithms.methods.sdar import SigmoidGate
from sdar_gym.algorithms.objectives.advantage_shaping import AdvantageShaper
from sdar_gym.algorithms.objectives.distillation import Distillation, Divergence, GroupFilter
from sdar_gym.algorithms.objectives.gates import Gate
from sdar_gym.algorithms.objectives.objective import Objective
from sdar_gym.algorithms.objectives.schedule import Schedule
from sdar_gym.cli import main
from sdar_gym.cli.methods import setting_lines
from sdar_gym.configs.schema import parse_run_config


def test_the_committed_page_is_up_to_date() -> None:
    assert method_pages.PAGE.read_text(encoding="utf-8") == method_pages.page(), (
        "docs/methods.md does not say what the methods say: run python scripts/method_pages.py"
    )


@pytest.mark.parametrize("name", METHODS)
def test_the_settings_on_the_page_give_the_method_back(name: str) -> None:
    objective = METHODS[name].objective
    section = method_pages.page().split(f"\n### {name}\n")[1].split("\n### ")[0]
    found = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert found is not None
    assert Objective().changed(yaml.safe_load(found[1]) or {}) == objective
    # One line each, so that the page can be scanned, and nothing that is said already by default.
    assert found[1].count("\n") == sum(
        getattr(objective, field.name) != getattr(Objective(), field.name) for field in fields(objective)
    )


@pytest.mark.parametrize("name", METHODS)
def test_each_method_is_in_a_table_and_lists_all_its_deviations(name: str) -> None:
    method, page = METHODS[name], method_pages.page()
    rows = [line for line in page.splitlines() if line.startswith(f"| [{name}](#{name}) |")]
    assert len(rows) == 1 and rows[0].count(" | ") == len(method_pages.COLUMNS) - 1
    section = page.split(f"\n### {name}\n")[1].split("\n### ")[0].split("\n## ")[0]
    assert method.summary in section and f"Source: {method.source}." in section
    shared = dict(re.findall(r"^(\d+)\. (.*)$", page.split("## Shared deviations")[1], re.MULTILINE))
    numbers = re.search(r"\[shared\]\(#shared-deviations\): ([\d, ]+)", section)
    listed = re.findall(r"^- (?!\[shared\])(.*)$", section, re.MULTILINE)
    listed += [shared[number] for number in numbers[1].split(", ")] if numbers else []
    assert sorted(listed) == sorted(method.deviations)


def test_experimental_methods_have_a_table_of_their_own_in_a_chapter_of_their_own() -> None:
    page = method_pages.page()
    overview = page.split("## Overview")[1].split("\n## ")[0]
    (title,) = (title for title, methods in CHAPTERS.items() if methods[0].experimental)
    chapter = page.split(f"\n## {title}\n")[1].split("\n## ")[0]
    assert "not checked against the papers" in chapter
    for name, method in METHODS.items():
        assert (f"| [{name}](#{name}) |" in chapter) == method.experimental
        assert (f"| [{name}](#{name}) |" in overview) != method.experimental


def test_methods_that_differ_look_different_in_the_table() -> None:
    rows = {name: method_pages.cells(method)[1:] for name, method in METHODS.items()}
    assert rows["sdar"][4] == "sigmoid: beta 5" and rows["grpo_opsd_sdar_repo"][4] == "constant: value 0.5"
    assert rows["rlsd"][2] == "rlsd: limit 0.2" and rows["rlsd"][5] == "0.5 at 0 → 0 at 100"
    assert len(set(rows.values())) == len(rows)


def test_every_setting_is_explained_with_its_default() -> None:
    text = method_pages.settings()
    assert "- `distill.gate` (default `null`): " in text and "- `distill.coeff` (required): " in text
    assert "- `advantage.statistics` (default `turn`): `trajectory`, `turn`. " in text
    assert "`sibling`: a successful episode" in text and "`SIBLING`" not in text
    lines = text.splitlines()
    assert len(lines) > 30 and all(
        re.fullmatch(r"- `[a-z_.]+` \((required|default `.+`)\): .+", line) for line in lines
    )


@pytest.mark.parametrize("kind", [Gate, AdvantageShaper])
def test_every_gate_and_shaper_is_listed_with_its_settings(kind: Any) -> None:
    listed = method_pages.components(kind)
    for name, part in kind.registry.items():
        own = listed.split(f"- `{name}`: ")[1].split("\n- ")[0]
        assert "Source: " in own and all(f"  - `{field.name}` (default" in own for field in fields(part))


def test_the_example_of_a_new_method_makes_one() -> None:
    kinds = {kind.__name__: kind for kind in (Method, Distillation, Divergence, GroupFilter, Schedule, SigmoidGate)}
    known = {**kinds, "replace": replace, "RELEASED_BASE": RELEASED_BASE, "SKILLS_LIVE": SKILLS_LIVE}
    method = eval(method_pages.EXAMPLE, known)
    assert method.objective == METHODS["sdar"].with_overrides({"distill": {"groups": "all_fail"}}).objective


def test_the_examples_of_changes_are_accepted() -> None:
    content = yaml.safe_load(method_pages.CHANGE)
    run = parse_run_config({"name": "page", "env": "sdar/ALFWorld-v0", **content}, "the page")
    changed = METHODS[run.method].with_overrides(run.training.objective).objective
    assert changed.distill is not None and changed.distill.coeff == Schedule.constant(0.03)
    assert changed.kl_coeff == 0.0 and changed.distill.gate == SigmoidGate(2.0)
    off = METHODS["sdar"].with_overrides(yaml.safe_load(method_pages.SWITCHED_OFF)).objective
    assert off == METHODS["grpo"].objective
    assert Schedule.parse("coeff", yaml.safe_load(method_pages.DECAY)) == Schedule.linear(0.4, 0.0, 150)


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule.constant(0.25),
        Schedule.linear(0.5, 0.0, 100),
        Schedule.window(1.0, delay=20, hold=50),
        Schedule(((0, 1e-5), (3, 0.5), (9, 0.7))),
    ],
)
def test_a_schedule_is_written_as_it_can_be_read(schedule: Schedule) -> None:
    lines = setting_lines(replace(METHODS["grpo"].objective, policy_coeff=schedule))
    assert Objective().changed(yaml.safe_load("\n".join(lines))).policy_coeff == schedule


def test_a_small_number_is_written_as_a_number() -> None:
    lines = setting_lines(replace(METHODS["grpo"].objective, kl_coeff=1e-5))
    assert yaml.safe_load("\n".join(lines))["kl_coeff"] == 1e-5


def test_checking_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(method_pages, "PAGE", tmp_path / "methods.md")
    assert method_pages.main(["--check"]) == 1
    assert capsys.readouterr().out.startswith("out of date: methods.md")
    assert list(tmp_path.iterdir()) == []
    assert method_pages.main([]) == 0
    assert method_pages.main(["--check"]) == 0
    (tmp_path / "methods.md").write_text("edited by hand", encoding="utf-8")
    assert method_pages.main(["--check"]) == 1


def test_the_command_lists_and_shows_methods(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["sdar-gym", "methods", "list"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    listed = capsys.readouterr().out
    assert all(re.search(rf"^  {name} +\S", listed, re.MULTILINE) for name in METHODS)

    monkeypatch.setattr(sys, "argv", ["sdar-gym", "methods", "show", "adrs"])
    with pytest.raises(SystemExit):
        main()
    shown = capsys.readouterr().out
    assert "coeff: [[19, 0.0], [20, 1.0], [69, 1.0], [70, 0.0]]" in shown and METHODS["adrs"].deviations[0] in shown

    monkeypatch.setattr(sys, "argv", ["sdar-gym", "methods", "show", "sdarr"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "Did you mean 'sdar'?" in capsys.readouterr().err
