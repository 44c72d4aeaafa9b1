"""Fetches a data set: each file from its address, a mirror or a folder, checked, recorded and unpacked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sdar_gym.data.download import DownloadSettings, download
from sdar_gym.data.files import DataError, Expected, copy_checked, only_one, sha256_of
from sdar_gym.data.manifest import DataFile, DataSet
from sdar_gym.data.unpack import unpack

LOCK_FILE = "CHECKSUMS.json"
FileReport = Callable[[str, int, int | None], None]


@dataclass(slots=True)
class FetchResult:
    """What a fetch did.

    Attributes:
        folder: Where the data is.
        fetched: Files that were fetched or copied.
        present: Files that were there already.
        unverified: Files whose hash nobody had stated; it is recorded now.
        unpacked: Number of files that came out of archives.
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
) -> FetchResult:
    """Fetch a data set into `<output>/<its folder>`; what is there and unchanged is left as it is.

    `CHECKSUMS.json` beside the files records size, hash and origin of each. For a file whose hash the manifest does
    not know, the recorded one is what later fetches have to give: data that changes under one's feet is an error.

    Args:
        data: What to fetch.
        output: The folder of all data sets, such as `$SDAR_GYM_DATA`.
        mirror: Base address to use instead of the official ones: `<mirror>/<folder>/<file name>`.
        offline: A local folder to copy from instead: `<offline>/<folder>/<file name>`, or `<offline>/<file name>`.
        full: Fetch the extra files too.
        settings: How hard to try.
        report: Called with a file's name, bytes there, bytes in all.

    Raises:
        DataError: A file cannot be had, is not what was expected, or cannot be unpacked.
    """
    if mirror is not None and offline is not None:
        raise DataError("--mirror and --offline exclude each other: say where the files come from.")
    if mirror is not None and not mirror.startswith(("https://", "http://")):
        raise DataError(f"The mirror {mirror!r} is no address; it has to begin with https:// or http://.")
    if offline is not None and not offline.is_dir():
        raise DataError(f"{offline} is no folder; --offline names the one that holds the files.")
    folder = output / data.folder
    result = FetchResult(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder} cannot be made: {error.strerror or error}. Choose another --output.") from error
    with only_one(folder):
        lock = _read_lock(folder)
        for file in data.wanted(full):
            known = lock.get(file.name, {})
            expected = _expected(file, known)
            if _is_there(folder, file, known, expected):
                result.present.append(file.name)
                continue
            digest, origin = _get(file, data, folder, mirror, offline, expected, settings or DownloadSettings(), report)
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
                names = unpack(folder / file.name, folder, file.unpack_to if file.unpack == "single" else "")
                result.unpacked += len(names)
                lock[file.name]["unpacked"] = len(names)
                _write_lock(folder, lock)
    return result


def _expected(file: DataFile, known: dict[str, Any]) -> Expected:
    if file.sha256 is not None:
        return Expected(file.size, file.sha256)
    return Expected(file.size if file.size is not None else known.get("size"), known.get("sha256"))


def _is_there(folder: Path, file: DataFile, known: dict[str, Any], expected: Expected) -> bool:
    if file.unpack and "unpacked" not in known:
        return False
    path = folder / file.name
    if not path.is_file():
        # An archive may be deleted once it is unpacked.
        return bool(file.unpack) and known.get("sha256") == expected.sha256
    return path.stat().st_size == known.get("size") and sha256_of(path) == known.get("sha256") == expected.sha256


def _get(
    file: DataFile,
    data: DataSet,
    folder: Path,
    mirror: str | None,
    offline: Path | None,
    expected: Expected,
    settings: DownloadSettings,
    report: FileReport,
) -> tuple[str, str]:
    def tell(done: int, total: int | None) -> None:
        report(file.name, done, total)

    target = folder / file.name
    try:
        if target.is_file() and expected.sha256 is not None and sha256_of(target) == expected.sha256:
            return expected.sha256, "found in place"
        if offline is not None:
            places = [offline / data.folder / file.name, offline / file.name, offline / Path(file.name).name]
            source = next((place for place in places if place.is_file()), None)
            if source is None:
                raise DataError(f"{file.name} is neither at {places[0]} nor at {places[1]}; official: {file.url}")
            return copy_checked(source, target, expected, tell), source.resolve().as_uri()
        url = file.url if mirror is None else f"{mirror.rstrip('/')}/{data.folder}/{quote(file.name)}"
        return download(url, target, expected, settings, tell), url
    except DataError as error:
        if file.sha256 is None and expected.sha256 is not None and "not the file that was meant" in str(error):
            raise DataError(
                f"{error} The hash is the one recorded in {folder / LOCK_FILE} when it was first fetched; if you trust "
                "the new file, delete its entry there."
            ) from error
        raise


def _read_lock(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / LOCK_FILE
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): dict(entry) for name, entry in content.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it to record the hashes anew.") from error


def _write_lock(folder: Path, lock: dict[str, dict[str, Any]]) -> None:
    path = folder / LOCK_FILE
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(lock, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(part, path)
