"""Download of data sets: official address, mirror, folder; recorded, unpacked, and not downloaded twice."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
import sys
from pathlib import Path
from typing import Any

import misbehaving_server as tricks  # pyright: ignore[reportMissingImports]
import pytest
from test_unpack import MEMBERS, make_zip  # pyright: ignore[reportMissingImports]

from sdar_gym.cli import main
from sdar_gym.downloads import DATA_SETS, DataError, DataFile, DataSet, data_set, fetch
from sdar_gym.downloads.download import DownloadSettings
from sdar_gym.downloads.files import folder_lock

PLAIN = b'[{"asin": "B000"}]' * 100


@pytest.fixture
def data(web: Any, tmp_path: Path) -> DataSet:
    packed = make_zip(tmp_path / "games.zip").read_bytes()
    web.files |= {"/games.zip": packed, "/items.json": PLAIN, "/mirror/toys/items.json": PLAIN}
    web.files |= {"/mirror/toys/games.zip": packed, "/extra.json": b"more", "/mirror/toys/extra.json": b"more"}
    return DataSet(
        "toys",
        "toys",
        "Toys",
        "MIT",
        (
            DataFile(
                "games.zip", f"{web.url}/games.zip", len(packed), hashlib.sha256(packed).hexdigest(), unpack="archive"
            ),
            DataFile("items.json", f"{web.url}/items.json"),
            DataFile("extra.json", f"{web.url}/extra.json", extra=True),
        ),
        "use {folder}",
    )


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_data_set_is_fetched_unpacked_and_recorded_once(
    data: DataSet, web: Any, tmp_path: Path, at_once: DownloadSettings
) -> None:
    told: list[str] = []
    result = fetch(data, tmp_path / "out", settings=at_once, report=lambda name, done, total: told.append(name))
    folder = tmp_path / "out" / "toys"
    assert (result.folder, result.fetched, result.unverified) == (folder, ["games.zip", "items.json"], ["items.json"])
    assert result.unpacked == 3
    assert set(told) == {"games.zip", "items.json"}
    assert names(folder) == {"games.zip", "items.json", "CHECKSUMS.json", ".fetch.lock", *MEMBERS}
    lock = json.loads((folder / "CHECKSUMS.json").read_text())
    assert lock["items.json"] == {
        "sha256": hashlib.sha256(PLAIN).hexdigest(), "size": len(PLAIN), "origin": f"{web.url}/items.json",
        "hash_known_before": False,
    }  # fmt: skip
    assert lock["games.zip"]["hash_known_before"]
    assert lock["games.zip"]["unpacked"] == 3
    asked = len(web.asked)
    again = fetch(data, tmp_path / "out", settings=at_once)
    assert (again.fetched, again.present, len(web.asked)) == ([], ["games.zip", "items.json"], asked)
    (folder / "games.zip").unlink()  # Unpacked, so no longer needed.
    assert fetch(data, tmp_path / "out", settings=at_once).fetched == []
    full = fetch(data, tmp_path / "out", full=True, settings=at_once)
    assert full.fetched == ["extra.json"]


def test_what_was_changed_here_is_fetched_again(data: DataSet, tmp_path: Path, at_once: DownloadSettings) -> None:
    folder = fetch(data, tmp_path / "out", settings=at_once).folder
    (folder / "items.json").write_bytes(PLAIN[:-1] + b"!")
    assert fetch(data, tmp_path / "out", settings=at_once).fetched == ["items.json"]
    assert (folder / "items.json").read_bytes() == PLAIN


def test_a_file_without_a_published_hash_may_not_change_later(
    data: DataSet, web: Any, tmp_path: Path, at_once: DownloadSettings
) -> None:
    folder = fetch(data, tmp_path / "out", settings=at_once).folder
    (folder / "items.json").unlink()
    web.files["/items.json"] = PLAIN[::-1]
    with pytest.raises(DataError, match=r"recorded in .*CHECKSUMS.json when it was first fetched; if you trust"):
        fetch(data, tmp_path / "out", settings=at_once)
    lock = json.loads((folder / "CHECKSUMS.json").read_text())
    del lock["items.json"]
    (folder / "CHECKSUMS.json").write_text(json.dumps(lock))
    assert fetch(data, tmp_path / "out", settings=at_once).fetched == ["items.json"]


def test_a_mirror_has_the_files_under_the_data_sets_folder(
    data: DataSet, web: Any, tmp_path: Path, at_once: DownloadSettings
) -> None:
    fetch(data, tmp_path / "out", mirror=f"{web.url}/mirror/", full=True, settings=at_once)
    assert [path for path, _ in web.asked] == [
        f"/mirror/toys/{name}" for name in ("games.zip", "items.json", "extra.json")
    ]
    web.files["/mirror/toys/games.zip"] = b"PK no"
    with pytest.raises(DataError, match=r"has 5 bytes; the manifest says"):
        fetch(data, tmp_path / "new", mirror=f"{web.url}/mirror", settings=at_once)


@pytest.mark.parametrize("below", ["", "toys"])
def test_a_folder_gives_the_same_checks_without_the_network(
    data: DataSet, web: Any, tmp_path: Path, below: str
) -> None:
    local = tmp_path / "usb" / below
    local.mkdir(parents=True)
    (local / "games.zip").write_bytes(web.files["/games.zip"])
    with pytest.raises(DataError, match=r"items.json is neither at .* nor at .*; official: http"):
        fetch(data, tmp_path / "out", offline=tmp_path / "usb")
    (local / "items.json").write_bytes(PLAIN)
    result = fetch(data, tmp_path / "out", offline=tmp_path / "usb")
    assert (result.fetched, result.present) == (["items.json"], ["games.zip"])
    assert web.asked == []
    (local / "games.zip").write_bytes(web.files["/games.zip"][:-1])
    with pytest.raises(DataError, match=r"games.zip is not the file that was meant"):
        fetch(data, tmp_path / "new", offline=tmp_path / "usb")


def test_an_unpacking_that_was_interrupted_is_done_again_without_fetching(
    data: DataSet, web: Any, tmp_path: Path, at_once: DownloadSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    fetch_module = sys.modules["sdar_gym.downloads.fetch"]
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(fetch_module, "unpack", interrupted)
        fetch(data, tmp_path / "out", settings=at_once)
    asked = len(web.asked)
    result = fetch(data, tmp_path / "out", settings=at_once)
    assert result.unpacked == 3
    assert [path for path, _ in web.asked[asked:]] == ["/items.json"]


def test_senseless_requests_are_refused(data: DataSet, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"exclude each other"):
        fetch(data, tmp_path, mirror="https://a", offline=tmp_path)
    with pytest.raises(DataError, match=r"'ftp://a' is not an address"):
        fetch(data, tmp_path, mirror="ftp://a")
    with pytest.raises(DataError, match=r"is not a folder; --offline names"):
        fetch(data, tmp_path, offline=tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be created: .*Choose another --output"):
        fetch(data, tmp_path / "file")
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys" / "CHECKSUMS.json").write_text("[1")
    with pytest.raises(DataError, match=r"CHECKSUMS.json is damaged .*; delete it"):
        fetch(data, tmp_path)


def hold(folder: Path, ready: Any, done: Any) -> None:
    with folder_lock(folder):
        ready.set()
        done.wait(20)


def test_two_processes_do_not_fetch_into_one_folder(data: DataSet, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path / "toys", ready, done))
    other.start()
    try:
        assert ready.wait(20)
        with pytest.raises(DataError, match=r"Another process is fetching into"):
            fetch(data, tmp_path)
    finally:
        done.set()
        other.join(20)


def test_the_manifest_is_well_formed() -> None:
    assert set(DATA_SETS) == {"alfworld", "webshop", "searchqa"}
    for data in DATA_SETS.values():
        assert data.license
        assert data.wanted(False)
        assert set(data.wanted(False)) < set(data.wanted(True))
        assert len({file.name for file in data.files}) == len(data.files)
        for file in data.files:
            assert file.url.startswith("https://")
            assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert (file.sha256 is None) == (file.size is None)
    with pytest.raises(ValueError, match=r"No data set 'webshp'; there are alfworld.* Did you mean 'webshop'"):
        data_set("webshp")


def test_the_command_line_says_license_and_use(
    data: DataSet, web: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sdar-gym", "data", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
            raise SystemExit(0)
        code = ended.value.code
        return (code if isinstance(code, int) else 0), *capsys.readouterr()

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setitem(DATA_SETS, "toys", data)
    code, out, _ = run("fetch", "toys", "--output", str(tmp_path / "out"))
    assert code == 0
    assert out.index("License: MIT") < out.index("games.zip")
    assert "2 file(s) fetched, 0 already there, 3 unpacked" in out
    assert "No hash is published for items.json" in out
    assert f"use it: use {tmp_path / 'out' / 'toys'}" in out
    assert "skipped: extra.json (--full)" in out
    web.tricks = [tricks.says(403)]
    code, _, err = run("fetch", "toys", "--output", str(tmp_path / "new"))
    assert code == 2
    assert "returned 403" in err
    assert "Traceback" not in err
    code, out, _ = run("list")
    assert code == 0
    assert {"alfworld", "webshop", "searchqa"} <= {line.split()[0] for line in out.splitlines() if line.split()}
