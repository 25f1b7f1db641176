"""Meta commands of a client that are under way: what `retrievals.py` and `writes.py` are for the
classic ones.

An `mg` is a read, which becomes a write of the log when what it finds has to be changed
(`operations/meta_read.py`). An `mg` that changes the item of every hit (T), or that has an identity
of its client's, is a write from the start, as `ms`, `md` and `ma` are.
"""

from __future__ import annotations

from typing import Final

from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.meta_args import meta_get_args, meta_get_asks
from quorumcache.node.clients.order import GroupLane
from quorumcache.node.clients.replies import Replies
from quorumcache.node.clients.retrievals import end_read
from quorumcache.node.clients.slots import Slot, ValueStream
from quorumcache.node.clients.value_streams import fill_with_stream
from quorumcache.node.clients.windows import Retrieval
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.meta_read import ASKS_HINT, NO_BUMP, Hint, MetaRead
from quorumcache.node.operations.operation import ReadOutcome, WriteOutcome
from quorumcache.node.protocol.meta_replies import (
    meta_debug,
    meta_hit,
    meta_miss,
)
from quorumcache.node.protocol.requests import (
    MetaDebug,
    MetaGet,
)
from quorumcache.node.protocol.responses import render
from quorumcache.node.state_machine import Result
from quorumcache.node.store.commands import (
    OP_META_GET,
)
from quorumcache.node.store.exptime import is_below
from quorumcache.node.store.item import (
    ENDS,
    PIECES,
    STALE,
    VALUE_ID_BYTES,
    WON,
    expires_at_ms,
    item_cost,
)
from quorumcache.node.store.results import (
    META_HIT,
    META_MADE,
    META_WON,
    NOT_FOUND,
    OLD_END,
    OUT_OF_MEMORY,
    shown_item,
)

VALUE_GONE: Final = "the value was replaced before it could be sent"

_NO_HINT: Final[Hint] = (0, 0)


class MetaRetrieval(Retrieval):
    """What `mg` and `me` have in common: a read of one key in its lane."""

    __slots__ = ("first", "is_touch", "key", "lane", "read", "reserved", "staleness_ns")

    def __init__(
        self, conversation: Conversation, lane: GroupLane, key: bytes, is_touch: bool = False
    ) -> None:
        """`is_touch`: it becomes a write if it finds the key. So its answer is never dropped."""
        super().__init__(conversation)
        self.is_touch = is_touch
        self.lane = lane
        self.key = key
        self.first: MetaRead | None = None
        """What later reads of the lane follow: the first one that was made."""
        self.read: MetaRead | None = None
        self.staleness_ns = conversation.settings.staleness_ns
        self.reserved = self.replies.reserve(1, is_touch)

    def start(self, deadline_ns: int) -> None:
        """Read it, in its lane."""
        lane = self.lane
        coordinator = self.conversation.coordinator
        staleness_ns = self.staleness_ns
        asks = self.asks() if coordinator.host.may_use_new_ops else 0
        read = self.read = MetaRead(
            coordinator,
            lane.group_id,
            deadline_ns or coordinator.deadline_ns(),
            self.key,
            self.done,
            staleness_ns,
            asks,
            self.needs_change,
            self.change,
        )
        read.room = self
        is_ordered = not staleness_ns and self.first is None
        if is_ordered:  # Others have no order among each other.
            read.after = lane.last_read
        coordinator.begin(read, deadline_ns != 0)
        if is_ordered and not read.finished:
            self.first = lane.last_read = read

    def asks(self) -> int:
        """See `MetaRead`."""
        raise NotImplementedError

    def needs_change(self, item: bytes | None) -> bool:
        """See `MetaRead`."""
        return False

    def change(self) -> None:
        """See `MetaRead`."""
        raise NotImplementedError

    def answer(self, item: bytes | None) -> bytes:
        """The reply. `item`: as it was read."""
        raise NotImplementedError

    def done(self, outcome: ReadOutcome) -> None:
        """The outcome of the read, and of the write that it may have become."""
        conversation, read = self.conversation, self.read
        size = 0
        if isinstance(outcome, Failure):
            data = conversation.context.failed(outcome)
        else:
            item = self.shown(outcome[0])
            if item is not None and item[0] & PIECES:
                self._open(outcome[0], item)
                return
            data = self.answer(outcome[0])
            if read is not None and read.target and outcome[0] is not None:
                size = len(outcome[0])  # It has come from another node, whatever is shown of it.
        end_read(self.lane, self.first, read)
        if self.is_touch and isinstance(outcome, Failure):
            self.replies.give_back(self.reserved)  # It tells nothing of the value.
        else:
            self._came(max(size, len(data)))
        conversation.order.ended(self.lane, False)
        self.replies.fill(self.slot, data)

    def _came(self, size: int) -> None:
        if self.is_touch:
            self.replies.touched(self.reserved, 1, size)
        else:
            self.replies.came(self.reserved, 1, size)

    def shown(self, item: bytes | None) -> bytes | None:
        """The packed item whose value the reply has; None if it has none."""
        return None

    def _open(self, item: bytes | None, shown: bytes) -> None:
        """The reply has the value of a large item."""
        read = self.read
        assert read is not None
        if self.first is not None:
            self.first.is_unsettled = True

        def opened(stream: ValueStream | Failure | None) -> None:
            conversation, replies = self.conversation, self.replies
            if stream is None and read.result is None:
                self.start(conversation.coordinator.deadline_ns())
                return
            if stream is None:
                stream = Failure(VALUE_GONE, outcome_known=False)
            end_read(self.lane, self.first, read)
            conversation.order.ended(self.lane, False)
            if isinstance(stream, Failure):
                data = conversation.context.failed(stream)
            else:
                data = self.answer(item)
            self._came(len(data))
            fill_meta_hit(replies, self.slot, data, stream)

        self.open_value(self.lane.group_id, self.key, shown, read.target, opened)


