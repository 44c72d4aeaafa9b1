"""Gets one file over HTTP: goes on where it stopped, tries again, and never shows half a file under its name."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from sdar_gym.data.files import (
    DataError,
    Expected,
    Report,
    forget,
    matches,
    mismatch,
    need_room,
    note_of,
    put_in_place,
    sha256_of,
)

_MOST_TRIES = 100


@dataclass(frozen=True, slots=True)
class DownloadSettings:
    """How hard to try.

    Attributes:
        attempts: Tries in a row that bring nothing new before giving up.
        back_off_s: Wait after the first of them; doubled each time.
        longest_wait_s: Upper limit of a wait, also of one that the server asks for.
        timeout_s: Silence after which a connection counts as broken.
    """

    attempts: int = 5
    back_off_s: float = 1.0
    longest_wait_s: float = 60.0
    timeout_s: float = 30.0


class _TryAgain(Exception):
    """A try that failed in a way that another may not; `wait_s` if the server said how long."""

    def __init__(self, reason: str, wait_s: float | None = None):
        super().__init__(reason)
        self.wait_s = wait_s


def download(
    url: str, target: Path, expected: Expected, settings: DownloadSettings, report: Report = lambda done, total: None
) -> str:
    """Fetch a file into `target`, which appears when it is whole and checked.

    What has arrived waits in `<target>.part`; the next call goes on from there if the server still has the same file,
    which `If-Range` with its `ETag` or date makes sure of.

    Args:
        url: Where it is.
        target: Where it goes; its folder is made.
        expected: Size and hash, if known.
        settings: How hard to try.
        report: Called with bytes there and bytes in all.

    Returns:
        The SHA-256 of the file.

    Raises:
        DataError: It cannot be had, or is not what was expected.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with httpx.Client(follow_redirects=True, timeout=settings.timeout_s) as client:
            _until_complete(client, url, part, expected, settings, report)
            found = sha256_of(part)
            if not matches(part, found, expected):
                # Once more from the start: a part of an earlier day may be to blame.
                forget(part)
                _until_complete(client, url, part, expected, settings, report)
                found = sha256_of(part)
            if not matches(part, found, expected):
                size = part.stat().st_size
                forget(part)
                raise DataError(mismatch(url, size, found, expected))
            return put_in_place(part, target, found)
    except httpx.InvalidURL as error:
        raise DataError(f"{url!r} is no address: {error}.") from error
    except httpx.RequestError as error:
        raise DataError(f"{url} cannot be fetched: {error}. Use --mirror, or --offline with the file.") from error
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror or error}. What has arrived is kept.") from error


def _until_complete(
    client: httpx.Client, url: str, part: Path, expected: Expected, settings: DownloadSettings, report: Report
) -> None:
    failed = 0
    for tries in count(1):
        before = _size(part)
        try:
            _one_try(client, url, part, expected, report)
            return
        except (_TryAgain, httpx.TransportError) as error:
            failed = failed + 1 if _size(part) <= before else 1
            # A server that cannot resume may break off a little later each time, for ever.
            if failed >= settings.attempts or tries >= _MOST_TRIES:
                reason = str(error) or type(error).__name__
                raise DataError(
                    f"{url} could not be fetched, after {tries} tries, the last {failed} without progress: {reason}. "
                    "Try again later (what has arrived is kept), use --mirror, or fetch it otherwise and use --offline."
                ) from error
            wait = settings.back_off_s * 2 ** (failed - 1)
            asked = error.wait_s if isinstance(error, _TryAgain) else None
            time.sleep(min(settings.longest_wait_s, wait if asked is None else asked))


def _one_try(client: httpx.Client, url: str, part: Path, expected: Expected, report: Report) -> None:
    have, validator = _size(part), _validator(part, url)
    if have and have == expected.size:
        return  # All of it is here; the hash tells whether it is right.
    # Without a validator the rest could be another file's; a known hash would notice.
    resume = have > 0 and (validator is not None or expected.sha256 is not None)
    # A compressed transfer would make lengths and ranges those of another file.
    headers = {"Accept-Encoding": "identity"}
    if resume:
        headers["Range"] = f"bytes={have}-"
        if validator is not None:
            headers["If-Range"] = validator
    with client.stream("GET", url, headers=headers) as response:
        start = _check_answer(response, url, part, have)
        total = _total(response, start)
        if total is not None and expected.size is not None and total != expected.size:
            forget(part)
            raise DataError(
                f"{url} has {total:,} bytes; the manifest says {expected.size:,}. It is not the file that was meant: "
                "use another --mirror, or --offline with the right one."
            )
        total = expected.size if total is None else total
        if total is not None:
            need_room(part.parent, total - start, part.stem)
        _remember(part, url, response)
        done = start
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            for chunk in response.iter_bytes():
                file.write(chunk)
                done += len(chunk)
                if total is not None and done > total:
                    raise DataError(f"{url} goes on beyond the {total:,} bytes that it should have.")
                report(done, total)
    if total is not None and done < total:
        raise _TryAgain(f"the connection ended after {done:,} of {total:,} bytes")


def _check_answer(response: httpx.Response, url: str, part: Path, have: int) -> int:
    """Where the body of this answer begins in the file."""
    if url.startswith("https:") and response.url.scheme != "https":
        raise DataError(f"{url} leads to {response.url}, which is not encrypted. Use another --mirror.")
    status = response.status_code
    if status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
        forget(part)
        raise _TryAgain("the server does not have the part that was asked for")
    if status in (408, 425, 429) or status >= 500:
        raise _TryAgain(f"the server answered {status}", _asked_wait(response))
    if status not in (200, 206):
        raise DataError(
            f"{url} answered {status} {response.reason_phrase}. If the file has moved, use --mirror, or fetch it by "
            "other means and use --offline."
        )
    if "text/html" in response.headers.get("content-type", "") and not part.stem.endswith((".html", ".htm")):
        raise DataError(
            f"{url} answered with a web page, not with {part.stem}: a log-in, a quota or a question. Fetch it with a "
            "browser and use --offline FOLDER, or use --mirror."
        )
    if status == 206:
        span = response.headers.get("content-range", "")
        if not span.startswith(f"bytes {have}-"):
            forget(part)
            raise _TryAgain(f"the server sent another part than the one asked for ({span or 'unnamed'})")
        return have
    return 0


def _total(response: httpx.Response, start: int) -> int | None:
    length = response.headers.get("content-length", "")
    if response.headers.get("content-encoding", "identity") != "identity" or not length.isdigit():
        return None
    total = response.headers.get("content-range", "").rpartition("/")[2]
    return int(total) if total.isdigit() else start + int(length)


def _asked_wait(response: httpx.Response) -> float | None:
    asked = response.headers.get("retry-after", "")
    return float(asked) if asked.isdigit() else None


def _remember(part: Path, url: str, response: httpx.Response) -> None:
    etag = response.headers.get("etag")
    # A weak tag says that two files mean the same, not that their bytes are the same.
    validator = etag if etag and not etag.startswith("W/") else response.headers.get("last-modified")
    note_of(part).write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")


def _validator(part: Path, url: str) -> str | None:
    try:
        note: dict[str, Any] = json.loads(note_of(part).read_text(encoding="utf-8"))
        return note["validator"] if note["url"] == url else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
