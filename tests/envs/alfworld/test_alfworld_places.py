"""Unusual game archives and folders: zip variants, other tools, wrong paths with suggestions."""

from __future__ import annotations

import io
import json
import lzma
import os
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import gymnasium
import pytest

from sdar_gym.envs.alfworld import archives
from sdar_gym.envs.alfworld.game_source import MissingGamesError
from sdar_gym.envs.alfworld.sources import open_source
from sdar_gym.envs.alfworld.world import GameFormatError
from sdar_gym.envs.text_env import TaskNotFoundError

ID = "valid_seen/fetch/trial_1"
INSIDE = f"json_2.1.1/{ID}/game.tw-pddl"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / f"{tmp_path.name}-cache"))
    archives._open_as.cache_clear()
    yield
    archives._open_as.cache_clear()


@pytest.fixture
def game(pddl_fields: dict[str, Any]) -> bytes:
    return json.dumps(pddl_fields).encode()


def make_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.filename, info.compress_type = name, method  # Verbatim: zipfile would replace backslashes.
            file.writestr(info, content)
    return path


def make_tar(path: Path, files: dict[str, bytes], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, f"w:{path.name.partition('.tar.')[2]}", **options) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def refused(place: Path | str, kind: type[ValueError] = MissingGamesError) -> str:
    with pytest.raises(kind) as error:
        open_source(place)
    assert "\n" not in str(error.value) and len(str(error.value)) < 900
    return str(error.value)


# Archives


@pytest.mark.parametrize("pack", [make_zip, make_tar])
@pytest.mark.parametrize("name", [INSIDE, INSIDE.replace("/", "\\"), f"a/b/c/{INSIDE}", f"{ID}/game.tw-pddl"])
def test_an_archive_of_any_tool_is_read(pack: Any, name: str, game: bytes, tmp_path: Path) -> None:
    suffix = "zip" if pack is make_zip else "tar.gz"
    other = name.replace("game.tw-pddl", "traj_data.json")
    goals = json.dumps({"turk_annotations": {"anns": [{"task_desc": "go"}]}}).encode()
    source = open_source(
        pack(tmp_path / f"json_2.1.2_tw-pddl.{suffix}", {"readme.txt": b"hi", other: goals, name: game})
    )
    assert source.splits == ("valid_seen",)
    assert source.task_ids("valid_seen") == (ID,)
    assert source.load(ID).task.startswith("put two")
    assert source.human_goals(ID) == ("go",)
    assert dict(source.files([ID]))[ID].encode() == game
    with pytest.raises(TaskNotFoundError, match="holds no games of split 'train'; it has games of valid_seen"):
        source.task_ids("train")


def test_an_archive_is_known_by_its_content_and_not_by_its_name(game: bytes, tmp_path: Path) -> None:
    make_zip(tmp_path / "games.tar.xz", {INSIDE: game})
    make_tar(tmp_path / "more.tar.gz", {INSIDE: game}).rename(tmp_path / "games.zip")
    for name in ("games.tar.xz", "games.zip"):
        assert open_source(tmp_path / name).task_ids("valid_seen") == (ID,)


def test_a_folder_with_a_zip_for_each_split_is_a_source(game: bytes, tmp_path: Path) -> None:
    make_zip(tmp_path / "valid_seen.zip", {INSIDE: game})
    make_tar(tmp_path / "train.tar.bz2", {INSIDE.replace("valid_seen", "train"): game})
    source = open_source(tmp_path)
    assert source.splits == ("train", "valid_seen")
    assert source.load(ID).task_id == ID


def test_the_environment_plays_from_a_zip(game: bytes, tmp_path: Path) -> None:
    env = gymnasium.make("sdar/ALFWorld-v0", games=make_zip(tmp_path / "g.zip", {INSIDE: game}), split="valid_seen")
    assert env.reset(seed=0)[1]["task_id"] == ID


