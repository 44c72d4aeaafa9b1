"""Finds and reads the shop's data: WebShop's own files in any of their sizes, or the generated catalogue."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdar_gym.envs.webshop.catalogue import Catalogue
from sdar_gym.envs.webshop.generator import generate_products
from sdar_gym.envs.webshop.products import Product, ProductFormatError, product_of_document, product_of_raw
from sdar_gym.envs.webshop.streaming import JsonStreamError, iter_array, iter_object

# The word that stands for the generated catalogue where a path to real products could stand.
GENERATED = "generated"
_DOWNLOAD = (
    "WebShop's data are items_shuffle*.json, items_ins_v2*.json and items_human_ins.json (see its README for the "
    "download), or a documents*.jsonl of its search engine"
)


class WebShopDataError(ValueError):
    """Data files that are not there or cannot be read."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one catalogue."""

    items: Path
    synthetic: Path | None
    human: Path | None

    def stamp(self) -> tuple[Any, ...]:
        """What tells this content from another: paths, sizes and times of change."""
        paths = [path for path in (self.items, self.synthetic, self.human) if path is not None]
        return tuple((str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths)


_OPEN: dict[tuple[Any, ...], Catalogue] = {}


def open_catalogue(data: str | os.PathLike[str] | None = None, num_products: int | None = None) -> Catalogue:
    """The catalogue of a data folder or file; all who open the same in a process get the same object.

    Args:
        data: `"generated"`, a folder with WebShop's files, or its items or documents file; default `$WEBSHOP_DATA`,
            and without that the generated catalogue.
        num_products: Only the first so many entries of the file; for the generated catalogue, its size.

    Raises:
        WebShopDataError: There are no data, or they cannot be read.
    """
    if num_products is not None and num_products < 1:
        raise WebShopDataError(f"num_products must be at least 1, got {num_products!r}; leave it out for all.")
    if data is None:
        data = os.environ.get("WEBSHOP_DATA") or GENERATED
    if data == GENERATED:
        key: tuple[Any, ...] = (GENERATED, num_products)
        if key not in _OPEN:
            _OPEN[key] = Catalogue(generate_products(*(() if num_products is None else (num_products,))))
        return _OPEN[key]
    files = find_files(Path(data))
    key = (files.stamp(), num_products)
    if key not in _OPEN:
        _OPEN[key] = Catalogue(read_products(files, num_products))
    return _OPEN[key]


def find_files(path: Path) -> Files:
    """The data files at a path.

    In a folder the items of 1,000 products come before the full ones, as in the reference, and documents last; name
    the file itself to choose. Instruction files are those beside it, of the same size if there are several.

    Raises:
        WebShopDataError: Nothing is there.
    """
    if path.is_file():
        items, folder = path, path.parent
    elif path.is_dir():
        found = [*sorted(path.glob("items_shuffle*.json"), reverse=True), *sorted(path.glob("documents*.jsonl"))]
        if not found:
            raise WebShopDataError(f"{path} holds no products. {_DOWNLOAD}; data='generated' needs none of them.")
        items = next((item for item in found if item.name == "items_shuffle_1000.json"), found[0])
        folder = path
    else:
        raise WebShopDataError(f"There is nothing at {path}. {_DOWNLOAD}; data='generated' needs none of them.")
    size = items.stem.removeprefix("items_shuffle") if items.name.startswith("items_shuffle") else "_1000"
    same_size = folder / f"items_ins_v2{size}.json"
    others = sorted(folder.glob("items_ins_v2*.json"))
    synthetic = same_size if same_size.is_file() else others[0] if others else None
    human = folder / "items_human_ins.json"
    return Files(items, synthetic, human if human.is_file() else None)


def read_products(files: Files, num_products: int | None = None) -> list[Product]:
    """All products of the files, in order; entries without a proper id and repeated ones are left out.

    Raises:
        WebShopDataError: A file cannot be read.
    """
    synthetic = _entries(files.synthetic)
    human = _entries(files.human)
    is_document = files.items.suffix == ".jsonl"
    make = product_of_document if is_document else product_of_raw
    products: list[Product] = []
    seen: set[str] = set()
    try:
        for number, entry in enumerate(_lines(files.items) if is_document else _items(files.items)):
            if num_products is not None and number >= num_products:
                break
            asin = entry["id"] if is_document else entry["asin"]
            if asin == "nan" or len(asin) > 10 or asin in seen:
                continue
            seen.add(asin)
            # Taken out, so that instructions are not in memory twice.
            products.append(make(entry, synthetic.pop(asin, None), human.pop(asin, None)))
    except (OSError, JsonStreamError, ProductFormatError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise WebShopDataError(f"{files.items} cannot be read: {error}") from error
    if not products:
        raise WebShopDataError(f"{files.items} holds no products.")
    return products


def _entries(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        with path.open(encoding="utf-8") as stream:
            return dict(iter_object(stream))
    except (OSError, JsonStreamError, UnicodeDecodeError) as error:
        raise WebShopDataError(f"{path} cannot be read: {error}") from error


def _items(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8") as stream:
        yield from iter_array(stream)


def _lines(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise JsonStreamError(str(error)) from error
