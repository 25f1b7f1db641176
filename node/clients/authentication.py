"""A client that has to give a password before anything else, as with memcached's `-Y`.

Until it has, its bytes come to a `Gate` in place of its connection: a `set` of any key carries
`user password` as its value, and all else is refused. Then the connection takes over, so a client
that has given its password costs nothing more. What is answered follows memcached 1.6.45.

Bounds: a line has at most `LINE_BYTES_MAX` bytes and a value `TOKEN_BYTES_MAX`; beyond that the
client is closed, or refused. One that does not read its answers is closed, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from quorumcache.node.clients.connection import MemcachedConnection
from quorumcache.node.protocol.lines import split_words
from quorumcache.node.protocol.numbers import strict_number
from quorumcache.node.protocol.responses import (
    AUTHENTICATION_FAILURE_LINE,
    BAD_TERMINATION_LINE,
    BAD_TOKEN_LINE,
    BINARY_MAGIC,
    STORED_LINE,
    TOKEN_TOO_LONG_LINE,
    UNAUTHENTICATED_LINE,
)
from quorumcache.node.telemetry.counters import Counters

LINE_BYTES_MAX: Final = 2048
TOKEN_BYTES_MAX: Final = 16_384
UNREAD_BYTES_MAX: Final = 256 << 10
"""Answers that a client without a password does not read; beyond it is closed."""

_BINARY: Final = bytes((BINARY_MAGIC,))
UINT32_MAX: Final = (1 << 32) - 1

IsUser = Callable[[bytes, bytes], bool]


class Gate(asyncio.Protocol):
    """Stands before one connection."""

    def __init__(
        self, connection: MemcachedConnection, is_user: IsUser, counters: Counters
    ) -> None:
        self._connection = connection
        self._is_user = is_user
        self._counters = counters
        self._transport: asyncio.Transport | None = None
        self._data = bytearray()
        """Received; looked at before `_position`."""
        self._position = 0
        self._token_bytes = -1
        """Of the value that follows, with its line end; -1: a line comes next."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connection.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._connection.connection_lost(exc)

    def eof_received(self) -> bool:
        return self._connection.eof_received()

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Look at whole lines and values; once one opens the gate, the rest is the connection's."""
        connection = self._connection
        self._counters.bytes_read += len(data)
        connection.watch.heard = True
        self._data += data
        self._position = 0
        while connection.replies.is_open and not connection.conversation.closing:
            reply = self._next()
            if reply is None:
                break
            if reply is STORED_LINE:
                self._open()
                return
            self._tell(reply)
            if connection.unread_bytes > UNREAD_BYTES_MAX:
                connection.abort()
                return
        del self._data[: self._position]

    def _next(self) -> bytes | None:
        """The answer to the next line or value; None: it is not here yet, or the client is to be
        closed.
        """
        data, start = self._data, self._position
        if self._token_bytes >= 0:
            end = start + self._token_bytes
            if len(data) < end:
                return None
            self._position, self._token_bytes = end, -1
            return self._check(bytes(data[start:end]))
        end = data.find(b"\n", start)
        if data[start : start + 1] == _BINARY or (end < 0 and len(data) - start > LINE_BYTES_MAX):
            self._connection.finish()
            return None
        if end < 0:
            return None
        self._position = end + 1
        words = split_words(bytes(data[start:end]).removesuffix(b"\r"))
        if words[:1] == [b"quit"]:
            self._connection.finish()
            return None
        size = strict_number(words[4], 0, UINT32_MAX) if len(words) >= 5 else None
        if size is None or words[0] != b"set":
            return UNAUTHENTICATED_LINE
        if size > TOKEN_BYTES_MAX:
            return TOKEN_TOO_LONG_LINE
        self._token_bytes = size + 2
        return self._next()

    def _check(self, token: bytes) -> bytes:
        if token[-2:] != b"\r\n":
            return BAD_TERMINATION_LINE
        words = split_words(token[:-2])
        if len(words) < 2:
            return BAD_TOKEN_LINE
        self._counters.auth_cmds += 1
        if self._is_user(words[0], words[1]):
            return STORED_LINE
        self._counters.auth_errors += 1
        return AUTHENTICATION_FAILURE_LINE

    def _open(self) -> None:
        transport, rest = self._transport, bytes(self._data[self._position :])
        self._data.clear()
        self._tell(STORED_LINE)
        if transport is None:
            return
        transport.set_protocol(self._connection)
        if rest:
            self._counters.bytes_read -= len(rest)  # It counts them, too.
            self._connection.data_received(rest)

    def _tell(self, line: bytes) -> None:
        replies = self._connection.replies
        replies.reply(line)
        replies.schedule_pump()
