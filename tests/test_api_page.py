"""docs/api.md is true: what it lists can be imported, and `__all__` of the two main packages lists the same."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

import sdar_gym
from sdar_gym.extras import missing_modules

PAGE = Path(sdar_gym.__file__).parents[1] / "docs" / "api.md"


def listed() -> list[tuple[str, str, str]]:
    """Level, module and name of every row of the page's tables."""
    rows, level, module = [], "", ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            level = line[3:].lower()
        elif found := re.fullmatch(r"### `(.+)`", line):
            module = found[1]
        elif found := re.match(r"\| `(\w+)` \| ", line):
            rows.append((level, module, found[1]))
    return rows


def test_every_listed_name_can_be_imported() -> None:
    if missing_modules("train"):
        pytest.skip("SDARConfig needs the extra 'train'")
    rows = listed()
    assert {level for level, *_ in rows} == {"stable", "provisional"}
    assert not [(module, name) for _, module, name in rows if not hasattr(import_module(module), name)]


@pytest.mark.parametrize("module", ["sdar_gym", "sdar_gym.envs"])
def test_the_packages_export_what_the_page_lists(module: str) -> None:
    assert sorted(name for _, home, name in listed() if home == module) == sorted(import_module(module).__all__)


def test_no_name_is_listed_twice_in_a_module() -> None:
    rows = [(module, name) for _, module, name in listed()]
    assert len(rows) == len(set(rows)) > 50
