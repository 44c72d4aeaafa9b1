"""Download of a data set: each file from its address, a mirror or a folder; checked, recorded and unpacked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from sdar_gym.downloads.connection import shown
from sdar_gym.downloads.download import DownloadSettings, Tell, download
from sdar_gym.downloads.files import CHECKSUMS, DataError, Expected, copy_checked, folder_lock, sha256_of
from sdar_gym.downloads.manifest import DataFile, DataSet
from sdar_gym.downloads.unpack import unpack
from sdar_gym.files import remove_unfinished, replace_text
from sdar_gym.paths import DAMAGED, first_line, local_path, without_password
from sdar_gym.text import shortened

FileReport = Callable[[str, int, int | None], None]


@dataclass(slots=True)
class FetchResult:
    """Result of `fetch`.

    Attributes:
        folder: The folder with the data.
        fetched: Files that were fetched or copied.
        present: Files that were already there.
        unverified: Files without a published hash; theirs is recorded now.
        unpacked: Number of files unpacked from archives.
    """

    folder: Path
    fetched: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)
    unpacked: int = 0


def fetch(
    data: DataSet,
    output: Path,
    *,
    mirror: str | None = None,
    offline: Path | None = None,
    full: bool = False,
    settings: DownloadSettings | None = None,
    report: FileReport = lambda name, done, total: None,
    tell: Tell = lambda message: None,
) -> FetchResult:
    """Download a data set to `<output>/<its folder>`; files that are there and unchanged are skipped.

    `CHECKSUMS.json` beside the files records size, hash and origin of each, without a mirror's user, password and
    query. If the manifest has no hash for a file, later downloads must match the recorded one: data that changes is an
    error.

    Args:
        data: The data set.
        output: The folder of all data sets, such as `$SDAR_GYM_DATA`.
        mirror: Base address to use instead of the official ones: `<mirror>/<folder>/<file name>`; a query stays at the
            end.
        offline: Local folder to copy from instead: `<offline>/<folder>/<file name>`, or `<offline>/<file name>`.
        full: Also download the extra files.
        settings: Retries and timeouts.
        report: Called with a file's name, bytes received, bytes in total.
        tell: Called with a message before each download and before each retry.

    Raises:
        DataError: A file cannot be downloaded, is not the expected one, or cannot be unpacked.
        PathError: A path is not valid.
    """
    if mirror is not None and offline is not None:
        raise DataError("--mirror and --offline exclude each other: use one of them.")
    if mirror is not None and not mirror.lower().startswith(("https://", "http://")):
        raise DataError(f"The mirror {shown(mirror)!r} is not an address; it must begin with https:// or http://.")
    if offline is not None:
        offline = local_path("--offline", offline)
        if not offline.is_dir():
            raise DataError(f"{offline} is not a folder; --offline names the one that holds the files.")
    folder = local_path("--output", output) / data.folder
    source = _Source(data, folder, mirror, offline, settings or DownloadSettings(), report, tell)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be created: {error.strerror or error}. Choose another --output.") from error
    try:
        with folder_lock(folder):
            remove_unfinished(folder, (CHECKSUMS,))
            return _fetch(data.wanted(full), source)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written to or read: {error.strerror or error}. Choose another --output."
        ) from error


@dataclass(frozen=True, slots=True)
class _Source:
    """The arguments of `fetch`: where files come from and go to."""

    data: DataSet
    folder: Path
    mirror: str | None
    offline: Path | None
    settings: DownloadSettings
    report: FileReport
    tell: Tell


def _fetch(files: tuple[DataFile, ...], source: _Source) -> FetchResult:
    folder, result = source.folder, FetchResult(source.folder)
    lock = _read_lock(folder)
    if _without_passwords(lock, source.data.files):
        _write_lock(folder, lock)
    for file in files:
        known = lock.get(file.name, {})
        expected = _expected(file, known)
        if _is_there(folder, file, known, expected):
            result.present.append(file.name)
            continue
        digest, origin = _get(file, source, expected)
        result.fetched.append(file.name)
        if file.sha256 is None:
            result.unverified.append(file.name)
        lock[file.name] = {
            "sha256": digest,
            "size": (folder / file.name).stat().st_size,
            "origin": origin,
            "hash_known_before": expected.sha256 is not None,
        }
        _write_lock(folder, lock)
        if file.unpack:
            taken = [other.name for other in source.data.files]
            single = file.unpack_to if file.unpack == "single" else ""
            names = unpack(folder / file.name, folder, single, taken)
            result.unpacked += len(names)
            lock[file.name]["unpacked"] = len(names)
            _write_lock(folder, lock)
    return result


def _expected(file: DataFile, known: dict[str, Any]) -> Expected:
    if file.sha256 is not None:
        return Expected(file.size, file.sha256, file.limit)
    return Expected(file.size if file.size is not None else known.get("size"), known.get("sha256"), file.limit)


def _is_there(folder: Path, file: DataFile, known: dict[str, Any], expected: Expected) -> bool:
    if file.unpack and "unpacked" not in known:
        return False
    path = folder / file.name
    if not path.is_file():
        # An archive may be deleted after unpacking.
        return bool(file.unpack) and known.get("sha256") == expected.sha256
    return path.stat().st_size == known.get("size") and sha256_of(path) == known.get("sha256") == expected.sha256


def _get(file: DataFile, source: _Source, expected: Expected) -> tuple[str, str]:
    def report(done: int, total: int | None) -> None:
        source.report(file.name, done, total)

    data, folder, offline = source.data, source.folder, source.offline
    target = folder / file.name
    try:
        if target.is_file() and expected.sha256 is not None and sha256_of(target) == expected.sha256:
            return expected.sha256, "found in place"
        if offline is not None:
            places = [offline / data.folder / file.name, offline / file.name, offline / Path(file.name).name]
            found = next((place for place in places if place.is_file()), None)
            if found is None:
                raise DataError(f"{file.name} is neither at {places[0]} nor at {places[1]}; official: {file.url}")
            return copy_checked(found, target, expected, report), found.resolve().as_uri()
        # A published address keeps its query, which may name the file; a mirror's query may hold a key.
        url = file.url if source.mirror is None else _below(source.mirror, f"{data.folder}/{quote(file.name)}")
        called = without_password(url, keep_query=True) if source.mirror is None else shown(url)
        return download(url, target, expected, source.settings, report, source.tell, called), called
    except DataError as error:
        if file.sha256 is None and expected.sha256 is not None and "not the file that was meant" in str(error):
            raise DataError(
                f"{error} The hash was recorded in {folder / CHECKSUMS} when it was first fetched; if you trust "
                "the new file, delete its entry there."
            ) from error
        raise


def _below(mirror: str, name: str) -> str:
    try:
        parts = urlsplit(mirror)
    except ValueError as error:
        raise DataError(f"The mirror {shown(mirror)!r} is not a valid address.") from error
    return urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/{name}", parts.query, ""))


def _read_lock(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / CHECKSUMS
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (*DAMAGED, ValueError) as error:
        raise _damaged(path, first_line(error)) from error
    if not isinstance(content, dict):
        raise _damaged(path, f"it is {type(content).__name__}, not an object")
    for name, entry in content.items():
        if not isinstance(entry, dict):
            raise _damaged(path, f"{shortened(name)} is {shortened(entry)}, not an object")
        size, digest, origin = entry.get("size", 0), entry.get("sha256", ""), entry.get("origin", "")
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise _damaged(path, f"{shortened(name)} has the size {shortened(size)}")
        if not isinstance(digest, str) or not isinstance(origin, str):
            raise _damaged(path, f"{shortened(name)} has a hash or an origin that is not text")
    return content


def _without_passwords(lock: dict[str, dict[str, Any]], files: tuple[DataFile, ...]) -> bool:
    """Remove passwords of mirrors that older versions recorded; returns whether there were any."""
    published = {file.url for file in files}
    found = False
    for entry in lock.values():
        origin = entry.get("origin", "")
        clean = origin if origin in published else without_password(origin)
        found = found or clean != origin
        if origin:
            entry["origin"] = clean
    return found


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is damaged ({reason}); delete it to record the hashes again.")


def _write_lock(folder: Path, lock: dict[str, dict[str, Any]]) -> None:
    path = folder / CHECKSUMS
    try:
        replace_text(path, json.dumps(lock, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}. Free some space and fetch again."
        ) from error
