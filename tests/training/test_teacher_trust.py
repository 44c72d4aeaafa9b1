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


def test_a_teacher_that_helps_is_settled_after_few_episodes_and_stays_trusted() -> None:
    trust = TeacherTrust(0.95)
    assert trust.of(["heat"]) == {"heat": 0.0} and not trust.settled
    for number in range(4):
        trust.observe(episodes("heat", 1, 4), episodes("heat", 1, 1))
        # Two episodes settle nothing, however clear they are.
        assert number > 1 or not trust.settled
    assert trust.settled == {"heat"} and trust.of(["heat"]) == {"heat": 1.0}
    for _ in range(40):
        trust.observe(episodes("heat", 4, 4), [])
    assert trust.of(["heat"]) == {"heat": 1.0}


def test_a_teacher_that_harms_is_settled_too_and_never_weighs_anything() -> None:
    trust = TeacherTrust(0.95)
    for _ in range(8):
        trust.observe(episodes("heat", 3, 4), episodes("heat", 0, 1))
        assert trust.of(["heat"]) == {"heat": 0.0}
    assert trust.settled == {"heat"}


def test_a_confidence_makes_trust_all_or_nothing() -> None:
    sure, unsure = TeacherTrust(), TeacherTrust(0.99)
    for each in (sure, unsure):
        each.observe(episodes("heat", 4, 8), episodes("heat", 3, 4))
    assert 0.2 < sure.of(["heat"])["heat"] < 0.9
    assert unsure.of(["heat"]) == {"heat": 0.0} and not unsure.settled


def test_a_verdict_is_not_borrowed_from_other_types() -> None:
    trust = TeacherTrust(0.95)
    for _ in range(6):
        for name in ("heat", "cool", "clean"):
            trust.observe(episodes(name, 1, 4), episodes(name, 1, 1))
    trust.observe(episodes("look", 1, 4), episodes("look", 1, 1))
    # Trusted for the others' sake, but still tested.
    assert trust.of(["look"]) == {"look": 1.0} and "look" not in trust.settled


def wrong_or_right(helps: float, seed: int, confidence: float = 0.95) -> tuple[float, int]:
    """Thirty updates of four tasks of six types; the student wins 42 % of its episodes, with skills it differs.

    Returns:
        The mean weight, and the number of episodes with skills.
    """
    trust, random, weights, tests = TeacherTrust(confidence), Random(seed), [], 0
    for _ in range(30):
        names = [f"type {random.randrange(6)}" for _ in range(4)]
        for name in names:
            student = episodes(name, sum(random.random() < 0.42 for _ in range(4)), 4)
            tested = [] if name in trust.settled else episodes(name, int(random.random() < 0.42 + helps), 1)
            tests += len(tested)
            trust.observe(student, tested)
        weights += trust.of(names).values()
    return sum(weights) / len(weights), tests


def test_right_skills_weigh_nearly_in_full_at_a_fraction_of_the_episodes_and_wrong_ones_hardly() -> None:
    right = [wrong_or_right(0.55, seed) for seed in range(20)]
    wrong = [wrong_or_right(-0.13, seed) for seed in range(20)]
    assert sum(weight for weight, _ in right) / 20 > 0.9
    assert sum(tests for _, tests in right) / 20 < 0.4 * 120
    assert sum(weight for weight, _ in wrong) / 20 < 0.1


def test_verdicts_are_part_of_the_state() -> None:
    trust, other = TeacherTrust(0.95), TeacherTrust(0.95)
    for _ in range(6):
        trust.observe(episodes("heat", 1, 4), episodes("heat", 1, 1))
        trust.observe(episodes("cool", 4, 4), episodes("cool", 0, 1))
    trust.observe(episodes("look", 1, 4), episodes("look", 1, 1))
    other.set_state(json.loads(json.dumps(trust.get_state())))
    assert other.settled == trust.settled == {"heat", "cool"}
    names = ["heat", "cool", "look"]
    assert other.of(names) == trust.of(names) and other.get_state() == trust.get_state()
