"""Ends connections that keep a server waiting: uvicorn alone keeps half a request, or an unread answer, for good."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class TimedProtocol(H11Protocol):
    """HTTP as uvicorn speaks it, with a time limit for what the other side has to do.

    From its first byte, or from the connection's beginning, a request has to be whole within `limit_s`, and what is
    written faster than the other side reads has to be read within as long. Between two requests uvicorn's limit holds.
    """

    limit_s = 30.0
    """Seconds for one whole request, and for one answer to be read."""

    _request: asyncio.TimerHandle | None = None
    _answer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._request = self._abort_later()

    def data_received(self, data: bytes) -> None:
        """Read on, and wait for the rest if there has to be one."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the rest if another request has begun to come."""
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        """Begin to wait for the other side to read."""
        super().pause_writing()
        _cancel(self._answer)
        self._answer = self._abort_later()

    def resume_writing(self) -> None:
        """Stop waiting: it has read."""
        super().resume_writing()
        _cancel(self._answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        _cancel(self._request)
        _cancel(self._answer)
        super().connection_lost(exc)

    def _look(self) -> None:
        state = self.conn.their_state
        if state is h11.SEND_BODY or (state is h11.IDLE and self.conn.trailing_data[0]):
            # From the first part of it on, however many more come.
            self._request = self._request or self._abort_later()
        else:
            _cancel(self._request)
            self._request = None

    def _abort_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.limit_s, self.transport.abort)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
