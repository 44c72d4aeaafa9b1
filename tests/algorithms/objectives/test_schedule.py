from __future__ import annotations

import pickle

import pytest

from sdar_gym.algorithms.objectives.schedule import Schedule


def values(schedule: Schedule, steps: int) -> list[float]:
    return [schedule.at(step) for step in range(steps)]


def test_constant():
    assert values(Schedule.constant(0.3), 3) == [0.3, 0.3, 0.3]
    assert Schedule.constant(7).at(10**9) == 7.0


def test_linear_reaches_its_end_and_stays():
    assert values(Schedule.linear(0.5, 0.0, 4), 7) == [0.5, 0.375, 0.25, 0.125, 0.0, 0.0, 0.0]
    assert values(Schedule.linear(1.0, 3.0, 1), 3) == [1.0, 3.0, 3.0]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [2, 2, 2, 2]),
        ({"delay": 1}, [0, 2, 2, 2]),
        ({"delay": 2, "hold": 3}, [0, 0, 2, 2, 2, 0, 0]),
        ({"hold": 1}, [2, 0, 0]),
        ({"warmup": 4}, [0, 0.5, 1, 1.5, 2, 2]),
        ({"delay": 1, "warmup": 2, "hold": 2}, [0, 0, 1, 2, 2, 0, 0]),
    ],
)
def test_phases(settings: dict[str, int], expected: list[float]):
    assert values(Schedule.phases(2.0, **settings), len(expected)) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0.01, Schedule.constant(0.01)),
        (1, Schedule.constant(1.0)),
        ({"kind": "constant", "value": 2}, Schedule.constant(2.0)),
        ({"kind": "linear", "start": 0.5, "end": 0.0, "steps": 100}, Schedule.linear(0.5, 0.0, 100)),
        ({"kind": "phases", "value": 1.0, "delay": 20, "hold": 50}, Schedule.phases(1.0, delay=20, hold=50)),
        (Schedule.linear(0, 1, 2), Schedule.linear(0, 1, 2)),
    ],
)
def test_parse(given, expected: Schedule):
    assert Schedule.parse(given) == expected
    assert pickle.loads(pickle.dumps(expected)) == expected


def test_parse_leaves_the_mapping_alone():
    given = {"kind": "constant", "value": 2}
    Schedule.parse(given)
    assert given == {"kind": "constant", "value": 2}


def test_bounds():
    assert Schedule.linear(0.5, -0.25, 3).minimum == -0.25
    assert Schedule.linear(0.5, -0.25, 3).maximum == 0.5
    assert Schedule.phases(2.0, delay=3, hold=1).maximum == 2.0
    assert Schedule.phases(0.0, delay=3).always_zero
    assert not Schedule.phases(0.1, delay=3).always_zero


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("0.01", "lam must be a number, got '0.01'"),
        ("1e-2", "lam must be a number.*1.0e-2"),
        (True, "lam must be a number"),
        (float("nan"), "lam must be finite"),
        (None, "lam must be a number"),
        (
            {"kind": "linea", "start": 0, "end": 1, "steps": 2},
            "lam: unknown schedule kind 'linea'. Did you mean 'linear'",
        ),
        ({"value": 1.0}, "lam: unknown schedule kind None"),
        ({"kind": "linear", "start": 0, "end": 1, "step": 2}, "lam: 'linear' has no setting 'step'. .*'steps'"),
        ({"kind": "linear", "start": 0, "steps": 2}, r"lam: 'linear' also needs \['end'\]"),
        ({"kind": "linear", "start": 0, "end": 1, "steps": 0}, "lam: steps must be at least 1"),
        ({"kind": "linear", "start": 0, "end": 1, "steps": 2.5}, "lam: steps must be a whole number"),
        ({"kind": "phases", "value": 1, "delay": -1}, "lam: delay must be at least 0"),
        ({"kind": "phases", "value": 1, "hold": 0}, "lam: hold must be at least 1"),
    ],
)
def test_parse_refuses(given, message: str):
    with pytest.raises(ValueError, match=message):
        Schedule.parse(given, name="lam")


def test_points_must_make_sense():
    with pytest.raises(ValueError, match="at least one"):
        Schedule(())
    with pytest.raises(ValueError, match="must increase"):
        Schedule(((3, 1.0), (3, 2.0)))


@pytest.mark.parametrize("step", [-1, 0.5, True])
def test_step_must_be_a_count(step):
    with pytest.raises(ValueError, match="step must be"):
        Schedule.constant(1.0).at(step)
