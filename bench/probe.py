"""Small gets at a steady rate, sent when they are due whatever is still unanswered (an open loop).

A slow answer delays no later get, so each latency is what a client of its own would have seen.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random

from quorumcache.bench.addresses import Address, shown
from quorumcache.bench.errors import TargetError
from quorumcache.bench.histogram import Histogram

SMALL_KEYS = 1000
SMALL_BYTES = 100

TIMEOUT_SECONDS = 60.0
READ_BYTES = 1 << 16


def small_items() -> list[tuple[bytes, bytes]]:
    """What has to be stored before: keys and values."""
    value = Random(1).randbytes(SMALL_BYTES)
    return [(_key(number), value) for number in range(SMALL_KEYS)]


def _key(number: int) -> bytes:
    return b"small-%d" % number


class _Connection:
    """A connection, and its gets without an answer: the time each was due, and how a hit begins."""

    def __init__(self, address: Address) -> None:
        self._name = shown(address)
        with self._errors_told():
            self._socket = socket.create_connection(address, TIMEOUT_SECONDS)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.wrong = 0

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def send(self, key: bytes, due: float) -> None:
        """Ask for a key."""
        with self._errors_told():
            self._socket.sendall(b"get %b\r\n" % key)
        self.waiting.append((due, b"VALUE %b 0 %d\r\n" % (key, SMALL_BYTES)))

    def receive(self, latency: Histogram) -> None:
        """Read what is there, and count the answers that are whole."""
        with self._errors_told():
            data = self._socket.recv(READ_BYTES)
        if not data:
            raise TargetError(f"{self._name} has closed the connection of the small gets")
        now = time.perf_counter()
        self._buffer += data
        while self.waiting and self._take_answer(self.waiting[0][1]):
            due, _ = self.waiting.popleft()
            latency.record(int((now - due) * 1e9))

    def _take_answer(self, head: bytes) -> bool:
        """Take one answer out of the buffer. False: it is not all here."""
        length = self._buffer.find(b"\r\n") + 2
        if length < 2:
            return False
        if self._buffer.startswith(head):
            length = len(head) + SMALL_BYTES + len(b"\r\nEND\r\n")
            if len(self._buffer) < length:
                return False
        elif self._buffer.startswith(b"VALUE "):
            line = self._buffer[:length].decode("utf-8", "replace").strip()
            raise TargetError(f"{self._name} answered a small get with {line}")
        else:
            self.wrong += 1
        self._buffer = self._buffer[length:]
        return True

    def check(self, now: float) -> None:
        """TargetError when an answer has not come for too long."""
        if self.waiting and now - self.waiting[0][0] > TIMEOUT_SECONDS:
            raise TargetError(
                f"{self._name} has not answered a small get for {TIMEOUT_SECONDS:g} s"
            )

    @contextmanager
    def _errors_told(self) -> Iterator[None]:
        """What goes wrong with the connection is a TargetError."""
        try:
            yield
        except OSError as error:
            raise TargetError(f"{self._name}: connection of the small gets: {error}") from None

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


def probe(addresses: Sequence[Address], rate: float, seconds: float) -> tuple[Histogram, int]:
    """`rate` small gets per second to the addresses in turn; how long they took from when they were
    due, and how many were misses or errors.
    """
    latency = Histogram()
    random = Random(3)
    connections: list[_Connection] = []
    try:
        connections += map(_Connection, addresses)
        total = int(rate * seconds)
        sent = 0
        began = time.perf_counter()
        while latency.count < total:
            now = time.perf_counter()
            while sent < total and began + sent / rate <= now:
                key = _key(random.randrange(SMALL_KEYS))
                connections[sent % len(connections)].send(key, began + sent / rate)
                sent += 1
            wait = began + sent / rate - now if sent < total else 1.0
            # Not `selectors`: epoll counts in milliseconds.
            ready, _, _ = select.select(connections, (), (), max(0.0, wait))
            for connection in ready:
                connection.receive(latency)
            for connection in connections:
                connection.check(now)
        return latency, sum(connection.wrong for connection in connections)
    finally:
        for connection in connections:
            connection.close()
