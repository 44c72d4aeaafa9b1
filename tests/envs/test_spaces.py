from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

from sdar_gym.envs import FreeText


@pytest.mark.parametrize(
    "text", ["", "go to fridge 1", "two\nlines\tand a tab", "中文 ß 🧪", "\x00\u2028", "x" * 10_000]
)
def test_every_text_is_in_the_space(text: str) -> None:
    assert text in FreeText()
    assert FreeText().contains(text)


@pytest.mark.parametrize("thing", [b"bytes", 1, None, ["go"], np.array("go")])
def test_nothing_but_text_is(thing: object) -> None:
    assert not FreeText().contains(thing)


def test_samples_follow_from_the_seed_and_keep_to_the_length() -> None:
    space, same, other = FreeText(5, seed=3), FreeText(5), FreeText(5, seed=4)
    same.seed(3)
    drawn = [space.sample() for _ in range(300)]
    assert drawn == [same.sample() for _ in range(300)]
    assert drawn != [other.sample() for _ in range(300)]
    assert {len(text) for text in drawn} == set(range(6))
    assert all(text in space for text in drawn)


def test_samples_hold_line_breaks_and_letters_beyond_ascii() -> None:
    space = FreeText(seed=0)
    letters = set("".join(space.sample() for _ in range(300)))
    assert "\n" in letters
    assert any(not letter.isascii() for letter in letters)


def test_json_there_and_back() -> None:
    space = FreeText(seed=1)
    texts = [space.sample() for _ in range(20)]
    assert space.from_jsonable(json.loads(json.dumps(space.to_jsonable(texts)))) == texts


def test_copies_draw_the_same_and_compare_equal() -> None:
    space = FreeText(7, seed=1)
    for twin in (copy.deepcopy(space), pickle.loads(pickle.dumps(space))):
        assert twin == space
        assert hash(twin) == hash(space)
    twin = copy.deepcopy(space)
    assert [twin.sample() for _ in range(5)] == [space.sample() for _ in range(5)]
    assert FreeText(8) != space
    assert not space.is_np_flattenable


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="sample_length must be a whole number of at least 1"):
        FreeText(0)
    with pytest.raises(ValueError, match="not support mask"):
        FreeText().sample(mask=np.ones(3))
    with pytest.raises(ValueError, match="and probability"):
        FreeText().sample(probability=np.ones(3))
