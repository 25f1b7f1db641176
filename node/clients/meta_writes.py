"""Meta commands that are writes from the start: what `writes.py` is for the classic ones."""

from __future__ import annotations

from typing import Any, Final

from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.meta_requests import (
    VALUE_GONE,
    fill_meta_hit,
    parts_of,
    render_get,
    touch_ended,
)
from quorumcache.node.clients.order import GroupLane
from quorumcache.node.clients.slots import Slot, ValueStream
from quorumcache.node.clients.value_streams import open_stream
from quorumcache.node.clients.writes import PendingWrite
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.numbering import WriteId
from quorumcache.node.operations.operation import WriteOutcome
from quorumcache.node.protocol.meta_replies import (
    DONE,
    meta_counted,
    meta_status,
    meta_stored,
)
from quorumcache.node.protocol.meta_replies import EXISTS as EXISTS_CODE
from quorumcache.node.protocol.meta_replies import MISSING as MISSING_CODE
from quorumcache.node.protocol.meta_replies import NOT_STORED as NOT_STORED_CODE
from quorumcache.node.protocol.requests import (
    MetaArithmetic,
    MetaDelete,
    MetaGet,
    MetaSet,
    RefusedMetaSet,
)
from quorumcache.node.protocol.responses import OUT_OF_MEMORY_LINE, render
from quorumcache.node.state_machine import Result
from quorumcache.node.store.commands import (
    COMMANDS,
    OP_APPEND,
    OP_DELETE,
    OP_META_ARITHMETIC,
    OP_META_DELETE,
    OP_META_SET,
    OP_PREPEND,
    OP_REPLACE,
    OP_SET,
)
from quorumcache.node.store.item import (
    ITEM_DATA,
    PIECES,
    cas_unique,
    expires_at_ms,
)
from quorumcache.node.store.results import (
    DELETED,
    EXISTS,
    META_COUNTED,
    META_MARKED,
    META_NUMBER_MADE,
    META_STORED,
    NOT_FOUND,
    NOT_STORED,
    NUMBER,
    OLD_END,
    OUT_OF_MEMORY,
    STORED,
    shown_item,
)

_STATUSES: Final[dict[int, str]] = {
    STORED: "stored",
    META_STORED: "stored",
    NOT_STORED: "not_stored",
    EXISTS: "exists",
    NOT_FOUND: "not_found",
}
"""Words of `watch` for what became of an `ms`."""


class MetaWrite(PendingWrite):
    """A meta command that is a write from the start, from its lane to its reply."""

    __slots__ = ("request", "reserved", "stream")

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
        self.stream: ValueStream | None = None
        """The value of the large item that the reply has."""
        brings_value = isinstance(request, MetaGet) and request.with_value
        self.reserved = conversation.replies.reserve(1, True) if brings_value else 0

    def done(self, outcome: WriteOutcome) -> None:
        """The outcome of the write."""
        item = None if isinstance(outcome, Failure) else shown_item(outcome)
        if item is None or not item[0] & PIECES or not self.request.with_value:
            self._finish(outcome)
            return

        def opened(stream: ValueStream | Failure | None) -> None:
            if stream is None:
                self._finish(Failure(VALUE_GONE, outcome_known=False))
            elif isinstance(stream, Failure):
                self._finish(Failure(stream.why, outcome_known=False))
            else:
                self.stream = stream
                self._finish(outcome)

        conversation, group_id = self.conversation, self.lane.group_id
        place = (conversation.context, conversation.replies, group_id, self.key)
        open_stream(*place, item, self.source, opened)

    def _finish(self, outcome: WriteOutcome) -> None:
        if self.reserved:
            touch_ended(self.conversation.replies, self.reserved, outcome)
        super().done(outcome)

    def _fill(self, data: bytes) -> None:
        if self.stream is None or self.slot is None:
            super()._fill(data)
        else:
            fill_meta_hit(self.conversation.replies, self.slot, data, self.stream)

    def _tell(self, outcome: WriteOutcome) -> None:
        if isinstance(outcome, Failure):
            return
        events, number = self.conversation.context.events, self.conversation.number
        code, request = parts_of(outcome)[0], self.request
        if self.asked == OP_META_SET:
            is_cas = request.compare is not None and request.mode in (OP_SET, OP_REPLACE)
            status = _STATUSES.get(code, "no_memory")
            if code == NOT_FOUND and not is_cas:
                status = "no_memory"
            word = "cas" if is_cas else COMMANDS[request.mode].name
            size = _value_bytes(request, b"")
            exptime = request.exptime or 0
            events.stored(number, word, self.key, status, exptime, size, is_meta=True)
        elif self.asked == OP_META_DELETE:
            events.deleted("md", self.key, code == DELETED)

    def _render(self, result: Any) -> bytes:
        op = self.asked
        if op == OP_META_SET:
            return self._render_set(self.request, result)
        if op == OP_META_DELETE:
            return self._render_delete(self.request, result)
        if op == OP_META_ARITHMETIC:
            return self._render_count(self.request, result)
        return render_get(self.conversation, self.lane.group_id, self.request, result, None)

    def _render_set(self, request: MetaSet, result: Result) -> bytes:
        counters = self.conversation.counters
        code, carried = parts_of(result)
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
        code, carried = parts_of(result)
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


class RefusedMetaWrite(PendingWrite):
    """The delete that stands for an `ms` that is too large. If it is the repetition of one that a
    node with a larger limit has executed, its client hears what came of that.
    """

    __slots__ = ("request",)

    def __init__(
        self,
        conversation: Conversation,
        slot: Slot | None,
        lane: GroupLane,
        request: RefusedMetaSet,
        identity: WriteId | None,
    ) -> None:
        key, size, reply = request.key, len(request.key), request.answer
        # Not from a tuple: mypyc hands a starred one on as a single argument.
        super().__init__(conversation, slot, lane, OP_DELETE, key, (), size, reply, identity)
        self.request = request

    def _render(self, result: Any) -> bytes:
        request = self.request
        code, carried = parts_of(result)
        size = _stored_bytes(carried) if carried else request.value_bytes
        if code in (STORED, META_STORED):
            unique = cas_unique(carried) if carried else 0
            return meta_stored(request.reply, DONE, unique, size)
        if code == NOT_STORED:
            return meta_stored(request.reply, NOT_STORED_CODE, 0, size)
        return request.answer


def _stored_bytes(carried: bytes) -> int:
    """Length of the value of a stored item whose header was carried."""
    space = carried.index(b" ", ITEM_DATA + 1)
    return int(carried[space + 1 : carried.index(b"\r\n", space)])


def _value_bytes(request: MetaSet, carried: bytes) -> int:
    """Length of the value: of the stored item, if its header was carried; else of the request."""
    if carried:
        return _stored_bytes(carried)
    data = request.data
    if request.mode in (OP_APPEND, OP_PREPEND):
        return len(data)
    return int(data[data.index(b" ", 1) + 1 : data.index(b"\r\n")])
