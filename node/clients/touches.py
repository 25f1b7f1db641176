"""gat and gats that are under way: retrievals in windows (`windows.py`) whose keys are touched."""

from __future__ import annotations

from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.order import GroupLane
from quorumcache.node.clients.slots import ValueStream
from quorumcache.node.clients.windows import Windows
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.operation import Write, WriteOutcome
from quorumcache.node.protocol.requests import GetAndTouch
from quorumcache.node.protocol.responses import value_line
from quorumcache.node.store.commands import OP_GAT
from quorumcache.node.store.item import PIECES
from quorumcache.node.store.results import carried_item


class MultiTouch(Windows):
    """gat and gats: one write per key."""

    is_touch = True

    def __init__(
        self, conversation: Conversation, request: GetAndTouch, is_alone: bool = False
    ) -> None:
        super().__init__(conversation, request.keys, is_alone)
        self.exptime = request.exptime
        self.with_cas = request.with_cas
        self.opened: dict[int, ValueStream] = {}
        """The values of large items, by their places in the window."""
        self.items: list[bytes | None] = []
        """What the keys of the window hold."""
        self.failure: Failure | None = None
        self.some_done = False
        """A key was touched, or found missing: the whole cannot be "not done" any more."""

    def _begin(self) -> None:
        self.items = [None] * len(self.window)
        self.pending = len(self.window)
        for place, key in enumerate(self.window):
            self._touch(place, key)

    def _touch(self, place: int, key: bytes) -> None:
        order = self.conversation.order
        lane = order.lane_of(self.conversation.context.group_of(key))
        order.begin(lane, True, _Touch(self, lane, place, key).start)

    def touched(
        self, lane: GroupLane, place: int, outcome: WriteOutcome, write: Write | None
    ) -> None:
        """The outcome of the write of a key; None: of one that has ended at once."""
        order = self.conversation.order
        if isinstance(outcome, Failure):
            if self.failure is None or self.failure.outcome_known:
                self.failure = outcome
        else:
            self.some_done = True
            order.answered(lane)
            item = self.items[place] = carried_item(outcome)
            if item is not None and item[0] & PIECES:
                order.ended(lane, True)
                source = write.target if write is not None else 0
                self._open(lane.group_id, place, item, source)
                return
        order.ended(lane, True)
        self._one_ended()

    def _open(self, group_id: int, place: int, item: bytes, source: int) -> None:
        key = self.window[place]

        def opened(stream: ValueStream | Failure | None) -> None:
            if stream is None:
                self._touch(place, key)  # It was replaced at once: touch what is there now.
                return
            if isinstance(stream, Failure):
                self.failure = stream
            elif place in self.opened:
                stream.close()
            else:
                self.opened[place] = stream
            self._one_ended()

        self.open_value(group_id, key, item, source, opened)

    def _window_ended(self) -> None:
        failure = self.failure
        opened, self.opened = self.opened, {}
        if failure is not None:
            for stream in opened.values():
                stream.close()
            if self.some_done:
                failure = Failure(failure.why, outcome_known=False)
            self._fail(failure)
            return
        conversation = self.conversation
        counters = conversation.counters
        events = conversation.context.events
        pieces = self.slot.pieces
        size = 0
        for place, (key, item) in enumerate(zip(self.window, self.items, strict=True)):
            if events.is_on:
                events.fetched(conversation.number, key, item)
            if item is None:
                counters.touch_misses += 1
                continue
            counters.touch_hits += 1
            if item[0] & PIECES:
                size += self.add_large(key, item, self.with_cas, opened[place])
            else:
                line = value_line(key, item, self.with_cas)
                pieces.append(line)
                size += len(line)
        self.items = []
        self._go_on(size)


class _Touch:
    """The write of one key; an object for the reason of `_GroupRead` in `retrievals.py`."""

    __slots__ = ("key", "lane", "of", "place", "write")

    def __init__(self, of: MultiTouch, lane: GroupLane, place: int, key: bytes) -> None:
        self.of = of
        self.lane = lane
        self.place = place
        self.key = key
        self.write: Write | None = None

    def start(self, deadline_ns: int) -> None:
        """Write it, in its lane."""
        of, lane, key = self.of, self.lane, self.key
        started = of.conversation.coordinator.write(
            lane.group_id,
            OP_GAT,
            key,
            (of.exptime,),
            len(key),
            self.done,
            lane.last_write,
            None,
            deadline_ns,
        )
        if not started.finished:
            self.write = lane.last_write = started

    def done(self, outcome: WriteOutcome) -> None:
        """The outcome."""
        write, self.write = self.write, None
        self.lane.ended_write(write)
        self.of.touched(self.lane, self.place, outcome, write)
