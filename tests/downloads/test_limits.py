"""Limits of downloads: hidden passwords, sizes, disk space, timeouts."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import misbehaving_server as tricks  # pyright: ignore[reportMissingImports]
import pytest

from sdar_gym.downloads import DataError, DataFile, DataSet, fetch
from sdar_gym.downloads import connection as connection_module
from sdar_gym.downloads.download import DownloadSettings, download
from sdar_gym.downloads.files import Expected

BODY = b"0123456789abcdef" * 4096
QUICK = DownloadSettings(attempts=2, back_off_s=0.0, longest_wait_s=0.0, timeout_s=0.3)


def endless(handler: Any, body: bytes) -> None:
    """A body without a length and, but for the patience of a test, without an end."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.send_header("ETag", '"always"')
    handler.end_headers()
    try:
        for _ in range(2000):
            handler.wfile.write(b"10000\r\n" + b"a" * 0x10000 + b"\r\n")
    except OSError:
        pass


def with_login(url: str) -> str:
    return url.replace("http://", "http://user:s3cret@")


def everything_in(folder: Path) -> str:
    return "\n".join(path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())


def free_room(monkeypatch: pytest.MonkeyPatch, before: int, part: Path) -> None:
    """A disk on which only the part takes room."""

    def usage(path: object) -> Any:
        used = part.stat().st_size if part.exists() else 0
        return shutil._ntuple_diskusage(1, 1, before - used)  # pyright: ignore

    monkeypatch.setattr(shutil, "disk_usage", usage)


@pytest.fixture
def toys(web: Any) -> DataSet:
    web.files |= {"/items.json": BODY, "/base/toys/items.json": BODY, "/base/toys/items.json?sig=t0ken": BODY}
    return DataSet("toys", "toys", "Toys", "MIT", (DataFile("items.json", f"{web.url}/items.json"),), "{folder}")


@pytest.mark.parametrize("query", ["", "?sig=t0ken"])
def test_a_mirrors_password_and_key_are_used_and_neither_stored_nor_told(
    toys: DataSet, web: Any, tmp_path: Path, at_once: DownloadSettings, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str | None] = []

    def asks_for_a_login(handler: Any, body: bytes) -> None:
        seen.append(handler.headers.get("Authorization"))
        tricks.normal(handler, body)

    web.tricks = [asks_for_a_login]
    told: list[str] = []
    with caplog.at_level(logging.DEBUG):
        fetch(toys, tmp_path, mirror=with_login(f"{web.url}/base{query}"), settings=at_once, tell=told.append)
    assert seen == ["Basic dXNlcjpzM2NyZXQ="]
    assert web.asked[0][0] == f"/base/toys/items.json{query}"
    shown = f"{web.url}/base/toys/items.json{'?…' if query else ''}"
    assert json.loads((tmp_path / "toys" / "CHECKSUMS.json").read_text())["items.json"]["origin"] == shown
    assert told == [f"items.json from {shown}"]
    assert "s3cret" not in everything_in(tmp_path) + caplog.text
    assert "t0ken" not in everything_in(tmp_path)


@pytest.mark.parametrize(
    "trick",
    [
        tricks.says(403),
        tricks.says(500),
        tricks.length(7),
        tricks.web_page,
        tricks.breaks_off(5),
        tricks.says(302, Location="/base/toys/items.json?key=t0ken"),
        tricks.says(302, Location="http://user:s3cret@127.0.0.1:9/?key=t0ken"),
        tricks.says(302, Location="http://user:s3cret@127.0.0.1:nine/"),
        tricks.corrupted,
    ],
)
def test_no_failure_tells_the_password(
    toys: DataSet, web: Any, tmp_path: Path, at_once: DownloadSettings, trick: Any
) -> None:
    web.tricks = [trick] * 40
    known = DataFile("items.json", "http://127.0.0.1:9/", len(BODY), "0" * 64)
    data = DataSet("toys", "toys", "Toys", "MIT", (known,), "")
    told: list[str] = []
    with pytest.raises(DataError) as caught:
        fetch(data, tmp_path, mirror=with_login(f"{web.url}/base?sig=t0ken"), settings=at_once, tell=told.append)
    said = "\n".join([str(caught.value), *told, everything_in(tmp_path)])
    assert "s3cret" not in said
    assert "t0ken" not in said
    assert f"{web.url}/base/toys/items.json" in str(caught.value)


