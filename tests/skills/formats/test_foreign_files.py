"""Libraries, memories and episodes from elsewhere: damage, other editors, lone surrogates, paths, full disks."""

from __future__ import annotations

import errno
import json
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdar_gym.skills import (
    Skill,
    SkillFormatError,
    SkillLibrary,
    SkillQuery,
    UnknownLibraryError,
    load_library,
    make_retriever,
)
from sdar_gym.skills.formats.library_manifest import MANIFEST
from sdar_gym.skills.formats.markdown_writer import check_target
from sdar_gym.skills.growth.episode_reader import read_episodes
from sdar_gym.skills.growth.extract import extract_skills
from sdar_gym.skills.strategies.bm25 import Bm25Retriever

MARKDOWN = "# Maze\nOrigin: mine\n\n## a.one: Look\nWhen: the goal asks to turn.\n\nSay look first.\nThen turn.\n"
BANK: dict[str, Any] = {
    "general_skills": [{"skill_id": "g", "title": "Look", "principle": "Look first.", "when_to_apply": "always"}],
    "task_specific_skills": {},
    "common_mistakes": [],
}
MEMORY: dict[str, Any] = {
    "memory_id": "m",
    "contextual_description": "A maze.",
    "content": {
        "task_meta": {"original_goal": "turn"},
        "strategic_guidelines": {"planning_pattern": "look, turn", "mistakes_to_avoid": []},
        "refined_trajectory": [{"action": "look"}],
    },
    "tags": {"data_source": "maze"},
}
EPISODE: dict[str, Any] = {
    "episode_id": "0/0",
    "task_type": "tidy",
    "goal": "put a pen away",
    "won": True,
    "turns": [{"observation": "A room.", "action": "look", "valid_action": True}],
}


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def changed(tree: Any, *path: Any, to: Any) -> Any:
    """A copy of nested data with another value at one place."""
    tree = json.loads(json.dumps(tree))
    place = tree
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return tree


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_editors_line_ends_and_byte_order_mark_give_the_same_library(
    tmp_path: Path, mark: bytes, end: bytes
) -> None:
    def saved(name: str, text: str) -> Path:
        return write(tmp_path / name, mark + text.encode().replace(b"\n", end))

    saved("maze/turn.md", MARKDOWN)
    saved(f"maze/{MANIFEST}", '{\n"name": "labyrinth",\n"version": 3\n}')
    (skill,) = library = load_library(tmp_path / "maze")
    assert (library.name, library.version) == ("labyrinth", 3)
    assert (skill.text, skill.origin, skill.when_to_use) == (
        "Say look first.\nThen turn.",
        "mine",
        "the goal asks to turn.",
    )
    assert load_library(saved("bank.json", json.dumps(BANK, indent=1))).get("g").text == "Look first."
    assert load_library(saved("memories.json", json.dumps([MEMORY], indent=1))).get("m").task_types == ("maze",)
    saved("sdar/skill_mapping.json", '{"skill_files": {"a": "a.md"},\n"task_to_skill": {"a": "a"}}')
    saved("sdar/a.md", "# A\n\n1. Look: do look.\n2. Turn: do turn.\n")
    assert [skill.text for skill in load_library(tmp_path / "sdar")] == ["Look: do look.", "Turn: do turn."]
    assert len(read_episodes(saved("e.jsonl", json.dumps(EPISODE) + "\n" + json.dumps(EPISODE) + "\n"))) == 2


def test_a_place_in_a_file_with_old_line_ends_is_the_right_one(tmp_path: Path) -> None:
    write(tmp_path / "maze" / "turn.md", MARKDOWN.replace("When:", "Wenn:").replace("\n", "\r"))
    with pytest.raises(SkillFormatError, match=r"maze/turn\.md, line 5: skill 'a\.one' lacks its 'When:"):
        load_library(tmp_path / "maze")
    write(tmp_path / "maze" / "turn.md", MARKDOWN.encode().replace(b"\n", b"\r") + b"\xff")
    with pytest.raises(SkillFormatError, match=r"maze/turn\.md, line 9: the text is not UTF-8"):
        load_library(tmp_path / "maze")


