"""Adversarial product data: every listed action is valid, and every goal is reachable."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from sdar_gym.envs.webshop.catalog import Catalog
from sdar_gym.envs.webshop.env import WebShopEnv
from sdar_gym.envs.webshop.expert import Expert
from sdar_gym.envs.webshop.products import Product
from sdar_gym.envs.webshop.session import Session, read_action
from sdar_gym.envs.webshop.sources import open_catalog

# fmt: off
VALUES = (
    *("50x60 [2 pack]", "twin\nxl", "  ", "", "[large", "[tag]", "a]", "red, blue", "[[a]b]", "]", "[", "][", "\t8\t"),
    *("Red", "RED", "red", " red ", "red  dark", "İstanbul", "ΑΣ", "straße", "STRASSE", "ﬁne", "e\u0301", "a\u2028b"),
    *("click[", "click[x]", "search[x]", "click[buy now]", '"', "'", "\\", "<your query>", "x\r\ny", "</action>"),
    *("\x00", "7/8", " [SEP] ", "a\ud83db"),
    *("Buy Now", "buy  now", "< Prev", "Back to Search", "Next >", "Search", "Description", "Attributes", "reviews"),
    *("B000000001", "b000000002", "size: Buy Now", "size: size: Buy Now", "Size: buy now"),
)
IDS = ("C000000001", "c000000001", "Buy Now", "next >", "B0/1", "a#b", "[x]", "x\ny", " y ", "É", "product: ")
# fmt: on


def item(asin: str, options: dict[str, list[str]], **changes: Any) -> dict[str, Any]:
    fields = {
        "asin": asin,
        "name": "Soft cotton throw blanket",
        "pricing": "$19.99",
        "customization_options": {name: [{"value": value} for value in values] for name, values in options.items()},
        "small_description": ["soft", "machine wash"],
        "full_description": "A blanket.",
        "category": "garden",
        "query": "throw blankets",
        "product_category": "Home & Kitchen › Bedding › Blankets",
    }
    return {**fields, **changes}


def document(raw: dict[str, Any]) -> dict[str, Any]:
    """The product in the documents format, with unchanged option values."""
    options = {name: [entry["value"] for entry in values] for name, values in raw["customization_options"].items()}
    read = {"Title": raw["name"], "Price": "$19.99", "pricing": [19.99], "options": options, "Attributes": ["soft"]}
    return {"id": raw["asin"], "product": {**raw, **read}}


def write_shop(folder: Path, items: list[dict[str, Any]], *, documents: bool = False) -> Path:
    said = {"attributes": ["soft"], "instruction": "Find me soft blankets", "instruction_attributes": ["soft"]}
    folder.mkdir(parents=True, exist_ok=True)
    if documents:
        lines = "\n".join(json.dumps(document(raw)) for raw in items)
        (folder / "documents.jsonl").write_text(lines, encoding="utf-8")
    else:
        (folder / "items_shuffle_1000.json").write_text(json.dumps(items), encoding="utf-8")
    synthetic = json.dumps({raw["asin"]: said for raw in items})
    (folder / "items_ins_v2_1000.json").write_text(synthetic, encoding="utf-8")
    return folder


def hostile_items() -> list[dict[str, Any]]:
    rng = Random(7)
    items = [item(f"B00000{at:04}", {"size": [value, "plain"]}) for at, value in enumerate(VALUES)]
    for at in range(40):
        names = rng.sample(("size", "Color", "buy now", "", "a]b"), rng.randrange(1, 4))
        options = {name: rng.sample(VALUES, rng.randrange(1, 5)) for name in names}
        items.append(item(f"B11111{at:04}", options))
    return [*items, *(item(asin, {"size": ["8", "9"]}, name=f"Rug {at}") for at, asin in enumerate(IDS))]


@pytest.fixture(params=[False, True], ids=["raw", "documents"])
def hostile_shop(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_shop(tmp_path / "hostile", hostile_items(), documents=request.param)


def play(env: WebShopEnv, task_id: str) -> dict[str, Any]:
    expert = Expert()
    observation, info = env.reset(options={"task_id": task_id})
    expert.begin(env, observation, info)
    while True:
        action = expert.act(observation, info)
        if action.startswith("click["):
            assert action in info["admissible_actions"]
        observation, _, terminated, truncated, info = env.step(action)
        observation.encode("utf-8")
        if action.startswith("click["):
            assert info["action_valid"], (task_id, action)
        if terminated or truncated:
            return info


def test_every_goal_of_a_hostile_shop_can_be_reached(hostile_shop: Path) -> None:
    env = WebShopEnv(hostile_shop)
    tasks = [task_id for split in env.splits for task_id in env.task_ids(split)]
    assert len(tasks) > 200
    assert {env.task_group(task_id) for task_id in tasks} >= set(IDS)
    lost = [(task_id, env.goal.options) for task_id in tasks if not play(env, task_id)["won"]]
    assert lost == []


def test_whatever_is_listed_is_understood(hostile_shop: Path) -> None:
    env = WebShopEnv(hostile_shop, show_attributes=True)
    products = tuple(env._catalog.products.values())

    def open_page(product: Product) -> tuple[str, ...]:
        env.reset(seed=0)
        query = product.title if "\n" in product.asin else product.asin
        _, _, _, _, info = env.step(f"search[{query}]")
        assert info["action_valid"]
        listed = env.page.click_on("product", product.asin)
        assert listed is not None
        return env.step(f"click[{listed}]")[4]["admissible_actions"]

    assert len(products) == len(hostile_items())
    for product in products:
        actions = open_page(product)
        page = env.page
        wanted = {(name, value) for name, values in product.options.items() for value in values}
        assert {(name, click.target) for click in page.clicks.values() for name in click.names} == wanted
        buttons = [click.target for click in page.clicks.values() if click.kind == "button"]
        assert buttons == ["Back to Search", "< Prev", "Description", "Features", "Reviews", "Attributes", "Buy Now"]
        for action, click in zip(actions, page.clicks.values(), strict=True):
            open_page(product)
            _, _, terminated, _, info = env.step(action)
            assert info["action_valid"], (product.asin, action)
            assert terminated == (click.kind == "button" and click.target == "Buy Now")
            if click.kind == "option":
                _, _, _, _, info = env.step("click[buy now]")
                assert info["bought_asin"] == product.asin
                assert list(info["bought_options"].values()) == [click.target]


def test_what_cannot_be_offered_is_neither_listed_nor_asked_for(tmp_path: Path) -> None:
    blank = item("B000000001", {"Size": ["  ", "full", ""], "Style": ["", " "]})
    folder = write_shop(tmp_path, [blank, item("B000000002", {})])
    env = WebShopEnv(folder)
    tasks = [task_id for split in env.splits for task_id in env.task_ids(split)]
    assert sorted(tasks) == ["B000000001/0", "B000000002/0"]
    _, info = env.reset(options={"task_id": "B000000001/0"})
    assert env.goal.options == (("size", "full"),)
    env.step("search[throw blanket]")
    observation, _, _, _, info = env.step("click[b000000001]")
    assert [action for action in info["admissible_actions"] if "[ " in action or "[]" in action] == []
    assert "style" not in observation


def test_the_published_listing_is_kept_in_reference_compat(tmp_path: Path) -> None:
    options = {"Size": ["  ", "50x60 [2 pack]", "Buy Now"], "Style": ["50x60 [2 pack]"]}
    folder = write_shop(tmp_path, [item("B000000001", options)])
    env = WebShopEnv(folder, split=open_catalog(folder).splits("synthetic")[0], reference_compat=True)
    assert len(env.task_ids()) == 3
    env.reset(seed=0)
    env.step("search[throw blanket]")
    _, _, _, _, info = env.step("click[b000000001]")
    assert info["admissible_actions"][-4:] == ("click[reviews]", "click[buy now]", "click[]", "click[50x60 [2 pack]]")
    assert env.step("click[50x60 [2 pack]]")[4]["action_valid"] is False
    assert env.step("click[buy now]")[2] is True


def test_names_are_read_in_any_case_and_buttons_come_first(make_product: Callable[..., Product]) -> None:
    shop = Catalog([make_product(options={"style": ("Buy Now", "Straße"), "Color": ("Red", "RED")})])

    def clicked(name: str) -> dict[str, str] | str:
        session = Session("Buy.", shop.shelf())
        session.act("search[sneakers]")
        session.act("click[B000000001]")
        outcome = session.act(f"click[{name}]")
        return session.options or outcome

    assert clicked("Buy Now") == clicked("buy now") == "bought"
    assert clicked("style: Buy Now") == clicked("STYLE: buy now") == {"style": "Buy Now"}
    assert clicked("STRASSE") == {"style": "Straße"}
    assert (clicked("RED"), clicked("red")) == ({"Color": "RED"}, {"Color": "Red"})
    assert clicked("blue") == "nothing"


def test_ids_that_differ_in_case_and_ids_like_buttons(make_product: Callable[..., Product]) -> None:
    ids = ("B00000000A", "b00000000a", "Next >", "back to search")
    session = Session("Buy.", Catalog([make_product(asin) for asin in ids]).shelf())
    session.act("search[sneakers]")
    targets = {name: click.target for name, click in session.page.clicks.items() if click.kind == "product"}
    assert sorted(targets.values()) == sorted(ids)
    for name, asin in targets.items():
        session.act("search[sneakers]")
        assert session.act(f"click[{name}]") == "done"
        assert session.asin == asin
    session.act("search[sneakers]")
    assert session.act("click[Back to Search]") == "done"
    assert session.kind == ""


def test_a_query_may_hold_brackets_and_one_action_is_one(make_product: Callable[..., Product]) -> None:
    assert read_action("search[rug [2 pack]]") == ("search", "rug [2 pack]")
    assert read_action("search[[large]") == ("search", "[large")
    assert read_action("search[a]") == ("search", "a")
    for action in ("search[a] or search[b]", "search[a] click[b]"):
        assert read_action(action)[0] != "search"
    assert read_action("click[a] please") == ("click", "a")
    session = Session("Buy.", Catalog([make_product()]).shelf())
    assert session.act("search[sneakers [2 pack]]") == "done"
    assert "B000000001" in session.page.parts


def test_a_product_without_words_is_found_by_its_id(make_product: Callable[..., Product]) -> None:
    shop = Catalog([make_product("B0/x[1]", title="!!!", description="", bullets=(), options={}), make_product()])
    session = Session("Buy.", shop.shelf())
    session.act("search[B0/x[1]]")
    assert session.page.click_on("product", "B0/x[1]") == "b0/x[1]"
    session.act("search[b000000001]")
    assert session.page.click_on("product", "B000000001")


def test_a_product_of_more_than_a_million_dollars_is_within_no_limit(tmp_path: Path) -> None:
    folder = write_shop(tmp_path, [item("B000000001", {}, pricing="$2,000,000.00")])
    env = WebShopEnv(folder, split=open_catalog(folder).splits("synthetic")[0])
    assert play(env, "B000000001/0")["won"]


def test_options_that_share_values_are_chosen_in_the_order_of_the_page(tmp_path: Path) -> None:
    folder = write_shop(tmp_path, [item("B000000001", {"z": ["x", "y"], "a": ["x", "y"], "m": ["y", "x"]})])
    env = WebShopEnv(folder, split=open_catalog(folder).splits("synthetic")[0])
    assert len(env.task_ids()) == 8
    assert all(play(env, task_id)["won"] for task_id in env.task_ids())