@pytest.mark.parametrize(
    "mirror",
    [
        "user:s3cret@host/data",
        "ftp://user:s3cret@host",
        "http://user:s3cret@host:99x",
        "http://user:s3cret@[::1",
        "http://user:s3cret/x@host",
        "http://user:s3cret@host\n",
        "http://user:s3cret@" + "a" * 300,
    ],
)
def test_a_mirror_that_is_no_address_is_named_without_its_password(
    toys: DataSet, tmp_path: Path, mirror: str, at_once: DownloadSettings
) -> None:
    with pytest.raises(DataError, match=r"host|::1|aaaa") as caught:
        fetch(toys, tmp_path, mirror=mirror, settings=at_once)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_redirect_to_another_host_does_not_get_the_password(
    toys: DataSet, web: Any, tmp_path: Path, at_once: DownloadSettings
) -> None:
    seen: list[str | None] = []

    def keeps(handler: Any, body: bytes) -> None:
        seen.append(handler.headers.get("Authorization"))
        tricks.normal(handler, body)

    with tricks.running() as other:
        other.files["/items.json"] = BODY
        other.tricks = [keeps]
        web.tricks = [tricks.says(302, Location=f"{other.url}/items.json")]
        fetch(toys, tmp_path, mirror=with_login(f"{web.url}/base"), settings=at_once)
    assert seen == [None]


def test_what_an_older_version_recorded_is_cleaned(toys: DataSet, web: Any, tmp_path: Path, at_once: Any) -> None:
    fetch(toys, tmp_path, settings=at_once)
    path = tmp_path / "toys" / "CHECKSUMS.json"
    lock = json.loads(path.read_text())
    lock["items.json"]["origin"] = with_login(f"{web.url}/base/toys/items.json?sig=t0ken")
    path.write_text(json.dumps(lock))
    assert fetch(toys, tmp_path, settings=at_once).present == ["items.json"]
    assert json.loads(path.read_text())["items.json"]["origin"] == f"{web.url}/base/toys/items.json?…"


def test_a_published_address_keeps_the_query_that_names_its_file(web: Any, tmp_path: Path, at_once: Any) -> None:
    web.files["/download?id=7"] = BODY
    data = DataSet("t", "t", "T", "MIT", (DataFile("items.json", f"{web.url}/download?id=7"),), "")
    fetch(data, tmp_path, settings=at_once)
    assert json.loads((tmp_path / "t" / "CHECKSUMS.json").read_text())["items.json"]["origin"].endswith("?id=7")


def test_an_endless_file_of_unknown_size_ends_at_the_limit_and_leaves_nothing(
    web: Any, tmp_path: Path, at_once: DownloadSettings
) -> None:
    web.files["/file"] = BODY
    web.tricks = [endless]
    with pytest.raises(DataError, match=r"goes on beyond the 1,000,000 bytes that a file of unknown size may have"):
        download(f"{web.url}/file", tmp_path / "file", Expected(limit=1_000_000), at_once)
    assert list(tmp_path.iterdir()) == []
    # A length that is said but not known beforehand is refused before anything comes.
    with pytest.raises(DataError, match=r"has 65,536 bytes beyond the 1,000 bytes"):
        download(f"{web.url}/file", tmp_path / "file", Expected(limit=1000), at_once)
    assert download(f"{web.url}/file", tmp_path / "file", Expected(limit=65_536), at_once)


def test_there_is_a_limit_where_none_is_named() -> None:
    assert Expected().limit == DataFile("a", "b").limit == 1_000_000_000


def test_an_endless_file_stops_while_the_disk_has_room(
    web: Any, tmp_path: Path, at_once: DownloadSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.files["/file"] = BODY
    web.tricks = [endless]
    free_room(monkeypatch, 51_000_000, tmp_path / "file.part")
    with pytest.raises(DataError, match=r"less than the 50 MB that must stay free .* had arrived were deleted"):
        download(f"{web.url}/file", tmp_path / "file", Expected(), at_once)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_a_part_only_where_the_whole_is_known_to_fit(
    web: Any, tmp_path: Path, at_once: DownloadSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdar_gym.downloads import download as module

    web.files["/file"] = BODY

    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "put_in_place", full)
    known = Expected(len(BODY), None)
    with pytest.raises(DataError, match=r"No space left on device. What has arrived is kept, 0 MB in .*file.part; del"):
        download(f"{web.url}/file", tmp_path / "file", known, at_once)
    assert (tmp_path / "file.part").stat().st_size == len(BODY)
    with pytest.raises(DataError, match=r"No space left on device. Its size is not known"):
        download(f"{web.url}/file", tmp_path / "file", Expected(), at_once)
    assert list(tmp_path.iterdir()) == []


@contextmanager
def raw_server(pieces: list[bytes], pause: float) -> Iterator[str]:
    """Accepts connections and sends so little, so slowly."""
    listening = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                for piece in pieces:
                    if ended.wait(pause):
                        return
                    connection.sendall(piece)
                ended.wait(20)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/file"
    finally:
        ended.set()
        listening.close()


HEADERS = b'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nETag: "a"\r\n\r\n'


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([], "timed out"),
        ([HEADERS], "timed out"),
        ([b"HTTP/1.1 200 OK\r\n", *[b"X"] * 1000], r"the response did not begin within 0\.6 s"),
        ([HEADERS, *[b"a"] * 1000], r"only \d+ bytes arrived in \d+ s"),
    ],
)
def test_connections_that_are_half_open_or_trickle_come_to_an_end(
    tmp_path: Path, pieces: list[bytes], reason: str
) -> None:
    told: list[str] = []
    with raw_server(pieces, 0.05) as url, pytest.raises(DataError, match=rf"the last 2 without progress: {reason}"):
        download(url, tmp_path / "file", Expected(100_000), QUICK, tell=told.append)
    assert told[0] == f"file from {url}"
    assert re.search(rf"{reason}; attempt 2 of 2 in 0 s", told[1])


