"""`ActorSearch`: passage search by a named Ray actor, one index for a whole cluster. The only module here with Ray."""

from __future__ import annotations

import hashlib
import math
import time
from importlib import import_module
from typing import Any

from sdar_gym.envs.searchqa.local_index import local_index
from sdar_gym.envs.searchqa.search_contract import SearchFailedError
from sdar_gym.faults import note_fault
from sdar_gym.paths import first_line
from sdar_gym.skills.index.passages import Passage
from sdar_gym.text import terminal_safe

NAMESPACE = "sdar_gym"
_THREADS = 4
_PAUSE_S = 0.5
# Opening an index takes longer than a search; times the timeout of a search.
_OPENING = 10


def session() -> str:
    """Address of the cluster that this process is connected to.

    Raises:
        ValueError: Ray is not installed or not initialized.
    """
    return str(_running_ray().get_runtime_context().gcs_address)


def _running_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ValueError('search="ray" needs Ray. Install it: pip install "sdar-gym[train]"') from None
    if not ray.is_initialized():
        # Ray would otherwise attach to any cluster on this machine.
        raise ValueError('search="ray" needs a running Ray: call ray.init() first, or use search="auto".')
    return ray


class _Index:
    """The actor: a local index."""

    def __init__(self, corpus: str | None):
        self._index = local_index(corpus)

    def search(self, query: str, k: int) -> list[tuple[str, str, float]]:
        return [(found.id, found.contents, found.score) for found in self._index.search(query, k)]

    def info(self) -> dict[str, Any]:
        return self._index.info()


class ActorSearch:
    """Client of the cluster's search actor for a corpus, which the first search starts.

    The actor belongs to the job that started it. If it dies, or that job ends, it is restarted; searches wait for that
    as long as for its index to be opened.

    Args:
        corpus: Corpus file or index folder, at the same path on all nodes; None for the embedded passages.
        timeout: Timeout of one search in seconds; opening the index may take ten times as long.
        retries: Retries of a search without an answer in time.

    Raises:
        ValueError: Ray is not installed or not initialized, or the corpus cannot be opened.
    """

    def __init__(self, corpus: str | None, *, timeout: float = 30.0, retries: int = 6):
        self._ray = _running_ray()
        self._corpus = corpus
        self._timeout = timeout
        self._retries = retries
        self.name = f"search-{hashlib.sha256(repr(corpus).encode()).hexdigest()[:16]}"
        self._actor: Any = None

    def search(self, query: str, k: int) -> list[Passage]:
        """The best k passages for a query.

        Raises:
            SearchFailedError: The actor did not respond, or its index cannot be opened.
        """
        return [Passage(*found) for found in self._call("search", query, k)]

    def info(self) -> dict[str, Any]:
        """`info` of the index, and the name of the actor."""
        return {**self._call("info"), "actor": self.name}

    def _find(self) -> Any:
        remote = self._ray.remote(_Index).options(
            name=self.name,
            namespace=NAMESPACE,
            get_if_exists=True,
            max_concurrency=_THREADS,
            # Searches are short; a reserved core would be missing from the env runners.
            num_cpus=0,
        )
        return remote.remote(self._corpus)

    def _call(self, method: str, *arguments: Any) -> Any:
        errors: Any = import_module("ray.exceptions")
        opening = _OPENING * self._timeout
        failures, died_at = 0, math.inf
        while True:
            try:
                if self._actor is None:
                    actor = self._find()
                    self._ray.get(actor.info.remote(), timeout=opening)
                    self._actor = actor
                return self._ray.get(getattr(self._actor, method).remote(*arguments), timeout=self._timeout)
            except errors.RayTaskError as error:
                raise SearchFailedError(
                    f"The search actor {self.name} failed: {type(error.cause).__name__}: {first_line(error.cause)}"
                ) from error
            except errors.RayActorError as error:
                self._actor = None
                if error.actor_init_failed:
                    # It would fail again: the corpus is damaged or not there.
                    raise SearchFailedError(
                        f"The search actor {self.name} cannot start: {_last_line(error)}"
                    ) from error
                # By time, since a restart on a busy machine takes longer than a number of quick retries.
                died_at = min(died_at, time.monotonic())
                if time.monotonic() - died_at >= opening:
                    raise SearchFailedError(
                        f"The search actor {self.name} did not come back in {opening:g} s: {_last_line(error)}"
                    ) from error
            except errors.RayError as error:
                self._actor = None
                failures += 1
                if failures > self._retries:
                    raise SearchFailedError(
                        f"The search actor {self.name} failed in {failures} attempt(s): {_last_line(error)}"
                    ) from error
            note_fault("search_retries")
            time.sleep(_PAUSE_S)


def _last_line(error: Exception) -> str:
    """Last line of a Ray error message, which has the cause below the remote stack."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return terminal_safe(lines[-1].strip())[:300] if lines else type(error).__name__
