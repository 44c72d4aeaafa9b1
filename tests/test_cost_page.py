"""The page of costs: the committed one has the numbers of the committed result, and says what follows from them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cost_page  # pyright: ignore[reportMissingImports]
import pytest

import sdar_gym
from sdar_gym.configs import builtin_configs

ROOT = Path(sdar_gym.__file__).parents[1]


RESULTS = json.loads(cost_page.RESULTS.read_text(encoding="utf-8"))


def test_the_committed_page_has_the_numbers_of_the_result() -> None:
    assert cost_page.PAGE.read_text(encoding="utf-8") == cost_page.page(RESULTS), (
        "docs/cost.md does not have the numbers of benchmarks/results/plan.json: run python scripts/cost_page.py"
    )


def test_another_result_changes_the_page() -> None:
    changed = json.loads(json.dumps(RESULTS))
    for context in changed["a100"]["assumed"]["contexts"].values():
        context["random"]["seconds"]["gradient"] = 123_456
    assert "| 123,456 |" in cost_page.page(changed)


def test_the_sentences_of_the_page_hold() -> None:
    for plan in RESULTS["plans"].values():
        window, conversation = (plan["contexts"][context] for context in cost_page.CONTEXTS)
        for policy in cost_page.POLICIES:
            assert conversation[policy]["context_full"] == conversation[policy]["forks"] == 0
            assert conversation[policy]["tokens"]["gradient"] < window[policy]["tokens"]["gradient"]
        # As much is sampled, behind more tokens.
        sampled = pytest.approx(window["random"]["tokens"]["decode"], rel=0.02)
        assert conversation["random"]["tokens"]["decode"] == sampled
        assert conversation["random"]["decode"]["context"] > 5 * window["random"]["decode"]["context"]
        # About equal where all turns are played, cheaper where episodes succeed.
        long, short = (conversation[one]["run_gpu_hours"] / window[one]["run_gpu_hours"] for one in cost_page.POLICIES)
        assert 0.8 < long < 1.25 and short < 0.9
    # The second report agrees with the first, if that means 320 GPU-hours.
    reported = RESULTS["reported"]
    assert 150 * reported["gpus"] * reported["all"] / 3600 == pytest.approx(cost_page.REPORTED_GPU_HOURS, rel=0.1)
    # The plan's random play has the tokens of a user's first update.
    planned = RESULTS["a100"]["assumed"]["contexts"]["window"]["random"]["tokens"]["gradient"]
    assert planned == pytest.approx(reported["tokens"], rel=0.05)


def test_documents_name_configurations_that_exist() -> None:
    named = {
        found
        for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
        for found in re.findall(r"sdar-gym (?:train|plan) ([a-z][\w./-]*\w)", path.read_text(encoding="utf-8"))
    }
    assert {"quickstart", "alfworld", "paper/alfworld-qwen2.5-3b"} <= named
    # A tutorial writes YAML files of its own, and its test runs them.
    assert {name for name in named if not name.endswith(".yaml")} <= set(builtin_configs())
