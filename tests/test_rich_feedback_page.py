"""The page on rich feedback shows the tables of its data, and nothing was chosen on the panel that it reports."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import sdar_gym

ROOT = Path(sdar_gym.__file__).parents[1]
RESULTS = json.loads((ROOT / "docs" / "results" / "rich-feedback.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "results" / "rich-feedback.md").read_text(encoding="utf-8")
ENVIRONMENTS = list(dict.fromkeys(row["env"] for row in RESULTS["runs"]))


@pytest.fixture(scope="module")
def bench() -> Any:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return import_module("rich_feedback")
    finally:
        sys.path.pop(0)


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_the_page_has_the_table_of_the_data(bench: Any, env: str) -> None:
    assert bench.table(RESULTS["runs"], env) in PAGE


def test_all_three_environments_are_there_with_at_least_five_seeds_of_each_arm(bench: Any) -> None:
    assert set(ENVIRONMENTS) == set(bench.ENVIRONMENTS)
    required = {"grpo", "sdpo", "opsd", "distil", "distil without future"}
    for env in ENVIRONMENTS:
        seeds = {arm: {r["seed"] for r in RESULTS["runs"] if (r["env"], r["arm"]) == (env, arm)} for arm in required}
        assert all(len(found) >= 5 and found == seeds["grpo"] for found in seeds.values()), env


def test_learning_rates_were_chosen_on_another_panel_by_the_rule_and_with_other_seeds(bench: Any) -> None:
    assert bench.chosen_rates(RESULTS["tuning"]) == RESULTS["rates"]
    assert {row["split"] for row in RESULTS["tuning"]} == {"dev"}
    assert {row["split"] for row in RESULTS["runs"]} == {"test"}
    assert not {row["seed"] for row in RESULTS["tuning"]} & {row["seed"] for row in RESULTS["runs"]}
    for row in RESULTS["runs"]:
        assert row["rate"] == RESULTS["rates"][row["env"]][row["arm"]]
    # As many tries for each arm.
    for env in ENVIRONMENTS:
        tries = [sum((r["env"], r["arm"]) == (env, arm) for r in RESULTS["tuning"]) for arm in RESULTS["rates"][env]]
        assert len(set(tries)) == 1 and tries[0] % len(bench.RATES) == 0


def test_runs_of_one_seed_began_alike_on_one_panel() -> None:
    for env in ENVIRONMENTS:
        rows = [row for row in RESULTS["runs"] if row["env"] == env]
        assert len({row["after"]["panel_hash"] for row in rows}) == 1
        assert len({row["before"]["success"] for row in rows}) == 1


def test_intervals_are_those_of_student_s_t(bench: Any) -> None:
    mean, half = bench.interval([0.1, 0.2, 0.3, 0.4, 0.5])
    # By hand: s = .1581, t(4) = 2.776, 2.776 · .1581 / sqrt(5) = .1963.
    assert (mean, half) == (pytest.approx(0.3), pytest.approx(0.1963, abs=1e-4))
