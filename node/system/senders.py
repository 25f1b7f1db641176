"""Sends on a connection: what the socket takes at once, past the transport's buffers. Edge.

A transport keeps what its socket does not take. Most of the time the socket takes all of it, and
the way through the transport costs more than the call of the kernel. So a connection has a
`Sender`. It offers bytes to the socket first, and the transport gets the rest.

What holds, since a reply must never be lost, come twice, out of order, or to another client:

 - The transport owns the order. While its buffer holds anything, all goes there.
 - Nothing is sent once the transport is closing. Its socket tells the descriptor each time, and
   tells none (-1) from the moment at which the transport closes it: the number may then belong to
   another client. Nothing here remembers a descriptor.
 - An error of the kernel is not looked at. The transport gets the bytes, meets the error itself,
   and ends the connection as ever. So do its limits and its calls of `pause_writing`.
 - Who has a sender of a transport writes by it alone.

A TLS transport has none of this: its bytes are not those of its socket. Nor has one without a
socket. Their senders hand all to the transport.

A transport that is no socket may take bytes at once all the same, by its own "try_write" (as extra
info): those of the simulation do, so that the same code runs there.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, Protocol


class Sender(Protocol):
    """See the module. There are two forms, which behave alike."""

    def try_write(self, data: bytes) -> int:
        """Send what is taken at once, without the transport; how many bytes that were. The rest
        has to go to `write` before anything else does.
        """

    def write(self, data: bytes | memoryview) -> None:
        """Send what is taken at once. The transport has the rest."""


class PlainSender:
    """See `Sender`."""

    __slots__ = ("_endpoint", "_is_behind", "_is_direct", "_takes", "_transport")

    def __init__(self, transport: Any, endpoint: Any, takes: Callable[[bytes], int] | None) -> None:
        """`endpoint`: has the descriptor. `takes`: in its place. Both None: all is the
        transport's.
        """
        self._transport = transport
        self._endpoint = endpoint
        self._takes = takes
        self._is_direct = endpoint is not None or takes is not None
        self._is_behind = False
        """The transport may hold something, as far as is known here."""

    def try_write(self, data: bytes) -> int:
        """See `Sender.try_write`."""
        transport = self._transport
        if not self._is_direct:
            return 0
        if self._is_behind:
            if transport.get_write_buffer_size():
                return 0
            self._is_behind = False
        if transport.is_closing():
            return 0
        if self._takes is not None:
            return self._takes(data)
        descriptor = self._endpoint.fileno()
        if descriptor < 0:
            return 0
        try:
            return os.write(descriptor, data)  # It does not wait: the transport has seen to that.
        except OSError:
            return 0

    def write(self, data: bytes | memoryview) -> None:
        """See `Sender.write`."""
        if isinstance(data, bytes):
            taken = self.try_write(data)
            if taken == len(data):
                return
            if taken:
                data = memoryview(data)[taken:]
        self._transport.write(data)
        self._is_behind = self._is_direct


def sender_of(transport: asyncio.Transport) -> Sender:
    """The sender of a connection, of the form that this process runs."""
    endpoint = takes = None
    if transport.get_extra_info("sslcontext") is None:
        takes = transport.get_extra_info("try_write")
        endpoint = transport.get_extra_info("socket") if takes is None else None
    try:
        from quorumcache.node.core.senders import Sender as NativeSender
    except ImportError:  # The sources run: `compiled.py` hides what was compiled.
        return PlainSender(transport, endpoint, takes)
    return NativeSender(transport, endpoint, takes)
