"""docs/metrics.md: every metric that runs of all kinds wrote is on it, and what code computes under a fixed name.

A short real run is compared with the page in tests/runs/test_train_and_resume.py.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdar_gym.evaluation.repeated import repeated_metrics
from sdar_gym.evaluation.summary import context_of_result
from sdar_gym.rollout.metrics import episode_metrics, rollout_metrics

ROOT = Path(__file__).resolve().parents[2]
Unlisted = Callable[[list[dict[str, Any]]], list[str]]


def test_metrics_of_recorded_runs_are_listed(unlisted_metrics: Unlisted) -> None:
    names = (Path(__file__).parent / "recorded_metrics.txt").read_text(encoding="utf-8").split()
    assert len(names) > 150
    assert unlisted_metrics([{name: 0.0 for name in names}]) == []


def test_metrics_of_episodes_are_listed_for_both_kinds_of_lines(unlisted_metrics: Unlisted) -> None:
    assert unlisted_metrics([{"train": rollout_metrics([], 0)}, {"evaluation": episode_metrics([])}]) == []
    assert unlisted_metrics([{"evaluation": repeated_metrics([[True, False], [True, True]])}]) == []


def test_settings_of_a_result_are_listed(unlisted_metrics: Unlisted) -> None:
    from sdar_gym.configs.sections import EvaluationSettings, RolloutSettings

    for context in ("window", "conversation"):
        settings = context_of_result(RolloutSettings(context=context), EvaluationSettings())
        assert unlisted_metrics([{"evaluation": dict.fromkeys(settings)}]) == []


def test_terms_of_the_loss_are_listed(unlisted_metrics: Unlisted) -> None:
    pytest.importorskip("torch")
    from sdar_gym.algorithms.losses import total

    source = inspect.getsource(total)
    terms = set(re.findall(r'terms_BT\["(\w+)"\]|^        "(\w+)": ', source, flags=re.M))
    names = {one or other for one, other in terms}
    assert {"policy_loss", "gap_mean", "kl", "entropy", "agreement"} <= names
    assert unlisted_metrics([{"learner": dict.fromkeys(names)}]) == []


def test_a_metric_that_is_not_listed_is_found(unlisted_metrics: Unlisted) -> None:
    line = {"update": 1, "train": {"success": 0.5, "made_up": 0.5}, "learner": {"success": 1.0}}
    assert unlisted_metrics([line]) == ["learner/success", "train/made_up"]


def test_every_row_has_a_unit_and_a_meaning() -> None:
    rows = [line for line in (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8").splitlines() if "| `" in line]
    assert len(rows) > 80
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 3 and all(cells), row
