"""Game sources over folders and archives: discovery, compilation, caching, and errors for damaged files."""

from __future__ import annotations

import gzip
import pickle
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from sdar_gym.envs import TaskNotFoundError, compiled_cache
from sdar_gym.envs.alfworld import archives
from sdar_gym.envs.alfworld.game_source import MissingGamesError
from sdar_gym.envs.alfworld.generator import GeneratedSource
from sdar_gym.envs.alfworld.sources import load_cached, open_source
from sdar_gym.envs.alfworld.world import GameFormatError

ID = "train/fetch/trial_1"
OTHER_ID = "train/fetch/trial_2"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache of compiled archives."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    archives._open_as.cache_clear()
    yield tmp_path / "cache" / "sdar_gym" / "alfworld"
    archives._open_as.cache_clear()


@pytest.fixture
def pack(tmp_path: Path, write_game: Callable[..., Path]) -> Callable[..., Path]:
    """Packs the very small game under some ids."""

    def make(name: str, *task_ids: str, **changes: Any) -> Path:
        archive = tmp_path / name
        with tarfile.open(archive, f"w:{name.partition('.tar.')[2]}") as tar:
            for task_id in task_ids:
                file = write_game(tmp_path / "unpacked", task_id, **changes)
                tar.add(file, f"json_2.1.1/{task_id}/game.tw-pddl")
        return archive

    return make


# Folders


@pytest.mark.parametrize("below", ["", "json_2.1.1"])
def test_a_folder_is_a_source(tmp_path: Path, write_game: Callable[..., Path], below: str) -> None:
    for task_id in (OTHER_ID, ID, "valid_seen/fetch/trial_1"):
        write_game(tmp_path / below, task_id)
    source = open_source(str(tmp_path))
    assert source.task_ids("train") == (ID, OTHER_ID)
    assert source.load(ID).task_id == ID
    assert source.load(ID).fingerprint() == source.load(OTHER_ID).fingerprint()
    with pytest.raises(TaskNotFoundError, match="holds no games of split 'valid_unseen'"):
        source.task_ids("valid_unseen")
    with pytest.raises(TaskNotFoundError, match="Unknown split 'test'"):
        source.task_ids("test")


def test_tasks_that_alfworld_leaves_out_are_left_out(pack: Callable[..., Path], tmp_path: Path) -> None:
    sliced = "train/pick_and_place_simple-AppleSliced-None-Fridge-1/trial_1"
    movable = "train/pick_and_place_with_movable_recep-Apple-Bowl-Fridge-1/trial_1"
    for source in (open_source(pack("train.tar.xz", ID, sliced, movable)), open_source(tmp_path / "unpacked")):
        assert source.task_ids("train") == (ID,)
        assert source.load(sliced).task_id == sliced  # who asks for it by name may play it


@pytest.mark.parametrize(
    "task_id", ["", "train", "train/fetch/trial_9", "../train/fetch/trial_1", "train/../trial_1", "/etc/passwd/x",
                "train/fetch/../fetch/trial_1", "train/fetch/\x00", "secret/fetch/trial_1"],
)  # fmt: skip
def test_ids_do_not_lead_out_of_the_folder(tmp_path: Path, write_game: Callable[..., Path], task_id: str) -> None:
    write_game(tmp_path / "games")
    write_game(tmp_path / "games", "secret/fetch/trial_1")
    write_game(tmp_path)
    with pytest.raises(TaskNotFoundError, match="No game "):
        open_source(tmp_path / "games").load(task_id)


def test_a_damaged_game_in_a_folder_is_named(tmp_path: Path, write_game: Callable[..., Path]) -> None:
    file = write_game(tmp_path, pddl_problem="")
    with pytest.raises(GameFormatError, match=str(file)):
        open_source(tmp_path).load(ID)


