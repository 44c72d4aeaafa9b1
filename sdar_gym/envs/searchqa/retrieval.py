"""Where searches go: an index of the process, an actor of the cluster, or a server, all behind one small contract."""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from sdar_gym.paths import without_password
from sdar_gym.skills.index import BACKENDS, resolve_backend
from sdar_gym.skills.index.base import DEFAULT_B, DEFAULT_K1
from sdar_gym.skills.index.corpus import Corpus
from sdar_gym.skills.index.manifest import FILE, is_index_folder, load_manifest
from sdar_gym.skills.index.passages import Passage, PassageIndex, index_passages, open_passages
from sdar_gym.text import shortened
from sdar_gym.validation import finite_number, whole_number

if TYPE_CHECKING:
    from sdar_gym.envs.searchqa.client import SearchClient

EMBEDDED = "embedded"
RAY = "ray"
# A corpus file is held in memory as it is; larger ones belong into an index folder.
MAX_CORPUS_BYTES = 500_000_000
# Indices that the process keeps open when nobody asks for them; the least recently used goes first.
_KEPT = 4
# Of one request, in seconds: sockets take no number that is much larger than a day's.
_LONGEST_S = 86_400.0
_MOST_RETRIES = 1000


class SearchFailedError(RuntimeError):
    """A search that was not answered, after all retries. The turn did not happen: the same step can be tried again."""


class Retriever(Protocol):
    """Answers a query with passages."""

    def search(self, query: str, k: int) -> list[Passage]:
        """The best k passages.

        Raises:
            SearchFailedError: There is no answer. No failure is ever an empty list.
        """
        ...

    def info(self) -> dict[str, Any]:
        """What searches, as plain values for a report."""
        ...


@dataclass(frozen=True, slots=True)
class RetrieverSpec:
    """All that opens a retriever; small, and the same for who wants the same one.

    Attributes:
        search: `auto`, `bm25s`, `lucene`, `ray`, or the address of a server. Not in the `repr`: an address may hold a
            password.
        corpus: Absolute path of a corpus file or an index folder; None for the embedded passages.
        timeout: Seconds for one request to a server or an actor.
        retries: Further attempts after one that failed.
    """

    search: str = field(default="auto", repr=False)
    corpus: str | None = None
    timeout: float = 30.0
    retries: int = 6

    def __post_init__(self) -> None:
        # Frozen, and still what is kept are plain numbers: NumPy's would go into messages, actors and pickles.
        object.__setattr__(self, "timeout", finite_number("search_timeout", self.timeout, 0.001, _LONGEST_S))
        object.__setattr__(self, "retries", whole_number("search_retries", self.retries, 0, _MOST_RETRIES))
        if isinstance(self.search, str) and self.is_server:
            check_address(self.search)
        elif not isinstance(self.search, str) or self.search not in (*BACKENDS, RAY):
            shown = shown_address(self.search) if isinstance(self.search, str) else self.search
            raise ValueError(
                f"Unknown search {shortened(shown)}; there are {', '.join(BACKENDS)}, {RAY}, and the address of a "
                "server (http://…)."
            )

    @property
    def is_local(self) -> bool:
        """Whether an index of this process is searched."""
        return self.search in BACKENDS

    @property
    def is_server(self) -> bool:
        """Whether searches go to a server."""
        return self.search.lower().startswith(("http://", "https://"))


def shown_address(address: str) -> str:
    """An address as it is shown and stored: without user, password and values; also if it is none."""
    scheme, separator, rest = address.partition("://")
    # A password may hold what ends the place in a proper address, so whatever stands before the last @ goes.
    return without_password(f"{scheme}{separator}{rest.rpartition('@')[2]}")


def check_address(address: str) -> None:
    """Refuse what is no address of a server.

    Raises:
        ValueError: It is none.
    """
    try:
        parts = urlsplit(address)
        usable = bool(parts.hostname) and parts.port != 0 and address.isprintable() and " " not in address
    except ValueError:  # Of a port or a number in brackets that is none.
        usable = False
    if not usable:
        raise ValueError(
            f"{shortened(shown_address(address))} is no address of a search server; write http://host:port."
        )


_open: OrderedDict[tuple[Any, ...], Retriever] = OrderedDict()
_lock = RLock()


def shared_retriever(spec: RetrieverSpec) -> Retriever:
    """The retriever of this process for a spec; environments share it.

    Raises:
        ValueError: The corpus is not there or damaged, or a backend is not installed.
        SearchFailedError: The Ray actor cannot be reached.
    """
    if spec.is_server:
        return _shared(("server", spec, os.getpid()), lambda: _server(spec))
    if spec.search == RAY:
        from sdar_gym.envs.searchqa.actor import ActorRetriever, session

        # A process may leave one cluster and join another.
        return _shared(
            ("ray", spec, os.getpid(), session()),
            lambda: ActorRetriever(spec.corpus, timeout=spec.timeout, retries=spec.retries),
        )
    return local_index(spec.corpus, spec.search)


