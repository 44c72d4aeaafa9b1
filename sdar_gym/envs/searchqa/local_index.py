"""Local passage indexes: opened from a corpus file, an index folder or the embedded world, cached per process."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from threading import RLock
from typing import Any

from sdar_gym.skills.index import resolve_backend
from sdar_gym.skills.index.base import DEFAULT_B, DEFAULT_K1
from sdar_gym.skills.index.corpus import Corpus
from sdar_gym.skills.index.manifest import FILE, is_index_folder, load_manifest
from sdar_gym.skills.index.passages import PassageIndex, index_passages, open_passages

EMBEDDED = "embedded"
# The embedded world with plain names.
PLAIN = "plain"
# A corpus file is held in memory as a whole; larger ones belong in an index folder.
MAX_CORPUS_BYTES = 500_000_000
# Searches that the process keeps open while unused; the least recently used one is dropped first.
_MAX_OPEN = 4

_open: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
_lock = RLock()


def local_index(corpus: str | None, search: str = "auto") -> PassageIndex:
    """The index of this process over a corpus file, an index folder, or the embedded passages.

    Raises:
        ValueError: The corpus is not there, damaged, too large, or needs another backend.
    """
    if corpus is None or corpus == PLAIN:
        backend = resolve_backend(search)
        world = corpus or EMBEDDED
        return open_once((world, backend, _process_key(backend)), lambda: _embedded(world, backend))
    path = Path(corpus)
    if is_index_folder(path):
        # Java does not survive a fork: a child process opens its own index or gets an error. Here and below.
        process = _process_key(load_manifest(path).backend)
        return open_once(("folder", search, *_file_identity(path / FILE), process), lambda: _folder(path, search))
    source = Corpus(path)
    check_size(source.path)
    backend = resolve_backend(search)
    about = {"corpus": path.name}
    return open_once(
        ("corpus", backend, *_file_identity(path), _process_key(backend)),
        lambda: index_passages(source, backend, about=about),
    )


def open_once(key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    """The process-wide search for a key: made on first use, then shared; a few unused ones stay open.

    Args:
        key: Identifies the search, by its kind and its arguments.
        make: Opens it.
    """
    with _lock:
        if key not in _open:
            _open[key] = make()
            while len(_open) > _MAX_OPEN:
                # Not closed: an environment may still use it; it is freed with its last reference.
                _open.popitem(last=False)
        _open.move_to_end(key)
        return _open[key]


def check_corpus(path: Path) -> None:
    """Check a corpus by its first passage, before an index is built from it.

    Args:
        path: A corpus file or an index folder.

    Raises:
        ValueError: It is too large, damaged, empty, or not a corpus.
    """
    if is_index_folder(path):
        load_manifest(path)
        return
    check_size(path)
    _check_first(*_file_identity(path))


@lru_cache(maxsize=16)
def _check_first(path: str, size: int, time: int) -> None:
    next(iter(Corpus(path)), None)


def check_size(path: Path) -> None:
    """Check that a corpus file is small enough to be indexed by every process.

    Raises:
        ValueError: It is too large.
    """
    size = path.stat().st_size
    if size > MAX_CORPUS_BYTES:
        raise ValueError(
            f"{path} has {size / 1e6:.0f} MB, too much to be held in memory by every process. Index it once: "
            f"sdar-gym index {path} --output DIR; then name DIR as the corpus, or serve it: sdar-gym serve-search DIR."
        )


def _embedded(name: str, backend: str) -> PassageIndex:
    from sdar_gym.envs.searchqa.world import GENERATOR_VERSION, embedded_world

    about = {"corpus": f"{name}-{GENERATOR_VERSION}"}
    world = embedded_world("plain" if name == PLAIN else "invented")
    return index_passages(world.passages, backend, k1=DEFAULT_K1, b=DEFAULT_B, about=about)


def _folder(path: Path, search: str) -> PassageIndex:
    index = open_passages(path)
    built = index.info()["backend"]
    if search not in ("auto", built):
        index.close()
        raise ValueError(f"{path} was built for {built!r}, not for {search!r}; leave `search` out, or build it again.")
    return index


def _process_key(backend: str) -> int:
    return os.getpid() if backend == "lucene" else 0


def _file_identity(file: Path) -> tuple[str, int, int]:
    stat = file.stat()
    return str(file.resolve()), stat.st_size, stat.st_mtime_ns


def _reset_lock() -> None:
    # A thread of the parent may have held the lock at the fork; no thread of the child would release it.
    global _lock
    _lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_lock)
