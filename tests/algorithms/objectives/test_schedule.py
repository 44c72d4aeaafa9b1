"""Schedules: their values step by step, and what a configuration may write."""

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
        ({"delay": 1, "hold": 1}, [0, 2, 0, 0]),
    ],
)
def test_window(settings: dict[str, int], expected: list[float]):
    assert values(Schedule.window(2.0, **settings), len(expected)) == expected


def test_points_are_joined_by_lines_and_constant_outside():
    assert values(Schedule(((2, 1.0), (4, 3.0), (5, 0.0))), 8) == [1, 1, 1, 2, 3, 0, 0, 0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0.01, Schedule.constant(0.01)),
        (1, Schedule.constant(1.0)),
        ([[0, 2]], Schedule.constant(2.0)),
        ([[0, 0.5], [100, 0.0]], Schedule.linear(0.5, 0.0, 100)),
        (((0, 0.5), (100, 0.0)), Schedule.linear(0.5, 0.0, 100)),
        ([[19, 0], [20, 1.0], [69, 1.0], [70, 0]], Schedule.window(1.0, delay=20, hold=50)),
        (Schedule.linear(0, 1, 2), Schedule.linear(0, 1, 2)),
    ],
)
def test_parse(given, expected: Schedule):
    assert Schedule.parse("lam", given) == expected
    assert pickle.loads(pickle.dumps(expected)) == expected


@pytest.mark.parametrize(
    ("schedule", "written"),
    [
        (Schedule.constant(0.25), 0.25),
        (Schedule.linear(0.5, 0.0, 100), [[0, 0.5], [100, 0.0]]),
        (Schedule.window(1.0, delay=20, hold=50), [[19, 0.0], [20, 1.0], [69, 1.0], [70, 0.0]]),
        (Schedule.window(0.3, delay=5), [[4, 0.0], [5, 0.3]]),
        (Schedule.window(2.0, delay=5, hold=1), [[4, 0.0], [5, 2.0], [6, 0.0]]),
        (Schedule(((0, 1.0), (3, 0.5), (9, 0.7))), [[0, 1.0], [3, 0.5], [9, 0.7]]),
        (Schedule(((3, 1.0),)), [[3, 1.0]]),
    ],
)
def test_what_is_written_is_read_as_the_same_schedule(schedule: Schedule, written):
    assert schedule.plain() == written
    assert Schedule.parse("lam", schedule.plain()) == schedule


def test_bounds():
    assert Schedule.linear(0.5, -0.25, 3).minimum == -0.25
    assert Schedule.linear(0.5, -0.25, 3).maximum == 0.5
    assert Schedule.window(2.0, delay=3, hold=1).maximum == 2.0
    assert Schedule.window(0.0, delay=3).always_zero
    assert not Schedule.window(0.1, delay=3).always_zero


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("0.01", "lam must be a finite number, got '0.01'"),
        ("1e-2", "lam must be a finite number, got '1e-2'"),
        (True, "lam must be a finite number"),
        (float("nan"), "lam must be a finite number"),
        (None, "lam must be a finite number"),
        ({"kind": "linear", "start": 0, "end": 1}, r"lam must be a number or points .*got \{'end': 1, 'kind'"),
        ([], r"lam must be a number or points such as \[\[0, 0\.5\], \[100, 0\]\]"),
        ([0.5, 0.0], "lam must be a number or points"),
        ([[0, 0.5, 1]], "lam must be a number or points"),
        ([[0, "0.5"]], "lam: a value must be a finite number, got '0.5'"),
        ([[0.5, 1.0]], "lam: a schedule's step must be a whole number of at least 0, got 0.5"),
        ([[-1, 1.0]], "lam: a schedule's step must be a whole number of at least 0, got -1"),
        ([[3, 1.0], [3, 0.0]], r"lam: The steps of a schedule must increase, got \[3, 3\]"),
    ],
)
def test_parse_refuses(given, message: str):
    with pytest.raises(ValueError, match=message):
        Schedule.parse("lam", given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Schedule(()), "at least one"),
        (lambda: Schedule(((3, 1.0), (3, 2.0))), "must increase"),
        (lambda: Schedule.linear(0, 1, 0), "steps must be a whole number of at least 1"),
        (lambda: Schedule.linear(0, 1, 2.5), "steps must be a whole number"),  # type: ignore[arg-type]
        (lambda: Schedule.linear(10**5000, 0, 2), "start must be a finite number"),
        (lambda: Schedule.window(1, delay=-1), "delay must be a whole number of at least 0"),
        (lambda: Schedule.window(1, hold=0), "hold must be a whole number of at least 1"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(make, message: str):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("step", [-1, 0.5, True])
def test_step_must_be_a_count(step):
    with pytest.raises(ValueError, match="step must be"):
        Schedule.constant(1.0).at(step)
