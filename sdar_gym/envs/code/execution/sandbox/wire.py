"""Frames on a stream socket: a length of four bytes, then that many bytes; both sides bound what they accept."""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

HEADER_BYTES = 64 * 1024
_LENGTH = struct.Struct(">I")


class WireError(Exception):
    """The other side is gone, too slow, or sent something that is no frame."""


class WireTimeoutError(WireError):
    """The other side is too slow."""


def send(channel: socket.socket, payload: bytes) -> None:
    """Sends a frame.

    Raises:
        WireError: The other side is gone or does not read.
    """
    try:
        channel.sendall(_LENGTH.pack(len(payload)) + payload)
    except OSError as error:
        raise WireError(f"sending failed: {error}") from error


def send_json(channel: socket.socket, value: Any) -> None:
    """Sends a value as a frame of JSON."""
    send(channel, json.dumps(value).encode())


def receive(channel: socket.socket, limit: int, seconds: float | None = None) -> bytes:
    """Receives a frame.

    Args:
        channel: A stream socket.
        limit: The most bytes a frame may have.
        seconds: How long all of it may take; without it, for ever.

    Raises:
        WireError: The end of the stream, the time is over, or the frame is too long.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size, deadline))
    if length > limit:
        raise WireError(f"a frame of {length} bytes, at most {limit} are accepted")
    return _exactly(channel, length, deadline)


def receive_json(channel: socket.socket, seconds: float | None = None) -> dict[str, Any]:
    """Receives a frame that is a JSON object.

    Raises:
        WireError: As `receive`, or it is no JSON object.
    """
    payload = receive(channel, HEADER_BYTES, seconds)
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise WireError("a frame that is no JSON") from error
    if not isinstance(value, dict):
        raise WireError("a frame that is no JSON object")
    return value


def _exactly(channel: socket.socket, count: int, deadline: float | None) -> bytes:
    parts: list[bytes] = []
    while count:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise WireTimeoutError("no answer in time")
        try:
            channel.settimeout(left)
            part = channel.recv(min(count, 1 << 20))
        except TimeoutError as error:
            raise WireTimeoutError("no answer in time") from error
        except OSError as error:
            raise WireError(f"receiving failed: {error}") from error
        if not part:
            raise WireError("the other side closed")
        parts.append(part)
        count -= len(part)
    channel.settimeout(None)
    return b"".join(parts)
