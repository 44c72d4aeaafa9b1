"""Damaged data files, other formats and other platforms: one clear error each, or parsed correctly."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from sdar_gym.envs import TaskNotFoundError
from sdar_gym.envs.webshop.env import WebShopEnv
from sdar_gym.envs.webshop.products import Product
from sdar_gym.envs.webshop.sources import WebShopDataError, open_catalog

SAID = {"attributes": ["soft"], "instruction": "Find me soft blankets", "instruction_attributes": ["soft"]}
WRITTEN = {"instruction": "a soft one.", "instruction_attributes": ["soft"], "instruction_options": ["red"]}
ITEM: dict[str, Any] = {
    "asin": "B000000001",
    "name": "Soft blanket",
    "pricing": "$19.99",
    "customization_options": {"Size": [{"value": "s"}, {"value": "m"}]},
    "small_description": ["soft", "machine wash"],
    "full_description": "A blanket.",
    "category": "garden",
    "query": "throw blankets",
    "product_category": "Home › Blankets",
}
DOCUMENT: dict[str, Any] = {
    **ITEM,
    "Title": "Soft Blanket",
    "Price": "$19.99",
    "pricing": [19.99],
    "options": {"size": ["s", "m"]},
    "Attributes": ["soft"],
}


def shop(
    folder: Path,
    changes: dict[str, Any] | None = None,
    said: Any = SAID,
    written: Any = None,
    *,
    document: bool = False,
) -> Path:
    """A folder with a valid product and a modified one."""
    if document:
        rows = [DOCUMENT, {**DOCUMENT, "asin": "B000000002", **(changes or {})}]
        lines = "".join(json.dumps({"id": row["asin"], "product": row}) + "\n" for row in rows)
        (folder / "documents_2.jsonl").write_text(lines, encoding="utf-8")
    else:
        items = [ITEM, {**ITEM, "asin": "B000000002", **(changes or {})}]
        (folder / "items_shuffle_1000.json").write_text(json.dumps(items), encoding="utf-8")
    synthetic = {"B000000001": SAID, "B000000002": said}
    (folder / "items_ins_v2_1000.json").write_text(json.dumps(synthetic), encoding="utf-8")
    if written is not None:
        (folder / "items_human_ins.json").write_text(json.dumps({"B000000002": written}), encoding="utf-8")
    return folder


def second(folder: Path) -> Product:
    return open_catalog(folder).products["B000000002"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": None}, "name must be a text, got null"),
        ({"name": 5}, "name must be a text, got 5"),
        ({"full_description": ["a", "b"]}, "full_description must be a text"),
        ({"full_description": 5}, "full_description must be a text"),
        ({"small_description": 5}, "small_description must be a list"),
        ({"small_description": {"a": 1}}, "small_description must be a list"),
        ({"small_description": ["a", 5]}, r"small_description\[1\] must be a text, got 5"),
        ({"category": None}, "category must be a text, got null"),
        ({"query": ["a"]}, "query must be a text"),
        ({"product_category": 7}, "product_category must be a text"),
        ({"pricing": 9.99}, "pricing must be a text"),
        ({"pricing": "$" + "9" * 400}, "pricing: The price '"),
        ({"pricing": "$1e400"}, "pricing: The price '"),
        ({"pricing": "9.99"}, "pricing: The price '9.99'"),
        ({"Rating": []}, "Rating must be a text"),
        ({"customization_options": "x"}, "customization_options must be an object"),
        ({"customization_options": {"Size": "x"}}, "customization_options.Size must be a list"),
        ({"customization_options": {"Size": ["x"]}}, r"customization_options.Size\[0\] must be an object"),
        ({"customization_options": {"Size": [{}]}}, r"customization_options.Size\[0\].value is missing"),
        ({"customization_options": {"Size": [{"value": 8}]}}, r"customization_options.Size\[0\].value must be a text"),
    ],
)
def test_a_field_of_another_type_is_named(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(
        WebShopDataError, match=rf"items_shuffle_1000\.json .* at entry 2: product 'B000000002': .*{field}"
    ):
        open_catalog(shop(tmp_path, changes))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"Title": None}, "Title must be a text"),
        ({"Price": 5}, "Price must be a text"),
        ({"pricing": ["9"]}, r"pricing\[0\] must be a finite number"),
        ({"pricing": [math.nan]}, r"pricing\[0\] must be a finite number"),
        ({"pricing": [math.inf]}, r"pricing\[0\] must be a finite number"),
        ({"pricing": [True]}, r"pricing\[0\] must be a finite number"),
        ({"pricing": [-1.0]}, r"pricing\[0\] must be a finite number"),
        ({"pricing": [10**400]}, r"pricing\[0\] must be a finite number"),
        ({"options": None}, "options must be an object"),
        ({"options": {"size": "s"}}, "options.size must be a list"),
        ({"options": {"size": [8]}}, r"options.size\[0\] must be a text"),
        ({"instructions": [{"instruction": 5}]}, r"instructions\[0\].instruction must be a text"),
        ({"full_description": 5}, "full_description must be a text"),
        ({"category": None}, "category must be a text, got null"),
    ],
)
def test_a_field_of_a_document_is_named(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(WebShopDataError, match=rf"documents_2\.jsonl .* at line 2: product 'B000000002': {field}"):
        open_catalog(shop(tmp_path, changes, document=True))


@pytest.mark.parametrize("asin", [None, 123, 1.5, ["B0"], True, "", "  "])
def test_an_id_of_another_type_is_named(tmp_path: Path, asin: Any) -> None:
    for document, place in ((False, "at entry 2.*asin"), (True, "at line 2.*id")):
        folder = tmp_path / str(document)
        folder.mkdir()
        with pytest.raises(WebShopDataError, match=place):
            open_catalog(shop(folder, {"asin": asin}, document=document))


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ([], "the entry must be an object"),
        (None, "the entry must be an object, got null"),
        ({**SAID, "attributes": "soft"}, "attributes must be a list"),
        ({**SAID, "attributes": [1]}, r"attributes\[0\] must be a text"),
        ({**SAID, "instruction": 5}, "instruction must be a text"),
        ({**SAID, "instruction_attributes": "soft"}, "instruction_attributes must be a list"),
    ],
)
def test_a_field_of_an_instruction_is_named(tmp_path: Path, said: Any, field: str) -> None:
    with pytest.raises(WebShopDataError, match=rf"items_ins_v2_1000\.json .*product 'B000000002': {field}"):
        open_catalog(shop(tmp_path, said=said))


@pytest.mark.parametrize(
    ("written", "field"),
    [
        ("x", " must be a list"),
        (["x"], r"\[0\] must be an object"),
        ([{**WRITTEN, "instruction": None}], r"\[0\].instruction must be a text, got null"),
        ([{**WRITTEN, "instruction_attributes": "soft"}], r"\[0\].instruction_attributes must be a list"),
        ([{**WRITTEN, "instruction_options": [3]}], r"\[0\].instruction_options\[0\] must be a text"),
        ([{"instruction": "x"}], r"\[0\].instruction_attributes is missing"),
    ],
)
def test_a_field_of_a_persons_instruction_is_named(tmp_path: Path, written: Any, field: str) -> None:
    with pytest.raises(WebShopDataError, match=rf"items_human_ins\.json .*product 'B000000002': instructions{field}"):
        open_catalog(shop(tmp_path, written=written))


def test_what_may_be_empty_is_empty_text(tmp_path: Path) -> None:
    empty = {"full_description": None, "small_description": [None, "soft"], "product_category": None, "pricing": None}
    product = second(
        shop(tmp_path, {**empty, "customization_options": None}, {"attributes": None, "instruction": None})
    )
    assert (product.description, product.bullets, product.path, product.prices) == ("", ("", "soft"), "", (100.0,))
    assert (product.options, product.attributes, product.instruction) == ({}, (), None)
    assert product.search_text == "soft blanket   "
    assert second(shop(tmp_path, {"small_description": None, "name": "x"})).bullets == ()


def test_an_id_may_hold_what_stands_between_the_parts_of_a_task_id(tmp_path: Path) -> None:
    items = [{**ITEM, "asin": asin} for asin in ("B0/0000X1", "B0", "B0/0", "a#1")]
    (tmp_path / "items_shuffle.json").write_text(json.dumps(items), encoding="utf-8")
    said = json.dumps({raw["asin"]: SAID for raw in items})
    (tmp_path / "items_ins_v2.json").write_text(said, encoding="utf-8")
    env = WebShopEnv(tmp_path, split=open_catalog(tmp_path).splits("synthetic")[0])
    for split in env.splits:
        for task_id in env.task_ids(split):
            _, info = env.reset(options={"task_id": task_id})
            assert (info["task_id"], info["task_type"], info["split"]) == (task_id, "garden", split)
            assert env.goal.task_id == task_id
            assert env.task_group(task_id) == env.product.asin
    with pytest.raises(TaskNotFoundError, match="no product 'B0/0/0'"):
        env.reset(options={"task_id": "B0/0/0/0"})


def test_a_missing_instruction_file_is_named(tmp_path: Path) -> None:
    (shop(tmp_path) / "items_ins_v2_1000.json").unlink()
    with pytest.raises(TaskNotFoundError, match=r"there is no items_ins_v2\*\.json beside .*items_shuffle_1000\.json"):
        WebShopEnv(tmp_path)
    with pytest.raises(TaskNotFoundError, match=r"there is no items_human_ins\.json beside"):
        WebShopEnv(tmp_path, goals="human")
    with pytest.raises(TaskNotFoundError, match="the generated shop has none"):
        WebShopEnv("generated", goals="human")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'[{"asin": ' + b"[" * 100_000, "nested too deeply"),
        (b'[{"asin": "B0", "page": ' + b"9" * 5000 + b"}]", "at entry 1: a value cannot be read"),
        (json.dumps([ITEM, ITEM]).encode()[:-40], "at entry 2: a value cannot be read"),
        (json.dumps([ITEM]).encode() + b"]", "expected the end of the file, found '\\]'"),
        (json.dumps([ITEM]).encode("utf-16"), "Save it as UTF-8"),
        (json.dumps([ITEM]).encode().replace(b"Soft", b"S\xff"), "Save it as UTF-8"),
        (b"\x1f\x8b\x08\x00" + bytes(range(256)), "Save it as UTF-8"),
        (b"", "the end of the file"),
        (b"{}", "expected '\\[', found '{'"),
        (b"[1]", "must be an object, got 1"),
        (b"[[]]", "must be an object"),
        (b"[]", "holds no products"),
        (b'[{"asin": "nan"}]', "holds no products"),
    ],
)
def test_damaged_items_give_one_message(tmp_path: Path, content: bytes, said: str) -> None:
    (shop(tmp_path) / "items_shuffle_1000.json").write_bytes(content)
    with pytest.raises(WebShopDataError, match=rf"items_shuffle_1000\.json.*{said}") as caught:
        open_catalog(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[" * 100_000, "expected '{', found '\\['"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        (b"[]", "expected '{'"),
        (b"{1: 2}", "expected a name in quotes, found 1"),
        (b'{"a": 1} x', "expected the end of the file"),
        (b'{"a": ', "a value cannot be read"),
        (b"\xff\xfe{\x00}\x00", "Save it as UTF-8"),
    ],
)
def test_damaged_instructions_give_one_message(tmp_path: Path, content: bytes, said: str) -> None:
    for name in ("items_ins_v2_1000.json", "items_human_ins.json"):
        folder = tmp_path / name
        folder.mkdir()
        (shop(folder) / name).write_bytes(content)
        with pytest.raises(WebShopDataError, match=rf"{name.replace('.', '.')} cannot be read: .*{said}"):
            open_catalog(folder)


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"id": "B0"', "[]", "5", '{"id": "B0"}', '{"id": "B0"} 1', '{"id": "B0", "product": 5}']
)
def test_damaged_documents_give_one_message(tmp_path: Path, line: str) -> None:
    path = shop(tmp_path, document=True) / "documents_2.jsonl"
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    with pytest.raises(WebShopDataError, match=r"documents_2\.jsonl cannot be read at line 4: "):
        open_catalog(tmp_path)


def test_files_with_a_byte_order_mark_and_other_line_ends(tmp_path: Path) -> None:
    for document in (False, True):
        plain, marked = (tmp_path / f"{name}{document}" for name in ("plain", "marked"))
        for folder in (plain, marked):
            folder.mkdir()
            shop(folder, written=[WRITTEN], document=document)
        for path in marked.iterdir():
            text = path.read_text(encoding="utf-8") if document else json.dumps(json.loads(path.read_bytes()), indent=1)
            path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
        assert open_catalog(marked).products == open_catalog(plain).products
        assert len(second(marked).human) == 1


def test_halves_of_characters_are_replaced_where_they_are_read(tmp_path: Path) -> None:
    half, said = (
        "a\ud83db",
        {name: "a\ud83db" if isinstance(value, str) else ["a\ud83db"] for name, value in SAID.items()},
    )
    changes: dict[str, Any] = {
        name: half for name in ("name", "full_description", "category", "query", "product_category")
    }
    changes |= {"small_description": [half], "customization_options": {half: [{"value": half}]}, "Rating": half}
    written = [{"instruction": half, "instruction_attributes": [half], "instruction_options": [half]}]
    product = second(shop(tmp_path, changes, said, written))
    assert "\ufffd" in product.title
    repr(product).encode("utf-8")
    for texts in (product.options, *product.options.values(), product.bullets, product.attributes):
        assert [text for text in texts if "\ufffd" in text]
        "".join(texts).encode("utf-8")
    "".join((product.search_text, product.category, product.query, product.path, product.rating)).encode("utf-8")
    assert product.human[0].options == product.human[0].attributes == ("a\ufffdb",)
