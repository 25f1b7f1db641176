"""The replies of one connection, in the order of its requests, and their bounds.

A reply takes its place (`Slot`) when its request is begun, is filled when the answer is here, and
leaves when all before it have left. What has left waits in `out` for the connection, which hands it
to the transport.

Bounds (nothing here grows with what a client sends and does not read):
 - at most SLOTS_MAX replies, and the context's `reply_bytes_max` bytes of answers, are under way:
   beyond that the connection begins no request (`Conversation.is_blocked`);
 - what a read brings is not known before: a read reserves what the latest ones have brought;
 - an answer that comes while so many bytes of others wait is dropped (`park`) and asked for again
   once the client has taken some.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from quorumcache.node.clients.context import ClientContext
from quorumcache.node.clients.pumps import FREE_BYTES, Pumped
from quorumcache.node.clients.slots import Parked, Slot, ValueStream
from quorumcache.node.operations.operation import Read
from quorumcache.node.protocol.responses import END_LINE

SLOTS_MAX: Final = 1024
"""Replies of one connection that are not complete yet."""

FIRST_READ_BYTES: Final = 32 << 10
"""What a read under way is reckoned to bring until answers tell how large values are."""

FIRST_TOUCH_BYTES: Final = 1 << 20
"""What a gat is reckoned to bring until answers tell: the largest value that travels whole. It is a
write, so its answer cannot be dropped and asked for again."""

LEAST_READ_BYTES: Final = 256
"""The least that a read under way is reckoned to bring."""

LEAST_TOUCH_BYTES: Final = 32 << 10
"""The same of a gat: however small the latest answers were, 128 of them are under way at the most,
since the next ones may bring values of 1 MiB each, and none of these can be dropped."""

PARKED_READ_BYTES: Final = 256 << 10
"""What a read is reckoned to bring, at the least, once an answer had to be dropped."""

WRITE_CHUNK_BYTES: Final = 256 << 10
"""Replies are handed to the transport in pieces of about this size, so that a client that does not
read costs this much and the transport's own bound."""

REFER_BYTES: Final = 64 << 10
"""A value of this size is referred to in its item, and not copied on its way to the transport."""

STREAMS_MAX: Final = 4
"""Values of large items that wait for their turn in one connection. Beyond it answers are dropped,
as if there was no room for them, and asked for again."""


def _nothing() -> None:
    """Stands in for the pump of a connection that is gone."""


