"""Meta commands of a client that are under way: what `retrievals.py` and `writes.py` are for the
classic ones.

An `mg` is a read, which becomes a write of the log when what it finds has to be changed
(`operations/meta_read.py`). An `mg` that changes the item of every hit (T), or that has an identity
of its client's, is a write from the start, as `ms`, `md` and `ma` are.
"""

from __future__ import annotations

from typing import Any, Final

from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.meta_args import meta_get_args, meta_get_asks
from quorumcache.node.clients.order import GroupLane
from quorumcache.node.clients.replies import Slot
from quorumcache.node.clients.retrievals import Retrieval
from quorumcache.node.clients.writes import PendingWrite
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.meta_read import ASKS_HINT, NO_BUMP, Hint, MetaRead
from quorumcache.node.operations.numbering import WriteId
from quorumcache.node.operations.operation import ReadOutcome, WriteOutcome
from quorumcache.node.protocol.meta_replies import (
    DONE,
    meta_counted,
    meta_debug,
    meta_hit,
    meta_miss,
    meta_status,
    meta_stored,
)
from quorumcache.node.protocol.meta_replies import EXISTS as EXISTS_CODE
from quorumcache.node.protocol.meta_replies import MISSING as MISSING_CODE
from quorumcache.node.protocol.meta_replies import NOT_STORED as NOT_STORED_CODE
from quorumcache.node.protocol.requests import (
    MetaArithmetic,
    MetaDebug,
    MetaDelete,
    MetaGet,
    MetaSet,
)
from quorumcache.node.protocol.responses import OUT_OF_MEMORY_LINE, render
from quorumcache.node.state_machine import Result
from quorumcache.node.store.commands import (
    COMMANDS,
    OP_APPEND,
    OP_META_ARITHMETIC,
    OP_META_DELETE,
    OP_META_GET,
    OP_META_SET,
    OP_PREPEND,
    OP_REPLACE,
    OP_SET,
)
from quorumcache.node.store.exptime import is_below
from quorumcache.node.store.item import (
    ENDS,
    ITEM_DATA,
    STALE,
    WON,
    cas_unique,
    expires_at_ms,
    item_cost,
)
from quorumcache.node.store.results import (
    DELETED,
    EXISTS,
    META_COUNTED,
    META_HIT,
    META_MADE,
    META_MARKED,
    META_NUMBER_MADE,
    META_STORED,
    META_WON,
    NOT_FOUND,
    NOT_STORED,
    NUMBER,
    OLD_END,
    OUT_OF_MEMORY,
    STORED,
)

NEEDS_UPGRADE: Final = (
    "some nodes do not know the meta commands that change items: finish the upgrade"
)

_NO_HINT: Final[Hint] = (0, 0)

_STATUSES: Final[dict[int, str]] = {
    STORED: "stored",
    META_STORED: "stored",
    NOT_STORED: "not_stored",
    EXISTS: "exists",
    NOT_FOUND: "not_found",
}
"""Words of `watch` for what became of an `ms`."""


class MetaRetrieval(Retrieval):
    """What `mg` and `me` have in common: a read of one key in its lane."""

    __slots__ = ("key", "lane", "read", "reserved", "staleness_ns")

    def __init__(self, conversation: Conversation, lane: GroupLane, key: bytes) -> None:
        super().__init__(conversation)
        self.lane = lane
        self.key = key
        self.read: MetaRead | None = None
        self.staleness_ns = conversation.settings.staleness_ns
        self.reserved = self.replies.reserve(1)

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
        if not staleness_ns:  # Others have no order among each other.
            read.after = lane.last_read
        coordinator.begin(read, deadline_ns != 0)
        if not staleness_ns and not read.finished:
            lane.last_read = read

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
        conversation = self.conversation
        self.lane.ended_read(self.read)
        if isinstance(outcome, Failure):
            data = conversation.context.failed(outcome)
        else:
            data = self.answer(outcome[0])
        self.replies.came(self.reserved, 1, len(data))
        conversation.order.ended(self.lane, False)
        self.replies.fill(self.slot, data)


class MetaGetting(MetaRetrieval):
    """`mg`."""

    __slots__ = ("request",)

    def __init__(self, conversation: Conversation, lane: GroupLane, request: MetaGet) -> None:
        super().__init__(conversation, lane, request.key)
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
        if not coordinator.host.may_use_new_ops:
            read.changed(Failure(NEEDS_UPGRADE, outcome_known=True))
            return
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
    code, carried = _parts(result)
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
        was_hit, idle_s = hint or _NO_HINT
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


def _parts(result: Result) -> tuple[int, bytes]:
    """The code of a result, and the bytes that it carries, if it does."""
    if type(result) is int:
        return result, b""
    assert type(result) is tuple
    code, carried = result
    return code, carried if type(carried) is bytes else b""


