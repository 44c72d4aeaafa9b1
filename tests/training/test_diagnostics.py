"""Per-token diagnostics against numbers computed by hand."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch

from sdar_gym.training.diagnostics import (
    BUCKETS,
    UpdateTokens,
    agreement_by_turn,
    by_position,
    gap_by_class,
    trajectory_gaps,
    update_metrics,
)

NAN = float("nan")


def update(**changes: Any) -> UpdateTokens:
    """Three turns of two episodes, of 3, 2 and 1 tokens; all padding is nan or a senseless class."""
    values: dict[str, Any] = {
        "response_mask_BT": torch.tensor([[True, True, True], [True, True, False], [True, False, False]]),
        "student_logp_BT": torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -1.0, NAN], [-4.0, NAN, NAN]]),
        "teacher_logp_BT": torch.tensor([[-0.5, -2.04, -4.0], [-1.06, -0.8, NAN], [-2.0, NAN, NAN]]),
        "gate_BT": torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, NAN], [0.6, NAN, NAN]]),
        "advantage_BT": torch.tensor([[1.0, 1.0, -2.0], [1.0, 3.0, NAN], [-1.0, NAN, NAN]]),
        "turn_B": torch.tensor([0, 1, 0]),
        "episode_B": torch.tensor([0, 0, 1]),
        "class_BT": torch.tensor([[0, 1, 2], [1, 2, 99], [1, 99, -1]]),
        "class_names": ("think", "action", "end", "never"),
    }
    return UpdateTokens(**(values | changes))


def test_gaps_are_means_over_the_tokens_of_a_class() -> None:
    # Gaps: .5, -.04, -1 | -.06, .2 | 2
    assert gap_by_class(update()) == pytest.approx(
        {"gap/think": 0.5, "gap/action": (-0.04 - 0.06 + 2.0) / 3, "gap/end": (-1.0 + 0.2) / 2}, abs=1e-6
    )


def test_agreement_counts_tokens_down_to_the_tolerance() -> None:
    # The teacher is at most .05 nats below the student in two of three, one of two, one of one.
    assert agreement_by_turn(update()) == pytest.approx(
        {
            "gap/turn_1": (0.5 - 0.04 - 1.0 + 2.0) / 4,
            "gap/turn_2": (-0.06 + 0.2) / 2,
            "agreement/turn_1": 3 / 4,
            "agreement/turn_2": 1 / 2,
        },
        abs=1e-6,
    )
    assert by_position(update()) == pytest.approx(
        {
            "gap/position_1": (0.5 - 0.06 + 2.0) / 3,
            "gap/position_2": (-0.04 + 0.2) / 2,
            "gap/position_3-4": -1.0,
            "agreement/position_1": 2 / 3,
            "agreement/position_2": 1.0,
            "agreement/position_3-4": 0.0,
        },
        abs=1e-6,
    )


def test_every_turn_and_position_falls_into_its_bucket() -> None:
    turns = torch.arange(1, 41)
    wide = torch.ones(40, 1, dtype=torch.bool)
    kinds = {"class_BT": torch.zeros(40, 1, dtype=torch.long), "class_names": ("action",), "episode_B": turns - 1}
    zeros = {name: torch.zeros(40, 1) for name in ("student_logp_BT", "gate_BT", "advantage_BT")}
    tokens = UpdateTokens(
        response_mask_BT=wide, teacher_logp_BT=turns[:, None].double(), turn_B=turns - 1, **zeros, **kinds
    )
    means = {"1": 1, "2": 2, "3-4": 3.5, "5-8": 6.5, "9-16": 12.5, "17+": 28.5}
    assert tuple(means) == BUCKETS
    found = agreement_by_turn(tokens)
    assert {name: found[f"gap/turn_{name}"] for name in BUCKETS} == means

    def across(value: torch.Tensor) -> torch.Tensor:
        return value.T.contiguous()

    one = torch.tensor([0])
    long = UpdateTokens(
        response_mask_BT=across(wide),
        teacher_logp_BT=turns[None, :].double(),
        turn_B=one,
        episode_B=one,
        class_BT=across(kinds["class_BT"]),
        class_names=("action",),
        **{name: across(value) for name, value in zeros.items()},
    )
    found = by_position(long)
    assert {name: found[f"gap/position_{name}"] for name in BUCKETS} == means


def test_all_metrics_of_an_update() -> None:
    metrics = update_metrics(update(entropy_BT=torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, NAN], [6.0, NAN, NAN]])))
    expected = {
        "gap/all": (0.5 - 0.04 - 1.0 - 0.06 + 0.2 + 2.0) / 6,
        "agreement/all": 4 / 6,
        "taught/all": 1.0,
        "gate/think": 0.1,
        "gate/action": (0.2 + 0.4 + 0.6) / 3,
        "gate/end": (0.3 + 0.5) / 2,
        "abs_advantage/think": 1.0,
        "abs_advantage/action": 1.0,
        "abs_advantage/end": 2.5,
        "tokens/think": 1 / 6,
        "tokens/action": 3 / 6,
        "tokens/end": 2 / 6,
        "tokens/never": 0.0,
        "entropy/think": 1.0,
        "entropy/action": 4.0,
        "entropy/end": 4.0,
    }
    expected |= gap_by_class(update()) | agreement_by_turn(update()) | by_position(update())
    assert metrics == pytest.approx(expected, abs=1e-6)
    assert not any(name.startswith("entropy") for name in update_metrics(update()))


def test_rows_without_a_teacher_are_left_out_of_its_metrics() -> None:
    metrics = update_metrics(update(scored_B=torch.tensor([False, True, False])))
    assert metrics["gap/all"] == pytest.approx(0.07, abs=1e-6)
    assert metrics["taught/all"] == pytest.approx(2 / 6)
    assert metrics["gate/action"] == pytest.approx(0.4)
    assert metrics["abs_advantage/action"] == 1.0
    assert "gap/think" not in metrics
    assert "gap/turn_1" not in metrics
    assert metrics["gap/position_1"] == pytest.approx(-0.06, abs=1e-6)
    none = update_metrics(update(scored_B=torch.zeros(3, dtype=torch.bool)))
    assert none["taught/all"] == 0.0
    assert not any(name.startswith(("gap/", "agreement/", "gate/")) for name in none)


def test_a_trajectory_s_gap_is_the_mean_over_all_its_tokens() -> None:
    gap_E = trajectory_gaps(update(), 3)
    assert gap_E[:2].tolist() == pytest.approx([(0.5 - 0.04 - 1.0 - 0.06 + 0.2) / 5, 2.0], abs=1e-6)
    assert gap_E[2].isnan()
    partly = trajectory_gaps(update(scored_B=torch.tensor([False, True, False])), 2)
    assert partly[0] == pytest.approx(0.07, abs=1e-6)
    assert partly[1].isnan()
    with pytest.raises(ValueError, match="names episode 1 of 1, counted from 0"):
        trajectory_gaps(update(), 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"response_mask_BT": torch.ones(3, 3)}, "response_mask_BT must be a bool matrix"),
        ({"gate_BT": torch.ones(3, 2)}, r"gate_BT has shape \(3, 2\), response_mask_BT \(3, 3\)"),
        ({"turn_B": torch.ones(2)}, r"turn_B has shape \(2,\) for 3 rows"),
        ({"turn_B": torch.tensor([0, -1, 2])}, "turn_B counts from 0, got -1"),
        ({"episode_B": torch.tensor([0, -1, 0])}, "episode_B counts from 0, got -1"),
        ({"class_names": ("think", "action")}, "outside of the 2 in class_names"),
        ({"scored_B": torch.ones(4, dtype=torch.bool)}, "scored_B has shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        update(**change)
    assert set(change) <= {field.name for field in fields(UpdateTokens)}
