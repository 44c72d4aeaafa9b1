"""docs/glossary.md: terms in alphabetical order, each with one definition and a package that exists."""

from __future__ import annotations

import re
from pathlib import Path

import sdar_gym

ROOT = Path(sdar_gym.__file__).parents[1]


def test_terms_are_in_order_and_their_packages_exist() -> None:
    lines = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("| **")]
    terms = [re.findall(r"\*\*(.+?)\*\*", cells[0])[0] for cells in rows]
    assert len(terms) == len(set(terms)) > 40
    assert terms == sorted(terms, key=str.lower)
    for term, cells in zip(terms, rows, strict=True):
        assert len(cells) == 3, term
        assert cells[1].strip().endswith("."), term
        packages = re.findall(r"`(.+?)`", cells[2])
        assert packages, term
        assert all((ROOT / package / "__init__.py").is_file() for package in packages), term
