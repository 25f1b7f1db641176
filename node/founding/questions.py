"""Connections of one question after another, and the listener of a node that is new. Edge.

`Asking` is the side that dials, `Reception` the side that is dialed while a node belongs to no
cluster yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from quorumcache.node.errors import PeerError
from quorumcache.node.peers.codec import HELLO_BYTES_MAX, FrameDecoder

QUESTION_SECONDS: Final = 5.0
"""For a stranger to say what it wants."""

CONNECTIONS_MAX: Final = 256
"""Accepted connections at a time. Further ones are closed before they are read."""


class Asking(asyncio.Protocol):
    """A connection on which this node asks, one question at a time; `close` it at the end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, answer_bytes_max: int) -> None:
        self._loop = loop
        self._decoder = FrameDecoder(answer_bytes_max)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    async def ask(self, question: bytes) -> bytes:
        """The payload of the next frame that comes after this question was sent.

        Raises `OSError` if the connection ends before, and `PeerError` for what is no frame.
        """
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._answer = answer
        if self._transport is None or self._is_lost:
            raise ConnectionResetError("the connection was closed")
        self._transport.write(question)
        return await answer

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or answer.done():
            return
        try:
            payloads = self._decoder.feed(data)
        except PeerError as error:
            answer.set_exception(error)
            return
        if payloads:
            answer.set_result(payloads[0])

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._is_lost = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the connection was closed"))

    def close(self) -> None:
        """Nothing more is expected."""
        answer = self._answer
        if answer is not None:
            if answer.done() and not answer.cancelled():
                answer.exception()  # Looked at: the task that asked may have ended before it came.
            else:
                answer.cancel()
        if self._transport is not None:
            self._transport.abort()


class Reception:
    """Answers one question on each connection. `answer(payload)` gives the frame, or raises
    `PeerError`: then nothing is said.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, answer: Callable[[bytes], bytes]) -> None:
        self.loop = loop
        self.answer = answer
        self._connections: dict[_Listening, None] = {}
        self._is_over = False

    def accept(self) -> asyncio.Protocol:
        """A connection came in."""
        return _Listening(self)

    def admit(self, connection: _Listening) -> bool:
        """Whether there is room for one more."""
        if self._is_over or len(self._connections) >= CONNECTIONS_MAX:
            return False
        self._connections[connection] = None
        return True

    def forget(self, connection: _Listening) -> None:
        """A connection is gone."""
        self._connections.pop(connection, None)

    def close(self) -> None:
        """End every connection that was accepted here."""
        self._is_over = True
        for connection in list(self._connections):
            connection.abort()


class _Listening(asyncio.Protocol):
    """A connection that was accepted while this node is new."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._decoder = FrameDecoder(HELLO_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._reception.admit(self):
            self._transport.abort()
            return
        self._timer = self._reception.loop.call_later(QUESTION_SECONDS, self.abort)

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        try:
            payloads = self._decoder.feed(data)
            if payloads:
                transport.write(self._reception.answer(payloads[0]))
                transport.close()
        except PeerError:
            transport.abort()  # Not from a node; there is nothing to tell it.

    def connection_lost(self, error: Exception | None) -> None:
        self._reception.forget(self)
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()