def damaged_copies(content: bytes) -> Iterator[bytes]:
    rng = Random(4)
    for _ in range(40):
        place = rng.randrange(len(content))
        yield content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]
        yield content[:place]
    yield from (b"", b"PK", b"PK\x03\x04", b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh9", b"these are no games", bytes(512))


@pytest.mark.parametrize("name", ["g.zip", "g.tar.xz", "g.tar.gz", "g.tar.bz2", "g.tar."])
def test_a_damaged_archive_is_one_message_or_read_as_it_was(name: str, game: bytes, tmp_path: Path) -> None:
    archive = (make_zip if name == "g.zip" else make_tar)(tmp_path / name, {INSIDE: game, f"{INSIDE}.txt": b"x" * 5000})
    whole = open_source(archive).load(ID)
    for copy in damaged_copies(archive.read_bytes()):
        archive.write_bytes(copy)
        archives._open_as.cache_clear()
        try:
            found = open_source(archive)
            # Damage outside the games: a modification time, an owner, another file.
            assert found.task_ids("valid_seen") == (ID,)
        except (GameFormatError, MissingGamesError, TaskNotFoundError) as error:
            assert "\n" not in str(error) and str(archive) in str(error)
        else:
            assert name == "g.tar." or found.load(ID) == whole


def test_a_tar_that_was_cut_between_two_games_is_noticed(game: bytes, tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "g.tar.", {INSIDE: game, INSIDE.replace("trial_1", "trial_2"): game})
    content = archive.read_bytes()
    second = content.index(b"trial_2") // 512 * 512
    for cut in (second, second + 512, second + 300):
        archive.write_bytes(content[:cut])
        assert "is not a readable archive of ALFWorld games" in refused(archive, GameFormatError)


def test_a_zip_with_a_password_is_refused_in_one_line(game: bytes, tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "g.zip", {INSIDE: game})
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x03\x04") + 6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    assert "is encrypted" in refused(archive, GameFormatError)


@pytest.mark.parametrize("pack", [make_zip, make_tar])
def test_a_file_that_would_fill_the_memory_is_refused_with_its_name(pack: Any, tmp_path: Path) -> None:
    archive = tmp_path / ("g.zip" if pack is make_zip else "g.tar.xz")
    pack(archive, {INSIDE: b" " * (200 << 20)})
    assert archive.stat().st_size < 1 << 20
    message = refused(archive, GameFormatError)
    assert message.startswith(f"{archive}:{INSIDE} has more than 2,097,152 bytes")


def test_a_file_of_a_folder_is_bounded_too(tmp_path: Path) -> None:
    file = tmp_path / "games" / ID / "game.tw-pddl"
    file.parent.mkdir(parents=True)
    with file.open("wb") as stream:
        stream.truncate(3 << 30)  # A sparse file.
    with pytest.raises(GameFormatError, match="has more than 2,097,152 bytes"):
        open_source(tmp_path / "games").load(ID)


@pytest.mark.parametrize("trial", ["tri\udcffal", "a\tb", "a\nb", "\x1b[2J"])
def test_names_that_could_not_be_shown_are_refused(trial: str, game: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "g.tar.gz"
    make_tar(archive, {INSIDE.replace("trial_1", trial): game}, errors="surrogateescape")
    assert "holds a game under the name 'valid_seen/fetch/" in refused(archive, GameFormatError)
    folder = os.fsencode(tmp_path / "games/valid_seen/fetch") + b"/" + trial.encode("utf-8", "surrogateescape")
    os.makedirs(folder)
    Path(os.fsdecode(folder), "game.tw-pddl").write_bytes(game)
    with pytest.raises(GameFormatError, match="rename its folders") as error:
        open_source(tmp_path / "games").task_ids("valid_seen")
    str(error.value).encode()


def test_links_of_an_archive_are_no_games(game: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "g.tar"
    with tarfile.open(archive, "w") as tar:
        info = tarfile.TarInfo(INSIDE)
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    assert "holds no ALFWorld games" in refused(archive)


def test_an_archive_without_games_says_what_it_holds(tmp_path: Path) -> None:
    message = refused(make_zip(tmp_path / "g.zip", {"photos/cat.png": b"x"}))
    assert "Its files are named like 'photos/cat.png'" in message
    message = refused(make_zip(tmp_path / "h.zip", {"a.txt": b"", "test/fetch/trial_1/game.tw-pddl": b"{}"}))
    assert "Its files are named like 'test/fetch/trial_1/game.tw-pddl'" in message
    assert "It is empty" in refused(make_zip(tmp_path / "i.zip", {}))
    with lzma.open(tmp_path / "j.xz", "wb") as file:
        file.write(b"only text " * 200)
    assert "the compressed content is not a tar archive" in refused(tmp_path / "j.xz", GameFormatError)
    (tmp_path / "k.rar").write_bytes(b"Rar!" * 500)
    assert "it is neither a tar nor a zip archive" in refused(tmp_path / "k.rar", GameFormatError)


# Other paths


@pytest.fixture
def downloads(game: bytes, tmp_path: Path) -> Path:
    """A folder with downloads of two versions."""
    root = tmp_path / "downloads"
    file = root / "json_2.1.2" / ID / "game.tw-pddl"
    file.parent.mkdir(parents=True)
    file.write_bytes(game)
    make_zip(root / "zips" / "json_2.1.2_tw-pddl.zip", {INSIDE: game})
    (root / "empty" / "below").mkdir(parents=True)
    return root


@pytest.mark.parametrize(
    ("place", "named"),
    [
        (".", "json_2.1.2"),
        ("..", "downloads/json_2.1.2"),
        ("zips", "zips/json_2.1.2_tw-pddl.zip"),
        ("empty", "json_2.1.2"),
        ("json_2.1.1", "json_2.1.2"),
        ("json_2.1.2/valid_seen", "json_2.1.2 (with split='valid_seen')"),
        ("json_2.1.2/valid_seen/fetch", "json_2.1.2 (with split='valid_seen')"),
        ("json_2.1.2/valid_seen/fetch/trial_1", "json_2.1.2 (with split='valid_seen')"),
        ("json_2.1.2/valid_seen/fetch/trial_1/game.tw-pddl", "json_2.1.2 (with split='valid_seen')"),
    ],
)
def test_a_place_near_games_names_them(downloads: Path, place: str, named: str) -> None:
    root = downloads.parent if named.startswith("downloads") else downloads
    assert f"{root}/{named}" in refused(downloads / place)
    # The suggested paths can be opened.
    assert open_source(str(root / named.partition(" ")[0])).task_ids("valid_seen") == (ID,)


def test_a_place_far_from_games_says_so(downloads: Path) -> None:
    assert "There are none near it" in refused(downloads / "empty" / "below")
    (downloads / "lone").mkdir()
    (downloads / "lone" / "game.tw-pddl").write_text("{}")
    message = refused(downloads / "lone" / "game.tw-pddl")
    assert "is a single game. Put it into <folder>/<split>/<task>/<trial>/game.tw-pddl" in message


def test_a_place_that_cannot_be_read_is_a_message(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "cannot be read" in refused(tmp_path / "pipe") or "none near" in refused(tmp_path / "pipe")
    assert refused("~nosuchuser/games", ValueError).startswith("games='~nosuchuser/games' cannot be resolved")
    assert "must be a path of 1 to 4096 characters" in refused("x" * 5000, ValueError)
    refused("/" + "x" * 300, ValueError)  # Longer than file systems allow.


@pytest.mark.parametrize(
    "task_id", [f"valid_seen/fetch/{'x' * 300}", f"valid_seen/{'é' * 200}/trial", "valid_seen/a/\ud800"]
)
def test_ids_that_no_disk_can_hold_are_not_there(downloads: Path, task_id: str) -> None:
    for place in (downloads / "json_2.1.2", downloads / "zips" / "json_2.1.2_tw-pddl.zip"):
        with pytest.raises(TaskNotFoundError, match="No game 'valid_seen/") as error:
            open_source(place).load(task_id)
        assert len(str(error.value)) < 400
