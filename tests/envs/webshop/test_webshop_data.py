"""Data files, the goals made from them, and splits."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from sdar_gym.envs import TaskNotFoundError
from sdar_gym.envs.webshop.catalog import Catalog, split_of
from sdar_gym.envs.webshop.goals import NO_LIMIT, limit_candidates, make_goal, product_price, product_price_limit
from sdar_gym.envs.webshop.products import Product, ProductFormatError, read_price
from sdar_gym.envs.webshop.sources import WebShopDataError, open_catalog
from sdar_gym.envs.webshop.streaming import JsonStreamError, iter_array, iter_object


def test_streams_equal_json_whatever_the_chunk() -> None:
    rng = Random(0)
    values: list[Any] = [1, -2.5e3, 'a"[]{},: \\ é😀', None, True, [], {}, [1, [2]], {"a": {"b": [3]}}, "x" * 50]
    for _ in range(200):
        content = [rng.choice(values) for _ in range(rng.randrange(6))]
        text = json.dumps(content, indent=rng.choice((None, 1)), ensure_ascii=False)
        chunk = rng.randrange(1, 12)
        assert list(iter_array(io.StringIO(f" {text}\n"), chunk)) == content
        pairs = {str(number): value for number, value in enumerate(content)}
        assert dict(iter_object(io.StringIO(json.dumps(pairs)), chunk)) == pairs


@pytest.mark.parametrize("text", ["", "{}", "[", "[1", "[1,", "[1 2]", "[,]", '["a', "[nope]"])
def test_broken_streams_are_refused(text: str) -> None:
    with pytest.raises(JsonStreamError):
        list(iter_array(io.StringIO(text), 2))


def test_products_of_raw_files(raw_files: Path) -> None:
    shop = open_catalog(raw_files)
    assert list(shop.products) == ["B0AAAAAAAA", "B0BBBBBBBB"]
    lamp, jar = shop.products.values()
    assert lamp.prices == (1019.5, 20.0)
    assert lamp.price_tag == "$1019.5 to $20.0"
    assert lamp.query == "floor lamps"
    assert lamp.options == {"color": ("blue | green", "red")}
    assert lamp.search_text == "blue lamp shines. bright color: blue | green, red"
    assert (jar.prices, jar.price_tag, jar.description, jar.bullets) == ((100.0,), "$100.0", "", ("One jar",))
    assert (lamp.goal_count, jar.goal_count) == (2, 0)
    human = shop.goal("human", "B0BBBBBBBB/0")
    assert human.instruction.startswith("a big jar, and price lower than 1")
    assert (human.attributes, human.options) == (("big",), (("", "red"),))
    assert list(open_catalog(raw_files, num_products=4).products) == ["B0AAAAAAAA"]


def test_a_catalog_is_opened_once_and_again_when_its_file_changed(raw_files: Path, no_open_catalogs: None) -> None:
    shop = open_catalog(raw_files)
    assert open_catalog(str(raw_files)) is shop
    assert open_catalog(raw_files / "items_shuffle_1000.json") is shop
    items = raw_files / "items_shuffle_1000.json"
    items.write_text(items.read_text(encoding="utf-8").replace("Blue Lamp", "Green Lamp!"), encoding="utf-8")
    assert open_catalog(raw_files).products["B0AAAAAAAA"].title == "Green Lamp!"


def test_the_environment_variable_names_data(raw_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBSHOP_DATA", str(raw_files))
    assert len(open_catalog().products) == 2
    assert len(open_catalog("generated", 7).products) == 7


def test_missing_and_broken_data_say_what_to_do(raw_files: Path, tmp_path: Path) -> None:
    with pytest.raises(WebShopDataError, match=r"No such file or folder: .*nowhere.*data='generated'"):
        open_catalog(tmp_path / "nowhere")
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(WebShopDataError, match=r"holds no products.*items_shuffle"):
        open_catalog(empty)
    with pytest.raises(WebShopDataError, match="num_products must be at least 1, got 0"):
        open_catalog(raw_files, num_products=0)
    items = raw_files / "items_shuffle_1000.json"
    items.write_text('[{"asin": "B0AAAAAAAA", "name": "x"}]', encoding="utf-8")
    with pytest.raises(WebShopDataError, match="B0AAAAAAAA"):
        open_catalog(raw_files)
    items.write_text('[{"asin": "B0AAAA', encoding="utf-8")
    with pytest.raises(WebShopDataError, match="cannot be read"):
        open_catalog(raw_files)


def test_prices() -> None:
    assert read_price("$9.99") == ((9.99,), "$9.99")
    assert read_price("$1$2$3") == ((1.0, 2.0), "$1.0 to $2.0")
    assert read_price(None) == ((100.0,), "$100.0")
    with pytest.raises(ProductFormatError, match=r"'9\.99'"):
        read_price("9.99")


def test_goals_count_option_values_with_the_last_name_turning_fastest(make_product: Callable[..., Product]) -> None:
    shoes = make_product(options={"size": ("8", "9"), "color": ("red", "blue", "tan")})
    goals = [make_goal(shoes, "synthetic", number) for number in range(shoes.goal_count)]
    assert [dict(goal.options) for goal in goals] == [
        {"color": color, "size": size} for color in ("red", "blue", "tan") for size in ("8", "9")
    ]
    assert goals[1].instruction.startswith(
        "Find me memory foam men's sneakers with rubber sole with color: red, and size: 9, and price lower than "
    )
    assert make_product(options={}).goal_count == 1
    assert make_product(options={"size": ()}).goal_count == 0


@pytest.mark.parametrize(
    ("price", "candidates"),
    [(0.0, (10, 20, 30, 40)), (10.0, (20, 30, 40, 50)), (979.99, (980, 990)), (980.0, (990,)), (5000.0, ())],
)
def test_price_limits(price: float, candidates: tuple[float, ...], make_product: Callable[..., Product]) -> None:
    assert limit_candidates(price) == candidates
    item = make_product(prices=(price,))
    if len(candidates) < 2:
        assert product_price_limit(item) == NO_LIMIT
        assert "price" not in make_goal(item, "synthetic", 0).instruction
    else:
        drawn = {product_price_limit(make_product(f"B{number:09}", prices=(price,))) for number in range(60)}
        assert drawn == set(candidates[1:])  # the larger of two is never the smallest


def test_a_price_in_a_range_depends_on_the_product_alone(make_product: Callable[..., Product]) -> None:
    prices = [product_price(make_product(f"B{number:09}", prices=(10.0, 20.0))) for number in range(200)]
    assert all(10 <= price <= 20 for price in prices)
    assert len(set(prices)) == 200
    assert prices[7] == product_price(make_product("B000000007", prices=(10.0, 20.0), title="Else"))


def test_splits_are_by_product_and_the_same_everywhere() -> None:
    asins = [f"B{number:09}" for number in range(5000)]
    shares = {split: sum(split_of(asin) == split for asin in asins) / 5000 for split in ("train", "valid", "test")}
    assert shares == pytest.approx({"train": 0.8, "valid": 0.1, "test": 0.1}, abs=0.02)
    code = (
        "from sdar_gym.envs.webshop.catalog import split_of; "
        "print(''.join(split_of(f'B{number:09}')[0] + split_of(f'B{number:09}')[1] for number in range(300)))"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert elsewhere == "".join(split_of(asin)[:2] for asin in asins[:300])


def test_task_ids_without_listing_them(small_shop: Catalog) -> None:
    seen: list[str] = []
    for split in small_shop.splits("synthetic"):
        ids = small_shop.task_ids("synthetic", split)
        count = small_shop.task_count("synthetic", split)
        assert [small_shop.task_id_at("synthetic", split, at) for at in range(count)] == list(ids)
        seen += ids
    assert len(seen) == len(set(seen)) == 12 * 4
    with pytest.raises(TaskNotFoundError, match="No split 'holdout'"):
        small_shop.task_ids("synthetic", "holdout")
    for wrong in ("B00000000A", "B00000000A/", "B00000000A/4", "B00000000A/-1", "B00000000A/01", "B00000000A/٣", "X/0"):
        with pytest.raises(TaskNotFoundError):
            small_shop.goal("synthetic", wrong)
