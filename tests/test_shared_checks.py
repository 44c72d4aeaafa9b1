"""Checks of arguments, paths and foreign text that all rooms share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from sdar_gym.paths import PathError, local_path, without_password
from sdar_gym.text import shortened, terminal_safe, well_formed
from sdar_gym.validation import finite_number, flag, one_of, text_list, whole_number


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers_of_any_kind_are_taken(value: object) -> None:
    result = whole_number("steps", value, 1)
    assert result == 3 and type(result) is int


@pytest.mark.parametrize(
    "value", [True, 2.0, float("nan"), "3", None, [3], np.float64(3), 0, -1, pytest.param(10**5000, id="huge")]
)
def test_what_is_no_whole_number_in_range_is_named(value: object) -> None:
    with pytest.raises(ValueError, match=r"^steps must be a whole number from 1 to 9, got ") as caught:
        whole_number("steps", value, 1, 9)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("value", [True, float("nan"), float("inf"), "1", None, -1, pytest.param(10**400, id="huge")])
def test_what_is_no_finite_number_in_range_is_named(value: object) -> None:
    with pytest.raises(ValueError, match=r"^lr must be a finite number above 0, got "):
        finite_number("lr", value, above=0)


def test_flags_choices_and_lists() -> None:
    assert flag("think", np.True_) is True
    assert one_of("mode", "a", ("a", "b")) == "a"
    assert text_list("types", "one") == ("one",) and text_list("types", ["a", "b"]) == ("a", "b")
    for check in (lambda: flag("x", 1), lambda: one_of("x", [], ("a",)), lambda: text_list("x", [1])):
        with pytest.raises(ValueError, match=r"^x must be"):
            check()


def test_values_that_would_fill_the_memory_are_quoted_short() -> None:
    bomb: list[object] = ["x"]
    for _ in range(40):
        bomb = [bomb] * 10
    assert len(shortened(bomb)) <= 120
    assert "\x1b" not in shortened({"\x1b]0;t\x07": 1})


def test_control_characters_are_shown_and_never_sent() -> None:
    assert terminal_safe("a\x1b[2J\x9b1m\u202eb\tc\nd\r") == "a\\x1b[2J\\x9b1m\\u202eb\tc\nd\\x0d"


def test_lone_surrogates_are_replaced_and_pairs_joined() -> None:
    assert well_formed("a\ud83d b") == "a\ufffd b"
    assert well_formed("\ud83d\ude00") == "😀"
    assert well_formed("größe 😀") == "größe 😀"


def test_relative_paths_become_absolute_where_they_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert local_path("data", "shop") == tmp_path / "shop"
    assert local_path("data", "file:///tmp/a%20b") == Path("/tmp/a b")
    assert local_path("data", "~") == Path(os.path.expanduser("~"))


@pytest.mark.parametrize("value", ["s3://bucket/x", "gs://b", "", "a\x00b", "x" * 5000, "~nosuchuser/x", None, 3])
def test_what_cannot_be_a_path_is_named(value: object) -> None:
    with pytest.raises(PathError, match=r"^runs_dir"):
        local_path("runs_dir", value)  # type: ignore[arg-type]


def test_passwords_are_cut_from_addresses() -> None:
    assert without_password("http://user:p@ss@host:80/a?token=1") == "http://host:80/a?…"
    assert without_password("http://user:secret@host?k=v") == "http://host"
    assert without_password("/plain/path") == "/plain/path"
    assert without_password("http://user:p/ss@host/a@2") == "http://2"  # Too much is better than the password.
    assert without_password("http://user:p#s?s@host/a#token") == "http://host/a"
    assert without_password("http://[::1]:80/a@2") == "http://[::1]:80/a@2"
    assert without_password("http://host/a@2?id=1#x", keep_query=True) == "http://host/a@2?id=1"


def test_addresses_that_became_paths_are_still_addresses() -> None:
    for value in (Path("s3://bucket/x"), Path("https://host/x"), "file://[x"):
        with pytest.raises(PathError, match=r"^output"):
            local_path("output", value)
    assert local_path("output", Path("file:///tmp/x")) == Path("/tmp/x")
    assert local_path("output", Path("/a/b:/c")) == Path("/a/b:/c")
