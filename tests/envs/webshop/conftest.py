"""A small catalog with known products, and its data files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sdar_gym.envs.webshop import sources
from sdar_gym.envs.webshop.catalog import Catalog
from sdar_gym.envs.webshop.products import HumanInstruction, Product


def product(asin: str = "B000000001", **changes: Any) -> Product:
    fields: dict[str, Any] = {
        "asin": asin,
        "title": "Acme Canvas Sneakers",
        "description": "Light shoes.",
        "bullets": ("Rubber sole", "For every day"),
        "category": "fashion",
        "query": "men's sneakers",
        "path": "Clothing › Men › Shoes › Sneakers",
        "prices": (25.0,),
        "price_tag": "$25.0",
        "rating": "N.A.",
        "options": {"size": ("8", "9"), "color": ("light blue", "red")},
        "attributes": ("rubber sole", "memory foam"),
        "instruction": "Find me memory foam men's sneakers with rubber sole",
        "instruction_attributes": ("memory foam", "rubber sole"),
        "human": (HumanInstruction("i want shoes for my dog.", ("rubber sole",), ("red",)),),
    }
    return Product(**{**fields, **changes})


@pytest.fixture
def make_product() -> Callable[..., Product]:
    return product


@pytest.fixture
def small_shop() -> Catalog:
    """Twelve sneakers that match the same queries."""
    return Catalog([product(f"B00000000{letter}", title=f"Acme Sneakers {letter}") for letter in "ABCDEFGHIJKL"])


@pytest.fixture
def raw_files(tmp_path: Path) -> Path:
    """A folder with WebShop's three data files and their irregularities."""
    items = [
        {
            "asin": "B0AAAAAAAA",
            "name": "Blue Lamp",
            "full_description": "Shines.",
            "small_description": ["Bright", ""],
            "category": "garden",
            "query": " Floor Lamps ",
            "product_category": "Home › Lamps",
            "pricing": "$1,019.50$20.00",
            "customization_options": {
                "Color": [{"value": " Blue/Green ", "image": "x"}, {"value": "Red"}],
                "Size": None,
            },
        },
        {"asin": "nan"},
        {"asin": "B0AAAAAAAA"},
        {"asin": "TOOLONGANID"},
        {
            "asin": "B0BBBBBBBB",
            "name": "Jar",
            "full_description": None,
            "small_description": "One jar",
            "category": "grocery",
            "query": "jars",
            "product_category": "Food",
            "pricing": "",
            "customization_options": "",
        },
    ]
    synthetic = {
        "B0AAAAAAAA": {
            "attributes": ["long lasting"],
            "instruction": "Find me long lasting floor lamps",
            "instruction_attributes": ["long lasting"],
        },
        "B0BBBBBBBB": {"attributes": []},
    }
    human = {
        "B0BBBBBBBB": [
            {"instruction": "a jar.", "instruction_attributes": [], "instruction_options": []},
            {"instruction": "a big jar.", "instruction_attributes": ["big"], "instruction_options": ["red"]},
        ]
    }
    files = {"items_shuffle_1000": items, "items_ins_v2_1000": synthetic, "items_human_ins": human}
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    return tmp_path


@pytest.fixture
def no_open_catalogs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No open catalogs in this process."""
    monkeypatch.setattr(sources, "_OPEN", {})
    yield
