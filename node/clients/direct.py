"""Replies that go to the kernel without the loop's buffers in between. Edge: it writes to a socket.

uvloop keeps what a transport is given until the end of the loop's turn, with a list and a call for
each. For a get that is answered on the spot that is a good part of what the answer takes here. A
connection may write directly while its transport calls it with what the client sent: then the
socket is open. And only if the transport holds nothing back, which would be overtaken.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final


def send_nothing(descriptor: int, data: bytes) -> int:
    """Where the sources run."""
    return 0


def _native() -> Callable[[int, bytes], int]:
    try:
        from quorumcache.node.core.gets import send_now as native
    except ImportError:
        return send_nothing
    return native


send_now: Final[Callable[[int, bytes], int]] = _native()
"""`(descriptor, data)`: how many bytes the kernel took, without waiting. 0 if the connection is
broken: the transport finds out."""


def write_now(transport: asyncio.Transport, descriptor: int, replies: list[bytes]) -> int:
    """Send replies; how many bytes they are. Only while `transport` hands out what came.
    `descriptor`: its own, or -1."""
    data = replies[0] if len(replies) == 1 else b"".join(replies)
    size = len(data)
    if descriptor >= 0 and not transport.get_write_buffer_size():
        sent = send_now(descriptor, data)
        if sent == size:
            return size
        if sent:
            data = data[sent:]
    transport.write(data)
    return size


def descriptor_of(transport: asyncio.Transport) -> int:
    """That of a transport's socket if it may be written to directly; else -1."""
    if send_now is send_nothing or transport.get_extra_info("sslcontext") is not None:
        return -1
    endpoint = transport.get_extra_info("socket")
    if getattr(endpoint, "type", None) != socket.SOCK_STREAM:
        return -1
    number = endpoint.fileno()
    return number if isinstance(number, int) else -1
