"""The gap-advantage correlation by task type, against numbers computed by hand."""

from __future__ import annotations

import json

import pytest
import torch

from sdar_gym.training.gap_correlation import GapAdvantageCorrelation

NAN = float("nan")


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values)


def test_it_is_the_correlation_of_advantage_and_gap_by_task_type() -> None:
    correlation = GapAdvantageCorrelation()
    group_E = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    kinds = ["heat"] * 4 + ["cool"] * 2 + ["look"] * 2
    # Heat's second group has no spread and must not count; look's group has none at all.
    adv_E, gap_E = t(1, -1, 0, 0, 1, -1, 0, 0), t(0.3, 0.1, 5.0, -5.0, -0.2, 0.2, 1.0, 2.0)
    assert correlation.update(adv_E, gap_E, group_E, kinds) == pytest.approx(
        {"gap_advantage_correlation/heat": 1.0, "gap_advantage_correlation/cool": -1.0}
    )
    assert "gap_advantage_correlation/look" not in correlation.metrics()
    # The next update has the opposite sign for heat: .8 of the old and .2 of the new.
    again = correlation.update(t(1, -1), t(0.0, 1.0), torch.tensor([4, 4]), ["heat", "heat"])
    assert again == pytest.approx({"gap_advantage_correlation/heat": 0.8 - 0.2, "gap_advantage_correlation/cool": -1.0})
    assert correlation.metrics() == again


def test_it_pools_the_live_groups_of_a_type() -> None:
    adv_E, gap_E = t(1, -1, 1, 0, -1), t(0.5, 0.2, 0.1, 0.4, -0.3)
    found = GapAdvantageCorrelation().update(adv_E, gap_E, torch.tensor([0, 0, 1, 1, 1]), ["heat"] * 5)
    # By hand: means 0 and .18; products .5 - .2 + .1 + .3 = .7; squared deviations 4 and .388.
    assert found["gap_advantage_correlation/heat"] == pytest.approx(0.7 / (4 * 0.388) ** 0.5, abs=1e-6)


def test_episodes_without_a_teacher_and_groups_without_a_spread_are_left_out() -> None:
    correlation = GapAdvantageCorrelation()
    # Gaps all the same, an episode without a teacher (which leaves a group of one), and no episode with one.
    assert correlation.update(t(1, -1), t(0.2, 0.2), torch.tensor([0, 0]), ["a", "a"]) == {}
    assert correlation.update(t(1, -1), t(0.2, NAN), torch.tensor([0, 0]), ["a", "a"]) == {}
    assert correlation.update(t(1, -1), t(NAN, NAN), torch.tensor([0, 0]), ["a", "a"]) == {}
    three = correlation.update(t(1, -1, 0), t(0.2, 0.1, NAN), torch.tensor([0, 0, 0]), ["a"] * 3)
    assert three == pytest.approx({"gap_advantage_correlation/a": 1.0})


def test_it_continues_from_its_state() -> None:
    first = GapAdvantageCorrelation(decay=0.5)
    first.update(t(1, -1), t(0.3, 0.1), torch.tensor([0, 0]), ["a/b", "a/b"])
    second = GapAdvantageCorrelation(decay=0.5)
    second.set_state(json.loads(json.dumps(first.get_state())))
    step = (t(1, -1), t(0.0, 1.0), torch.tensor([0, 0]), ["a/b", "a/b"])
    assert second.update(*step) == first.update(*step) == pytest.approx({"gap_advantage_correlation/a/b": 0.0})
    for broken in ([1.0], NAN, "much"):
        with pytest.raises(ValueError, match="correlation of a "):
            second.set_state({"a": broken})
    assert second.metrics() == first.metrics()


@pytest.mark.parametrize("decay", [1.0, -0.1, NAN])
def test_a_decay_that_makes_no_average_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="decay must be"):
        GapAdvantageCorrelation(decay=decay)


def test_one_entry_an_episode_is_required() -> None:
    with pytest.raises(ValueError, match="got 2 advantages, 2 gaps, 2 groups and 1 task types"):
        GapAdvantageCorrelation().update(t(1, -1), t(0.2, 0.1), torch.tensor([0, 0]), ["a"])
