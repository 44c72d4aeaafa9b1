"""Tensor names end in letters of their dimensions, and the letters are those of one list."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import sdar_gym

PACKAGE = Path(sdar_gym.__file__).parent
FOLDERS = ("algorithms", "training", "policy", "rollout")
# A name with small letters, then `_` and the dimensions; names in capitals are constants.
SUFFIX = re.compile(r"_*[a-z][a-z0-9_]*_(?=[A-Z0-9]*[A-Z])([A-Z0-9]+)")


def known_letters() -> set[str]:
    """The letters of the list in the docstring of `sdar_gym.algorithms`."""
    source = (PACKAGE / "algorithms" / "__init__.py").read_text(encoding="utf-8")
    text = " ".join((ast.get_docstring(ast.parse(source)) or "").split())
    entries = text.split("Tensor letters in names: ")[1].split(". ")[0].split(", ")
    assert all(re.match(r"[A-Z] [a-z]", entry) for entry in entries)
    return {entry[0] for entry in entries}


def names_of(file: Path) -> set[str]:
    """All names of variables, attributes, arguments and functions in a file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.arg | ast.keyword) and node.arg is not None:
            names.add(node.arg)
        elif isinstance(node, ast.FunctionDef):
            names.add(node.name)
    return names


def suffixes() -> dict[str, set[str]]:
    """The dimensions of all tensor names, with the names and their files."""
    found: dict[str, set[str]] = defaultdict(set)
    for folder in FOLDERS:
        for file in sorted((PACKAGE / folder).rglob("*.py")):
            for name in names_of(file):
                if match := SUFFIX.fullmatch(name):
                    found[match[1]].add(f"{name} in {file.relative_to(PACKAGE)}")
    return found


def test_every_suffix_is_made_of_letters_of_the_list() -> None:
    known = known_letters()
    assert {"B", "T", "V"} <= known
    foreign = {
        suffix: sorted(names)
        for suffix, names in suffixes().items()
        if not all(letter in known or letter.isdigit() for letter in suffix)
    }
    assert not foreign, "letters that are not in the list of sdar_gym/algorithms/__init__.py"


def test_every_letter_of_the_list_is_used() -> None:
    found = suffixes()
    assert {"BT", "B2", "NV", "RTK"} <= set(found)  # the scan sees something
    assert known_letters() <= set("".join(found))


def test_what_counts_as_a_tensor_name() -> None:
    dimensions = {name: match[1] for name in ("logp_BT", "_ids_BTK", "pair_B2") if (match := SUFFIX.fullmatch(name))}
    assert dimensions == {"logp_BT": "BT", "_ids_BTK": "BTK", "pair_B2": "B2"}
    assert not any(SUFFIX.fullmatch(name) for name in ("INPUT_IDS", "_WINDOW", "sha_256", "BoxSpace", "row_of", "_"))
