"""What the retrievals of a client have in common: a place for their reply, and windows of keys.

A retrieval of more keys than it may hold answers of goes in windows, one after the other, and runs
alone (`Conversation.alone`): its later windows must not see the writes that are sent behind it. How
many keys a window has follows from how large the latest answers were. If they are larger now, what
there is no room for is dropped, and the window ends before it. The answer to a gat cannot be
dropped: it begins with few keys.
"""

from __future__ import annotations

from typing import Final

from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.forwarded_gets import KeysRead
from quorumcache.node.clients.replies import FIRST_TOUCH_BYTES, Replies
from quorumcache.node.clients.slots import Slot, ValueStream
from quorumcache.node.clients.value_streams import StreamOpened, open_stream
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.operation import Read
from quorumcache.node.protocol.responses import END_LINE, value_head

WINDOW_KEYS: Final = 64
"""Keys of one retrieval that are looked up, or touched, at a time, at the most."""


def runs_alone(replies: Replies, keys: int, is_touch: bool) -> bool:
    """May a retrieval of so many keys take several windows? While nothing is known of the sizes of
    values, each may be as large as one that travels whole."""
    if not (is_touch or replies.knows_sizes):
        return keys > min(WINDOW_KEYS, max(1, replies.bytes_max // FIRST_TOUCH_BYTES))
    return keys > window_keys(replies, is_touch)


def window_keys(replies: Replies, is_touch: bool) -> int:
    """How many keys a window of a retrieval that begins now has: as many as the connection has room
    for, by what late answers have brought."""
    expected = replies.expected_touch_bytes if is_touch else replies.expected_bytes
    return max(1, min(WINDOW_KEYS, replies.bytes_max // expected))


class Retrieval(KeysRead):
    """Where its answers go: to the place of its reply, while there is room for them."""

    __slots__ = ("conversation", "replies", "slot")

    def __init__(self, conversation: Conversation, slot: Slot | None = None) -> None:
        """`slot`: the place of its reply, if it has one."""
        self.conversation = conversation
        self.replies = conversation.replies
        if slot is None:
            slot = conversation.replies.take_slot()
            assert slot is not None
        self.slot: Slot = slot

    def has_room(self) -> bool:
        """For `ReplyRoom`."""
        return self.replies.has_room(self.slot)

    def is_waiting(self) -> bool:
        """For `ReplyRoom`."""
        return self.replies.has_parked

    def park(self, read: Read) -> None:
        """For `ReplyRoom`."""
        self.replies.park(self.slot, read)

    def open_value(
        self, group_id: int, key: bytes, item: bytes, source: int, done: StreamOpened
    ) -> None:
        """Make the stream of a large item's value, see `open_stream`."""
        context = self.conversation.context
        open_stream(context, self.replies, group_id, key, item, source, done)


class Windows(Retrieval):
    """A retrieval of any number of keys over any number of shards, a window of keys at a time."""

    is_touch = False
    """Its answers are those of writes."""

    def __init__(self, conversation: Conversation, keys: tuple[bytes, ...], is_alone: bool) -> None:
        """`is_alone`: it runs alone, and may take several windows."""
        super().__init__(conversation)
        self.keys = keys
        self.is_alone = is_alone
        self.position = 0
        """First key of the window under way."""
        self.window: tuple[bytes, ...] = ()
        self.pending = 0
        """Operations of the window that have not ended."""
        self.reserved = 0
        """Room made for the answers of the window under way."""

    def begin(self) -> None:
        """Begin the first window, in this turn of the loop or in a later one."""
        if self.is_alone and self.replies.waits():
            self.conversation.unfinished = self.start
        else:
            self.start()

    def start(self) -> None:
        """Begin the next window."""
        end = len(self.keys)
        if self.is_alone:
            end = self.position + window_keys(self.replies, self.is_touch)
        self.window = self.keys[self.position : end]
        self.reserved = self.replies.reserve(len(self.window), self.is_touch)
        self._begin()

    def _begin(self) -> None:
        """Start the operations of `window`, having set `pending` to their number."""
        raise NotImplementedError

    def _window_ended(self) -> None:
        """All operations of `window` have ended: put its items into the slot, then `_go_on`, or
        `_fail`."""
        raise NotImplementedError

    def _one_ended(self) -> None:
        self.pending -= 1
        if self.pending == 0:
            self._window_ended()

    def add_large(self, key: bytes, item: bytes, with_cas: bool, stream: ValueStream) -> int:
        """Put a large item behind what the slot has; the bytes of that without the value."""
        head = value_head(key, item, with_cas)
        self.slot.pieces.append(head)
        self.replies.add_stream(self.slot, stream)
        self.slot.pieces.append(b"\r\n")
        return len(head) + 2

    def _go_on(self, size: int) -> None:
        """The window's lines, of so many bytes, are in the slot."""
        replies = self.replies
        if self.is_touch:
            replies.touched(self.reserved, len(self.window), size)
        else:
            replies.came(self.reserved, len(self.window), size)
        replies.reply_bytes += size
        replies.made(size)
        self.position += len(self.window)
        if self.position < len(self.keys):
            replies.release()
            self.conversation.unfinished = self.start
            replies.schedule_pump()
        else:
            self._finish(END_LINE)

    def _fail(self, failure: Failure) -> None:
        self.replies.give_back(self.reserved)
        self._finish(self.conversation.context.failed(failure))

    def _finish(self, line: bytes) -> None:
        if self.is_alone:
            self.conversation.ended_alone()
        self.replies.fill(self.slot, line)
