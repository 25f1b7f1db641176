"""The values of large items on their way to a client: one piece at a time, as it takes them.

A *stream* stands among the pieces of a reply (`replies.py`). The connection asks it for one piece
per turn of the loop while its transport takes more, so a value holds up nobody and is copied
nowhere. Where the value comes from:

 - a replica here: the leader's or any other one, since the bytes of a value's number never change.
   The stream refers to the pieces, and keeps them if the item is replaced meanwhile;
 - another node: a few pieces are asked for ahead of the client.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from quorumcache.node.clients.context import ClientContext
from quorumcache.node.clients.replies import Replies
from quorumcache.node.clients.slots import Slot, ValueStream
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.operation import ReadOutcome
from quorumcache.node.store.item import value_bytes, value_id
from quorumcache.node.store.store import shard_store

PIECES_AHEAD: Final = 4
"""Pieces of another node that wait for the client."""

StreamOpened = Callable[[ValueStream | Failure | None], None]
"""Hears the stream, or that the value is gone (None): then its item has to be read again."""


class HeldStream(ValueStream):
    """Of a value that is here."""

    __slots__ = ("_next", "_value")

    def __init__(self, value: tuple[bytes, ...]) -> None:
        super().__init__()
        self._value = value
        self._next = 0

    def take(self) -> bytes | None:
        """For `ValueStream`."""
        piece = self._value[self._next]
        self._next += 1
        if self._next == len(self._value):
            self.is_over = True
            self._value = ()
        return piece

    def close(self) -> None:
        """For `ValueStream`."""
        self._value = ()

    def again(self) -> ValueStream:
        """For `ValueStream`."""
        return HeldStream(self._value)


class FetchedStream(ValueStream):
    """Of a value that another node has."""

    __slots__ = (
        "_context",
        "_group_id",
        "_is_asking",
        "_is_closed",
        "_item",
        "_key",
        "_left_bytes",
        "_opened",
        "_pieces",
        "_position",
        "_replies",
        "_source",
        "_value_id",
    )

    def __init__(
        self,
        context: ClientContext,
        replies: Replies,
        group_id: int,
        key: bytes,
        item: bytes,
        source: int,
    ) -> None:
        super().__init__()
        self._context = context
        self._replies = replies
        self._group_id = group_id
        self._key = key
        self._item = item
        self._value_id = value_id(item)
        self._left_bytes = value_bytes(item)
        """Of pieces that have not come."""
        self._source = source
        self._position = 0
        """Of the next piece to ask for."""
        self._pieces: deque[bytes] = deque()
        self._is_asking = False
        self._is_closed = False
        self._opened: StreamOpened | None = None

    def open(self, done: StreamOpened) -> None:
        """Ask for the first piece."""
        self._opened = done
        self._ask()

    def take(self) -> bytes | None:
        """For `ValueStream`."""
        if not self._pieces:
            return None
        piece = self._pieces.popleft()
        self.is_over = not self._left_bytes and not self._pieces
        self._ask()
        return piece

    def close(self) -> None:
        """For `ValueStream`."""
        self._is_closed = True
        self._pieces.clear()

    def again(self) -> ValueStream:
        """For `ValueStream`."""
        place = (self._context, self._replies, self._group_id, self._key)
        other = FetchedStream(*place, self._item, self._source)
        other._ask()
        return other

    def _ask(self) -> None:
        if (
            self._is_asking
            or self._is_closed
            or not self._left_bytes
            or len(self._pieces) >= PIECES_AHEAD
        ):
            return
        self._is_asking = True
        position = self._position
        self._position += 1
        self._context.coordinator.pieces.begin(
            self._context.coordinator,
            self._group_id,
            self._key,
            self._value_id,
            position,
            self._source,
            self._came,
        )

    def _came(self, outcome: ReadOutcome) -> None:
        self._is_asking = False
        if self._is_closed:
            return
        opened, self._opened = self._opened, None
        piece = None if isinstance(outcome, Failure) else outcome[0]
        if piece is None or not 0 < len(piece) <= self._left_bytes:
            if opened is not None:
                self._is_closed = True
                opened(outcome if isinstance(outcome, Failure) else None)
            else:
                self.is_broken = True
                self._replies.schedule_pump()
            return
        self._left_bytes -= len(piece)
        self._pieces.append(piece)
        if opened is not None:
            opened(self)
        else:
            self._replies.schedule_pump()
        self._ask()


def fill_with_stream(
    replies: Replies, slot: Slot, head: bytes, stream: ValueStream, tail: bytes
) -> None:
    """Complete a reply that holds one large value: what goes before it, the value, what follows."""
    slot.pieces.append(head)
    replies.reply_bytes += len(head)
    replies.add_stream(slot, stream)
    replies.fill(slot, tail)


def open_stream(
    context: ClientContext,
    replies: Replies,
    group_id: int,
    key: bytes,
    item: bytes,
    source: int,
    done: StreamOpened,
) -> None:
    """Make the stream of a large item's value. `source`: the node that answered with the item; 0 =
    this one, or not known. `done` may be called before this returns.
    """
    group = context.groups.get(group_id)
    value = shard_store(group.machine).value_of(item) if group is not None else None
    if value is not None:
        done(HeldStream(value))
    else:
        FetchedStream(context, replies, group_id, key, item, source).open(done)
