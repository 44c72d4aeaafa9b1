"""Teacher trust: who earns it, how fast, and that what is unknown or shrunk has little."""

from __future__ import annotations

import json
import math
from random import Random

import pytest

from sdar_gym.rollout.trajectory import Episode, TurnRecord
from sdar_gym.training.teacher_trust import TeacherTrust

TURN = TurnRecord("o", "r", "a", True, True, 0.0, [1], [-0.5], 0)


def episodes(task_type: str, won: int, of: int) -> list[Episode]:
    return [
        Episode(f"0/{number}", 0, "t", task_type, "train", "g", turns=[TURN], won=number < won) for number in range(of)
    ]


def test_it_is_earned_by_helping_and_never_by_harming() -> None:
    helps, harms, neither = TeacherTrust(), TeacherTrust(), TeacherTrust()
    for _ in range(5):
        helps.observe(episodes("heat", 1, 4), episodes("heat", 1, 1))
        harms.observe(episodes("heat", 3, 4), episodes("heat", 0, 1))
        neither.observe(episodes("heat", 2, 4), episodes("heat", 0, 1))
        neither.observe(episodes("heat", 2, 4), episodes("heat", 1, 1))
    assert helps.of(["heat"])["heat"] > 0.95
    assert harms.of(["heat"])["heat"] == 0
    assert neither.of(["heat"])["heat"] < 0.3


def test_nothing_known_is_no_trust() -> None:
    trust = TeacherTrust()
    assert trust.of(["heat"]) == {"heat": 0.0} and trust.metrics() == {}
    trust.observe(episodes("heat", 1, 4), [])
    assert trust.of(["heat"]) == {"heat": 0.0}


def test_one_episode_is_little_evidence() -> None:
    trust = TeacherTrust()
    trust.observe(episodes("heat", 1, 4), episodes("heat", 1, 1))
    assert 0 < trust.of(["heat"])["heat"] < 0.8


def test_the_formula_for_one_type() -> None:
    trust = TeacherTrust()
    trust.observe(episodes("heat", 2, 8), episodes("heat", 3, 4))
    rate, teacher = 2.5 / 9, 3.5 / 5
    z = (teacher - rate) / math.sqrt(rate * (1 - rate) / 9 + teacher * (1 - teacher) / 5)
    expected = 2 * (0.5 * (1 + math.erf(z / math.sqrt(2)))) - 1
    assert trust.of(["heat"])["heat"] == pytest.approx(expected)


def test_a_type_with_few_episodes_follows_the_others_and_a_known_one_itself() -> None:
    trust = TeacherTrust()
    for _ in range(10):
        for name in ("heat", "cool", "clean"):
            trust.observe(episodes(name, 1, 4), episodes(name, 1, 1))
        trust.observe(episodes("look", 3, 4), episodes("look", 0, 1))
    found = trust.of(["heat", "look", "never seen"])
    assert found["heat"] > 0.9 and found["look"] == 0
    assert 0 < found["never seen"] < found["heat"]


def test_the_teacher_retires_when_the_student_has_caught_up() -> None:
    trust, random = TeacherTrust(), Random(0)
    for _ in range(10):
        trust.observe(episodes("heat", 1, 4), episodes("heat", 1, 1))
    before = trust.of(["heat"])["heat"]
    for _ in range(40):
        trust.observe(
            episodes("heat", 4 if random.random() < 0.9 else 3, 4), episodes("heat", random.random() < 0.95, 1)
        )
    assert before > 0.95 and trust.of(["heat"])["heat"] < 0.5


def test_failed_and_empty_episodes_say_nothing() -> None:
    trust = TeacherTrust()
    (broken,) = episodes("heat", 0, 1)
    broken.error = "Task t: it broke"
    trust.observe([*episodes("heat", 1, 4), broken], [Episode("0/0", 0, "t", "heat", "train", "g"), broken])
    assert trust.of(["heat"]) == {"heat": 0.0}


def test_the_state_is_plain_and_exact() -> None:
    trust, other = TeacherTrust(), TeacherTrust()
    trust.observe(episodes("heat", 1, 4), episodes("heat", 1, 1))
    trust.observe(episodes("cool", 1, 3), episodes("cool", 1, 2))
    other.set_state(json.loads(json.dumps(trust.get_state())))
    assert other.metrics() == trust.metrics()
    with pytest.raises(ValueError, match="count of heat"):
        other.set_state({"heat": [float("nan")] * 4})
