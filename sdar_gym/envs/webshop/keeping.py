"""Files that are made once and kept under the user's cache folder, so that other processes need not make them again."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from hashlib import blake2b
from importlib import import_module
from pathlib import Path

import sdar_gym
from sdar_gym.skills.index.bm25s_index import Bm25sIndex

_DIGEST = 32
_CHUNK = 1 << 24
# What decides how kept products and their index come out. Another text of these files means other kept files.
_MAKERS = (
    *("sdar_gym.envs.webshop.compiled", "sdar_gym.envs.webshop.fields", "sdar_gym.envs.webshop.generator"),
    *("sdar_gym.envs.webshop.products", "sdar_gym.envs.webshop.reading", "sdar_gym.envs.webshop.sources"),
    *("sdar_gym.envs.webshop.generator_vocabulary", "sdar_gym.envs.webshop.streaming", "sdar_gym.text"),
    *("sdar_gym.skills.index.analysis", "sdar_gym.skills.index.bm25s_index", "sdar_gym.skills.index.postings"),
    *("sdar_gym.skills.index.saved", "sdar_gym.skills.index.words"),
)


def kept_name(place: str, identity: object) -> str:
    """The name under which things made from one source are kept.

    Args:
        place: The source, such as a path. Of one place only what was kept last stays on disk.
        identity: What changes when the source does.
    """
    made_by = [sdar_gym.__version__, unicodedata.unidata_version]
    for name in _MAKERS:
        with suppress(OSError):  # Without its text, as in a zipped installation, the package's version has to do.
            made_by.append(_hashed(Path(import_module(name).__file__ or "").read_bytes()))
    return f"{_hashed(place.encode('utf-8', 'surrogatepass'))}-{_hashed(repr((identity, made_by)).encode())}"


def kept(name: str) -> memoryview | None:
    """What is kept under a name, mapped and not read; None if nothing is, or if it is damaged."""
    try:
        with (_folder() / name).open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError, RuntimeError):  # Empty files cannot be mapped; there may be no home folder.
        return None
    digest = blake2b(digest_size=_DIGEST)
    for start in range(0, len(content) - _DIGEST, _CHUNK):
        digest.update(content[start : min(start + _CHUNK, len(content) - _DIGEST)])
    return content[:-_DIGEST] if digest.digest() == content[-_DIGEST:] else None


def keep(name: str, parts: Iterable[bytes]) -> None:
    """Keep something under a name, in place of what was kept of the same source.

    A home that is read-only or full costs the next process some seconds, nothing else.
    """
    digest = blake2b(digest_size=_DIGEST)
    partial = ""
    try:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        # Written beside and renamed: another process never reads half a file.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".partial-", delete=False) as file:
            partial = file.name
            for part in parts:
                file.write(part)
                digest.update(part)
            file.write(digest.digest())
        os.replace(partial, folder / name)
        _drop_older(folder, name)
    except (OSError, RuntimeError):
        with suppress(OSError):
            os.unlink(partial)


def kept_index(name: str) -> Bm25sIndex | None:
    """The index that is kept under a name; None if none is, or if it is damaged."""
    try:
        return Bm25sIndex.open(_folder() / name)
    except (ValueError, OSError, RuntimeError):
        return None


def keep_index(name: str, index: Bm25sIndex) -> None:
    """As `keep`, for an index over row numbers."""
    try:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".partial-") as partial:
            index.save(Path(partial, name))
            # Folders are not replaced by renaming; whoever opens it in between makes the index for itself.
            shutil.rmtree(folder / name, ignore_errors=True)
            os.rename(Path(partial, name), folder / name)
        _drop_older(folder, name)
    except (OSError, RuntimeError):
        pass


def _drop_older(folder: Path, name: str) -> None:
    place, _, _ = name.partition("-")
    current, _, suffix = name.rpartition(".")
    for old in folder.glob(f"{place}-*.{suffix}"):
        if old.stem != current:
            shutil.rmtree(old) if old.is_dir() else old.unlink()


def _folder() -> Path:
    named = os.environ.get("XDG_CACHE_HOME", "")
    # A relative one is to be ignored, says its specification.
    return (Path(named) if os.path.isabs(named) else Path.home() / ".cache") / "sdar_gym" / "webshop"


def _hashed(content: bytes) -> str:
    return blake2b(content, digest_size=12).hexdigest()
