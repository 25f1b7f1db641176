"""Datagrams (UDP) between nodes, beside their connections.

A packet that a connection loses holds up everything behind it until it is sent again. Heartbeats
and votes are of no use by then, and anything but lost: each stands for itself, and consensus takes
them twice, late and in any order. So a second copy of them goes as a datagram, from the side that
dialed to the address that it reached, where the other side listens on the same port number:

    0              4               20
    | crc32 u32 BE | token 16 bytes | items as in a frame, msgpack |
      of the rest

The token names both ends: their cluster, ids, data directories and incarnations, as the hellos of
the connection had them. A datagram counts while that connection stands and brings something, and no
longer: one of, or for, an earlier process is refused, and a leader whose entries do not arrive is
not kept by its heartbeats. Where no datagrams pass, the connection carries everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import blake2b
from struct import Struct
from typing import Any, Final, cast
from zlib import crc32

import msgpack

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.codec import PROTOCOL_VERSION, Hello, Items, Refusal, decode_items

DATAGRAM_BYTES_MAX: Final = 1_200
"""Fits into one packet of every path, so that no part of it can be lost alone."""

DATAGRAMS_MAX: Final = 4
"""To one peer in a turn. A node of so many groups that they do not suffice sends the rest on its
connection only."""

TOKEN_BYTES: Final = 16
_HEADER: Final = Struct(f">I{TOKEN_BYTES}s")
_ITEMS_MAX: Final = 15  # that msgpack counts in one byte
_ROOM: Final = DATAGRAM_BYTES_MAX - _HEADER.size - 1


def make_token(sender: Hello, receiver: Hello) -> bytes:
    """What datagrams from one process to another begin with."""
    ends = [
        field
        for hello in (sender, receiver)
        for field in (hello.cluster_id, hello.node_id, hello.disk_id, hello.incarnation)
    ]
    return blake2b(msgpack.packb((PROTOCOL_VERSION, *ends)), digest_size=TOKEN_BYTES).digest()


def encode_datagrams(token: bytes, packed: list[bytes]) -> list[bytes]:
    """Items, as `pack_item` makes them, in at most `DATAGRAMS_MAX` datagrams. What does not fit is
    left out."""
    datagrams: list[bytes] = []
    start = size = 0
    for end, item in enumerate(packed):
        if size + len(item) > _ROOM or end - start == _ITEMS_MAX:
            if size:
                datagrams.append(_encode(token, packed[start:end]))
                if len(datagrams) == DATAGRAMS_MAX:
                    return datagrams
            start, size = end, 0
            if len(item) > _ROOM:
                start = end + 1
                continue
        size += len(item)
    if size:
        datagrams.append(_encode(token, packed[start:]))
    return datagrams


def _encode(token: bytes, packed: list[bytes]) -> bytes:
    rest = token + b"%c" % (0x90 | len(packed)) + b"".join(packed)
    return crc32(rest).to_bytes(4, "big") + rest


def token_of(datagram: bytes) -> bytes:
    """The token of a whole datagram; b"" for anything else."""
    if not _HEADER.size < len(datagram) <= DATAGRAM_BYTES_MAX:
        return b""
    checksum, token = _HEADER.unpack_from(datagram)
    return cast(bytes, token) if crc32(datagram[4:]) == checksum else b""


def items_of(datagram: bytes) -> Items:
    """The items of a datagram whose token is known. `PeerFrameError` if there are none."""
    items = decode_items(datagram[_HEADER.size :])
    if isinstance(items, Refusal):
        raise PeerFrameError("a datagram refuses")
    return items


class DatagramReceiver(asyncio.DatagramProtocol):
    """Hands on what comes in."""

    def __init__(self, on_datagram: Callable[[bytes], None]) -> None:
        self._on_datagram = on_datagram

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._on_datagram(data)


class DatagramPath(asyncio.DatagramProtocol):
    """The way to one peer, beside the connection that was dialed. What cannot be sent is lost:
    errors that the network reports are none of ours, as the connection carries the same."""

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self.token = b""
        """Set once the other side has introduced itself: nothing is sent before."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None

    def send(self, packed: bytes) -> None:
        """Put an item into the next datagram."""
        if (
            self.token
            and self._transport is not None
            and self._outbox_bytes < DATAGRAMS_MAX * DATAGRAM_BYTES_MAX
        ):
            self._outbox.append(packed)
            self._outbox_bytes += len(packed)

    def flush(self) -> None:
        """Send what was put in: at the end of each turn.

        While the socket takes nothing, at most one datagram waits for it and the rest is lost.
        """
        if not self._outbox:
            return
        packed, self._outbox = self._outbox, []
        self._outbox_bytes = 0
        transport = self._transport
        if transport is not None and not transport.is_closing():
            for datagram in encode_datagrams(self.token, packed):
                if cast(asyncio.WriteTransport, transport).get_write_buffer_size():
                    return
                transport.sendto(datagram)

    def close(self) -> None:
        self.token = b""
        self._outbox.clear()
        if self._transport is not None:
            # Not abort(): uvloop reports a datagram that is cancelled as a fatal error.
            self._transport.close()
            self._transport = None
