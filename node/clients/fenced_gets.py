"""get and gets of one key behind a `cluster fence`.

Such a read goes through the log: who reads under a token what it is going to change has the shard
note the token first, so that an older holder changes nothing after it.
"""

from __future__ import annotations

from typing import Any, Final

from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.meta_requests import touch_ended
from quorumcache.node.clients.order import GroupLane
from quorumcache.node.clients.slots import Slot, ValueStream
from quorumcache.node.clients.value_streams import fill_with_stream, open_stream
from quorumcache.node.clients.writes import PendingWrite
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.operation import WriteOutcome
from quorumcache.node.protocol.requests import Get
from quorumcache.node.protocol.responses import END_LINE, value_head, value_line
from quorumcache.node.store.commands import OP_META_GET
from quorumcache.node.store.item import PIECES
from quorumcache.node.store.results import shown_item

PLAIN_GET_ARGS: Final = (b"vg", 0, 0, 0, 0)
"""Of an OP_META_GET that shows what a get shows, and takes no win."""

VALUE_GONE: Final = "the value was replaced before it could be sent"


class FencedGet(PendingWrite):
    """From its lane to its reply."""

    __slots__ = ("reserved", "stream", "with_cas")

    def __init__(
        self, conversation: Conversation, slot: Slot, lane: GroupLane, key: bytes, with_cas: bool
    ) -> None:
        args = PLAIN_GET_ARGS
        super().__init__(conversation, slot, lane, OP_META_GET, key, args, len(key), None)
        self.with_cas = with_cas
        self.stream: ValueStream | None = None
        """The value of the large item that the reply has."""
        self.reserved = conversation.replies.reserve(1, True)

    def done(self, outcome: WriteOutcome) -> None:
        """The outcome of the write."""
        item = None if isinstance(outcome, Failure) else shown_item(outcome)
        if item is None or not item[0] & PIECES:
            self._finish(outcome)
            return

        def opened(stream: ValueStream | Failure | None) -> None:
            if stream is None:
                # It may be read again: what the fence was to note is noted.
                self._finish(Failure(VALUE_GONE, outcome_known=True))
            elif isinstance(stream, Failure):
                self._finish(stream)
            else:
                self.stream = stream
                self._finish(outcome)

        conversation, group_id = self.conversation, self.lane.group_id
        place = (conversation.context, conversation.replies, group_id, self.key)
        open_stream(*place, item, self.source, opened)

    def _finish(self, outcome: WriteOutcome) -> None:
        touch_ended(self.conversation.replies, self.reserved, outcome)
        super().done(outcome)

    def _fill(self, data: bytes) -> None:
        if self.stream is None or self.slot is None:
            super()._fill(data)
        else:
            replies = self.conversation.replies
            fill_with_stream(replies, self.slot, data, self.stream, b"\r\n" + END_LINE)

    def _tell(self, outcome: WriteOutcome) -> None:
        if not isinstance(outcome, Failure):
            conversation = self.conversation
            events = conversation.context.events
            events.fetched(conversation.number, self.key, shown_item(outcome))

    def _render(self, result: Any) -> bytes:
        counters = self.conversation.counters
        item = shown_item(result)
        if item is None:
            counters.get_misses += 1
            return END_LINE
        counters.get_hits += 1
        if item[0] & PIECES:
            return value_head(self.key, item, self.with_cas)
        return value_line(self.key, item, self.with_cas) + END_LINE


def fenced_get(conversation: Conversation, request: Get) -> None:
    """get and gets of one key, whose fence is the conversation's."""
    (key,) = request.keys
    if conversation.settings.redirect and conversation.redirected((key,), False):
        return
    conversation.counters.cmd_get += 1
    order = conversation.order
    lane = order.lane_of(conversation.context.group_of(key))
    slot = conversation.replies.take_slot()
    assert slot is not None
    order.begin(lane, True, FencedGet(conversation, slot, lane, key, request.with_cas).start)
