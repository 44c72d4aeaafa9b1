"""HTTP connections for downloads: passwords hidden from logs, a timeout for every wait."""

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

# Bytes per second below which a connection counts as broken.
SLOWEST = 1000
_CONNECT_S = 10.0


class TryAgain(Exception):
    """A failed attempt that may succeed when it is retried.

    Args:
        reason: The reason, for messages.
        wait_s: Seconds to wait before the retry, if the server asks for it.
        stuck: Whether it counts as an attempt without progress, even if some bytes arrived.
    """

    def __init__(self, reason: str, wait_s: float | None = None, *, stuck: bool = False):
        super().__init__(reason)
        self.wait_s = wait_s
        self.stuck = stuck


def shown(address: str) -> str:
    """An address for messages and records: without user, password and query."""
    return without_password(address) if is_uri(address) else address.rpartition("@")[2]


@contextmanager
def open_response(url: str, headers: dict[str, str], timeout_s: float) -> Iterator[httpx.Response]:
    """Context manager: the response to a GET request, with its body not read yet.

    User and password of the address are sent as a header, so they appear neither in httpx's log nor in its errors.

    Args:
        url: The address.
        headers: Headers of the request.
        timeout_s: Seconds without data after which the connection counts as broken; the response must begin within
            twice this time.

    Raises:
        DataError: The address, a proxy setting or a certificate is wrong.
        TryAgain: The response did not begin in time.
        httpx.RequestError: The request failed.
    """
    try:
        address = httpx.URL(url)
        login = httpx.BasicAuth(address.username, address.password) if address.userinfo else None
        address = address.copy_with(userinfo=b"")
    except (httpx.InvalidURL, UnicodeError) as error:  # The error's text may quote the password.
        raise DataError(f"{shown(url)!r} is not a valid address.") from error
    timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S))
    try:
        client = httpx.Client(follow_redirects=True, timeout=timeout)
    except (ValueError, ImportError, OSError) as error:
        raise DataError(
            f"No connection can be opened here: {first_line(error)}. Check the environment's proxies (HTTPS_PROXY, "
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
                raise TryAgain(f"the response did not begin within {2 * timeout_s:g} s") from error
            raise
        except UnicodeError as error:  # An invalid host name.
            raise DataError(f"{shown(url)!r} is not a valid address.") from error


class Pace:
    """Detects a transfer that is too slow; httpx's read timeout restarts with every byte.

    Args:
        period_s: Seconds over which the speed is measured.
        done: Bytes received before.
    """

    def __init__(self, period_s: float, done: int):
        self._period_s = period_s
        self._since, self._had = time.monotonic(), done

    def check(self, done: int) -> None:
        """Check the speed since the last period.

        Args:
            done: Bytes received in total.

        Raises:
            TryAgain: The transfer is too slow.
        """
        now = time.monotonic()
        if now - self._since < self._period_s:
            return
        if done - self._had < SLOWEST * (now - self._since):
            raise TryAgain(f"only {done - self._had:,} bytes arrived in {now - self._since:.0f} s", stuck=True)
        self._since, self._had = now, done


class _Deadline:
    """Closes the socket from another thread if a response has not begun in time."""

    def __init__(self, seconds: float):
        self.passed = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Trace extension of httpx: remembers the socket of a new connection."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
            if self.passed:
                self._end()

    def stop(self) -> None:
        """Cancel the deadline: the response has begun."""
        self._timer.cancel()

    def _end(self) -> None:
        with self._lock:
            self.passed = True
            if self._socket is not None:
                with suppress(OSError):  # The connection may have ended by itself.
                    self._socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
