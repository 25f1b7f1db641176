"""In-memory stream transports: two byte pipes between two protocols, with a kernel's manners.

    write() -> [buffer] -> window -> [in flight, FIFO, late] -> [arrived] -> data_received()
            high/low water         held or lost by a partition  while the reader is paused

The window bounds what was taken from a transport and not yet read by its peer, so a reader that
stops makes the writer's transport buffer fill and its `pause_writing` be called, as with a socket.
Bytes beyond the window live in the writing process and die with it; bytes in flight belong to the
network.

`try_write` is what a socket takes at once (`node/system/senders.py`): all, a part or nothing, by a
rule of what was offered so far. A part goes on the wire with the rest, which has to follow at
once: so the wire carries the same pieces as if all had been taken.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from zlib import crc32

from tests.simulation.process import PROCESS, Process

if TYPE_CHECKING:
    from tests.simulation.network import Network

HIGH_WATER_BYTES = 64 * 1024

FIN = object()  # in a pipe: no more bytes will come
RESET = object()  # in a pipe: the other end is gone


class FakeSocket:
    """Stands where code asks a transport for its socket to set an option."""

    def __init__(self, sockname: tuple[str, int], peername: tuple[str, int]) -> None:
        self._sockname = sockname
        self._peername = peername

    def setsockopt(self, *_: Any) -> None:
        """Options change nothing here."""

    def getsockname(self) -> tuple[str, int]:
        return self._sockname

    def getpeername(self) -> tuple[str, int]:
        return self._peername


class VirtualTransport(asyncio.Transport):
    """One end of a connection. `peer` is the other end; `number` names the connection in traces."""

    def __init__(
        self,
        network: Network,
        context: contextvars.Context,
        sockname: tuple[str, int],
        peername: tuple[str, int],
        number: int,
    ) -> None:
        super().__init__(
            {
                "sockname": sockname,
                "peername": peername,
                "socket": FakeSocket(sockname, peername),
                "try_write": self.try_write,
            }
        )
        self.network = network
        self.context = context
        self.process: Process | None = context.get(PROCESS)
        self.number = number
        self.local_host, self.local_port = sockname
        self.remote_host = peername[0]
        self.peer: VirtualTransport = self
        self.link = network.link(self.local_host, self.remote_host)
        self.protocol: Any = None
        self._closing = False  # close() or abort() was called, or the peer ended the stream
        self._lost = False  # connection_lost is called or scheduled
        self._connected = False
        # Outgoing side.
        self._buffer: deque[bytes] = deque()
        self._buffer_bytes = 0
        self._offered_bytes = 0  # to `try_write`
        self._part = b""  # taken by it, with a rest that has to follow
        self._unread_bytes = 0  # taken from this end, not yet read by the peer
        self.taken_ns = 0  # when bytes left the buffer last, or it was empty last
        self.room_ns: int | None = 0  # since when the window has had room; None: it is full
        self._eof_wanted = False
        self._eof_sent = False
        self._writing_paused = False
        self._high_water = HIGH_WATER_BYTES
        self._low_water = HIGH_WATER_BYTES // 4
        # Incoming side: what is on its way (arrival, item), and what a partition holds back.
        self.in_flight: deque[tuple[int, Any]] = deque()
        self.held: list[Any] = []
        self._arrived: deque[Any] = deque()
        self._reading_paused = False
        self.dead_ended = False  # the network has forgotten this connection

    # -- set-up ------------------------------------------------------------------------------------

    def attach(self, protocol: Any) -> None:
        """Give it its protocol and call `connection_made`; bytes that came before are read
        afterwards.
        """
        self.protocol = protocol
        self._connected = True
        protocol.connection_made(self)
        if self._arrived:
            self._read_arrived()

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    # -- writing -----------------------------------------------------------------------------------

    def try_write(self, data: bytes) -> int:
        """See the module; how many bytes were taken."""
        is_over = self._closing or self._lost or self._eof_wanted
        assert not is_over, "sent after the end"
        assert not self._buffer, "sent past what waits"
        if self._part or self._is_dead():
            return 0
        self._offered_bytes += len(data)
        likes = (0, len(data) // 2, len(data) - 1)
        turn = self._offered_bytes % 16
        count = likes[turn] if turn < len(likes) else len(data)
        count = max(0, min(count, self.network.window_bytes - self._unread_bytes))
        if count == len(data):
            self.write(data)
        else:
            self._part = data[:count]
        return count

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__}")
        if self._eof_wanted:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._closing or self._lost or not data or self._is_dead():
            return
        data = self._part + bytes(data)
        self._part = b""
        if self.network.tap is not None:
            self.network.tap(self, data)
        if not self._buffer:
            self.taken_ns = self.network.loop.now_ns
        self._buffer.append(data)
        self._buffer_bytes += len(data)
        self._push()
        if self._buffer_bytes > self._high_water and not self._writing_paused:
            self._writing_paused = True
            self._guard(self.protocol.pause_writing)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        if not (self._eof_wanted or self._closing):
            self._eof_wanted = True
            self._push()

    def can_write_eof(self) -> bool:
        return True

    def _push(self) -> None:
        """Move bytes from the buffer to the wire as far as the window goes."""
        room = self.network.window_bytes - self._unread_bytes
        while self._buffer and room > 0:
            data = self._buffer.popleft()
            if len(data) > room:
                self._buffer.appendleft(data[room:])
                data = data[:room]
            room -= len(data)
            self._buffer_bytes -= len(data)
            self._unread_bytes += len(data)
            self.taken_ns = self.network.loop.now_ns
            self.network.send(self, data)
        if room <= 0:
            self.room_ns = None
        if not self._buffer:
            if self._closing:
                self._finish_close()
            elif self._eof_wanted and not self._eof_sent:
                self._eof_sent = True
                self.network.send(self, FIN)

    def credit(self, count: int) -> None:
        """The peer has read `count` bytes."""
        self._unread_bytes -= count
        if self.room_ns is None and self._unread_bytes < self.network.window_bytes:
            self.room_ns = self.network.loop.now_ns
        if self._lost or self._is_dead() or not (self._buffer or self._writing_paused):
            return
        self.network.loop.call_soon(self._writable, context=self.context)

    def _writable(self) -> None:
        if self._lost:
            return
        self._push()
        if self._writing_paused and self._buffer_bytes <= self._low_water and not self._lost:
            self._writing_paused = False
            self._guard(self.protocol.resume_writing)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = HIGH_WATER_BYTES if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high_water, self._low_water = high, low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low_water, self._high_water

    def get_write_buffer_size(self) -> int:
        return self._buffer_bytes

    # -- reading -----------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        self._reading_paused = True

    def resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            self.network.loop.call_soon(self._read_arrived, context=self.context)

    def is_reading(self) -> bool:
        return not self._reading_paused and not self._closing

    def arrive(self) -> None:
        """Timer of this end: take from the wire what is due."""
        now_ns = self.network.loop.now_ns
        while self.in_flight and self.in_flight[0][0] <= now_ns:
            self._arrived.append(self.in_flight.popleft()[1])
        if self._connected:
            self._read_arrived()

    def _read_arrived(self) -> None:
        while self._arrived and not self._lost:
            item = self._arrived[0]
            if item is RESET:
                self._arrived.clear()
                self._lose(ConnectionResetError(104, "Connection reset by peer"))
                return
            if self._reading_paused:
                return
            self._arrived.popleft()
            if item is FIN:
                self._read_eof()
                continue
            while self._arrived and isinstance(self._arrived[0], bytes):
                item += self._arrived.popleft()  # One read takes all that is there.
            self.peer.credit(len(item))
            if self._closing:
                continue
            self.network.trace.record("read", self.number, self.local_host, len(item), crc32(item))
            self._guard(self._deliver, item)

    def _deliver(self, data: bytes) -> None:
        protocol = self.protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            view = memoryview(data)
            while view:
                target = protocol.get_buffer(len(view))
                count = min(len(target), len(view))
                if not count:
                    raise RuntimeError("get_buffer() returned an empty buffer")
                memoryview(target)[:count] = view[:count]
                protocol.buffer_updated(count)
                view = view[count:]
        else:
            protocol.data_received(data)

    def _read_eof(self) -> None:
        if self._closing:
            return
        keep_open = False
        try:
            keep_open = bool(self.protocol.eof_received())
        except Exception as error:
            self._fatal(error)
            return
        if not keep_open:
            self.close()

    def _guard(self, function: Callable[..., Any], *args: Any) -> None:
        """Protocol callbacks that raise close the connection, as asyncio's transports do."""
        try:
            function(*args)
        except Exception as error:
            self._fatal(error)

    def _fatal(self, error: Exception) -> None:
        self.network.loop.call_exception_handler(
            {
                "message": "Fatal error: protocol callback failed.",
                "exception": error,
                "transport": self,
                "protocol": self.protocol,
                "process": self.process,
            }
        )
        self.abort()

    # -- closing -----------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if self._closing or self._is_dead():
            return
        self._closing = True
        if not self._buffer:
            self._finish_close()

    def _finish_close(self) -> None:
        if not self._eof_sent:
            self._eof_sent = True
            self.network.send(self, FIN)
        self._lose(None)

    def abort(self) -> None:
        if self._lost or self._is_dead():
            return
        if self.network.on_abort is not None:
            self.network.on_abort(self)
        self._closing = True
        self.network.send(self, RESET)
        self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._buffer.clear()
        self._buffer_bytes = 0
        self.network.forget(self)
        self.network.loop.call_soon(self._connection_lost, error, context=self.context)

    def _connection_lost(self, error: Exception | None) -> None:
        if self.protocol is not None:
            self.protocol.connection_lost(error)

    def vanish(self) -> None:
        """The world ends: be closed without a word to anybody."""
        self._lost = self._closing = True

    def is_gone(self) -> bool:
        """Nobody reads here any more: the kernel would answer data with a reset."""
        return self._lost or self._is_dead()

    def _is_dead(self) -> bool:
        return self.process is not None and self.process.is_dead
