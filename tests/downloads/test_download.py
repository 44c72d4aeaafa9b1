"""Download of one file from servers that break off, send wrong data, or behave well."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

import misbehaving_server as tricks  # pyright: ignore[reportMissingImports]
import pytest

from sdar_gym.downloads import download as download_module
from sdar_gym.downloads.download import DownloadSettings, download
from sdar_gym.downloads.files import DataError, Expected

BODY = bytes(range(256)) * 4000
SHA = hashlib.sha256(BODY).hexdigest()
KNOWN = Expected(len(BODY), SHA)
HALF = len(BODY) // 2


@pytest.fixture
def get(web: Any, at_once: DownloadSettings, tmp_path: Path) -> Any:
    """Downloads `/file.bin` under given tricks; gives the target's bytes."""
    web.files["/file.bin"] = BODY

    def run(*answers: Any, expected: Expected = KNOWN, settings: DownloadSettings = at_once) -> bytes:
        web.tricks = list(answers)
        target = tmp_path / "new" / "file.bin"
        digest = download(f"{web.url}/file.bin", target, expected, settings)
        assert digest == hashlib.sha256(target.read_bytes()).hexdigest()
        assert [path.name for path in target.parent.iterdir()] == ["file.bin"]
        return target.read_bytes()

    return run


def ranges(web: Any) -> list[str | None]:
    return [asked for _, asked in web.asked]


