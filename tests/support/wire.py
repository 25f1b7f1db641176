"""A bare client connection: bytes out, replies in, every wait bounded by one generous deadline."""

from __future__ import annotations

import contextlib
import socket
from typing import Self

DEADLINE_S = 90.0
"""How long anything may take; what is right takes milliseconds."""


class Wire:
    """One connection to a memcached port, to anything else that listens on loopback, or to the Unix
    socket of a path.
    """

    def __init__(self, port: int | str, *, receive_buffer: int = 0, deadline_s: float = DEADLINE_S):
        is_unix = isinstance(port, str)
        self.socket = socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET)
        self.socket.settimeout(deadline_s)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.socket.connect(port if is_unix else ("127.0.0.1", port))
        except BaseException:
            self.socket.close()
            raise
        if not is_unix:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def half_close(self) -> None:
        """Nothing more comes from us; we still listen."""
        self.socket.shutdown(socket.SHUT_WR)

    def line(self) -> bytes:
        """The next line, with its end; ConnectionError when there is none."""
        while b"\n" not in self._received:
            self._more()
        line, _, self._received = self._received.partition(b"\n")
        return line + b"\n"

    def exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            self._more()
        data, self._received = self._received[:count], self._received[count:]
        return data

    def rest(self) -> bytes:
        """Everything until the other side closes the connection, however it does."""
        pieces = [self._received]
        self._received = b""
        with contextlib.suppress(ConnectionResetError):
            while data := self.socket.recv(1 << 20):
                pieces.append(data)
        return b"".join(pieces)

    def ask(self, request: bytes) -> bytes:
        """A request with a reply of one line. The line end of the request is added."""
        self.send(request + b"\r\n")
        return self.line()

    def set(self, key: bytes, value: bytes, *, exptime: int = 0) -> bytes:
        return self.ask(b"set %b 0 %d %d\r\n%b" % (key, exptime, len(value), value))

    def get(self, key: bytes) -> bytes | None:
        """The value, None for a miss; AssertionError for any other reply."""
        self.send(b"get %b\r\n" % key)
        return self.value(key)

    def value(self, key: bytes) -> bytes | None:
        """Read the reply to a get of one key."""
        line = self.line()
        if line == b"END\r\n":
            return None
        words = line.rstrip(b"\r\n").split(b" ")  # Any other byte may be in a key.
        assert words[:2] == [b"VALUE", key], line
        data = self.exactly(int(words[3]) + 2)[:-2]
        assert self.line() == b"END\r\n"
        return data

    def stats(self, section: bytes = b"") -> dict[str, str]:
        self.send(b"stats" + (b" " + section if section else b"") + b"\r\n")
        found = {}
        while (line := self.line()) != b"END\r\n":
            _, name, value = line.decode().rstrip("\r\n").split(" ", 2)
            found[name] = value
        return found

    def _more(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionError("closed by the node")
        self._received += data


def ask(port: int, request: bytes) -> bytes:
    """One request of one line, on a connection of its own."""
    with Wire(port) as wire:
        return wire.ask(request)
