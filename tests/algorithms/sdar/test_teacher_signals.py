"""What the teacher's weight depends on, in real updates: token filter, contrast, retirement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tiny_runs import (  # pyright: ignore[reportMissingImports]
    ENV,
    ENV_CONFIG,
    learner_metrics,
    moments_of,
    remote,
    small_config,
    weights_of,
)

from sdar_gym.algorithms.sdar import SDAR, SDARConfig
from sdar_gym.skills import load_library
from sdar_gym.skills.controls import control_library
from sdar_gym.training.token_classes import ACTION, token_classes

ALL_TYPES = set(load_library("alfworld").task_types)
Build = Callable[[SDARConfig], SDAR]
# Each builds a run; losses, collation and settings are tested quickly elsewhere.
pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("ray_instance")]


def config(method: str = "sdar", *, changes: dict[str, Any] | None = None, **distill: Any) -> SDARConfig:
    objective = {"kl_coeff": 0.0, "entropy_coeff": 0.0, "distill": {"coeff": 1.0, **distill}} | (changes or {})
    return small_config(method, objective=objective).policy(dtype="float64")


def test_the_share_of_tokens_that_is_distilled_is_that_of_actions(build: Build) -> None:
    algorithm = build(config(tokens="action"))
    found = learner_metrics(algorithm.train())
    turns = [turn for episode in algorithm.last_episodes for turn in episode.turns]
    kinds = [kind for turn in turns for kind in token_classes(algorithm.tokenizer, turn.response_ids, turn.action)]
    assert 0 < kinds.count(ACTION) < len(kinds)
    assert found["distill_fraction"] == pytest.approx(kinds.count(ACTION) / len(kinds))
    assert any(abs(moment).max() > 0 for moment in moments_of(algorithm))


@pytest.mark.parametrize("context", ["window", "conversation"])
def test_the_control_reads_another_text_in_the_place_of_the_skill(build: Build, context: str) -> None:
    settings = {"context": context}
    if context == "conversation":
        settings |= {"show_actions": "never"}
    algorithm = build(config(contrast="wrong").rollout(**settings))
    found = learner_metrics(algorithm.train())
    library = load_library("alfworld")
    wrong = control_library(library, "wrong")
    for episode in algorithm.last_episodes:
        (skill,) = episode.skills
        for sequence in episode.sequences:
            assert sequence.teacher_ids is not None and sequence.control_ids is not None
            student, teacher, control = (
                algorithm.tokenizer.decode(ids) for ids in (sequence.ids, sequence.teacher_ids, sequence.control_ids)
            )
            assert " ".join(library.get(skill).text.split()) in " ".join(teacher.split())
            assert " ".join(wrong.get(skill).text.split()) in " ".join(control.split())
            assert student.split()[-1] == teacher.split()[-1] == control.split()[-1]
    assert found["distill_fraction"] == pytest.approx(1)


@pytest.mark.parametrize("method", ["sdar", "frozen_ce"])
def test_a_text_without_content_teaches_nothing_when_it_is_contrasted(build: Build, method: str) -> None:
    """Every type has the same placeholder, so that the control is the skill: what is left has expectation zero."""
    left = {}
    for contrast in ("none", "wrong"):
        made = config(method, contrast=contrast, changes={"policy_coeff": 0.0}).skills(library="empty")
        algorithm = build(made)
        found = learner_metrics(algorithm.train())
        left[contrast] = found["gap_mean"] if method == "sdar" else np.abs(moments_of(algorithm)[0]).max()
    assert left["none"] != 0 and left["wrong"] == 0


def test_retired_types_are_part_of_the_state_and_equal_with_two_learners(build: Build) -> None:
    def retiring() -> SDARConfig:
        # Every gap is below this, so that the one type retires after five updates, two before the end.
        made = config(retire_gap=9.0)
        return made.environment(ENV, env_config={**ENV_CONFIG, "task_types": ["pick_heat_then_place_in_recep"]})

    straight = build(retiring())
    resumed = build(retiring())
    pair = build(remote(retiring(), learners=2))
    for _ in range(3):
        straight.train()
        pair.train()
    resumed.set_state(straight.get_state())
    assert resumed._retirement.get_state() == straight._retirement.get_state()
    expected: dict[str, Any] = {}
    for _ in range(4):
        expected = straight.train()
        assert resumed.train()["teacher"]["retired_types"] == expected["teacher"]["retired_types"]
        pair.train()
    # RLlib keeps AdamW's moments in single precision, and the weights here are in double precision.
    resumed_weights = weights_of(resumed)
    for name, weight in weights_of(straight).items():
        assert weight.numpy() == pytest.approx(resumed_weights[name].numpy(), abs=1e-7), name
    assert learner_metrics(expected)["distill_fraction"] == 0
    one, two = straight._retirement.get_state(), pair._retirement.get_state()
    assert one["retired"] == two["retired"] and one["retired"]
    for name, values in one["sums"].items():
        assert two["sums"][name] == pytest.approx(values, rel=1e-6)


def test_settled_types_play_no_more_trust_episodes(build: Build) -> None:
    algorithm = build(config(trust_episodes=2, trust_confidence=0.9))
    assert algorithm.train()["teacher"]["trust_episodes"] == 4
    trust = algorithm._trust_episodes.trust
    types = {episode.task_type for episode in algorithm.last_episodes}
    trust.set_state({name: [*[1.0] * 4, 0.0] for name in ALL_TYPES})
    assert types <= ALL_TYPES
    found = algorithm.train()
    assert found["teacher"]["trust_episodes"] == 0
    assert {value for name, value in found["teacher"].items() if name.startswith("trust/")} == {0.0}


@pytest.mark.parametrize(
    ("method", "objective"),
    [
        ("sdpo", {"teacher": {"view": "skills"}}),
        ("distil", {"teacher": {"view": "skills"}}),
        # The teacher is the initial policy, without skills.
        ("frozen_ce", {"teacher": {"view": "none"}}),
        # What SDAR's term does where its teacher is ignored: every sampled token is pushed alike.
        ("sdar", {"distill": {"gate": "constant"}}),
    ],
)
def test_control_arms_are_settings(build: Build, method: str, objective: dict[str, Any]) -> None:
    algorithm = build(small_config(method, objective=objective))
    found = learner_metrics(algorithm.train())
    assert found["distill_fraction"] == pytest.approx(1) and found["weight"] == pytest.approx(1)
    assert any(np.abs(moment).max() > 0 for moment in moments_of(algorithm))
    if objective.get("teacher") == {"view": "none"}:
        assert found["agreement"] == pytest.approx(1)
    if method == "sdar":
        assert found["gate_mean"] == pytest.approx(0.5)