@pytest.mark.parametrize("value", [5, None, True, "text", [], [1], {}, 1e400])
@pytest.mark.parametrize(
    "path",
    [
        ("memory_id",),
        ("contextual_description",),
        ("content",),
        ("content", "task_meta"),
        ("content", "task_meta", "original_goal"),
        ("content", "strategic_guidelines"),
        ("content", "strategic_guidelines", "planning_pattern"),
        ("content", "strategic_guidelines", "mistakes_to_avoid"),
        ("content", "refined_trajectory"),
        ("content", "refined_trajectory", 0),
        ("tags",),
        ("tags", "data_source"),
    ],
)
def test_a_memory_with_something_else_inside_is_read_or_named(
    tmp_path: Path, path: tuple[Any, ...], value: Any
) -> None:
    file = write(tmp_path / "m.json", json.dumps([MEMORY, changed(changed(MEMORY, *path, to=value), "memory_id", to="n")
                 if path != ("memory_id",) else changed(MEMORY, *path, to=value)]))  # fmt: skip
    try:
        load_library(file)
    except SkillFormatError as error:
        assert str(error).startswith("m.json, at [1]") or "occurs twice" in str(error)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (
            ("content", "strategic_guidelines"),
            "at [0].content.strategic_guidelines: this has to be an object, and is int",
        ),
        (("content",), "at [0].content: this has to be an object, and is int"),
        (("tags",), "at [0].tags: this has to be an object, and is int"),
        (("content", "refined_trajectory", 0), "at [0].content.refined_trajectory[0]: this has to be an object"),
    ],
)
def test_a_number_in_the_place_of_an_object_is_named_with_its_place(
    tmp_path: Path, path: tuple[Any, ...], place: str
) -> None:
    file = write(tmp_path / "m.json", json.dumps([changed(MEMORY, *path, to=5)]))
    with pytest.raises(SkillFormatError) as caught:
        load_library(file)
    assert place in str(caught.value)


@pytest.mark.parametrize("value", [5, None, "text", [1], {"a": 1}, {"a": [1]}])
@pytest.mark.parametrize("key", ["general_skills", "task_specific_skills", "query_type_skills", "common_mistakes"])
def test_a_bank_with_something_else_inside_is_named(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(SkillFormatError, match=rf"b\.json, at {key}"):
        load_library(write(tmp_path / "b.json", json.dumps(BANK | {key: value})))


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, "", "\x00", b"\xff\xfe{\x00", b"\xff", "5", "null", '"a"']
)
def test_damaged_json_is_one_message_wherever_it_is_read(tmp_path: Path, content: str | bytes) -> None:
    with pytest.raises(SkillFormatError, match=r"^l\.json"):
        load_library(write(tmp_path / "l.json", content))
    write(tmp_path / "sdar" / "skill_mapping.json", content)
    with pytest.raises(SkillFormatError, match=r"^sdar/skill_mapping\.json"):
        load_library(tmp_path / "sdar")
    write(tmp_path / "md" / "turn.md", MARKDOWN)
    write(tmp_path / "md" / MANIFEST, content)
    with pytest.raises(SkillFormatError, match=r"^md/library\.json"):
        load_library(tmp_path / "md")
    if content:
        with pytest.raises(SkillFormatError, match=r"^e\.jsonl, line 1: no episode \(.+\); fetch the file again"):
            read_episodes(write(tmp_path / "e.jsonl", content))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("turns",), 5, "turns is no list"),
        (("turns",), "look", "turns is no list"),
        (("turns", 0), "look", "a turn is str, no object"),
        (("turns", 0, "action"), None, "a turn's action is no text"),
        (("turns", 0, "valid_action"), "no", "valid_action must be true or false"),
        (("won",), "no", "won must be true or false, got 'no'"),
        (("won",), float("nan"), "won must be true or false"),
        (("goal",), 5, "goal is no text"),
    ],
)
def test_episodes_of_another_form_are_named(tmp_path: Path, path: tuple[Any, ...], value: Any, message: str) -> None:
    file = write(tmp_path / "e.jsonl", f"{json.dumps(EPISODE)}\n{json.dumps(changed(EPISODE, *path, to=value))}\n")
    with pytest.raises(SkillFormatError, match=rf"e\.jsonl, line 2: no episode \({message}"):
        read_episodes(file)


def texts_of(library: SkillLibrary) -> str:
    return repr((library.name, library.skills)) + library.name