def test_a_folder_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingGamesError, match=r"No such folder or archive .*nowhere.*leave `games` out"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(MissingGamesError, match="holds no ALFWorld games: neither json_"):
        open_source(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(TaskNotFoundError, match="holds no games of split 'train'"):
        open_source(tmp_path).task_ids("train")


def test_environments_of_one_folder_share_their_games(tmp_path: Path, write_game: Callable[..., Path]) -> None:
    write_game(tmp_path)
    assert open_source(tmp_path) is not open_source(tmp_path)
    assert load_cached(open_source(tmp_path), ID) is load_cached(open_source(tmp_path), ID)


# Archives


@pytest.mark.parametrize("name", ["train.tar.xz", "train.tar.gz", "games.tar."])
def test_an_archive_is_a_source(pack: Callable[..., Path], name: str) -> None:
    archive = pack(name, ID, OTHER_ID)
    source = open_source(archive)
    assert source.task_ids("train") == (ID, OTHER_ID)
    expected = open_source(archive.parent / "unpacked")
    assert source.load(OTHER_ID) == expected.load(OTHER_ID)
    with pytest.raises(TaskNotFoundError, match="holds no games of split 'valid_seen'"):
        source.task_ids("valid_seen")
    with pytest.raises(TaskNotFoundError, match="No game 'train/fetch/trial_9'"):
        source.load("train/fetch/trial_9")


def test_an_archive_is_compiled_once(pack: Callable[..., Path], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled_archives: list[Path] = []
    compile_archive = archives._compile
    monkeypatch.setattr(archives, "_compile", lambda path: compiled_archives.append(path) or compile_archive(path))
    archive = pack("train.tar.xz", ID)
    assert not cache.exists()
    first = open_source(archive)
    (compiled,) = cache.iterdir()
    for _ in range(2):
        archives._open_as.cache_clear()
        assert open_source(archive).load(ID) == first.load(ID)
    assert compiled_archives == [archive]
    assert list(cache.iterdir()) == [compiled]


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "without its first line", "a folder"])
def test_a_damaged_compiled_archive_is_compiled_again(pack: Callable[..., Path], cache: Path, damage: str) -> None:
    archive = pack("train.tar.xz", ID, OTHER_ID)
    whole = open_source(archive)
    (compiled,) = cache.iterdir()
    content = compiled.read_bytes()
    # Truncated after the first game: still readable, but a smaller split.
    cut = content[: content.index(OTHER_ID.encode()) - 1]
    changed = content.replace(b"put two", b"put ten")
    assert changed != content
    if damage == "a folder":
        compiled.unlink()
        compiled.mkdir()
    else:
        compiled.write_bytes(
            {"cut": cut, "changed": changed, "empty": b"", "without its first line": content.partition(b"\n")[2]}[
                damage
            ]
        )
    archives._open_as.cache_clear()
    again = open_source(archive)
    assert again.task_ids("train") == (ID, OTHER_ID)
    assert again.load(ID) == whole.load(ID)
    assert damage == "a folder" or compiled.read_bytes() == content


