"""Comparison of results: standard output as LiveCodeBench compares it, returned values as JSON, hostile values."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from sdar_gym.envs.code.checking import stdout_equal, values_equal


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        ("3\n", "3"),
        ("\n 3 \n\n", "3"),
        ("a  \n  b\n", "a\nb"),
        ("1.50 2\n", "1.5 2.0"),
        ("1e2", "100"),
        ("-.5", "-0.50"),
        ("+7", "7"),
        ("1   2", "1 2"),
        ("", "\n"),
        ("YES", "YES"),
        ("nan", "nan"),
        ("0", "-0"),
        ("1\r\n2\r\n", "1\n2"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_outputs_that_are_equal(got: str, expected: str) -> None:
    assert stdout_equal(got, expected)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        ("3", "4"),
        ("", "0"),
        ("3\n3", "3"),
        ("1\n\n2", "1\n2"),
        ("yes", "YES"),
        ("a  b", "a b"),
        ("1 x", "1.0 x"),
        ("1_0", "10"),
        ("١", "1"),
        ("0x10", "16"),
        ("1.0000001", "1"),
        ("NaN", "nan"),
        ("inf", "infinity"),
        ("1 2", "12"),
        ("1,000", "1000"),
        ("9" * 5000 + ".0", "9" * 5000),
    ],
)
def test_outputs_that_differ(got: str, expected: str) -> None:
    assert not stdout_equal(got, expected)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (3, 3),
        (3.0, 3),
        (3, 3.0),
        ((1, [2, (3,)]), [1, [2, [3]]]),
        (0.1 + 0.2, 0.3),
        (1e12 + 1, 1e12),
        ({"a": [1], "b": None}, {"b": None, "a": [1]}),
        (True, True),
        ("", ""),
        ([], []),
        (10**400, 10**400),
        (math.inf, math.inf),
    ],
)
def test_values_that_are_equal(got: Any, expected: Any) -> None:
    assert values_equal(got, expected)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (True, 1),
        (1, True),
        (False, 0),
        ([True], [1]),
        (1.0, True),
        ("3", 3),
        (3, "3"),
        (None, 0),
        (None, False),
        (0, None),
        ([], None),
        ([], {}),
        ({}, []),
        ("", []),
        ("ab", ["a", "b"]),
        ([1, 2], [2, 1]),
        ([1], [1, 2]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1, "b": 2}, {"a": 1}),
        (math.nan, math.nan),
        (math.nan, 1.0),
        (0.30001, 0.3),
        (3.0000001, 3),
        (10**400, 1.5),
        (-math.inf, math.inf),
        (1e300, math.inf),
    ],
)
def test_values_that_differ(got: Any, expected: Any) -> None:
    assert not values_equal(got, expected)


def test_hostile_values_are_compared_in_the_time_of_the_expected_one() -> None:
    deep: Any = []
    for _ in range(200_000):
        deep = [deep]
    twin: Any = []
    for _ in range(200_000):
        twin = [twin]
    huge = "1" * 10_000_000
    begun = time.process_time()
    assert values_equal(deep, twin)
    assert not values_equal(deep, [1])
    assert not values_equal([[1]], deep)
    assert not values_equal([0] * 3_000_000, [0])
    assert not values_equal(huge, [huge])
    assert not stdout_equal(huge + ".0", huge)
    assert not stdout_equal("1e9999 " * 10, "1e9998 " * 10)
    assert not stdout_equal("\n" * 3_000_000 + "1", "2")
    # A conversion of the long number alone takes minutes.
    assert time.process_time() - begun < 20
    while deep:
        deep = deep[0]
    while twin:
        twin = twin[0]
