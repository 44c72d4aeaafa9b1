"""Connection timeouts of the search server; uvicorn keeps incomplete requests and unread responses open forever."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class TimedProtocol(H11Protocol):
    """uvicorn's HTTP protocol with timeouts against slow clients.

    A request must be complete within `limit_s` of its first byte or of the connection, and a client must read a
    response within the same time. Between two requests uvicorn's keep-alive limit applies.
    """

    limit_s = 30.0
    """Seconds for receiving a whole request, and for the client to read a response."""

    _request_timer: asyncio.TimerHandle | None = None
    _response_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the request timer."""
        super().connection_made(transport)
        self._request_timer = self._abort_later()

    def data_received(self, data: bytes) -> None:
        """Read, and update the request timer."""
        super().data_received(data)
        self._update_request_timer()

    def on_response_complete(self) -> None:
        """Update the request timer, if another request has begun."""
        super().on_response_complete()
        self._update_request_timer()

    def pause_writing(self) -> None:
        """Start the response timer: the client reads more slowly than the server writes."""
        super().pause_writing()
        _cancel(self._response_timer)
        self._response_timer = self._abort_later()

    def resume_writing(self) -> None:
        """Stop the response timer."""
        super().resume_writing()
        _cancel(self._response_timer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        _cancel(self._request_timer)
        _cancel(self._response_timer)
        super().connection_lost(exc)

    def _update_request_timer(self) -> None:
        state = self.conn.their_state
        if state is h11.SEND_BODY or (state is h11.IDLE and self.conn.trailing_data[0]):
            # Started by the first part of a request and not restarted by further ones.
            self._request_timer = self._request_timer or self._abort_later()
        else:
            _cancel(self._request_timer)
            self._request_timer = None

    def _abort_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.limit_s, self.transport.abort)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
