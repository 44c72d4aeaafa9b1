"""Serialization of nested state: lossless in values and types."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from sdar_gym.runs.state_tree import StateTreeError, flatten_state, unflatten_state


def through(state: Any) -> Any:
    content, tensors = flatten_state(state)
    return unflatten_state(json.loads(json.dumps(content, allow_nan=False)), tensors)


def test_plain_values_keep_value_and_type() -> None:
    state = {
        "floats": [0.1, 1 / 3, -0.0, 5e-324, 1.7976931348623157e308, 2.0],
        "odd": [math.inf, -math.inf],
        "ints": [0, -1, 2**70],
        "others": [None, True, False, "", "a\x00b", "ü", "$tensor"],
        "tuple": (1, (2, [3])),
        "empty": [{}, [], ()],
    }
    back = through(state)
    assert back == state
    assert [type(value) for value in back["floats"]] == [float] * 6
    assert math.copysign(1.0, back["floats"][2]) == -1.0
    assert type(back["others"][1]) is bool
    assert math.isnan(through({"x": math.nan})["x"])


def test_numpy_keeps_its_types() -> None:
    state = {
        "a": np.float32(0.1),
        "b": np.float64(1 / 3),
        "c": np.int64(7),
        "d": np.bool_(True),
        "e": np.float32(np.inf),
    }
    back = through(state)
    assert [type(back[key]) for key in state] == [type(value) for value in state.values()]
    assert back == state
    arrays = {"x": np.arange(6, dtype=np.int32).reshape(2, 3)[:, ::-1], "zero": np.array(3.5), "none": np.zeros((0, 2))}
    for key, array in through(arrays).items():
        assert array.dtype == arrays[key].dtype
        np.testing.assert_array_equal(array, arrays[key])


def test_keys_that_are_no_texts_and_keys_like_ours_come_back() -> None:
    state = {0: "a", 1: {"$tensor": "b", "$": 1}, (1, 2): None}
    assert through(state) == state


def test_tied_tensors_are_stored_once_and_views_are_not_mistaken_for_each_other() -> None:
    weight = torch.randn(4, 3)
    state = {
        "a": weight,
        "b": weight,
        "c": weight.t(),
        "d": weight[0],
        "bf": weight.bfloat16(),
        "empty": torch.zeros(0),
    }
    content, tensors = flatten_state(state)
    assert content["a"] == content["b"]
    assert sorted(tensors) == ["/a", "/bf", "/c", "/d", "/empty"]
    back = unflatten_state(content, tensors)
    assert back["a"] is back["b"]
    for key, tensor in state.items():
        assert back[key].dtype == tensor.dtype
        assert torch.equal(back[key], tensor)


def test_paths_that_would_be_the_same_are_told_apart() -> None:
    state = {"a/b": torch.ones(1), "a": {"b": torch.zeros(1)}}
    back = through(state)
    assert back["a/b"].item() == 1.0
    assert back["a"]["b"].item() == 0.0


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", 1j, print])
def test_what_is_no_data_is_not_stored(value: object) -> None:
    with pytest.raises(TypeError, match=r"cannot hold /x/0"):
        flatten_state({"x": [value]})


@pytest.mark.parametrize(
    "content",
    [
        {"$tensor": "missing"},
        {"$tensor": ["a"]},
        {"$float": "1.0"},
        {"$float": 3},
        {"$tuple": 3},
        {"$items": [[1]]},
        {"$items": [[[1], 2]]},
        {"$scalar": ["object", 1]},
        {"$scalar": ["float64", "x"]},
        {"$scalar": 5},
        {"$other": 1},
        {"$tuple": [], "more": 1},
        {"name": 1, "$tuple": []},
    ],
)
def test_what_is_no_state_is_refused(content: Any) -> None:
    with pytest.raises(StateTreeError):
        unflatten_state(content, {})