def test_a_slow_server_that_goes_on_is_waited_for(tmp_path: Path, web: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "SLOWEST", 10)
    body = b"a" * 200
    pieces = [b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n", *[body[:10]] * 20]
    with raw_server(pieces, 0.05) as url:
        download(url, tmp_path / "file", Expected(200), QUICK)
    assert (tmp_path / "file").read_bytes() == body


def test_numbers_of_the_server_that_are_none_do_not_matter(web: Any, tmp_path: Path, at_once: Any) -> None:
    web.files["/file"] = BODY
    web.tricks = [tricks.says(503, Retry_After="9" * 5000), tricks.says(503, Retry_After="\u00b2"), tricks.normal]
    download(f"{web.url}/file", tmp_path / "file", Expected(), at_once)


def test_what_the_server_says_is_shown_without_its_escape_sequences(tmp_path: Path, at_once: Any) -> None:
    answer = b"HTTP/1.1 404 no\x1b[2J\x9b\r\nContent-Length: 0\r\n\r\n"
    with (
        raw_server([answer], 0.0) as url,
        pytest.raises(DataError, match=r"could not be fetched|returned 404") as caught,
    ):
        download(url, tmp_path / "file", Expected(), at_once)
    assert not re.search("[\x00-\x1f\x7f-\x9f]", str(caught.value))


def test_a_proxy_that_cannot_be_used_is_one_message(
    web: Any, tmp_path: Path, at_once: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://user:s3cret@host")
    with pytest.raises(DataError, match=r"No connection can be opened here: .*HTTPS_PROXY") as caught:
        download(f"{web.url}/file", tmp_path / "file", Expected(), at_once)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        "[]",
        '{"items.json": 5}',
        '{"items.json": {"size": "x"}}',
        '{"items.json": {"size": 1e400}}',
        '{"items.json": {"sha256": 5}}',
        '{"items.json": {"origin": []}}',
        b"\xff\xfe{",
    ],
)
def test_damaged_checksums_are_named(toys: DataSet, tmp_path: Path, content: str | bytes, at_once: Any) -> None:
    (tmp_path / "toys").mkdir()
    path = tmp_path / "toys" / "CHECKSUMS.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=r"CHECKSUMS.json is damaged .*; delete it"):
        fetch(toys, tmp_path, settings=at_once)


def test_checksums_with_a_byte_order_mark_are_read(toys: DataSet, tmp_path: Path, at_once: Any) -> None:
    folder = fetch(toys, tmp_path, settings=at_once).folder
    path = folder / "CHECKSUMS.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert fetch(toys, tmp_path, settings=at_once).present == ["items.json"]


def test_addresses_are_no_folders(toys: DataSet, tmp_path: Path) -> None:
    for wrong in ("s3://bucket/data", Path("s3://bucket/data")):
        with pytest.raises(ValueError, match=r"--output must be a local or mounted folder, got the address 's3://buc"):
            fetch(toys, wrong)  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match=r"--offline must be a local"):
            fetch(toys, tmp_path, offline=wrong)  # pyright: ignore[reportArgumentType]


def test_a_folder_that_cannot_be_written_to_is_one_message(
    toys: DataSet, tmp_path: Path, at_once: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "open", read_only)
    with pytest.raises(DataError, match=r"toys cannot be written to: Read-only file system. Choose another --output"):
        fetch(toys, tmp_path, settings=at_once)


@pytest.mark.timeout(100)
def test_the_command_says_at_once_what_it_tries(tmp_path: Path) -> None:
    """A port where nobody answers: without a word people think that it hangs."""
    command = [sys.executable, "-c", "from sdar_gym.cli import main; main()", "data", "fetch", "webshop"]
    with raw_server([], 0.0) as url:
        mirror = url.replace("/file", "").replace("http://", "http://user:s3cret@")
        with subprocess.Popen([*command, "--mirror", mirror], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines: list[str] = []
            while not lines or "127.0.0.1" not in lines[-1]:
                lines.append(process.stdout.readline())
                assert lines[-1], lines
            process.kill()
    assert lines[-1].startswith("items_shuffle_1000.json from http://127.0.0.1:")
    assert "s3cret" not in "".join(lines)
