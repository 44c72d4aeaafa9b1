"""Opens catalogs: WebShop's data files of any size, or the generated catalog."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sdar_gym.envs.webshop.catalog import Catalog
from sdar_gym.envs.webshop.catalog_cache import cache_name, read_cached, write_cached
from sdar_gym.envs.webshop.compiled import CompiledProducts, compiled
from sdar_gym.envs.webshop.fields import Fields, ProductFormatError
from sdar_gym.envs.webshop.generator import DEFAULT_SIZE, GENERATOR_VERSION, generate_products
from sdar_gym.envs.webshop.products import HumanInstruction, Instruction, Product, without_blanks
from sdar_gym.envs.webshop.reading import (
    human_instructions,
    instruction_of,
    product_id,
    product_of_document,
    product_of_raw,
)
from sdar_gym.envs.webshop.streaming import JsonStreamError, iter_array, iter_object, parsed
from sdar_gym.paths import DAMAGED, first_line, local_path
from sdar_gym.text import shortened, well_formed
from sdar_gym.validation import whole_number

# Value of `data` that selects the generated catalog instead of a path to real products.
GENERATED = "generated"
# Catalogs with fewer products are not cached on disk: they are built in a fraction of a second.
_MIN_CACHED_SIZE = 2000
# Products with longer ids are skipped, as in the published code.
_LONGEST_ID = 10
_DOWNLOAD = (
    "WebShop's data are items_shuffle*.json, items_ins_v2*.json and items_human_ins.json (see its README for the "
    "download), or a documents*.jsonl of its search engine"
)


class WebShopDataError(ValueError):
    """Data files are missing or unreadable."""


@dataclass(frozen=True, slots=True)
class Files:
    """Data files of a catalog."""

    items: Path
    synthetic: Path | None
    human: Path | None

    def stamp(self) -> tuple[Any, ...]:
        """Identity of the contents: paths, sizes and modification times."""
        paths = [path for path in (self.items, self.synthetic, self.human) if path is not None]
        return tuple((str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths)

    def missing(self) -> dict[str, str]:
        """Reason by goal kind why there are no goals, if a whole file is missing."""
        beside = f"beside {self.items}"
        notes = {}
        if self.synthetic is None:
            notes["synthetic"] = f"there is no items_ins_v2*.json {beside}, which says what synthetic goals ask for"
        if self.human is None:
            notes["human"] = f"there is no items_human_ins.json {beside}, which holds what people asked for"
        return notes


_OPEN: dict[tuple[Any, ...], Catalog] = {}


def located(data: str | os.PathLike[str] | None) -> str:
    """Resolve `data` to `"generated"` or an absolute path.

    Args:
        data: As in `open_catalog`.

    Raises:
        PathError: It is not a valid path.
    """
    name = "data"
    if data is None:
        name, data = "WEBSHOP_DATA", os.environ.get("WEBSHOP_DATA") or GENERATED
    return GENERATED if isinstance(data, str) and data == GENERATED else str(local_path(name, data))


def open_catalog(
    data: str | os.PathLike[str] | None = None, num_products: int | None = None, *, keep_blanks: bool = False
) -> Catalog:
    """Open the catalog of a data folder or file; cached per process.

    Args:
        data: `"generated"`, a folder with WebShop's files, or its items or documents file; default `$WEBSHOP_DATA`,
            and without that the generated catalog.
        num_products: Read only this many entries of the file; for the generated catalog, its size.
        keep_blanks: Keep blank option values and attributes, as the published code does; see `without_blanks`.

    Raises:
        WebShopDataError: The data are missing or unreadable.
        PathError: `data` is not a valid path.
    """
    if num_products is not None:
        num_products = whole_number("num_products", num_products)
        if num_products < 1:
            raise WebShopDataError(f"num_products must be at least 1, got {num_products}; leave it out for all.")
    place = located(data)
    if place == GENERATED:
        size = DEFAULT_SIZE if num_products is None else num_products
        key: tuple[Any, ...] = (GENERATED, size)
        if key not in _OPEN:
            name = cache_name(f"{GENERATED} {size}", GENERATOR_VERSION) if size >= _MIN_CACHED_SIZE else ""
            _OPEN[key] = _catalog(name, lambda: generate_products(size), {"human": "the generated shop has none"})
        return _OPEN[key]
    with _reading(Path(place)):
        files = find_files(Path(place))
        key = (files.stamp(), num_products, keep_blanks)
    if key not in _OPEN:
        name = cache_name(f"{files.items} {num_products} {keep_blanks}", key)
        _OPEN[key] = _catalog(
            name, lambda: read_products(files, num_products, keep_blanks=keep_blanks), files.missing()
        )
    return _OPEN[key]


def _catalog(name: str, make: Callable[[], list[Product]], missing: Mapping[str, str]) -> Catalog:
    content = read_cached(f"{name}.products") if name else None
    if content is not None:
        return Catalog(CompiledProducts(content), missing, name)
    products = make()
    if not name or len(products) < _MIN_CACHED_SIZE:
        return Catalog(products, missing)
    write_cached(f"{name}.products", compiled(products))
    return Catalog(products, missing, name)


def find_files(path: Path) -> Files:
    """Find the data files at a path.

    In a folder the items file with 1,000 products takes precedence over larger ones, as in the reference, and documents
    come last; pass a file to select it. Instruction files are searched beside it, with the same size if there are
    several.

    Raises:
        WebShopDataError: There are no data files.
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
        raise WebShopDataError(f"No such file or folder: {path}. {_DOWNLOAD}; data='generated' needs none of them.")
    size = items.stem.removeprefix("items_shuffle") if items.name.startswith("items_shuffle") else "_1000"
    same_size = folder / f"items_ins_v2{size}.json"
    others = sorted(folder.glob("items_ins_v2*.json"))
    synthetic = same_size if same_size.is_file() else others[0] if others else None
    human = folder / "items_human_ins.json"
    return Files(items, synthetic, human if human.is_file() else None)


