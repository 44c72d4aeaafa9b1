"""Contract of passage search: the `PassageSearch` protocol, its spec, its error, and checks of server addresses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from sdar_gym.paths import without_password
from sdar_gym.skills.index import BACKENDS
from sdar_gym.skills.index.passages import Passage
from sdar_gym.text import shortened
from sdar_gym.validation import finite_number, whole_number

RAY = "ray"
# Limits of one request, the first in seconds: sockets take no timeout that is much longer than a day.
_MAX_TIMEOUT_S = 86_400.0
_MAX_RETRIES = 1000


class SearchFailedError(RuntimeError):
    """A search without a result after all retries. The turn does not count: the same step can be repeated."""


class PassageSearch(Protocol):
    """Passage search: a query in, ranked passages out."""

    def search(self, query: str, k: int) -> list[Passage]:
        """The best k passages.

        Raises:
            SearchFailedError: The search failed. A failure is never returned as an empty list.
        """
        ...

    def info(self) -> dict[str, Any]:
        """Search backend and its settings, as plain values for a report."""
        ...


@dataclass(frozen=True, slots=True)
class SearchSpec:
    """Arguments that open a `PassageSearch`; equal specs share one per process.

    Attributes:
        search: `auto`, `bm25s`, `lucene`, `ray`, or the address of a server. Not in the `repr`: an address may hold a
            password.
        corpus: Absolute path of a corpus file or an index folder; None for the embedded passages.
        timeout: Timeout of one request to a server or actor, in seconds.
        retries: Retries of a failed request.

    Raises:
        ValueError: An unknown search, an address that is none, or a number out of range.
    """

    search: str = field(default="auto", repr=False)
    corpus: str | None = None
    timeout: float = 30.0
    retries: int = 6

    def __post_init__(self) -> None:
        # Stored as plain numbers: NumPy's would go into messages, actors and pickles.
        object.__setattr__(self, "timeout", finite_number("search_timeout", self.timeout, 0.001, _MAX_TIMEOUT_S))
        object.__setattr__(self, "retries", whole_number("search_retries", self.retries, 0, _MAX_RETRIES))
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
        """Whether searches use an index in this process."""
        return self.search in BACKENDS

    @property
    def is_server(self) -> bool:
        """Whether searches go to a server."""
        return self.search.lower().startswith(("http://", "https://"))


def shown_address(address: str) -> str:
    """A server address without user, password and query values, for messages and records; accepts any text."""
    scheme, separator, rest = address.partition("://")
    # A password may contain characters that end the host part, so everything before the last @ is removed.
    return without_password(f"{scheme}{separator}{rest.rpartition('@')[2]}")


def check_address(address: str) -> None:
    """Check the address of a search server.

    Raises:
        ValueError: It is not a usable http(s) address.
    """
    try:
        parts = urlsplit(address)
        usable = bool(parts.hostname) and parts.port != 0 and address.isprintable() and " " not in address
    except ValueError:  # An invalid port or an invalid IPv6 address.
        usable = False
    if not usable:
        raise ValueError(
            f"{shortened(shown_address(address))} is not the address of a search server; write http://host:port."
        )
