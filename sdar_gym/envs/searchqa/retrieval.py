"""Opens the passage search that a spec names: an index in this process, a Ray actor, or a search server."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from sdar_gym.envs.searchqa.local_index import local_index, open_once
from sdar_gym.envs.searchqa.search_contract import RAY, PassageSearch, SearchSpec

if TYPE_CHECKING:
    from sdar_gym.envs.searchqa.client import SearchClient


def shared_retriever(spec: SearchSpec) -> PassageSearch:
    """The passage search for a spec; all environments of the process share it.

    Raises:
        ValueError: The corpus is missing or damaged, or a backend is not installed.
        SearchFailedError: The Ray actor cannot be reached.
    """
    if spec.is_server:
        return open_once(("server", spec, os.getpid()), lambda: _server(spec))
    if spec.search == RAY:
        from sdar_gym.envs.searchqa.actor import ActorSearch, session

        # A process may leave one cluster and join another.
        return open_once(
            ("ray", spec, os.getpid(), session()),
            lambda: ActorSearch(spec.corpus, timeout=spec.timeout, retries=spec.retries),
        )
    return local_index(spec.corpus, spec.search)


def check_search(spec: SearchSpec, query: str, k: int) -> None:
    """Check that a search works: open a local index, or send one query to the actor or server.

    With `search="ray"` and no running Ray, the index that the actor would open is opened in this process.

    Args:
        spec: The search to check.
        query: The query to send; its results are ignored.
        k: Number of passages, which a server may refuse.

    Raises:
        ValueError: The search fails; the message says why.
    """
    # One retry instead of all of them: this runs while the user waits for a run to start.
    spec = replace(spec, retries=min(spec.retries, 1))
    try:
        if spec.is_server:
            with closing(_server(spec)) as client:
                client.search(query, k)
        elif spec.search == RAY and not ray_runs():
            local_index(spec.corpus)
        else:
            shared_retriever(spec).search(query, k)
    except RuntimeError as error:  # A failed search, or Java that does not start.
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


def _server(spec: SearchSpec) -> SearchClient:
    from sdar_gym.envs.searchqa.client import SearchClient

    return SearchClient(spec.search, timeout=spec.timeout, retries=spec.retries)