def read_products(files: Files, num_products: int | None = None, *, keep_blanks: bool = False) -> list[Product]:
    """Read all products in file order; entries with invalid or duplicate ids are skipped.

    Args:
        files: The files.
        num_products: Read only this many entries.
        keep_blanks: See `open_catalog`.

    Raises:
        WebShopDataError: A file cannot be read.
    """
    synthetic = _entries(files.synthetic)
    human = _entries(files.human)
    is_document = files.items.suffix == ".jsonl"
    make, id_field = (product_of_document, "id") if is_document else (product_of_raw, "asin")
    products: list[Product] = []
    seen: set[str] = set()
    with _reading(files.items) as place:
        for entry in islice(_lines(files.items, place) if is_document else _items(files.items, place), num_products):
            asin = product_id(entry, id_field, "a product")
            if asin == "nan" or len(asin) > _LONGEST_ID or asin in seen:
                continue
            seen.add(asin)
            # Removes the instructions from the dictionaries, so that they are not in memory twice.
            product = make(entry, *_take_instructions(asin, files, synthetic, human))
            products.append(product if keep_blanks else without_blanks(product))
    if not products:
        raise WebShopDataError(f"{files.items} holds no products.")
    return products


def _take_instructions(
    asin: str, files: Files, synthetic: dict[str, Any], human: dict[str, Any]
) -> tuple[Instruction | None, tuple[HumanInstruction, ...]]:
    instruction, written = None, ()
    if files.synthetic is not None and asin in synthetic:
        with _reading(files.synthetic):
            instruction = instruction_of(synthetic.pop(asin), asin)
    if files.human is not None and asin in human:
        with _reading(files.human):
            entry = Fields(f"product {shortened(asin)}", {"instructions": human.pop(asin)})
            written = human_instructions(entry, "instructions")
    return instruction, written


@dataclass(slots=True)
class _Place:
    """Current position in a file, for messages."""

    where: str = ""


@contextmanager
def _reading(path: Path) -> Iterator[_Place]:
    """Convert read errors into a `WebShopDataError` with file and position."""
    place = _Place()
    try:
        yield place
    except (ProductFormatError, JsonStreamError, *DAMAGED) as error:
        remedy = " Save it as UTF-8." if isinstance(error, UnicodeError) else ""
        raise WebShopDataError(f"{path} cannot be read{place.where}: {first_line(error)}{remedy}") from error


def _entries(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    with _reading(path), path.open(encoding="utf-8-sig") as stream:
        return {well_formed(asin): entry for asin, entry in iter_object(stream)}


def _items(path: Path, place: _Place) -> Iterator[Any]:
    with path.open(encoding="utf-8-sig") as stream:
        place.where = " at entry 1"
        for number, entry in enumerate(iter_array(stream), start=1):
            place.where = f" at entry {number}"
            yield entry
            place.where = f" at entry {number + 1}"


def _lines(path: Path, place: _Place) -> Iterator[Any]:
    with path.open(encoding="utf-8-sig") as stream:
        place.where = " at line 1"
        for number, line in enumerate(stream, start=1):
            place.where = f" at line {number}"
            if line.strip():
                yield parsed(line)
            place.where = f" at line {number + 1}"