def test_a_good_server_is_asked_once_and_progress_is_told(web: Any, at_once: DownloadSettings, tmp_path: Path) -> None:
    web.files["/file.bin"] = BODY
    told: list[tuple[int, int | None]] = []
    download(f"{web.url}/file.bin", tmp_path / "f", KNOWN, at_once, lambda done, total: told.append((done, total)))
    assert ranges(web) == [None]
    assert told[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_it_goes_on_where_the_connection_broke(get: Any, web: Any) -> None:
    assert get(tricks.breaks_off(HALF), tricks.breaks_off(1000)) == BODY
    assert ranges(web) == [None, f"bytes={HALF}-", f"bytes={HALF + 1000}-"]


def test_it_goes_on_after_a_new_start_of_the_program(get: Any, web: Any) -> None:
    once = DownloadSettings(attempts=1, back_off_s=0.0, timeout_s=5.0)
    with pytest.raises(DataError, match=r"after 1 attempts, the last 1 without progress.*what has arrived is kept"):
        get(tricks.breaks_off(HALF), settings=once)
    assert get() == BODY
    assert ranges(web) == [None, f"bytes={HALF}-"]


def test_a_server_that_ignores_ranges_starts_over(get: Any, web: Any) -> None:
    assert get(tricks.breaks_off(HALF), tricks.ignores_range) == BODY
    assert ranges(web) == [None, f"bytes={HALF}-"]


def test_a_part_of_another_range_is_not_used(get: Any) -> None:
    assert get(tricks.breaks_off(HALF), tricks.wrong_range) == BODY


def test_a_file_that_changes_between_tries_is_not_patched_together(get: Any, web: Any) -> None:
    other = BODY[::-1]

    def changes(handler: Any, body: bytes) -> None:
        web.files["/file.bin"] = other
        tricks.normal(handler, other)

    assert get(tricks.breaks_off(HALF), changes, expected=Expected()) == other
    assert ranges(web) == [None, f"bytes={HALF}-"]


def test_without_an_etag_nothing_is_resumed_unless_a_hash_would_notice(get: Any, web: Any) -> None:
    broken = tricks.nameless(tricks.breaks_off(HALF))
    assert get(broken, tricks.nameless(tricks.normal), expected=Expected(len(BODY))) == BODY
    assert ranges(web) == [None, None]
    assert get(broken, tricks.nameless(tricks.normal)) == BODY
    assert ranges(web)[2:] == [None, f"bytes={HALF}-"]


def test_a_corrupted_file_is_fetched_once_more_and_then_refused(get: Any, web: Any, tmp_path: Path) -> None:
    assert get(tricks.corrupted) == BODY
    assert len(web.asked) == 2
    shutil.rmtree(tmp_path / "new")
    with pytest.raises(DataError, match=f"is not the file that was meant: .* not 1,024,000 bytes with {SHA}"):
        get(tricks.corrupted, tricks.corrupted)
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("lie", [len(BODY) - 7, len(BODY) + 7])
def test_a_length_that_is_not_the_manifests_is_refused_at_once(get: Any, web: Any, lie: int) -> None:
    with pytest.raises(DataError, match=rf"has {lie:,} bytes; the manifest says 1,024,000"):
        get(tricks.length(lie))
    assert len(web.asked) == 1


def test_a_length_that_is_too_long_is_a_broken_connection_where_nothing_is_known(get: Any, web: Any) -> None:
    # The body ends early, and what is missing is asked for: with a good answer all is well.
    assert get(tricks.length(len(BODY) + 7), tricks.ignores_range, expected=Expected()) == BODY


def test_the_server_may_be_busy_for_a_while(get: Any, web: Any) -> None:
    assert get(tricks.says(503), tricks.says(429, Retry_After="1")) == BODY


def test_a_server_that_stays_down_is_given_up(get: Any, web: Any) -> None:
    with pytest.raises(DataError, match=r"after 3 attempts, the last 3 without progress: the server returned 500"):
        get(*[tricks.says(500)] * 9)
    assert len(web.asked) == 3


def test_what_the_server_asks_to_wait_is_waited_up_to_a_limit(web: Any, tmp_path: Path) -> None:
    web.files["/file.bin"] = BODY
    web.tricks = [tricks.says(429, Retry_After="3600")]
    settings = DownloadSettings(attempts=2, back_off_s=0.0, longest_wait_s=0.3)
    started = time.perf_counter()
    download(f"{web.url}/file.bin", tmp_path / "f", KNOWN, settings)
    assert 0.3 <= time.perf_counter() - started < 5


@pytest.mark.parametrize("status", [401, 403, 410])
def test_a_refusal_is_final(get: Any, web: Any, status: int) -> None:
    with pytest.raises(DataError, match=rf"returned {status} .*--offline"):
        get(tricks.says(status))
    assert len(web.asked) == 1


def test_a_missing_file_is_named(web: Any, at_once: DownloadSettings, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"/none.bin returned 404 Not Found. If the file has moved, use --mirror"):
        download(f"{web.url}/none.bin", tmp_path / "f", Expected(), at_once)


def test_redirects_are_followed_and_a_loop_of_them_ends(get: Any, web: Any) -> None:
    web.files["/elsewhere"] = BODY
    assert get(tricks.says(302, Location="/elsewhere")) == BODY
    assert [path for path, _ in web.asked] == ["/file.bin", "/elsewhere"]
    with pytest.raises(DataError, match=r"cannot be fetched: .*redirect"):
        get(*[tricks.says(302, Location="/file.bin")] * 40, expected=Expected(7))


def test_a_server_that_breaks_off_a_little_later_each_time_is_given_up(
    get: Any, web: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "_MOST_TRIES", 6)
    with pytest.raises(DataError, match=r"after 6 attempts, the last 1 without progress"):
        get(*[tricks.nameless(tricks.breaks_off(1000 * n)) for n in range(1, 20)], expected=Expected(len(BODY)))
    assert ranges(web) == [None] * 6


def test_a_web_page_is_not_the_file(get: Any) -> None:
    with pytest.raises(DataError, match=r"returned a web page instead of.*browser and use --offline"):
        get(tricks.web_page, expected=Expected())


def test_nobody_listens(tmp_path: Path, at_once: DownloadSettings) -> None:
    with pytest.raises(DataError, match=r"after 3 attempts, the last 3 without progress: .*refused"):
        download("http://127.0.0.1:9/f", tmp_path / "f", Expected(), at_once)
    with pytest.raises(DataError, match="is not a valid address"):
        download("http://[::1", tmp_path / "f", Expected(), at_once)


def test_a_disk_that_is_too_small_is_noticed_before(get: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 1_000_000))  # pyright: ignore
    with pytest.raises(DataError, match=r"file.bin needs 1 MB in .*, where 1 MB are free"):
        get()


def test_a_disk_that_fills_up_is_one_message(get: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download_module, "put_in_place", full)
    with pytest.raises(DataError, match=r"cannot be written: No space left on device. What has arrived is kept"):
        get()


def test_encryption_is_not_given_up_on_the_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import httpx

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.scheme == "https":
            return httpx.Response(302, headers={"Location": "http://example.org/f"})
        return httpx.Response(200, content=BODY)

    real = httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **kwargs: real(transport=httpx.MockTransport(answer), **kwargs))
    with pytest.raises(DataError, match="which is not encrypted"):
        download("https://example.org/f", tmp_path / "f", Expected(), DownloadSettings())
