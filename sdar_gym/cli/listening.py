"""Listening: a bound socket for a server of the command line, with errors in one message."""

from __future__ import annotations

import socket

from sdar_gym.paths import first_line
from sdar_gym.text import shortened


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address.

    Args:
        host: Name or number of the machine's address.
        port: Port; 0 for any free one.

    Raises:
        ValueError: The port is out of range or in use, or the address is not one of this machine.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"A port is a number from 0 (any free one) to 65535, got {port}.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # Name the protocol: without it asyncio does not set TCP_NODELAY, and every response waits some 40 ms for
        # a delayed acknowledgement.
        listener = socket.socket(family, kind, protocol or socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{shortened(host)} is not an address to listen on: {first_line(error)}.") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ValueError(f"Cannot listen on {host}:{port}: {first_line(error)}. Choose another with --port.") from error
    return listener
