"""Cache of compiled catalogs and their search indexes, under the user's cache folder."""

from __future__ import annotations

import mmap
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import blake2b
from importlib import import_module
from pathlib import Path

import sdar_gym
from sdar_gym.envs.compiled_cache import cache_folder, write_atomically
from sdar_gym.skills.index.bm25s_index import Bm25sIndex

_BENCHMARK = "webshop"
# Bytes of the digest at the end of a file.
_DIGEST = 32
_CHUNK = 1 << 24
# Modules that determine cached products and indexes: a change in their source invalidates the cache.
_SOURCE_MODULES = (
    *("sdar_gym.envs.webshop.compiled", "sdar_gym.envs.webshop.fields", "sdar_gym.envs.webshop.generator"),
    *("sdar_gym.envs.webshop.products", "sdar_gym.envs.webshop.reading", "sdar_gym.envs.webshop.sources"),
    *("sdar_gym.envs.webshop.generator_vocabulary", "sdar_gym.envs.webshop.streaming", "sdar_gym.text"),
    *("sdar_gym.skills.index.analysis", "sdar_gym.skills.index.bm25s_index", "sdar_gym.skills.index.postings"),
    *("sdar_gym.skills.index.saved", "sdar_gym.skills.index.words"),
)


def cache_name(place: str, identity: object) -> str:
    """The cache key of what is compiled from one source.

    Args:
        place: The source, such as a path. Only the newest entry of a place stays on disk.
        identity: Changes whenever the source does.
    """
    made_by = [sdar_gym.__version__, unicodedata.unidata_version]
    for name in _SOURCE_MODULES:
        with suppress(OSError):  # In a zipped installation there is no source file: the version has to suffice.
            made_by.append(_hashed(Path(import_module(name).__file__ or "").read_bytes()))
    return f"{_hashed(place.encode('utf-8', 'surrogatepass'))}-{_hashed(repr((identity, made_by)).encode())}"


def read_cached(name: str) -> memoryview | None:
    """A cached file, memory-mapped; None if it is missing or damaged."""
    try:
        with (cache_folder(_BENCHMARK) / name).open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):  # Empty files cannot be mapped.
        return None
    digest = blake2b(digest_size=_DIGEST)
    for start in range(0, len(content) - _DIGEST, _CHUNK):
        digest.update(content[start : min(start + _CHUNK, len(content) - _DIGEST)])
    return content[:-_DIGEST] if digest.digest() == content[-_DIGEST:] else None


def write_cached(name: str, parts: Iterable[bytes]) -> None:
    """Cache a file and remove older entries of the same source; skipped if the folder is read-only or full."""
    with suppress(OSError):
        folder = cache_folder(_BENCHMARK)
        write_atomically(folder / name, _with_digest(parts))
        _remove_older(folder, name)


def read_cached_index(name: str) -> Bm25sIndex | None:
    """A cached index; None if it is missing or damaged."""
    try:
        return Bm25sIndex.open(cache_folder(_BENCHMARK) / name)
    except (ValueError, OSError):
        return None


def write_cached_index(name: str, index: Bm25sIndex) -> None:
    """As `write_cached`, for an index over row numbers."""
    with suppress(OSError):
        folder = cache_folder(_BENCHMARK)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as partial:
            index.save(Path(partial, name))
            # A rename cannot replace a folder; a process that opens it in between builds its own index.
            shutil.rmtree(folder / name, ignore_errors=True)
            Path(partial, name).rename(folder / name)
        _remove_older(folder, name)


def _with_digest(parts: Iterable[bytes]) -> Iterator[bytes]:
    digest = blake2b(digest_size=_DIGEST)
    for part in parts:
        digest.update(part)
        yield part
    yield digest.digest()


def _remove_older(folder: Path, name: str) -> None:
    place, _, _ = name.partition("-")
    current, _, suffix = name.rpartition(".")
    for old in folder.glob(f"{place}-*.{suffix}"):
        if old.stem != current:
            shutil.rmtree(old) if old.is_dir() else old.unlink()


def _hashed(content: bytes) -> str:
    return blake2b(content, digest_size=12).hexdigest()
