from __future__ import annotations

import errno
import hashlib
import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from sdar_gym.envs import TaskPanel, freeze_panel, load_panel
from sdar_gym.envs.tasks import PanelError

IDS = [f"train/{number:03d}" for number in range(90)]
# Unbalanced types: 60, 24 and 6 tasks.
TYPES = {task_id: ("heat" if n < 60 else "cool" if n < 84 else "look") for n, task_id in enumerate(IDS)}


def test_the_hash_is_that_of_the_environment_and_the_ids() -> None:
    panel = TaskPanel("any", "sdar/ALFWorld-v0", ("a", "b"))
    assert panel.hash == hashlib.sha256(b"sdar/ALFWorld-v0\na\nb").hexdigest()[:12]
    assert TaskPanel("other name", "sdar/ALFWorld-v0", ("a", "b")).hash == panel.hash
    assert TaskPanel("any", "sdar/ALFWorld-v1", ("a", "b")).hash != panel.hash
    assert TaskPanel("any", "sdar/ALFWorld-v0", ("b", "a")).hash != panel.hash


def test_the_choice_depends_on_the_ids_alone() -> None:
    panel = freeze_panel("p", "env", IDS, 13, TYPES)
    for seed in range(5):
        mixed = random.Random(seed).sample(IDS, len(IDS))
        assert freeze_panel("p", "env", mixed, 13, TYPES) == panel
    assert freeze_panel("p", "env", (task_id for task_id in IDS), 13, TYPES) == panel
    # Pinned: a change makes old results incomparable.
    assert panel.hash == "4c6a8cefa00d"


def test_a_larger_panel_holds_the_smaller_one() -> None:
    small = freeze_panel("p", "env", IDS, 10, TYPES).task_ids
    assert set(small) < set(freeze_panel("p", "env", IDS, 20, TYPES).task_ids)
    assert small != tuple(IDS[:10])


def test_types_take_turns_until_one_is_used_up() -> None:
    def count(size: int) -> dict[str, int]:
        return dict(Counter(TYPES[task_id] for task_id in freeze_panel("p", "env", IDS, size, TYPES).task_ids))

    assert count(9) == {"heat": 3, "cool": 3, "look": 3}
    assert count(30) == {"heat": 12, "cool": 12, "look": 6}
    assert count(1000) == {"heat": 60, "cool": 24, "look": 6}


def test_without_types_the_ids_are_ranked_alone() -> None:
    panel = freeze_panel("p", "env", IDS, 9)
    assert len(panel.task_ids) == 9
    assert panel.task_ids == tuple(sorted(panel.task_ids))
    assert panel != freeze_panel("p", "env", IDS, 9, TYPES)


def test_a_panel_comes_back_from_its_file(tmp_path: Path) -> None:
    panel = freeze_panel("größe-12", "env", IDS, 12, TYPES)
    panel.save(tmp_path / "panel.json")
    assert load_panel(tmp_path / "panel.json") == panel


@pytest.mark.parametrize("change", [{"task_ids": ["a", "c"]}, {"task_ids": ["b", "a"]}, {"env_id": "other"}])
def test_a_panel_that_was_changed_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "panel.json"
    TaskPanel("p", "env", ("a", "b")).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(PanelError, match="was changed after it was frozen"):
        load_panel(path)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "nothing", '{"name": "p"}', '{"name": "p", "env_id": "e", "task_ids": 3, "hash": ""}', "\ud800"],
)
def test_what_is_no_panel_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "panel.json"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(PanelError, match="is not a readable task panel"):
        load_panel(path)
    with pytest.raises(PanelError, match="is not a readable task panel"):
        load_panel(tmp_path / "missing.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, "nested|recursion"),
        ('{"name": "n", "env_id": null, "hash": "x", "task_ids": ["a"]}', "env_id has to be a text, got None"),
        ('{"name": 5, "env_id": "e", "hash": "x", "task_ids": ["a"]}', "name has to be a text, got 5"),
        ('{"name": "n", "env_id": "e", "hash": "x", "task_ids": [5]}', "a task id has to be a text, got 5"),
        ('{"name": "n", "env_id": "e", "hash": "x", "task_ids": [["a"]]}', "a task id has to be a text"),
        (
            '{"name": "n", "env_id": "e", "hash": "x", "task_ids": "abc"}',
            "task_ids has to be a list of texts, got 'abc'",
        ),
        ('{"name": "n", "env_id": "e", "hash": "x", "task_ids": {"a": 1}}', "task_ids has to be a list of texts"),
        ('{"name": "n", "env_id": "e", "task_ids": ["a"]}', "it has no 'hash'"),
        ('{"name": "n", "env_id": "e", "hash": "x", "task_ids": []}', "has no tasks"),
        ('{"name": %s}' % ("9" * 5000), "digits"),
        (b"\xff\xfe{\x00", "codec"),
    ],
)
def test_damaged_panels_say_what_and_what_to_do(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "panel.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PanelError, match=rf"panel\.json is not a readable task panel: .*({message}).*Take the file"):
        load_panel(path)


def test_a_hash_of_another_type_is_a_changed_panel(tmp_path: Path) -> None:
    path = tmp_path / "panel.json"
    path.write_text('{"name": "n", "env_id": "e", "hash": 5, "task_ids": ["a"]}')
    with pytest.raises(PanelError, match=r"was changed after it was frozen.*it says 5"):
        load_panel(path)


def test_a_panel_that_went_through_an_editor_is_read(tmp_path: Path) -> None:
    path = tmp_path / "panel.json"
    panel = freeze_panel("p", "env", IDS, 5)
    panel.save(path)
    for content in (path.read_bytes().replace(b"\n", b"\r\n"), path.read_bytes().replace(b"\n", b"\r")):
        path.write_bytes(b"\xef\xbb\xbf" + content)
        assert load_panel(path) == panel


def test_halves_of_characters_do_not_get_into_a_panel(tmp_path: Path) -> None:
    panel = freeze_panel("p\ud83d", "env", ["a\ud83d", "b"], 2)
    assert (panel.name, panel.task_ids) == ("p\ufffd", ("a\ufffd", "b"))
    panel.save(tmp_path / "panel.json")
    text = (tmp_path / "panel.json").read_text().replace("\\ufffd", "\\ud83d")
    (tmp_path / "panel.json").write_text(text)
    assert load_panel(tmp_path / "panel.json") == panel


def test_a_panel_is_saved_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = freeze_panel("p", "env", IDS, 5)
    path = tmp_path / "panel.json"
    panel.save(path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(PanelError, match=r"cannot be written to .*panel\.json: No space left on device"):
        freeze_panel("other", "env", IDS, 9).save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["panel.json"]
    assert load_panel(path) == panel


@pytest.mark.parametrize("path", ["s3://bucket/panel.json", "~nosuchuser/x", "x" * 5000])
def test_paths_that_are_none_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"The panel"):
        load_panel(path)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "3", float("nan")])
def test_an_invalid_size_raises(size: object) -> None:
    with pytest.raises(PanelError, match="at least one task, got size"):
        freeze_panel("p", "env", IDS, size)  # pyright: ignore[reportArgumentType]


def test_invalid_panels_raise() -> None:
    with pytest.raises(PanelError, match="at least one task, got size 0"):
        freeze_panel("p", "env", IDS, 0)
    with pytest.raises(PanelError, match="'p' has no tasks"):
        freeze_panel("p", "env", [], 3)
    with pytest.raises(PanelError, match="names a task twice"):
        TaskPanel("p", "env", ("a", "a"))
