"""Download of one file over HTTP: resumable, with retries; the target appears only when it is complete."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from sdar_gym.downloads.connection import Pace, TryAgain, open_response, shown
from sdar_gym.downloads.files import (
    DataError,
    Expected,
    NoRoomError,
    Report,
    disk_is_full,
    forget,
    keep_room,
    matches,
    mismatch,
    need_room,
    note_of,
    put_in_place,
    sha256_of,
)
from sdar_gym.paths import DAMAGED, first_line, without_password
from sdar_gym.text import shortened, terminal_safe

Tell = Callable[[str], None]
_MOST_TRIES = 100


@dataclass(frozen=True, slots=True)
class DownloadSettings:
    """Retries and timeouts.

    Attributes:
        attempts: Consecutive attempts without progress before giving up.
        back_off_s: Seconds to wait after the first of them; doubled each time.
        longest_wait_s: Longest wait in seconds, also if the server asks for more.
        timeout_s: Seconds without data after which a connection counts as broken, and period for the slowest speed.
    """

    attempts: int = 5
    back_off_s: float = 1.0
    longest_wait_s: float = 60.0
    timeout_s: float = 30.0


def download(
    url: str,
    target: Path,
    expected: Expected,
    settings: DownloadSettings,
    report: Report = lambda done, total: None,
    tell: Tell = lambda message: None,
    called: str = "",
) -> str:
    """Download a file to `target`, which appears when it is complete and checked.

    Partial data is kept in `<target>.part`; the next call resumes if the server still has the same file, which
    `If-Range` with its `ETag` or date ensures. Free disk space is checked while data arrives. A partial file that
    exceeds its limit, or that fills the disk and has no known size, is deleted.

    Args:
        url: The address.
        target: The file to write; its folder is created.
        expected: Size and hash, if known; the size limit, if not.
        settings: Retries and timeouts.
        report: Called with bytes received and bytes in total.
        tell: Called with a message before each download and before each retry.
        called: The address for messages; default without user, password and query.

    Returns:
        The SHA-256 of the file.

    Raises:
        DataError: It cannot be downloaded, or is not the expected file.
    """
    part = target.with_name(target.name + ".part")
    called = called or shown(url)
    job = _Job(url, called, part, expected, settings, report, tell)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        tell(f"{target.name} from {called}")
        _until_complete(job)
        found = sha256_of(part)
        if not matches(part, found, expected):
            # Retry from the start once: an old partial file may be the reason.
            forget(part)
            _until_complete(job)
            found = sha256_of(part)
        if not matches(part, found, expected):
            size = part.stat().st_size
            forget(part)
            raise DataError(mismatch(called, size, found, expected))
        return put_in_place(part, target, found)
    except httpx.RequestError as error:
        raise DataError(
            f"{called} cannot be fetched: {_reason(error)}. Use --mirror, or --offline with the file."
        ) from error
    except NoRoomError as error:
        raise NoRoomError(f"{error} {_keep_or_delete(part, expected)}") from error
    except OSError as error:
        outcome = _keep_or_delete(part, expected) if disk_is_full(error) else "What has arrived is kept."
        raise DataError(f"{target} cannot be written: {error.strerror or error}. {outcome}") from error


@dataclass(frozen=True, slots=True)
class _Job:
    """The arguments of `download`."""

    url: str
    called: str
    part: Path
    expected: Expected
    settings: DownloadSettings
    report: Report
    tell: Tell


def _keep_or_delete(part: Path, expected: Expected) -> str:
    """Keep a partial file of known size, delete one of unknown size; returns a sentence that says so."""
    size = _size(part)
    if expected.size is None:
        forget(part)
        return f"Its size is not known, so the {size / 1e6:,.0f} MB that had arrived were deleted."
    return f"What has arrived is kept, {size / 1e6:,.0f} MB in {part}; delete that file to free the space."


def _reason(error: Exception) -> str:
    text = first_line(error)
    # httpx quotes the whole address, which may include secrets.
    return "it redirects to an invalid address" if text.startswith("Invalid URL in location") else text


def _until_complete(job: _Job) -> None:
    failed, settings = 0, job.settings
    for tries in count(1):
        before = _size(job.part)
        try:
            _attempt(job)
            return
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError):
            raise  # A retry would fail in the same way.
        except (TryAgain, httpx.TransportError) as error:
            stuck = isinstance(error, TryAgain) and error.stuck
            failed = failed + 1 if stuck or _size(job.part) <= before else 1
            # A server that cannot resume may break off a little later each time, without end.
            if failed >= settings.attempts or tries >= _MOST_TRIES:
                raise DataError(
                    f"{job.called} could not be fetched after {tries} attempts, the last {failed} without progress: "
                    f"{_reason(error)}. Try again later (what has arrived is kept), use --mirror, or get it "
                    "otherwise and use --offline."
                ) from error
            wait = settings.back_off_s * 2 ** (failed - 1)
            asked = error.wait_s if isinstance(error, TryAgain) else None
            wait = min(settings.longest_wait_s, wait if asked is None else asked)
            job.tell(f"{_reason(error)}; attempt {failed + 1} of {settings.attempts} in {wait:g} s")
            time.sleep(wait)


def _attempt(job: _Job) -> None:
    part, expected = job.part, job.expected
    have, validator = _size(part), _validator(part, job.url)
    if have and have == expected.size:
        return  # Complete; its hash is checked afterwards.
    # Resume only with a validator or a known hash: otherwise the rest could be another file's.
    resume = have > 0 and (validator is not None or expected.sha256 is not None)
    # No compressed transfer, so that lengths and ranges are those of the file.
    headers = {"Accept-Encoding": "identity"}
    if resume:
        headers["Range"] = f"bytes={have}-"
        if validator is not None:
            headers["If-Range"] = validator
    with open_response(job.url, headers, job.settings.timeout_s) as response:
        start = _check_response(response, job, have if resume else 0)
        total = _total(response, start)
        if total is not None and expected.size is not None and total != expected.size:
            forget(part)
            raise DataError(
                f"{job.called} has {total:,} bytes; the manifest says {expected.size:,}. It is not the file that was "
                "meant: use another --mirror, or --offline with the right one."
            )
        total = expected.size if total is None else total
        if expected.size is None and (total or 0) > expected.limit:
            raise _too_large(job, f"has {total:,} bytes")
        need_room(part.parent, (total or start) - start, part.stem)
        _remember(part, job.url, response)
        _receive(job, response, start, total)


def _receive(job: _Job, response: httpx.Response, start: int, total: int | None) -> None:
    done = start
    most = job.expected.limit if total is None else total
    pace = Pace(job.settings.timeout_s, done)
    with job.part.open("r+b" if start else "wb") as file:
        file.seek(start)
        for chunk in response.iter_bytes():
            done += len(chunk)
            if done > most and total is None:
                raise _too_large(job, "goes on")
            if done > most:
                raise DataError(f"{job.called} goes on beyond the {most:,} bytes that it should have.")
            keep_room(job.part.parent, f"Fetching {job.part.stem}")
            file.write(chunk)
            pace.check(done)
            job.report(done, total)
    if total is not None and done < total:
        raise TryAgain(f"the connection ended after {done:,} of {total:,} bytes")


def _too_large(job: _Job, how: str) -> DataError:
    forget(job.part)
    return DataError(
        f"{job.called} {how} beyond the {job.expected.limit:,} bytes that a file of unknown size may have here: it is "
        "not the file that was meant. Use another --mirror, or --offline with the right one."
    )


def _check_response(response: httpx.Response, job: _Job, have: int) -> int:
    """Check a response's status and headers; returns the offset in the file at which its body begins."""
    part, called = job.part, job.called
    if job.url.lower().startswith("https:") and response.url.scheme != "https":
        where = terminal_safe(without_password(str(response.url)))
        raise DataError(f"{called} redirects to {where}, which is not encrypted. Use another --mirror.")
    status = response.status_code
    if status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
        forget(part)
        raise TryAgain("the server does not have the requested part")
    if status in (408, 425, 429) or status >= 500:
        raise TryAgain(f"the server returned {status}", _asked_wait(response))
    if status not in (200, 206):
        why = terminal_safe(response.reason_phrase)[:100]
        raise DataError(
            f"{called} returned {status} {why}. If the file has moved, use --mirror, or get it by other means and "
            "use --offline."
        )
    if "text/html" in response.headers.get("content-type", "") and not part.stem.endswith((".html", ".htm")):
        raise DataError(
            f"{called} returned a web page instead of {part.stem}: a log-in, a quota or a question. Fetch it with "
            "a browser and use --offline FOLDER, or use --mirror."
        )
    if status == 206:
        span = response.headers.get("content-range", "")
        if not span.startswith(f"bytes {have}-"):
            forget(part)
            raise TryAgain(
                f"the server sent another part than the requested one ({shortened(span) if span else 'unnamed'})"
            )
        return have
    return 0