def test_lone_surrogates_are_replaced_wherever_skills_come_from(tmp_path: Path) -> None:
    half = "a\ud83d"
    bank = {
        "general_skills": [{"skill_id": "g", "title": half, "principle": half, "when_to_apply": half}],
        "task_specific_skills": {half: [{"skill_id": "s", "title": "t", "principle": "p", "when_to_apply": "w"}]},
        "common_mistakes": [{"mistake_id": "c", "description": half, "why_it_happens": half, "how_to_avoid": half}],
    }
    memory = changed(changed(MEMORY, "contextual_description", to=half), "tags", "data_source", to=half)
    memory = changed(memory, "content", "task_meta", "original_goal", to=half)
    memory = changed(memory, "content", "strategic_guidelines", "planning_pattern", to=half)
    write(tmp_path / "md" / "turn.md", MARKDOWN)
    write(tmp_path / "md" / MANIFEST, json.dumps({"name": half, "env": half}))
    libraries = [
        load_library(write(tmp_path / "b.json", json.dumps(bank))),
        load_library(write(tmp_path / "m.json", json.dumps([memory]))),
        load_library(tmp_path / "md"),
        SkillLibrary(half, (Skill("a", half, half, half, half, (half,), half, (half,)),)),
    ]
    for library in libraries:
        texts_of(library).encode()
        for skill in library:
            "".join((skill.search_text, skill.env, skill.origin, *skill.task_types, *skill.keywords)).encode()
        assert "a\ufffd" in texts_of(library)
        library.fingerprint()
        retriever = Bm25Retriever(library, include_general=False)
        retriever.retrieve(SkillQuery("e", "", half)).text.encode()
    (episode,) = read_episodes(write(tmp_path / "e.jsonl", json.dumps(EPISODE | {"goal": half, "task_type": half})))
    for skill in extract_skills([episode], env="e", origin="o"):
        skill.search_text.encode()
    # A pair of halves is a whole character.
    assert Skill("a", "\ud83d\ude00", "t", "w", "e", (), "o").title == "\U0001f600"


@pytest.mark.parametrize("field", ["id", "title", "text", "when_to_use", "env", "origin", "kind"])
@pytest.mark.parametrize("value", [5, None, ["a"], b"a"])
def test_a_skill_is_made_of_texts(field: str, value: Any) -> None:
    fields = {"id": "a", "title": "t", "text": "x", "when_to_use": "w", "env": "e", "task_types": (), "origin": "o"}
    with pytest.raises(ValueError, match=rf"Skill .*: {field} has to be a text, got"):
        Skill(**(fields | {field: value}))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"Skill 'a': task_types must be a list of texts"):
        Skill(**(fields | {"task_types": [5]}))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "path",
    ["s3://bucket/lib", "https://user:pw@host/lib.json", "~nosuchuser/x", "x" * 5000, "a\x00b", Path("s3://b/l")],
)
def test_paths_that_are_none_are_refused(path: Any) -> None:
    library = load_library("alfworld")
    functions = (load_library, SkillLibrary.from_folder, SkillLibrary.from_file, library.save)
    for function in functions:
        with pytest.raises(ValueError, match=r"^The skill library") as caught:
            function(path)
        assert "pw" not in str(caught.value)


def test_a_library_from_a_relative_path_works_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "maze" / "turn.md", MARKDOWN)
    monkeypatch.chdir(tmp_path)
    retrievers = [make_retriever(name, load_library("./maze")) for name in ("bm25", "oracle_type", "ucb")]
    shipped = pickle.dumps(retrievers)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for retriever in pickle.loads(shipped):
        assert retriever.retrieve(SkillQuery("maze", "turn", "turn")).ids == ("a.one",)


def test_only_the_librarys_own_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "maze" / "turn.md", MARKDOWN)
    write(tmp_path / "maze" / "corpus.jsonl", "huge")
    (tmp_path / "maze" / "folder.md").mkdir()
    read: list[str] = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (read.append(path.name), real(path))[1])
    assert len(load_library(tmp_path / "maze")) == 1
    assert read == ["turn.md"]


