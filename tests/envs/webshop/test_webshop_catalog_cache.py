"""The disk cache of catalogs: same products and hits as without it, damaged files, concurrent processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from sdar_gym.envs.webshop import sources
from sdar_gym.envs.webshop.catalog import Catalog
from sdar_gym.envs.webshop.catalog_cache import cache_name, read_cached, write_cached
from sdar_gym.envs.webshop.compiled import CompiledProducts, compiled
from sdar_gym.envs.webshop.env import WebShopEnv
from sdar_gym.envs.webshop.generator import generate_products
from sdar_gym.envs.webshop.products import HumanInstruction, Product
from sdar_gym.envs.webshop.sources import WebShopDataError, open_catalog

SIZE = 300


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_open_catalogs: None) -> Path:
    """WebShop's folder in an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "_MIN_CACHED_SIZE", SIZE)
    return tmp_path / "cache" / "sdar_gym" / "webshop"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Sizes of all catalogs generated during the test."""
    sizes: list[int] = []

    def generate(size: int) -> list[Product]:
        sizes.append(size)
        return generate_products(size)

    monkeypatch.setattr(sources, "generate_products", generate)
    yield sizes


def open_anew(size: int = SIZE) -> Catalog:
    sources._OPEN.clear()
    catalog = open_catalog("generated", size)
    catalog.shelf()
    return catalog


def test_cached_products_and_hits_equal_generated_ones(cache: Path, made: list[int]) -> None:
    first, second = open_anew(), open_anew()
    assert made == [SIZE]
    assert sorted(path.suffix for path in cache.iterdir()) == [".bm25", ".products"]
    assert isinstance(second.products, CompiledProducts)
    plain = generate_products(SIZE)
    for shop in (first, second):
        assert list(map(repr, shop.products.values())) == list(map(repr, plain))
        assert list(shop.products) == [product.asin for product in plain]
    uncached = Catalog(plain)
    words = [word for product in plain[::9] for word in product.search_text.split()]
    rng = Random(0)
    for number in range(100):
        query = " ".join(rng.choice(words) for _ in range(number % 9))
        assert first.shelf().search(query, 50) == second.shelf().search(query, 50) == uncached.shelf().search(query, 50)
    for split in uncached.splits("synthetic"):
        assert second.task_ids("synthetic", split) == uncached.task_ids("synthetic", split)
        count = second.task_count("synthetic", split)
        assert second.task_id_at("synthetic", split, count - 1) == uncached.task_ids("synthetic", split)[-1]
    assert second.splits("human") == ()
    assert second.reference_goals("synthetic", 0).order == uncached.reference_goals("synthetic", 0).order


def test_an_episode_is_the_same_from_a_cached_catalog(cache: Path) -> None:
    def episode() -> list[object]:
        sources._OPEN.clear()
        env = WebShopEnv("generated", num_products=SIZE)
        seen: list[object] = [env.reset(seed=5)]
        for action in (
            f"search[{env.product.title}]",
            f"click[{env.product.asin}]",
            "click[features]",
            "click[< prev]",
        ):
            seen.append(env.step(action))
        return [*seen, env.step("click[buy now]")]

    assert episode() == episode()


def test_small_catalogs_are_not_cached(cache: Path, raw_files: Path) -> None:
    open_anew(SIZE - 1)
    open_catalog(raw_files)
    assert not cache.exists()


@pytest.mark.parametrize("suffix", [".products", ".bm25"])
def test_a_damaged_file_is_detected_and_replaced(cache: Path, made: list[int], suffix: str) -> None:
    repr_of_all = repr(list(open_anew().products.values()))
    path = next(path for path in cache.iterdir() if path.suffix == suffix)
    if path.is_dir():
        path = path / "documents.bin"
    good = path.read_bytes()
    at = len(good) // 2
    damages = (
        b"",
        good[:-1],
        good[:at],
        good[:20],
        good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :],
        good + b"x",
        b"x",
    )
    for damage in damages:
        path.write_bytes(damage)
        shop = open_anew()
        assert repr(list(shop.products.values())) == repr_of_all
        assert shop.shelf().search("red shoes", 50)
        assert path.read_bytes() == good
    assert len(made) == 1 + (len(damages) if suffix == ".products" else 0)


def test_an_unwritable_cache_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: list[int], no_open_catalogs: None
) -> None:
    (tmp_path / "occupied").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "occupied"))
    monkeypatch.setattr(sources, "_MIN_CACHED_SIZE", SIZE)
    assert len(open_anew().products) == len(open_anew().products) == SIZE
    assert made == [SIZE, SIZE]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: (_ for _ in ()).throw(RuntimeError("no home"))))
    assert len(open_anew().products) == SIZE


def test_real_products_are_cached_until_their_file_changes(
    cache: Path, raw_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_MIN_CACHED_SIZE", 2)

    def titles() -> list[str]:
        sources._OPEN.clear()
        shop = open_catalog(raw_files)
        shop.shelf()
        return [product.title for product in shop.products.values()]

    plain = sources.read_products(sources.find_files(raw_files))
    assert titles() == ["Blue Lamp", "Jar"]
    with monkeypatch.context() as patch:
        patch.setattr(sources, "read_products", lambda *_, **__: pytest.fail("read again"))
        assert titles() == ["Blue Lamp", "Jar"]
        assert list(map(repr, open_catalog(raw_files).products.values())) == list(map(repr, plain))
        assert open_catalog(raw_files).task_ids("human", open_catalog(raw_files).splits("human")[0])
    items = raw_files / "items_shuffle_1000.json"
    items.write_text(items.read_text(encoding="utf-8").replace("Blue", "Green!"), encoding="utf-8")
    assert titles() == ["Green! Lamp", "Jar"]
    # The entries of the older file were removed.
    assert len(list(cache.iterdir())) == 2
    items.write_text("[", encoding="utf-8")
    with pytest.raises(WebShopDataError):
        titles()


def test_several_processes_may_compile_the_same_catalog(cache: Path) -> None:
    code = (
        "from sdar_gym.envs.webshop.env import WebShopEnv; env = WebShopEnv('generated', num_products=2100); "
        "env.reset(seed=1); print(env.step('search[red shoes]')[0])"
    )
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    seen = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(seen) == 1
    assert "Total results: 50" in seen.pop()
    assert sorted(path.suffix for path in cache.iterdir()) == [".bm25", ".products"]


def test_anything_that_is_text_survives(make_product: Callable[..., Product]) -> None:
    rng = Random(3)
    pieces = ("", " ", "\n", "\r\n", "\t", '"', "\\", "[", "]", "{}", "\x00", "\u2028", "é", "😀", "İ", "\ufffd", "a")

    def text() -> str:
        return "".join(rng.choice(pieces) for _ in range(rng.randrange(6)))

    def texts() -> tuple[str, ...]:
        return tuple(text() for _ in range(rng.randrange(4)))

    products = [
        make_product(
            f"{number}{text()}",
            title=text(),
            description=text(),
            bullets=texts(),
            prices=(rng.random() * 10.0 ** rng.randrange(-5, 9),) * rng.randrange(1, 3),
            options={text(): texts() for _ in range(rng.randrange(4))},
            attributes=texts(),
            instruction=rng.choice((None, text())),
            instruction_attributes=texts(),
            human=tuple(HumanInstruction(text(), texts(), texts()) for _ in range(rng.randrange(3))),
        )
        for number in range(300)
    ]
    read = CompiledProducts(memoryview(b"".join(compiled(products))))
    assert list(map(repr, read.values())) == list(map(repr, products))
    assert list(read) == [product.asin for product in products]
    assert list(read.goal_counts("synthetic").values()) == [product.goal_count for product in products]
    with pytest.raises(KeyError):
        read["nothing like it"]


def test_names_follow_the_source_and_the_code(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = cache_name("a", 1)
    assert name == cache_name("a", 1)
    assert len({name, cache_name("b", 1), cache_name("a", 2)}) == 3
    monkeypatch.setattr("sdar_gym.__version__", "another")
    assert cache_name("a", 1) != name
    assert cache_name("a", 1).split("-")[0] == name.split("-")[0]
    write_cached("x-1.products", iter([b"ab", b"c"]))
    content = read_cached("x-1.products")
    assert content is not None
    assert bytes(content) == b"abc"
    assert read_cached("x-2.products") is None