class MetaWrite(PendingWrite):
    """A meta command that is a write from the start, from its lane to its reply."""

    __slots__ = ("request",)

    def __init__(
        self,
        conversation: Conversation,
        slot: Slot | None,
        lane: GroupLane,
        op: int,
        request: MetaGet | MetaSet | MetaDelete | MetaArithmetic,
        args: tuple[object, ...],
        size: int,
        identity: WriteId | None,
    ) -> None:
        super().__init__(conversation, slot, lane, op, request.key, args, size, None, identity)
        self.request: Any = request

    def _tell(self, outcome: WriteOutcome) -> None:
        if isinstance(outcome, Failure):
            return
        events, number = self.conversation.context.events, self.conversation.number
        code, request = _parts(outcome)[0], self.request
        if self.op == OP_META_SET:
            is_cas = request.compare is not None and request.mode in (OP_SET, OP_REPLACE)
            status = _STATUSES.get(code, "no_memory")
            if code == NOT_FOUND and not is_cas:
                status = "no_memory"
            word = "cas" if is_cas else COMMANDS[request.mode].name
            size = _value_bytes(request, b"")
            exptime = request.exptime or 0
            events.stored(number, word, self.key, status, exptime, size, is_meta=True)
        elif self.op == OP_META_DELETE:
            events.deleted("md", self.key, code == DELETED)

    def _render(self, result: Any) -> bytes:
        op = self.op
        if op == OP_META_SET:
            return self._render_set(self.request, result)
        if op == OP_META_DELETE:
            return self._render_delete(self.request, result)
        if op == OP_META_ARITHMETIC:
            return self._render_count(self.request, result)
        return render_get(self.conversation, self.lane.group_id, self.request, result, None)

    def _render_set(self, request: MetaSet, result: Result) -> bytes:
        counters = self.conversation.counters
        code, carried = _parts(result)
        is_cas = request.compare is not None and request.mode in (OP_SET, OP_REPLACE)
        reply = request.reply
        if code in (STORED, META_STORED):
            counters.total_items += 1
            counters.cas_hits += is_cas
            unique = cas_unique(carried) if carried else 0
            return meta_stored(reply, DONE, unique, _value_bytes(request, carried))
        if code == EXISTS:
            counters.cas_badval += is_cas
            return meta_stored(reply, EXISTS_CODE, 0, _value_bytes(request, b""))
        if code == NOT_FOUND and is_cas:
            counters.cas_misses += 1
            return meta_stored(reply, MISSING_CODE, 0, _value_bytes(request, b""))
        if code == NOT_STORED:
            return meta_stored(reply, NOT_STORED_CODE, 0, _value_bytes(request, b""))
        if code in (OUT_OF_MEMORY, DELETED, NOT_FOUND):
            # One that is refused for memory runs as a delete (see Serving.submit).
            return OUT_OF_MEMORY_LINE
        return render(result)

    def _render_delete(self, request: MetaDelete, result: Result) -> bytes:
        counters = self.conversation.counters
        reply = request.reply
        if result == DELETED:
            counters.delete_hits += 1
            counters.total_items += request.empties
            return meta_status(reply, DONE)
        if result == META_MARKED:
            return meta_status(reply, DONE)
        if result == NOT_FOUND:
            counters.delete_misses += 1
            return meta_status(reply, MISSING_CODE)
        if result == EXISTS:
            counters.delete_misses += 1
            return meta_status(reply, EXISTS_CODE)
        return render(result)

    def _render_count(self, request: MetaArithmetic, result: Result) -> bytes:
        counters = self.conversation.counters
        code, carried = _parts(result)
        reply = request.reply
        if code in (NUMBER, META_COUNTED, META_NUMBER_MADE):
            is_made = code == META_NUMBER_MADE
            counters.total_items += is_made
            counters.incr_hits += request.increments and not is_made
            counters.decr_hits += not request.increments and not is_made
            with_value = request.with_value
            if code == NUMBER:
                assert type(result) is tuple
                number = result[1]
                assert type(number) is int
                return meta_counted(reply, with_value, number, 0, 0, 0, 0, False)
            item = carried[OLD_END:]
            return meta_counted(
                reply,
                with_value,
                int(item[ITEM_DATA:]),
                cas_unique(item),
                self.conversation.coordinator.serving.times(self.lane.group_id)[0],
                expires_at_ms(item),
                int.from_bytes(carried[:OLD_END], "big"),
                is_made,
            )
        if code == NOT_FOUND:
            counters.incr_misses += request.increments
            counters.decr_misses += not request.increments
            return meta_status(reply, MISSING_CODE)
        if code == EXISTS:
            return meta_status(reply, EXISTS_CODE)
        return OUT_OF_MEMORY_LINE if code == OUT_OF_MEMORY else render(result)


def _value_bytes(request: MetaSet, carried: bytes) -> int:
    """Length of the value: of the stored item, if its header was carried; else of the request."""
    if carried:
        space = carried.index(b" ", ITEM_DATA + 1)
        return int(carried[space + 1 : carried.index(b"\r\n", space)])
    data = request.data
    if request.mode in (OP_APPEND, OP_PREPEND):
        return len(data)
    return int(data[data.index(b" ", 1) + 1 : data.index(b"\r\n")])
