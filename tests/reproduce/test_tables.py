"""Statistics of a study against numbers worked out elsewhere, and its tables."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from scipy import stats

from sdar_gym.reproduce.report import figure
from sdar_gym.reproduce.study import Arm, Part, Setting
from sdar_gym.reproduce.tables import difference, holm, markdown, part_table

SETTING = Setting("quickstart", (), (), ())
PART = Part("p", "P", SETTING, (Arm("grpo", ("method=grpo",), "training.lr", ("1e-3",)), Arm("sdar", ("method=sdar",))))


def run(arm: str, seed: int, success: float, **changes: Any) -> dict[str, Any]:
    value = "1e-3" if arm == "grpo" else None
    return {
        "part": "p", "arm": arm, "value": value, "seed": seed, "stage": "test", "success": success,
        "training_success": success / 2, "cpu_seconds": 10.0, **changes,
    }  # fmt: skip


def test_a_paired_difference_is_a_t_test() -> None:
    first, second = [0.9, 0.8, 0.95, 0.85], [0.7, 0.75, 0.8, 0.9]
    found = difference([a - b for a, b in zip(first, second, strict=True)])
    expected = stats.ttest_rel(first, second)
    low, high = expected.confidence_interval()
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
    assert found.ahead == 3
    # The half width would be found half of the time; 80 % of the time takes more.
    assert found.detectable > found.half


def test_one_seed_and_equal_seeds_have_no_false_certainty() -> None:
    alone = difference([0.5])
    assert math.isnan(alone.half) and math.isnan(alone.p) and math.isnan(alone.detectable)
    assert difference([0.0, 0.0, 0.0]).p == 1.0
    assert difference([0.1, 0.1, 0.1]).p == 0.0


def test_holm_is_the_step_down_method() -> None:
    # Worked by hand: 4 x .005, 3 x .01, then the running maximum.
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    kept = holm({"a": 0.5, "b": math.nan})
    assert kept["a"] == 0.5 and math.isnan(kept["b"])


def test_arms_are_compared_on_the_seeds_that_both_have() -> None:
    rows = [run("grpo", seed, 0.5) for seed in range(3)]
    rows += [run("sdar", seed, 0.6 + 0.1 * seed, distill_gradient_share=0.8) for seed in range(4)]
    grpo, sdar = part_table(PART, rows)
    assert (grpo["arm"], grpo["value"], grpo["seeds"], "difference" in grpo) == ("grpo", "1e-3", 3, False)
    assert sdar["differences"] == pytest.approx([0.1, 0.2, 0.3])
    assert (sdar["seeds"], sdar["ahead"], sdar["p_holm"]) == (4, 3, sdar["p"])
    assert sdar["training_difference"] == pytest.approx(0.1)
    text = markdown([grpo, sdar])
    assert "| grpo | lr 1e-3 | 0.500 ± 0.000 |" in text
    assert "+0.200 ± 0.248 | 3 of 4" in text
    assert part_table(PART, rows[:3])[0]["arm"] == "grpo" and len(part_table(PART, rows[:3])) == 1


def test_one_seed_has_differences_and_no_intervals() -> None:
    def run(arm: str, success: float) -> dict[str, object]:
        return {
            "arm": arm, "value": None, "seed": 0, "success": success, "training_success": 0.5, "cpu_seconds": 1.0,
        }  # fmt: skip

    table = part_table(PART, [run("grpo", 0.25), run("sdar", 0.5)])
    json.dumps(table, allow_nan=False)
    assert "| sdar |  | 0.500 | +0.250 | 1 of 1 |  |  | +0.000 |  | 1 |" in markdown(table)
    assert figure({"P": table}).startswith(b"\x89PNG")