def test_a_full_disk_leaves_no_partial_file(
    pack: Callable[..., Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: str, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiled_cache.os, "replace", full)
    assert open_source(pack("train.tar.xz", ID)).task_ids("train") == (ID,)
    assert list(cache.iterdir()) == []


def test_the_game_cache_is_bounded() -> None:
    load_cached.cache_clear()
    source = GeneratedSource("small")
    ids = source.task_ids("train")[:700]
    for task_id in ids:
        load_cached(source, task_id)
    assert load_cached.cache_info().currsize == 512
    # The tasks of an update fit: none is generated twice.
    group = ids[-64:]
    before = load_cached.cache_info().misses
    assert all(load_cached(source, task_id) is load_cached(source, task_id) for task_id in group * 8)
    assert load_cached.cache_info().misses == before
    games = [load_cached(source, task_id) for task_id in group]
    assert len({id(game.can_contain) for game in games}) == 1  # Equal sets are shared.


def test_a_changed_archive_is_compiled_again(pack: Callable[..., Path], cache: Path) -> None:
    archive = pack("train.tar.xz", ID)
    first = open_source(archive)
    pack("train.tar.xz", ID, OTHER_ID)
    assert open_source(archive).task_ids("train") == (ID, OTHER_ID)
    assert first.task_ids("train") == (ID,)
    assert len(list(cache.iterdir())) == 2


def test_an_unwritable_cache_is_skipped(
    pack: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "occupied").write_text("a file, not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "occupied"))
    assert open_source(pack("train.tar.xz", ID)).task_ids("train") == (ID,)


def test_a_folder_of_archives_opens_each_when_asked(pack: Callable[..., Path], cache: Path) -> None:
    folder = pack("train.tar.xz", ID).parent
    pack("valid_seen.tar.gz", "valid_seen/fetch/trial_1")
    source = open_source(folder)
    assert not cache.exists()
    assert source.task_ids("valid_seen") == ("valid_seen/fetch/trial_1",)
    assert len(list(cache.iterdir())) == 1
    assert source.load(ID).task_id == ID
    with pytest.raises(
        TaskNotFoundError, match="holds no games of split 'valid_unseen'; it has games of train, valid_seen"
    ):
        source.task_ids("valid_unseen")
    assert load_cached(open_source(folder), ID) is load_cached(source, ID)
    pack("train.tar.xz", ID, OTHER_ID)
    assert open_source(folder) != source


def test_sources_are_pickled_by_name(pack: Callable[..., Path]) -> None:
    archive = pack("train.tar.xz", *(f"train/fetch/trial_{number}" for number in range(30)))
    for place in (archive, archive.parent):
        source = open_source(place)
        pickled = pickle.dumps(source)
        assert len(pickled) < 1000
        assert pickle.loads(pickled).task_ids("train") == source.task_ids("train")


@pytest.mark.parametrize("suffix", ["xz", "gz"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "empty"])
def test_a_broken_archive_is_refused(pack: Callable[..., Path], cache: Path, suffix: str, damage: str) -> None:
    # Noise does not compress, so that there are enough bytes to damage behind the header.
    archive = pack(f"train.tar.{suffix}", ID, OTHER_ID, noise=Random(0).randbytes(100_000).hex())
    content = archive.read_bytes()
    middle = len(content) // 2
    archive.write_bytes(
        {
            "cut": content[:middle],
            "flipped": content[:middle] + bytes(byte ^ 255 for byte in content[middle:][:64]) + content[middle + 64 :],
            "text": b"these are not games",
            "empty": b"",
        }[damage]
    )  # fmt: skip
    with pytest.raises(GameFormatError, match=rf"train.tar.{suffix}.* is not a readable [^\n]*$"):
        open_source(archive)
    assert not cache.exists()


def test_damage_that_leaves_the_games_readable_is_found_too(pack: Callable[..., Path], tmp_path: Path) -> None:
    content = gzip.compress(pack("games.tar.", ID).read_bytes(), compresslevel=0)
    assert content.count(b"put two") == 1
    archive = tmp_path / "train.tar.gz"
    archive.write_bytes(content.replace(b"put two", b"put ten"))
    with pytest.raises(GameFormatError, match=r"train.tar.gz is not a readable archive of ALFWorld games.*CRC"):
        open_source(archive)


def test_an_archive_without_games_or_with_a_damaged_one_is_refused(pack: Callable[..., Path], cache: Path) -> None:
    with pytest.raises(MissingGamesError, match="holds no ALFWorld games"):
        open_source(pack("empty.tar.xz"))
    with pytest.raises(MissingGamesError, match="holds no ALFWorld games"):
        open_source(pack("foreign.tar.xz", "other/fetch/trial_1"))
    with pytest.raises(GameFormatError, match=r"train.tar.xz:json_2.1.1/train/fetch/trial_1/game.tw-pddl does not"):
        open_source(pack("train.tar.xz", ID, pddl_problem=""))
    assert not cache.exists()


@pytest.mark.data
def test_the_real_games_are_read_from_their_archive(data_dir: Callable[[str], Path], sample_games: Path) -> None:
    if not (data_dir("alfworld") / "valid_seen.tar.xz").is_file():
        pytest.skip("no valid_seen.tar.xz beside the sample games")
    source, sample = open_source(data_dir("alfworld")), open_source(sample_games)
    assert len(source.task_ids("valid_seen")) == 140
    for task_id in sample.task_ids("valid_seen"):
        game = sample.load(task_id)
        assert source.load(task_id) == game
        assert [r.id.lower() for r in game.receptacles] == sorted(r.id.lower() for r in game.receptacles)
        assert [o.id.lower() for o in game.objects] == sorted(o.id.lower() for o in game.objects)


def test_games_that_are_marked_as_unsolvable_are_left_out(
    tmp_path: Path, write_game: Callable[..., Path], pack: Callable[..., Path]
) -> None:
    write_game(tmp_path / "folder", ID)
    write_game(tmp_path / "folder", OTHER_ID, solvable=False)
    assert open_source(str(tmp_path / "folder")).task_ids("train") == (ID,)
    pack("train.tar.gz", ID, OTHER_ID)
    assert open_source(str(tmp_path / "train.tar.gz")).task_ids("train") == (ID, OTHER_ID)
    pack("other.tar.gz", ID, OTHER_ID, solvable=False)
    with pytest.raises(ValueError, match=r"other\.tar\.gz"):
        open_source(str(tmp_path / "other.tar.gz")).task_ids("train")
