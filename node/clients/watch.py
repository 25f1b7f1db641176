"""Finds clients that have gone, do not read their replies, or send nothing for a long time.

A connection is looked at every so often (`Watch.look`). A client that is gone without a word is
found by TCP's keepalive, one that does not read by the bytes that wait for it, which do not get
fewer. Time in which this node itself stood still does not count (`MemcachedServer.watched_ns`): it
has not seen what clients did meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final

from quorumcache.ring.address import UNIX_PREFIX, format_address

SLOW: Final = "it does not read its replies"
IDLE: Final = "it was idle for too long"

KEEPALIVE_OPTIONS: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6))
"""Seconds without a byte until the kernel asks whether the client is there, seconds between two
questions, and how many go without an answer: a dead client is gone after two minutes."""


def keep_alive(transport: asyncio.Transport) -> None:
    """Have the kernel find out when the other side is gone."""
    endpoint = transport.get_extra_info("socket")
    if endpoint is None:
        return
    with contextlib.suppress(OSError, AttributeError):  # Not a TCP socket, or not on this system.
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE_OPTIONS:
            if hasattr(socket, name):
                endpoint.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def client_address(transport: asyncio.Transport) -> str:
    """HOST:PORT of the client; unix:/path of the socket by which it came, since a client of a Unix
    socket has no address; "" if neither is known.
    """
    peer = transport.get_extra_info("peername")
    if isinstance(peer, tuple):
        return format_address(peer[0], peer[1])
    return listen_address(transport)


def listen_address(transport: asyncio.Transport) -> str:
    """Where the client came in: HOST:PORT, or unix:/path; "" if that is not known."""
    own = transport.get_extra_info("sockname")
    if isinstance(own, tuple):
        return format_address(own[0], own[1])
    return UNIX_PREFIX + own if isinstance(own, str) and own else ""


class Watch:
    """What was seen of one connection, look by look."""

    __slots__ = ("_heard_ns", "_looked_ns", "_taken_ns", "_waiting", "heard", "taken")

    def __init__(self, now_ns: int) -> None:
        self.heard = False
        """Something came since the last look."""
        self.taken = False
        """So much was taken since the last look that more replies were handed out: as many bytes
        may wait as before."""
        self._heard_ns = now_ns
        self._looked_ns = now_ns
        self._taken_ns = now_ns
        self._waiting = 0

    def stalled_ns(self, now_ns: int) -> int:
        """For how long nothing of what waits was taken, as of the last look."""
        return now_ns - self._taken_ns

    def quiet_ns(self) -> int:
        """For how long nothing came and nothing was under way, as of the last look."""
        return 0 if self.heard else self._looked_ns - self._heard_ns

    def look(self, now_ns: int, waiting: int, is_idle: bool, slow_ns: int, idle_ns: int) -> str:
        """Why to close it, or "". `waiting`: bytes that the kernel has not taken while nothing is
        added to them; 0 if it takes all. A time of 0: never for that reason.
        """
        self._looked_ns = now_ns
        if self.taken or not waiting or waiting < self._waiting or not self._waiting:
            self.taken = False
            self._taken_ns = now_ns
        self._waiting = waiting
        if self.heard or not is_idle:
            self.heard = False
            self._heard_ns = now_ns
        if slow_ns and now_ns - self._taken_ns >= slow_ns:
            return SLOW
        if idle_ns and now_ns - self._heard_ns >= idle_ns:
            return IDLE
        return ""
