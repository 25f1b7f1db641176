"""One connection between two nodes: the handshake, frames both ways, keepalive. Edge: a Protocol.

    opened --- hello each way, each accepted by the other ---> ready --- anything wrong ---> closed

For the side that was dialed by a node that can prove the cluster's secret, the proof stands before
"ready": see `proofs.py`.

The side that dialed sends items; the side that was dialed receives them. Both send something at
least twice a second: the dialer a keepalive when it has nothing else, the other side an answer to
what it has heard since its last one. So a dialer that hears nothing knows that the way there or the
way back is cut, and so does the other side; both give the connection up after `SILENT_TICKS_MAX`.

Time is counted in ticks of `PeerNetwork`, not read from a clock: a process that was stopped for a
while has had one tick, and does not take its peers for dead when it continues.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from typing import Any, Final, Protocol, cast

from quorumcache.node.errors import HandshakeRefused, PeerError
from quorumcache.node.peers.codec import (
    FRAME_BYTES_MAX,
    HEADER,
    HELLO_BYTES_MAX,
    KEEPALIVE_FRAME,
    FrameDecoder,
    Hello,
    Items,
    Refusal,
    Refused,
    decode_hello,
    decode_items,
    encode_items,
    encode_refusal,
)
from quorumcache.node.peers.datagrams import DatagramPath
from quorumcache.node.peers.proofs import PROOF_FORM, form_of
from quorumcache.node.system.kernel_timing import set_retransmission

TICK_SECONDS: Final = 0.25
SILENT_TICKS_MAX: Final = 8  # 2 s
STALLED_TICKS: Final = 4
"""A connection that brings nothing for a second does not do its work, though it may recover: the
packets that it lost are sent again sooner than that, unless they cannot pass at all."""
HELLO_TICKS_MAX: Final = 20  # 5 s for a stranger to introduce itself
JOIN_TICKS_MAX: Final = 80  # 20 s for the directory to decide about a new node that proved itself
CLOSING_TICKS_MAX: Final = 4  # 1 s to send what is left, then the connection is cut

WRITE_BUFFER_BYTES: Final = 256 << 10  # handed to the transport; beyond that the outboxes collect
UNSENT_BYTES: Final = 128 << 10  # that the kernel takes ahead of what it can send
BULK_FRAME_BYTES: Final = 256 << 10  # of values in a frame: a heartbeat may wait behind it
BULK_BYTES_MAX: Final = 16 << 20  # of values that wait; what is refused is asked for again
SMALL_BULK_BYTES: Final = 4 << 10  # values up to this size may fill as much again
ITEM_BYTES_MAX: Final = FRAME_BYTES_MAX - 16  # an item must fit into a frame of its own
FRAME_BYTES_GOAL: Final = 256 << 10  # an outbox that passes this becomes a frame at once

_TCP_NOTSENT_LOWAT: Final = 25  # Linux; the socket module has no name for it before 3.12


class LinkOwner(Protocol):
    """What a link asks of, and tells, the network it belongs to."""

    def own_hello_frame(self, link: PeerLink) -> bytes: ...
    def link_opened(self, link: PeerLink) -> None: ...
    def link_introduced(self, link: PeerLink, hello: Hello) -> None:
        """A hello came. Raises `HandshakeRefused`, with `retry_ms`, if we will not talk to it."""

    def own_proof_frame(self, link: PeerLink, hello: Hello) -> bytes:
        """What goes first to the node that we dialed; b"" if it does not take a proof."""

    def link_proven(self, link: PeerLink, hello: Hello, items: Items) -> None:
        """The first frame of a node that said hello. Raises as `link_introduced`."""

    def link_ready(self, link: PeerLink) -> None: ...
    def link_question(self, link: PeerLink, payload: bytes) -> bool:
        """A first frame came in. True if a new node asks with it: then it is answered."""

    def link_refused(self, link: PeerLink, refusal: Refusal, by_peer: bool) -> None: ...
    def link_items(self, link: PeerLink, items: Items, size: int) -> None: ...
    def link_item_too_long(self, link: PeerLink, size: int) -> None: ...
    def link_closed(self, link: PeerLink) -> None: ...


class PeerLink(asyncio.Protocol):
    """See the module. `node_id` is whom we dialed, or 0 until a caller's hello was accepted."""

    __slots__ = (
        "_bulk",
        "_claimed",
        "_decoder",
        "_heard",
        "_hello_ticks_max",
        "_outbox",
        "_owner",
        "_paused",
        "_queue_bytes_max",
        "_sent",
        "_silent_ticks",
        "_transport",
        "bulk_bytes",
        "closing",
        "dialed",
        "hello",
        "is_proven",
        "is_ready",
        "lost",
        "node_id",
        "nonce",
        "nonces",
        "outbox_bytes",
        "path",
        "why",
        "written_bytes",
    )

    def __init__(
        self, owner: LinkOwner, node_id: int, lost: asyncio.Future[None], queue_bytes_max: int
    ) -> None:
        """`lost` is done once the connection is gone."""
        self._owner = owner
        self._queue_bytes_max = queue_bytes_max
        self._decoder = FrameDecoder(HELLO_BYTES_MAX, is_stepwise=True)
        self._transport: asyncio.Transport | None = None
        self.written_bytes: int = 0
        """Bytes handed to the transport so far, frames with their headers."""
        self._outbox: list[bytes] = []
        self._bulk: deque[bytes] = deque()
        self._paused = False
        self._heard = False
        self._sent = False
        self._silent_ticks = 0
        self.node_id = node_id
        self.dialed = node_id != 0
        self.lost = lost
        self.hello: Hello | None = None
        """The other side's, once it was accepted."""
        self._claimed: Hello | None = None
        """The other side's, while its proof is waited for."""
        self.nonce = ""
        """What our own hello on this connection had; set by the owner."""
        self.is_proven = False
        """The other side dialed us, and has proven that it knows the secret; set by the owner."""
        self.path: DatagramPath | None = None
        """Beside a dialed link; `PeerNetwork` opens and closes it."""
        self.is_ready = False
        self.closing = False
        self.why = ""
        """Why it was closed, for people."""
        self.nonces: tuple[bytes, bytes] | None = None
        """Of a new node that is joining, and of this node: between its first frame and its next."""
        self._hello_ticks_max: int = SILENT_TICKS_MAX if self.dialed else HELLO_TICKS_MAX
        self.outbox_bytes = 0
        self.bulk_bytes = 0
        """Bytes of items not yet handed to the transport. At most the bound and one item."""

    @property
    def remote_address(self) -> tuple[str, int] | None:
        """(address, port) of the other side; None without a connection."""
        name = self._peer_name()
        if name is None:
            return None
        is_link_local = len(name) == 4 and name[3] and "%" not in name[0]
        return (f"{name[0]}%{name[3]}" if is_link_local else name[0], name[1])

    @property
    def remote(self) -> str:
        """Address of the other side, for people."""
        name = self._peer_name()
        return f"{name[0]}:{name[1]}" if name is not None else "unknown:0"

    def _peer_name(self) -> tuple[Any, ...] | None:
        try:
            name = self._transport.get_extra_info("peername") if self._transport else None
        except ValueError:  # uvloop's answer once the socket is closed: it has no descriptor
            return None
        return name if isinstance(name, tuple) and len(name) >= 2 else None

    @property
    def is_stalled(self) -> bool:
        """Whether it has brought nothing for a second, by the ticks."""
        return self._silent_ticks >= STALLED_TICKS and not self._heard

    @property
    def was_probe(self) -> bool:
        """Whether the other side connected and left at once without a word, as TCP probes do."""
        return not (self.dialed or self._heard or self._silent_ticks)

    # --- what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        transport = cast(asyncio.Transport, transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        endpoint = transport.get_extra_info("socket")
        if endpoint is not None:
            # Not a TCP socket: nothing to hurry.
            with contextlib.suppress(OSError, AttributeError):
                endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                endpoint.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, UNSENT_BYTES)
            set_retransmission(endpoint)
        self._owner.link_opened(self)
        if self.dialed and leads_to_itself(transport):
            self.abort("nothing listens there: the connection led back to its own port")
        if self.dialed and not self.closing:
            self._write(self._owner.own_hello_frame(self))

    def data_received(self, data: bytes) -> None:
        self._heard = True
        owner = self._owner
        try:
            payloads = self._decoder.feed(data)
            while payloads and not self.is_ready:
                if self.closing:
                    return
                self._handshake_frame(payloads[0])
                payloads = self._decoder.feed(b"")
            for payload in payloads:
                if self.closing:
                    return
                items = decode_items(payload)
                if isinstance(items, Refusal):
                    self._refused_by_peer(items)
                elif items:
                    owner.link_items(self, items, HEADER.size + len(payload))
        except PeerError as error:
            self.close(str(error))

    def _handshake_frame(self, payload: bytes) -> None:
        try:
            if self._claimed is None:
                self._first_frame(payload)
            else:
                self._proof_frame(self._claimed, payload)
        except HandshakeRefused as error:
            self.refuse(error)

    def _first_frame(self, payload: bytes) -> None:
        owner = self._owner
        if not self.dialed and owner.link_question(self, payload):
            return
        hello = decode_hello(payload)
        if isinstance(hello, Refusal):
            self._refused_by_peer(hello)
            return
        owner.link_introduced(self, hello)
        if self.dialed:
            proof = owner.own_proof_frame(self, hello)
            if proof:
                self._write(proof)
            self._ready(hello)
            return
        self._write(owner.own_hello_frame(self))
        if form_of(hello) < PROOF_FORM:
            self._ready(hello)
        else:
            self._claimed = hello

    def _proof_frame(self, hello: Hello, payload: bytes) -> None:
        items = decode_items(payload)
        if isinstance(items, Refusal):
            self._refused_by_peer(items)
            return
        self._owner.link_proven(self, hello, items)
        self._claimed = None
        self._ready(hello)

    def _ready(self, hello: Hello) -> None:
        self.hello = hello
        self.node_id = hello.node_id
        self._decoder.bytes_max = FRAME_BYTES_MAX
        self._decoder.is_stepwise = False
        self.is_ready = True
        self._owner.link_ready(self)

    def refuse(self, error: HandshakeRefused) -> None:
        """Tell the other side why, and end the connection."""
        refused = error if isinstance(error, Refused) else Refused(str(error))
        refusal = Refusal(str(error), refused.retry_ms, *refused.farewell)
        self._write(encode_refusal(*refusal))
        self._owner.link_refused(self, refusal, False)
        self.close(f"refused: {error}")

    def answer(self, frame: bytes, *, is_last: bool = True) -> None:
        """Answer a new node's question; the last answer ends the connection."""
        self._write(frame)
        if is_last:
            self.close("answered a new node")

    def wait_longer(self) -> None:
        """The answer to a new node takes some time."""
        self._hello_ticks_max = JOIN_TICKS_MAX

    def _refused_by_peer(self, refusal: Refusal) -> None:
        self._owner.link_refused(self, refusal, True)
        self.close(f"refused by the other side: {refusal.sentence}")

    def eof_received(self) -> bool:
        return False  # the transport closes itself

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.closing = True
        self.is_ready = False
        if self.nonces is not None:
            self.why = "answered a new node, which left it at that"
        if not self.why:
            self.why = f"connection lost: {error}" if error else "closed by the other side"
        self._outbox.clear()
        self._bulk.clear()
        self.outbox_bytes = self.bulk_bytes = 0
        self._owner.link_closed(self)
        if not self.lost.done():
            self.lost.set_result(None)

    # --- sending

    def send(self, packed: bytes) -> bool:
        """Puts an item, as `pack_item` makes it, into the outbox; False if that is over its bound,
        or the link not up.
        """
        if self.outbox_bytes > self._queue_bytes_max or not self.is_ready or self.closing:
            return False
        size = len(packed)
        if size > ITEM_BYTES_MAX:
            self._owner.link_item_too_long(self, size)
            return False
        self._outbox.append(packed)
        self.outbox_bytes += size
        if self.outbox_bytes > FRAME_BYTES_GOAL and not self._paused:
            self.flush()
        return True

    def has_bulk_room(self, size: int) -> bool:
        """May a value of this size wait for the transport? Asked before it is packed, too."""
        return self.bulk_bytes <= BULK_BYTES_MAX * (1 if size > SMALL_BULK_BYTES else 2)

    def send_bulk(self, packed: bytes) -> bool:
        """`send` for values on their way to a client: they leave when nothing else waits, so that
        they hold up no heartbeats. A small one is not refused because of large ones."""
        if not self.has_bulk_room(len(packed)) or not self.is_ready or self.closing:
            return False
        if len(packed) > ITEM_BYTES_MAX:
            self._owner.link_item_too_long(self, len(packed))
            return False
        self._bulk.append(packed)
        self.bulk_bytes += len(packed)
        return True

    def flush(self) -> None:
        """Hands the outboxes to the transport, as far as it takes them: values last."""
        if self._outbox:
            self._flush_outbox()
        while self._bulk and not self._paused and not self.closing:
            frame: list[bytes] = []
            size = 0
            while self._bulk and size < BULK_FRAME_BYTES:
                packed = self._bulk.popleft()
                frame.append(packed)
                size += len(packed)
            self.bulk_bytes -= size
            self._write(encode_items(frame))

    def _flush_outbox(self) -> None:
        """Frames of a bounded size, until the transport is full: the next ones when it is not."""
        packed = self._outbox
        start = 0
        while start < len(packed) and not self._paused and not self.closing:
            end, size = start, 0
            while end < len(packed) and (
                end == start or size + len(packed[end]) <= FRAME_BYTES_GOAL
            ):
                size += len(packed[end])
                end += 1
            self.outbox_bytes -= size
            is_all = end - start == len(packed)
            self._write(encode_items(packed if is_all else packed[start:end]))
            start = end
        del packed[:start]

    def _write(self, frame: bytes) -> None:
        if self._transport is not None and not self.closing:
            self._sent = True
            self.written_bytes += len(frame)
            self._transport.write(frame)

    # --- time and the end

    def tick(self) -> None:
        """A quarter of a second has passed."""
        self._silent_ticks += 1
        if self.closing:
            if self._silent_ticks > CLOSING_TICKS_MAX:
                self.abort(self.why)
            return
        heard, self._heard = self._heard, False
        if not self.is_ready:
            # Bytes that never become a hello do not count.
            limit = self._hello_ticks_max
            if self._silent_ticks > limit:
                self.abort(f"no hello within {limit * TICK_SECONDS:g} s")
            return
        if heard:
            self._silent_ticks = 0
        elif self._silent_ticks >= SILENT_TICKS_MAX:
            self.abort(f"heard nothing for {SILENT_TICKS_MAX * TICK_SECONDS:g} s")
            return
        if (self.dialed or heard) and not self._sent and not self._paused:
            self._write(KEEPALIVE_FRAME)
        self._sent = False

    def close(self, why: str) -> None:
        """Ends the connection after what was written; for good once `connection_lost` comes."""
        if self.closing:
            return
        self.why = why
        self.closing = True
        self._silent_ticks = 0
        if self._transport is not None:
            self._transport.close()

    def abort(self, why: str) -> None:
        """Ends the connection at once."""
        self.why = self.why or why
        self.closing = True
        if self._transport is not None:
            self._transport.abort()


def leads_to_itself(transport: asyncio.BaseTransport) -> bool:
    """Whether both ends of a connection are the same socket.

    A dial of a port of this machine where nothing listens succeeds when the kernel happens to
    choose that port as the near end (TCP's simultaneous open). The socket echoes what is sent, and
    holds the port that a node wants to listen on.
    """
    near = transport.get_extra_info("sockname")
    return near is not None and near == transport.get_extra_info("peername")
