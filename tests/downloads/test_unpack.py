"""Unpacking archives: supported formats, and refusal of hostile ones."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from sdar_gym.downloads import unpack as unpack_module
from sdar_gym.downloads.files import DataError
from sdar_gym.downloads.unpack import unpack

MEMBERS = {"json_2.1.1/train/a/game.tw-pddl": b"one", "json_2.1.1/valid/b": b"", "top": b"x" * 100_000}


def make_zip(path: Path, members: dict[str, bytes] = MEMBERS, mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, body)
    return path


def make_tar(path: Path, members: dict[str, bytes] = MEMBERS, how: str = "w:gz", kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, how) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
        for name, body in members.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.type, entry.linkname = len(body), kind, "/etc/passwd"
            archive.addfile(entry, io.BytesIO(body))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("how", ["zip", "w", "w:gz", "w:xz", "w:bz2"])
def test_every_kind_is_told_by_its_content_and_unpacked_twice_alike(tmp_path: Path, how: str) -> None:
    path = tmp_path / "misnamed.jsonl.gz"
    archive = make_zip(path) if how == "zip" else make_tar(path, how=how)
    out = tmp_path / "out"
    out.mkdir()
    for _ in range(2):
        assert sorted(unpack(archive, out)) == sorted(MEMBERS)
        assert contents(out) == MEMBERS


def test_a_gzip_file_and_a_tar_of_one_file_are_told_apart(tmp_path: Path) -> None:
    plain, packed = tmp_path / "wiki.jsonl.gz", tmp_path / "other.jsonl.gz"
    plain.write_bytes(gzip.compress(b'{"id": 1}\n' * 1000))
    make_tar(packed, {"data00/somebody/wiki_dump.jsonl": b'{"id": 1}\n' * 1000})
    for archive in (plain, packed):
        assert unpack(archive, tmp_path, "wiki-18.jsonl") == ["wiki-18.jsonl"]
        assert (tmp_path / "wiki-18.jsonl").read_bytes() == b'{"id": 1}\n' * 1000
        (tmp_path / "wiki-18.jsonl").unlink()
    assert not (tmp_path / "data00").exists()
    with pytest.raises(DataError, match=r"holds several files where one is expected"):
        unpack(make_zip(tmp_path / "many.zip"), tmp_path, "wiki-18.jsonl")
    with pytest.raises(DataError, match=r"is empty"):
        unpack(make_zip(tmp_path / "none.zip", {}), tmp_path, "wiki-18.jsonl")


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/tmp/out", "..\\out", "C:out", "a/..", "ok/\\..\\..\\x"])
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str, make: object) -> None:
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    archive = make(tmp_path / "evil", {name: b"evil"})  # pyright: ignore[reportCallIssue]
    with pytest.raises(DataError, match=r"is a path outside the folder"):
        unpack(archive, folder)
    assert contents(tmp_path) == {"evil": archive.read_bytes()}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(DataError, match=r"'link', which is not a regular file"):
        unpack(make_tar(tmp_path / "evil.tar", {"link": b""}, kind=kind), tmp_path)
    with pytest.raises(DataError, match=r"'link', which is not a regular file"):
        unpack(make_zip(tmp_path / "evil.zip", {"link": b"/etc/passwd"}, stat.S_IFLNK | 0o777), tmp_path)
    assert not (tmp_path / "link").exists()


def test_a_link_that_stands_in_the_way_is_not_followed(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    folder.mkdir()
    (folder / "json_2.1.1").symlink_to(outside)
    with pytest.raises(DataError, match=r"would be written outside .*: a link is in the way"):
        unpack(make_zip(tmp_path / "a.zip"), folder)
    assert contents(outside) == {}


def test_modes_of_the_archive_are_not_taken_over(tmp_path: Path) -> None:
    unpack(make_zip(tmp_path / "a.zip", {"run": b"#!"}, stat.S_IFREG | 0o4777), tmp_path)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) & 0o7111 == 0


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_damaged_archive_says_so_and_leaves_no_half_file(tmp_path: Path, make: object) -> None:
    archive = make(tmp_path / "a", {"top": os.urandom(100_000)})  # pyright: ignore[reportCallIssue]
    whole = archive.read_bytes()
    for damaged in (whole[:-5000], whole[:50_000] + b"\x00" * 1000 + whole[51_000:]):
        archive.write_bytes(damaged)
        with pytest.raises(DataError, match=r"cannot be unpacked: .*Delete it and fetch it again"):
            unpack(archive, tmp_path / "out")
        if make is make_zip or len(damaged) < len(whole):  # The checksum of a tar comes after all of it.
            assert contents(tmp_path / "out") == {}
    archive.write_bytes(b"no archive at all")
    with pytest.raises(DataError, match=r"is not a zip, tar or gzip archive"):
        unpack(archive, tmp_path / "out")


def test_an_archive_that_would_fill_the_disk_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = make_zip(tmp_path / "bomb.zip", {"zeros": b"\0" * 60_000_000})
    assert bomb.stat().st_size < 100_000
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 100_000_000))  # pyright: ignore
    with pytest.raises(DataError, match=r"Unpacking bomb.zip needs 60 MB"):
        unpack(bomb, tmp_path / "out")


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize(
    "name",
    [
        "CHECKSUMS.json",
        "checksums.JSON",
        "./CHECKSUMS.json",
        "CHECKSUMS.json/x",
        "\uff23HECKSUMS.json",
        ".fetch.lock",
        ".Fetch.Lock",
        "a/.fetch.lock",
        "items.json.part",
        "items.json.part.json",
        "items.json.unpacking",
        "ITEMS.JSON.Unpacking",
        "evil",
        "Items.json",
    ],
)
def test_names_of_the_gyms_own_files_are_refused(tmp_path: Path, make: object, name: str) -> None:
    archive = make(tmp_path / "evil", {"good": b"good", name: b"evil"})  # pyright: ignore[reportCallIssue]
    with pytest.raises(DataError, match=r"a name reserved for sdar-gym's own files"):
        unpack(archive, tmp_path, "", ["items.json"])
    assert {"evil"} <= set(contents(tmp_path)) <= {"evil", "good"}


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize(
    "name",
    ["a\x1b[2Jb", "a\nb", "a\rb", "a\tb", "a\x9bb", "a\x7f", "a\u202etxt.exe", "\u200eb", "CHECKSUMS\u200c.json"],
)
def test_names_with_characters_that_cannot_be_seen_are_refused(tmp_path: Path, make: object, name: str) -> None:
    archive = make(tmp_path / "evil", {name: b"evil"})  # pyright: ignore[reportCallIssue]
    with pytest.raises(DataError, match=r"invisible characters") as caught:
        unpack(archive, tmp_path / "out")
    assert str(caught.value).isprintable()
    assert contents(tmp_path / "out") == {}


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["CON", "a/nul.txt", "Aux", "lpt1.x", "com\u00b9", "CHECKSUMS.json.", "a ", "b./c"])
def test_names_that_other_systems_cannot_have_are_refused(tmp_path: Path, make: object, name: str) -> None:
    archive = make(tmp_path / "evil", {name: b"evil"})  # pyright: ignore[reportCallIssue]
    with pytest.raises(DataError, match=r"a name that is not valid on every system"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_ordinary_names_stay_allowed(tmp_path: Path, make: object) -> None:
    members = {"größe/ä b.json": b"1", "contents.json": b"2", "a/.hidden": b"3", "parts/con1.part2": b"4", "é": b"5"}
    archive = make(tmp_path / "good", members)  # pyright: ignore[reportCallIssue]
    assert sorted(unpack(archive, tmp_path / "out")) == sorted(members)
    assert contents(tmp_path / "out") == members


def test_no_folder_is_made_behind_a_link(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    folder.mkdir()
    (folder / "json_2.1.1").symlink_to(outside)
    with pytest.raises(DataError, match=r"a link is in the way"):
        unpack(make_zip(tmp_path / "a.zip"), folder)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("kind", ["gz", "tar.gz"])
def test_what_does_not_say_how_large_it_becomes_stops_while_the_disk_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    bomb = tmp_path / f"bomb.{kind}"
    if kind == "gz":
        bomb.write_bytes(gzip.compress(b"a" * 20_000_000))
    else:
        make_tar(bomb, {"zeros": b"\0" * 20_000_000})
    out = tmp_path / "out"

    def usage(path: object) -> object:
        used = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
        # As if the sizes in the archive's own headers were right and the disk were shared with somebody.
        return shutil._ntuple_diskusage(1, 1, (75_000_000 if not used else 55_000_000) - used)  # pyright: ignore

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(DataError, match=r"Unpacking (zeros|one) was stopped: less than the 50 MB that must stay free"):
        unpack(bomb, out, "one" if kind == "gz" else "")
    assert contents(out) == {}


def test_an_archive_that_goes_on_behind_its_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = make_tar(tmp_path / "a.tar", {"a": b"a"}, "w").read_bytes()
    packed = tmp_path / "a.tar.gz"
    packed.write_bytes(gzip.compress(plain + b"\0" * 500_000))  # Some tools fill up to a large block.
    assert unpack(packed, tmp_path / "out") == ["a"]
    monkeypatch.setattr(unpack_module, "_MOST_PADDING", 100_000)
    with pytest.raises(DataError, match=r"has data after its end"):
        unpack(packed, tmp_path / "out")


@pytest.mark.parametrize("how", ["zip", "gz", "w", "w:gz", "w:xz", "w:bz2"])
def test_one_changed_byte_anywhere_is_one_message(tmp_path: Path, how: str) -> None:
    text = "".join(f"line {n} of text {n * n}\n" for n in range(5000)).encode()
    path = tmp_path / "a"
    if how == "gz":
        path.write_bytes(gzip.compress(text))
    else:
        make_zip(path, {"a": text}) if how == "zip" else make_tar(path, {"a": text}, how)
    whole = path.read_bytes()
    refused = 0
    for at in range(0, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            unpack(path, tmp_path / "out")
        except DataError as error:
            assert "Delete it and fetch it again" in str(error) or "Do not use this archive" in str(error)
            refused += 1
    assert refused > 100 if how != "w" else refused > 0


def test_an_unreadable_archive_and_a_folder_in_the_way_are_one_message(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be unpacked to .*No such file"):
        unpack(tmp_path / "none.zip", tmp_path)
    (tmp_path / "out" / "top").mkdir(parents=True)
    with pytest.raises(DataError, match=r"cannot be unpacked to .*Is a directory"):
        unpack(make_zip(tmp_path / "a.zip", {"top": b""}), tmp_path / "out")
    assert contents(tmp_path / "out") == {}