def touch_ended(replies: Replies, reserved: int, outcome: WriteOutcome) -> None:
    """A write that brings a value, and had `reserved` room for it, has this outcome."""
    if isinstance(outcome, Failure):
        replies.give_back(reserved)  # It tells nothing of the value.
    else:
        item = shown_item(outcome)
        replies.touched(reserved, 1, 0 if item is None else len(item))


def fill_meta_hit(replies: Replies, slot: Slot, data: bytes, stream: ValueStream | Failure) -> None:
    """Complete the reply to an `mg` of a large item. `data`: as rendered of the item, so with the
    number of the value in place of the value, if it has one at all.
    """
    if isinstance(stream, Failure):
        replies.fill(slot, data)
    elif data.startswith(b"VA "):
        fill_with_stream(replies, slot, data[:-VALUE_ID_BYTES], stream, b"\r\n")
    else:
        stream.close()
        replies.fill(slot, data)


class MetaGetting(MetaRetrieval):
    """`mg`."""

    __slots__ = ("request",)

    def __init__(self, conversation: Conversation, lane: GroupLane, request: MetaGet) -> None:
        super().__init__(conversation, lane, request.key, request.exptime is not None)
        self.request = request

    def asks(self) -> int:
        return meta_get_asks(self.request)

    def needs_change(self, item: bytes | None) -> bool:
        request = self.request
        if item is None:
            return request.vivify is not None
        bits = item[0]
        if request.exptime is not None or bits & (STALE | WON) == STALE:
            return True
        if request.recache is None or bits & WON or not bits & ENDS:
            return False
        now_ms, wall_ms = self.conversation.coordinator.serving.times(self.lane.group_id)
        return is_below(expires_at_ms(item), request.recache, now_ms, wall_ms)

    def change(self) -> None:
        read = self.read
        assert read is not None
        coordinator = self.conversation.coordinator
        request = self.request
        coordinator.write(
            self.lane.group_id,
            OP_META_GET,
            request.key,
            meta_get_args(request),
            len(request.key),
            self._changed,
            None,
            None,
            read.deadline_ns,
        )

    def _changed(self, outcome: WriteOutcome) -> None:
        read = self.read
        assert read is not None
        read.changed(outcome)

    def shown(self, item: bytes | None) -> bytes | None:
        if not self.request.with_value:
            return None
        read = self.read
        assert read is not None
        return item if read.result is None else shown_item(read.result)

    def answer(self, item: bytes | None) -> bytes:
        read = self.read
        assert read is not None
        result = read.result
        if result is None:
            found: Result = NOT_FOUND
            if item is not None:
                found = (META_HIT, item[1:9] + item)
            return render_get(self.conversation, self.lane.group_id, self.request, found, read.hint)
        return render_get(self.conversation, self.lane.group_id, self.request, result, read.hint)


class MetaDebugging(MetaRetrieval):
    """`me`."""

    __slots__ = ("reply",)

    def __init__(self, conversation: Conversation, lane: GroupLane, request: MetaDebug) -> None:
        super().__init__(conversation, lane, request.key)
        self.reply = request.reply

    def asks(self) -> int:
        return ASKS_HINT | NO_BUMP

    def answer(self, item: bytes | None) -> bytes:
        if item is None:
            return meta_miss(self.reply)
        read = self.read
        assert read is not None
        was_hit, idle_s = read.hint or _NO_HINT
        now_ms, _ = self.conversation.coordinator.serving.times(self.lane.group_id)
        size = item_cost(self.key, item)
        return meta_debug(self.reply, item, now_ms, bool(was_hit), idle_s, size)


def render_get(
    conversation: Conversation, group_id: int, request: MetaGet, result: Result, hint: Hint | None
) -> bytes:
    """The reply to an `mg`, and its counting, by the result of OP_META_GET."""
    counters = conversation.counters
    code, carried = parts_of(result)
    is_hit = code in (META_HIT, META_WON, META_MADE)
    events = conversation.context.events
    if events.is_on:
        item = carried[OLD_END:] if is_hit else None
        events.fetched(conversation.number, request.key, item, is_meta=True)
    if request.exptime is not None:
        counters.touch_hits += is_hit
        counters.touch_misses += not is_hit
    else:
        counters.get_hits += is_hit
        counters.get_misses += not is_hit
    if is_hit:
        counters.total_items += code == META_MADE
        # What N has made was not used, whatever the read before has found.
        was_hit, idle_s = _NO_HINT if hint is None or code == META_MADE else hint
        now_ms, _ = conversation.coordinator.serving.times(group_id)
        return meta_hit(
            request,
            carried[OLD_END:],
            now_ms,
            int.from_bytes(carried[:OLD_END], "big"),
            code == META_MADE,
            code != META_HIT,
            bool(was_hit),
            idle_s,
        )
    if code in (NOT_FOUND, OUT_OF_MEMORY):  # As memcached: what cannot be made stays a miss.
        return meta_miss(request.reply)
    return render(result)


def parts_of(result: Result) -> tuple[int, bytes]:
    """The code of a result, and the bytes that it carries, if it does."""
    if type(result) is int:
        return result, b""
    assert type(result) is tuple
    code, carried = result
    return code, carried if type(carried) is bytes else b""