def test_a_file_that_may_not_be_read_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "maze" / "turn.md", MARKDOWN)
    bank = write(tmp_path / "bank.json", json.dumps(BANK))

    def refused(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(SkillFormatError, match=r"maze/turn\.md: cannot be read \(Permission denied\)"):
        load_library(tmp_path / "maze")
    with pytest.raises(SkillFormatError, match=r"bank\.json: cannot be read \(Permission denied\)"):
        load_library(bank)


def test_a_library_that_is_not_there_is_still_named(tmp_path: Path) -> None:
    for missing in ("alfword", tmp_path / "none", str(tmp_path / "none.json")):
        with pytest.raises(UnknownLibraryError):
            load_library(missing)


@pytest.mark.parametrize("fails_at", ["write_text", "mkdir", "rename"])
def test_a_full_disk_leaves_the_library_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    folder = tmp_path / "mine"
    load_library("alfworld").save(folder)
    write(folder / "notes.txt", "kept")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    real = getattr(Path, fails_at)

    def full(path: Path, *args: Any, **kwargs: Any) -> Any:
        # Of renames the second fails: the old library has gone to the scratch folder by then.
        if fails_at != "rename" or path.name == "new":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Path, fails_at, full)
        with pytest.raises(
            ValueError, match=r"cannot be saved to .*mine: No space left on device. What was there is unch"
        ):
            load_library("webshop").save(folder, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_target_is_looked_at_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "file", "x")
    full = write(tmp_path / "full" / "x", "x").parent
    with pytest.raises(ValueError, match=r"file is a file; name a folder"):
        check_target(file, overwrite=True)
    with pytest.raises(ValueError, match=r"cannot be made: .*file is no folder that can be written to"):
        check_target(file / "below" / "it", overwrite=False)
    with pytest.raises(ValueError, match=r"full is not empty"):
        check_target(full, overwrite=False)
    check_target(full, overwrite=True)
    check_target(tmp_path / "a" / "b" / "c", overwrite=False)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match=r"is no folder that can be written to"):
        check_target(tmp_path / "new", overwrite=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), -0.1, 1.1, True, "0.5"])
def test_a_limit_of_similarity_that_is_none_is_refused(limit: Any) -> None:
    library = load_library("alfworld")
    copy = replace(library.skills[0], id="copy", origin="me")
    with pytest.raises(ValueError, match=r"duplicate_above must be a finite number from 0 to 1"):
        SkillLibrary("mine", library.skills).add(copy, duplicate_above=limit)


@pytest.mark.parametrize("k", [0, -1, 2.0, True, "2", float("nan"), None])
def test_a_number_of_skills_that_is_none_is_refused(k: Any) -> None:
    for strategy in ("bm25", "keywords", "ucb", "oracle_type", "random", "full"):
        with pytest.raises(ValueError, match=r"k is the number of skills to retrieve, at least 1; got"):
            make_retriever(strategy, load_library("alfworld"), k=k)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1, "1", True, None])
def test_weights_that_are_none_are_refused(weight: Any) -> None:
    with pytest.raises(ValueError, match=r"must not be negative or infinite; got"):
        make_retriever("bm25", load_library("alfworld"), field_weights={"text": weight})
    with pytest.raises(ValueError, match=r"ucb_c .*; got|ucb_c"):
        make_retriever("ucb", load_library("alfworld"), ucb_c=weight)
    with pytest.raises(ValueError, match=r"field_weights names fields and their weights"):
        make_retriever("bm25", load_library("alfworld"), field_weights=["text"])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), -0.1, 1.1, "1", None, True, 10**400])
def test_a_reward_that_is_none_is_refused_and_nothing_is_learned(reward: Any) -> None:
    retriever: Any = make_retriever("ucb", load_library("alfworld"))
    skill = retriever.library.for_task_type("pick_and_place_simple")[0].id
    with pytest.raises(ValueError, match=r"learns from rewards from 0 to 1, got .* for task type 't'"):
        retriever.observe("t", [skill], reward)
    assert retriever.get_state() == {}


@pytest.mark.parametrize(
    "learned",
    [
        {"episodes": 1e400, "arms": {}},
        {"episodes": 2.5, "arms": {}},
        {"episodes": "2", "arms": {}},
        {"episodes": -1, "arms": {}},
        {"episodes": True, "arms": {}},
        {"episodes": 2, "arms": {"SKILL": [1, float("nan")]}},
        {"episodes": 2, "arms": {"SKILL": [1, float("inf")]}},
        {"episodes": 2, "arms": {"SKILL": [1.5, 1.0]}},
        {"episodes": 2, "arms": {"SKILL": [1, "1"]}},
        {"episodes": 2, "arms": 5},
        5,
    ],
)
def test_a_state_with_other_numbers_is_refused_whole(learned: Any) -> None:
    retriever: Any = make_retriever("ucb", load_library("alfworld"))
    skill = retriever.library.for_task_type("pick_and_place_simple")[0].id
    state = {"t": json.loads(json.dumps(learned).replace("SKILL", skill))}
    with pytest.raises(ValueError, match=r"no state of the strategy 'ucb' \(task type 't'"):
        retriever.set_state(state)
    with pytest.raises(ValueError, match=r"no state of the strategy 'ucb'"):
        retriever.set_state([state])
    assert retriever.get_state() == {}
