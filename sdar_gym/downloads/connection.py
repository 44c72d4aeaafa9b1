"""Opens connections for downloads: passwords stay out of sight, and every wait has an end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import httpx

from sdar_gym.downloads.files import DataError
from sdar_gym.paths import first_line, is_uri, without_password

# Bytes a second below which a connection is as good as broken.
SLOWEST = 1000
_CONNECT_S = 10.0


class TryAgain(Exception):
    """A try that failed in a way that another may not.

    Args:
        reason: What to tell.
        wait_s: How long to wait, if the server said so.
        stuck: Whether it counts as without progress, whatever arrived.
    """

    def __init__(self, reason: str, wait_s: float | None = None, *, stuck: bool = False):
        super().__init__(reason)
        self.wait_s = wait_s
        self.stuck = stuck


def shown(address: str) -> str:
    """How messages and records call an address: without user, password and query."""
    return without_password(address) if is_uri(address) else address.rpartition("@")[2]


@contextmanager
def answer_of(url: str, headers: dict[str, str], timeout_s: float) -> Iterator[httpx.Response]:
    """The answer to a request, its body not read yet.

    User and password of the address are sent as a header: neither the library's log nor its errors see them.

    Args:
        url: The address.
        headers: Of the request.
        timeout_s: Silence after which the connection counts as broken; the answer has twice as long to begin.

    Raises:
        DataError: The address or the surroundings are wrong.
        TryAgain: The answer did not begin in time.
        httpx.RequestError: The request failed.
    """
    try:
        address = httpx.URL(url)
        login = httpx.BasicAuth(address.username, address.password) if address.userinfo else None
        address = address.copy_with(userinfo=b"")
    except (httpx.InvalidURL, UnicodeError) as error:  # Its text may quote the password.
        raise DataError(f"{shown(url)!r} is no address.") from error
    timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S))
    try:
        client = httpx.Client(follow_redirects=True, timeout=timeout)
    except (ValueError, ImportError, OSError) as error:
        raise DataError(
            f"No connection can be opened here: {first_line(error)}. Look at the environment's proxies (HTTPS_PROXY, "
            "ALL_PROXY) and certificates (SSL_CERT_FILE)."
        ) from error
    with client, _Deadline(2 * timeout_s) as deadline:
        try:
            stream = client.stream("GET", address, headers=headers, auth=login, extensions={"trace": deadline.trace})
            with stream as response:
                deadline.stop()
                yield response
        except httpx.TransportError as error:
            if deadline.passed:
                raise TryAgain(f"the answer did not begin within {2 * timeout_s:g} s") from error
            raise
        except UnicodeError as error:  # A host name that cannot be one.
            raise DataError(f"{shown(url)!r} is no address.") from error


class Pace:
    """Notices a body that trickles: the library's own limit starts anew with every byte.

    Args:
        period_s: How long a stretch is looked at.
        done: Bytes there at the beginning.
    """

    def __init__(self, period_s: float, done: int):
        self._period_s = period_s
        self._since, self._had = time.monotonic(), done

    def check(self, done: int) -> None:
        """Compare with the bytes there now.

        Raises:
            TryAgain: Too few have come.
        """
        now = time.monotonic()
        if now - self._since < self._period_s:
            return
        if done - self._had < SLOWEST * (now - self._since):
            raise TryAgain(f"only {done - self._had:,} bytes came in {now - self._since:.0f} s", stuck=True)
        self._since, self._had = now, done


class _Deadline:
    """Ends a connection whose answer has not begun in time, by shutting its socket down from another thread."""

    def __init__(self, seconds: float):
        self.passed = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Told by the library of what it does; new connections are what counts here."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
            if self.passed:
                self._end()

    def stop(self) -> None:
        """The answer has begun."""
        self._timer.cancel()

    def _end(self) -> None:
        with self._lock:
            self.passed = True
            if self._socket is not None:
                with suppress(OSError):  # It may have ended by itself.
                    self._socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
