"""Declared settings: types and bounds are checked, from Python as from mappings, with the name in the message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

import numpy as np
import pytest

from sdar_gym.settings import Settings, did_you_mean, rule_of, setting, without_effect


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Inner(Settings):
    PREFIX: ClassVar[str] = "outer.inner."
    FROM_MAPPING: ClassVar[bool] = True

    size: int = setting(doc="A size.", low=1)
    share: float = setting(0.5, "A share.", low=0, high=1)


@dataclass(frozen=True, slots=True)
class Outer(Settings):
    PREFIX: ClassVar[str] = "outer."

    count: int = setting(3, "A count.", low=1, high=5)
    free: int = setting(0, "Any whole number.")
    rate: float = setting(0.1, "A rate.", above=0)
    floor: float = setting(-1.0, "A floor.", below=0)
    part: float = setting(0.5, "A part.", low=0, below=1)
    step: float = setting(0.5, "A step.", above=0, high=1)
    limit: float | None = setting(None, "A limit.", low=1)
    on: bool = setting(True, "A switch.")
    name: str = setting("x", "A name.")
    kind: str = setting("a", "A kind.", choices=("a", "b"))
    color: Color = setting(Color.RED, "A color.")
    names: list[str] = setting(doc="Names.", factory=list)
    pair: tuple[float, float] = setting((0.1, 0.2), "A pair.", low=0, below=1)
    weights: dict[str, float] = setting(doc="Weights.", factory=dict, low=0)
    anything: dict[str, Any] = setting(doc="Anything.", factory=dict)
    deep: dict[str, dict[str, Any]] = setting(doc="Groups of anything.", factory=dict)
    inner: Inner | None = setting(None, "A group.")

    def _check(self) -> None:
        if self.count > 4 and not self.on:
            raise ValueError(f"outer.count={self.count} goes with outer.on=true.")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 0}, r"^outer\.count must be a whole number from 1 to 5, got 0\.$"),
        ({"count": 6}, r"^outer\.count must be a whole number from 1 to 5, got 6\.$"),
        ({"count": 2.0}, r"^outer\.count must be a whole number from 1 to 5, got 2\.0\.$"),
        ({"count": True}, r"^outer\.count must be a whole number from 1 to 5, got True\.$"),
        ({"count": None}, r"^outer\.count must be a whole number from 1 to 5, got None\.$"),
        ({"free": 10**10}, r"^outer\.free must be a whole number of at most 1,000,000,000, got 10000000000\.$"),
        ({"rate": 0}, r"^outer\.rate must be a finite number above 0, got 0\.$"),
        ({"rate": "0.1"}, r"^outer\.rate must be a finite number above 0, got '0\.1'\.$"),
        ({"rate": float("nan")}, r"^outer\.rate must be a finite number above 0, got nan\.$"),
        ({"rate": float("inf")}, r"^outer\.rate must be a finite number above 0, got inf\.$"),
        ({"floor": 0.0}, r"^outer\.floor must be a finite number below 0, got 0\.0\.$"),
        ({"part": 1.0}, r"^outer\.part must be a finite number of at least 0 and below 1, got 1\.0\.$"),
        ({"step": 1.5}, r"^outer\.step must be a finite number above 0 and at most 1, got 1\.5\.$"),
        ({"limit": 0.5}, r"^outer\.limit must be a finite number of at least 1, got 0\.5\.$"),
        ({"on": 1}, r"^outer\.on must be true or false, got 1\.$"),
        ({"name": 3}, r"^outer\.name must be a text, got 3\.$"),
        ({"name": ""}, r"^outer\.name must be a text that is not empty, without zero bytes, got ''\.$"),
        ({"kind": "c"}, r"^outer\.kind must be one of a, b, got 'c'\.$"),
        ({"color": "green"}, r"^outer\.color must be one of \['red', 'blue'\], got 'green'\.$"),
        ({"names": [1]}, r"^outer\.names must be a list of texts, got \[1\]\.$"),
        ({"pair": [0.1]}, r"^outer\.pair must be a list of 2 numbers, got \[0\.1\]\.$"),
        ({"pair": (0.1, 0.2, 0.3)}, r"^outer\.pair must be a list of 2 numbers, got \(0\.1, 0\.2, 0\.3\)\.$"),
        ({"pair": 0.1}, r"^outer\.pair must be a list of 2 numbers, got 0\.1\.$"),
        ({"pair": [0.1, 1]}, r"^outer\.pair\.1 must be a finite number of at least 0 and below 1, got 1\.$"),
        ({"weights": {"a": 1, "b": -1}}, r"^outer\.weights\.b must be a finite number of at least 0, got -1\.$"),
        ({"weights": {"a": "x"}}, r"^outer\.weights\.a must be a finite number of at least 0, got 'x'\.$"),
        ({"weights": {1: 1.0}}, r"^outer\.weights must be a group of settings \(key: value\), got \{1: 1\.0\}\.$"),
        ({"anything": [1]}, r"^outer\.anything must be a group of settings \(key: value\), got \[1\]\.$"),
        ({"deep": {"a": 1}}, r"^outer\.deep\.a must be a group of settings \(key: value\), got 1\.$"),
        ({"inner": 3}, r"^outer\.inner is a group of settings, got 3 of type int\.$"),
        ({"inner": {"size": 0}}, r"^outer\.inner\.size must be a whole number from 1 to 1,000,000,000, got 0\.$"),
        ({"inner": {"sise": 1}}, r"^outer\.inner has no setting 'sise'\. Did you mean 'size'\? Known names: \['sh"),
        ({"inner": {}}, r"^outer\.inner\.size must be set\.$"),
        ({"count": 5, "on": False}, r"^outer\.count=5 goes with outer\.on=true\.$"),
    ],
)
def test_what_a_setting_cannot_be_is_refused_with_its_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Outer(**given)


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"count": np.int64(4)}, 4),
        ({"free": -7}, -7),
        ({"rate": 1}, 1.0),
        ({"rate": np.float32(0.5)}, 0.5),
        ({"limit": None}, None),
        ({"on": np.bool_(False)}, False),
        ({"color": "blue"}, Color.BLUE),
        ({"names": "one"}, ["one"]),
        ({"pair": [0, 0.5]}, (0.0, 0.5)),
        ({"weights": {"a": 1}}, {"a": 1.0}),
        ({"deep": {"a": {"b": [1]}}}, {"a": {"b": [1]}}),
        ({"inner": {"size": 2}}, Inner(2, 0.5)),
        ({"inner": Inner(3)}, Inner(3, 0.5)),
    ],
)
def test_what_it_can_be_has_its_type_afterwards(given: dict[str, Any], value: Any) -> None:
    (name,) = given
    found = getattr(Outer(**given), name)
    assert found == value and type(found) is type(value)


def test_a_group_that_is_there_keeps_the_settings_that_are_not_named() -> None:
    base = Inner(2, share=0.25)
    assert Inner.parse("inner", {"size": 4}, base) == Inner(4, share=0.25)
    assert Inner.parse("inner", base) is base
    nested = Outer.parse("outer", {"inner": {"share": 1}}, Outer(inner=base))
    assert nested.inner == Inner(2, share=1.0)
    with pytest.raises(ValueError, match=r"outer\.inner\.size must be set"):
        Outer.parse("outer", {"inner": {"share": 1}}, Outer())


@pytest.mark.parametrize("make", [lambda: Inner(), lambda: Inner.parse("inner", {"share": 0.1})])
def test_a_required_setting_is_missed(make: Callable[[], Any]) -> None:
    with pytest.raises((TypeError, ValueError), match="size"):
        make()


def test_a_declaration_says_what_the_page_prints() -> None:
    rule = rule_of(Outer.__dataclass_fields__["part"])
    assert (rule.doc, rule.low, rule.high, rule.above, rule.below, rule.choices) == ("A part.", 0, None, None, 1, ())

    @dataclass
    class Plain:
        bare: int = field(default=1)

    assert rule_of(Plain.__dataclass_fields__["bare"]).doc == ""


def test_settings_without_effect_and_unknown_names() -> None:
    without_effect("a.b", None, "nothing reads it")
    with pytest.raises(ValueError, match=r"^a\.b=3 has no effect: nothing reads it\. Leave it out\.$"):
        without_effect("a.b", 3, "nothing reads it")
    assert did_you_mean("sise", ["size", "share"]) == " Did you mean 'size'? Known names: ['share', 'size']."
    assert did_you_mean("zzz", ["size"]) == " Known names: ['size']."