def _total(response: httpx.Response, start: int) -> int | None:
    length = response.headers.get("content-length", "")
    if response.headers.get("content-encoding", "identity") != "identity" or not _is_number(length):
        return None
    total = response.headers.get("content-range", "").rpartition("/")[2]
    return int(total) if _is_number(total) else start + int(length)


def _is_number(text: str) -> bool:
    # `isdigit` alone accepts digits that `int` refuses; longer numbers are not file sizes.
    return text.isascii() and text.isdigit() and len(text) <= 18


def _asked_wait(response: httpx.Response) -> float | None:
    asked = response.headers.get("retry-after", "")
    return float(asked) if _is_number(asked) else None


def _remember(part: Path, url: str, response: httpx.Response) -> None:
    etag = response.headers.get("etag")
    # A weak ETag does not guarantee identical bytes.
    validator = etag if etag and not etag.startswith("W/") else response.headers.get("last-modified")
    note = {"url": shown(url), "validator": validator}
    note_of(part).write_text(json.dumps(note), encoding="utf-8")


def _validator(part: Path, url: str) -> str | None:
    try:
        note: dict[str, Any] = json.loads(note_of(part).read_text(encoding="utf-8"))
        validator = note["validator"] if note["url"] == shown(url) else None
    except (*DAMAGED, ValueError, KeyError, TypeError):
        return None
    return validator if isinstance(validator, str) and validator.isascii() and validator.isprintable() else None


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