def local_index(corpus: str | None, search: str = "auto") -> PassageIndex:
    """The index of this process over a corpus file, an index folder, or the embedded passages.

    Raises:
        ValueError: The corpus is not there, damaged, too large, or needs another backend.
    """
    if corpus is None:
        backend = resolve_backend(search)
        return _shared((EMBEDDED, backend, _process(backend)), lambda: _embedded(backend))
    path = Path(corpus)
    if is_index_folder(path):
        # Java does not survive a fork: a child opens its own, or is told why it cannot. Here and below.
        process = _process(load_manifest(path).backend)
        return _shared(("folder", search, *_identity(path / FILE), process), lambda: _folder(path, search))
    source = Corpus(path)
    check_size(source.path)
    backend = resolve_backend(search)
    about = {"corpus": path.name}
    return _shared(
        ("corpus", backend, *_identity(path), _process(backend)), lambda: index_passages(source, backend, about=about)
    )


def check_retriever(spec: RetrieverSpec, query: str, k: int) -> None:
    """Open all that a search would open, and make one where somebody else answers it.

    An actor is asked where Ray runs; where it does not run yet, what the actor would open is opened here.

    Args:
        spec: The retriever.
        query: What is searched for; what it finds does not matter.
        k: How many passages are asked for, which a server may refuse.

    Raises:
        ValueError: A search could not be made; the message says why.
    """
    # One further attempt and not all of them: who starts a run waits for this.
    spec = replace(spec, retries=min(spec.retries, 1))
    try:
        if spec.is_server:
            with closing(_server(spec)) as client:
                client.search(query, k)
        elif spec.search == RAY and not ray_runs():
            local_index(spec.corpus)
        else:
            shared_retriever(spec).search(query, k)
    except RuntimeError as error:  # A failed search, or a Java that cannot be started.
        raise ValueError(str(error)) from error


def ray_runs() -> bool:
    """Whether this process is connected to a Ray cluster.

    Raises:
        ValueError: Ray is not installed.
    """
    if find_spec("ray") is None:
        raise ValueError('search="ray" needs Ray. Install it: pip install "sdar-gym[train]"')
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def check_corpus(path: Path) -> None:
    """Refuse a corpus that no index can be made of, by its first passage: making one takes longer, and comes later.

    Args:
        path: A corpus file or an index folder.

    Raises:
        ValueError: It is too large, damaged, empty, or holds something else.
    """
    if is_index_folder(path):
        load_manifest(path)
        return
    check_size(path)
    _check_first(*_identity(path))


@lru_cache(maxsize=16)
def _check_first(path: str, size: int, time: int) -> None:
    next(iter(Corpus(path)), None)


def check_size(path: Path) -> None:
    """Refuse a corpus file that is too large to be indexed by every process.

    Raises:
        ValueError: It is.
    """
    size = path.stat().st_size
    if size > MAX_CORPUS_BYTES:
        raise ValueError(
            f"{path} has {size / 1e6:.0f} MB, too much to be held in memory by every process. Index it once: "
            f"sdar-gym index {path} --output DIR; then name DIR as the corpus, or serve it: sdar-gym serve-search DIR."
        )


def _embedded(backend: str) -> PassageIndex:
    from sdar_gym.envs.searchqa.world import GENERATOR_VERSION, embedded_world

    about = {"corpus": f"{EMBEDDED}-{GENERATOR_VERSION}"}
    return index_passages(embedded_world().passages, backend, k1=DEFAULT_K1, b=DEFAULT_B, about=about)


def _folder(path: Path, search: str) -> PassageIndex:
    index = open_passages(path)
    built = index.info()["backend"]
    if search not in ("auto", built):
        index.close()
        raise ValueError(f"{path} was built for {built!r}, not for {search!r}; leave `search` out, or build it again.")
    return index


def _server(spec: RetrieverSpec) -> SearchClient:
    from sdar_gym.envs.searchqa.client import SearchClient

    return SearchClient(spec.search, timeout=spec.timeout, retries=spec.retries)


def _shared(key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    with _lock:
        if key not in _open:
            _open[key] = make()
            while len(_open) > _KEPT:
                # Not closed: an environment may still search in it; the last one to let go frees it.
                _open.popitem(last=False)
        _open.move_to_end(key)
        return _open[key]


def _process(backend: str) -> int:
    return os.getpid() if backend == "lucene" else 0


def _identity(file: Path) -> tuple[str, int, int]:
    stat = file.stat()
    return str(file.resolve()), stat.st_size, stat.st_mtime_ns


def _renew_lock() -> None:
    # A thread of the parent may have held it at the fork, and nobody would release it in the child.
    global _lock
    _lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