class Replies(Pumped):
    """See the module docstring."""

    __slots__ = (
        "_context",
        "_parked",
        "_pump",
        "_pumps",
        "_read_bytes",
        "_reserved_bytes",
        "_touch_bytes",
        "gone_bytes",
        "is_open",
        "is_paused",
        "knows_sizes",
        "out",
        "pump_scheduled",
        "reply_bytes",
        "slots",
        "stream",
        "streams",
    )

    def __init__(self, context: ClientContext, pump: Callable[[], None]) -> None:
        """`pump`: the connection's, which sends what is ready and goes on with what waits."""
        super().__init__()
        self._context = context
        self._pumps = context.pumps
        self._pump = pump
        self.pump_scheduled = False
        self.is_open = False
        """There is a transport that takes replies."""
        self.is_paused = False
        """The transport has enough of them, since the client does not read."""
        self.slots: deque[Slot] = deque()
        """Those that are not complete, and what waits behind them."""
        self.out: deque[bytes | memoryview] = deque()
        """Pieces for the transport."""
        self.reply_bytes: int = 0
        """Bytes in `out` and in the pieces of `slots`, and what reads under way may bring."""
        self.gone_bytes: int = 0
        """Replies made since the connection went on, or was read, last."""
        self.stream: ValueStream | None = None
        """The value whose pieces are being sent: its slot is the first one."""
        self.streams: int = 0
        """It, and those in the slots behind it."""
        self._reserved_bytes: int = 0
        """Of those: what reads under way may bring."""
        self._parked: list[Parked] = []
        """Reads whose answer was dropped for lack of room, in order of dropping. A list: an empty
        deque takes 0.6 KB of each connection."""
        self._touch_bytes: int = FIRST_TOUCH_BYTES
        """What the answer to a gat of one key may bring, likewise."""
        self.knows_sizes = False
        """A read has told how large values are."""
        self._read_bytes: int = FIRST_READ_BYTES
        """What one key's answer may bring: the largest of late, halved with each smaller one."""

    def made(self, size: int) -> None:
        """So many bytes of replies are made."""
        self.gone_bytes += size
        self._pumps.made(size)

    @property
    def is_spent(self) -> bool:
        """The connection has had its share of the turn."""
        return self.gone_bytes >= FREE_BYTES and self._pumps.is_spent

    def schedule_pump(self) -> None:
        """Have the connection go on, in the next turn of the loop."""
        if not self.pump_scheduled:
            self.pump_scheduled = True
            self._pumps.add(self)

    def waits(self) -> bool:
        """Must what makes many replies at once wait for another turn? Then it will be pumped."""
        if self._pumps.is_spent:
            self._pumps.wait(self)
        return self._pumps.is_spent

    def schedule_rest(self) -> None:
        """Have it go on with what it could not begin: behind others that wait, if it is spent."""
        if self.is_spent:
            self._pumps.wait(self)
        else:
            self.schedule_pump()

    def pump(self) -> None:
        """For `Pumps`."""
        self.pump_scheduled = False
        self._pump()

    # -- replies in their order ------------------------------------------------------------

    def take_slot(self, noreply: bool = False) -> Slot | None:
        """The place of the next reply; None for a request that has none."""
        if noreply:
            return None
        slot = Slot()
        self.slots.append(slot)
        return slot

    def reply(self, data: bytes) -> None:
        """Answer at once, in its place."""
        self.reply_bytes += len(data)
        self.made(len(data))
        if self.slots:
            slot = Slot()
            slot.whole = data
            slot.done = True
            self.slots.append(slot)
        elif data:
            self.out.append(data)

    def fill(self, slot: Slot | None, data: bytes) -> None:
        """Complete a reply, and release it with all that waited behind it."""
        if slot is not None:
            self.reply_bytes += len(data)
            self.made(len(data))
            slots = self.slots
            if slots[0] is slot and slot.is_empty and self.stream is None:
                # It is its turn: the detour of its pieces would be for nothing.
                slots.popleft()
                if data:
                    self.out.append(data)
                if slots and (slots[0].done or not slots[0].is_empty):
                    self.release()
            elif slots[0] is not slot and slot.is_empty:
                slot.whole = data
                slot.done = True  # What is before it releases it.
            else:
                if data:
                    slot.pieces.append(data)
                slot.done = True
                self.release()
        if self.is_open:
            self.schedule_pump()

    def reply_item(self, head: bytes, item: bytes, start: int) -> None:
        """Answer a get of one key at once: `head`, then its item from `start` on."""
        if len(item) < REFER_BYTES:
            self.reply(head + item[start:] + END_LINE)
        else:
            slot = Slot()
            self.slots.append(slot)
            self.fill_item(slot, head, item, start)

    def fill_item(self, slot: Slot, head: bytes, item: bytes, start: int) -> None:
        """Complete the reply to a get of one key, see `reply_item`."""
        if len(item) < REFER_BYTES:
            self.fill(slot, head + item[start:] + END_LINE)
            return
        slot.pieces.extend((head, memoryview(item)[start:]))
        size = len(head) + len(item) - start
        self.reply_bytes += size
        self.made(size)
        self.fill(slot, END_LINE)

    def release(self) -> None:
        """Move what is ready, and has nothing unfinished before it, to `out`."""
        slots = self.slots
        out = self.out
        while slots:
            head = slots[0]
            whole = head.whole
            if whole is not None:
                if whole:
                    out.append(whole)
            elif self.streams:
                if not self._release_pieces(head):
                    return
            elif not head.is_empty:
                out.extend(head.pieces)  # type: ignore[arg-type]
                head.pieces.clear()
            if not head.done:
                return
            slots.popleft()

    def add_stream(self, slot: Slot, stream: ValueStream) -> None:
        """Put a value behind what a slot has."""
        slot.pieces.append(stream)
        self.streams += 1

    def _release_pieces(self, head: Slot) -> bool:
        """Move the pieces of the first slot to `out`, up to a stream. False: there is one."""
        pieces = head.pieces
        if self.stream is not None:
            return False
        for position, piece in enumerate(pieces):
            if isinstance(piece, ValueStream):
                self.stream = piece
                del pieces[: position + 1]
                return False
            self.out.append(piece)
        pieces.clear()
        return True

    def is_cut(self) -> bool:
        """The rest of the value that is being sent cannot be had."""
        return self.stream is not None and self.stream.is_broken

    def pull(self) -> bool:
        """Take the next piece of the value that is being sent to `out`, one per turn of the loop.
        False: it is not here yet, or has to wait.
        """
        stream = self.stream
        if stream is None or self.out or self.waits():
            return False
        piece = stream.take()
        if piece is None:
            return False
        self.out.append(piece)
        self.reply_bytes += len(piece)
        self.made(len(piece))
        if stream.is_over:
            self.stream = None
            self.streams -= 1
            self.release()
        self.schedule_pump()
        return True

    def next_chunk(self) -> bytes | memoryview:
        """Take about WRITE_CHUNK_BYTES from `out`, which is not empty, for the transport."""
        out = self.out
        if len(out) == 1 or len(out[0]) >= REFER_BYTES:
            data: bytes | memoryview = out.popleft()
        else:
            size = 0
            pieces: list[bytes | memoryview] = []
            while out and size < WRITE_CHUNK_BYTES and len(out[0]) < REFER_BYTES:
                piece = out.popleft()
                size += len(piece)
                pieces.append(piece)
            data = b"".join(pieces)
        self.reply_bytes -= len(data)
        return data

    # -- room for answers ------------------------------------------------------------------

    @property
    def unread_bytes(self) -> int:
        """Bytes of replies that are here and that the transport has not taken."""
        return self.reply_bytes - self._reserved_bytes

    @property
    def is_full(self) -> bool:
        """As many replies are under way as may be."""
        return len(self.slots) >= SLOTS_MAX or self.reply_bytes >= self._context.reply_bytes_max

    @property
    def bytes_max(self) -> int:
        """What may wait for the client, or be under way to it."""
        return self._context.reply_bytes_max

    def reserve(self, keys: int, is_touch: bool = False) -> int:
        """Make room for the answers of a read of so many keys; give it back with `came`, that of
        touches with `touched`."""
        reserved = keys * (self._touch_bytes if is_touch else self._read_bytes)
        self.reply_bytes += reserved
        self._reserved_bytes += reserved
        return reserved

    def came(self, reserved: int, keys: int, size: int) -> None:
        """The answers of a read that `reserved` room are here: `size` bytes for so many keys."""
        self.reply_bytes -= reserved
        self._reserved_bytes -= reserved
        self.knows_sizes = True
        self._read_bytes = max(size // keys, self._read_bytes // 2, LEAST_READ_BYTES)

    def touched(self, reserved: int, keys: int, size: int) -> None:
        """The same of keys that were touched."""
        self.give_back(reserved)
        self._touch_bytes = max(size // keys, self._touch_bytes // 2, LEAST_TOUCH_BYTES)

    @property
    def expected_bytes(self) -> int:
        """What the answer for one key may bring, by those of late."""
        return self._read_bytes

    @property
    def expected_touch_bytes(self) -> int:
        """The same for a key that is touched."""
        return self._touch_bytes

    def give_back(self, reserved: int) -> None:
        """The read that `reserved` room is made again by somebody else, or brought nothing."""
        self.reply_bytes -= reserved
        self._reserved_bytes -= reserved

    def has_room(self, slot: Slot) -> bool:
        """May an answer for this slot be kept? If it is its turn it may as soon as the client takes
        replies: all that is here waits for it."""
        unread_bytes = self.reply_bytes - self._reserved_bytes
        if self.streams >= STREAMS_MAX:
            return self._is_next(slot)
        return (
            unread_bytes == 0  # The common case, without a look at the context.
            or unread_bytes < self._context.reply_bytes_max
            or self._is_next(slot)
        )

    def _is_next(self, slot: Slot) -> bool:
        return not (self.is_paused or self.out) and bool(self.slots) and self.slots[0] is slot

    @property
    def has_parked(self) -> bool:
        """Answers were dropped, and the client has not made room for them yet."""
        return bool(self._parked)

    def park(self, slot: Slot, read: Read) -> None:
        """An answer was dropped for lack of room: read again once there is some."""
        self._read_bytes = max(self._read_bytes, PARKED_READ_BYTES)
        if not self.is_open:
            read.parked = False
            return
        self._context.counters.answers_dropped += 1
        self._parked.append(Parked(slot, read))
        self.schedule_pump()  # Meanwhile it may be its turn.

    def resume_parked(self) -> None:
        """Read again what was dropped, as much as there is room for."""
        room = self._context.reply_bytes_max - self.unread_bytes
        if self.streams >= STREAMS_MAX:
            room = 0
        waiting, self._parked = self._parked, []
        for parked in waiting:
            if room > 0 or self._is_next(parked.slot):
                room -= self._read_bytes
                parked.read.unpark()
            else:
                self._parked.append(parked)

    def lost(self) -> None:
        """The connection is gone: nothing is sent, and no answer is waited for."""
        self.is_open = False
        self._pump = _nothing
        self.out.clear()
        if self.stream is not None:
            self.stream.close()
        for slot in self.slots:
            for piece in slot.pieces:
                if isinstance(piece, ValueStream):
                    piece.close()
            slot.pieces.clear()
            slot.whole = None
        self.stream = None
        self.streams = 0
        for parked in self._parked:
            parked.read.parked = False  # Its deadline ends it.
        self._parked.clear()
