"""Retrievals of a client that are under way: get and gets; `touches.py` has gat and gats.

Each takes its place in the order of replies when it is made, starts its operations at the
coordinator, and fills its place when they have ended. A retrieval of many keys goes in windows, so
that it holds only so many answers at a time (`windows.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.forwarded_gets import read_quickly
from quorumcache.node.clients.order import GroupLane
from quorumcache.node.clients.slots import Slot, ValueStream
from quorumcache.node.clients.value_streams import fill_with_stream
from quorumcache.node.clients.windows import Retrieval, Windows
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.operation import Read, ReadOutcome
from quorumcache.node.operations.read_values import settle
from quorumcache.node.protocol.responses import END_LINE, value_head, value_line, value_start
from quorumcache.node.store.item import ITEM_DATA, PIECES

COPY_BYTES_MAX: Final = 4096
"""Values up to this size are copied out of their item; larger ones are referred to."""

DROPPED: Final = b"\0"
"""In place of an item that there was no room for."""


def end_read(lane: GroupLane, first: Read | None, newest: Read | None) -> None:
    """A retrieval has all of its answer. `first`: its read that later ones of the lane follow."""
    lane.ended_read(first)
    if first is not None and first.is_unsettled:
        settle(first, newest is not first)


class SingleGet(Retrieval):
    """get and gets of one key that could not be answered on the spot."""

    __slots__ = ("first", "keys", "lane", "read", "reserved", "staleness_ns", "with_cas")

    def __init__(
        self,
        conversation: Conversation,
        lane: GroupLane,
        keys: tuple[bytes, ...],
        with_cas: bool,
        slot: Slot | None = None,
    ) -> None:
        super().__init__(conversation, slot)
        self.lane = lane
        self.keys = keys
        self.with_cas = with_cas
        self.first: Read | None = None
        """What later reads of the lane follow."""
        self.read: Read | None = None
        """The newest: the first, or one that was made since its value was gone."""
        self.staleness_ns = conversation.settings.staleness_ns
        self.reserved = self.replies.reserve(1)

    def start(self, deadline_ns: int) -> None:
        """Read it, in its lane."""
        lane = self.lane
        coordinator = self.conversation.coordinator
        if self.staleness_ns:  # Such reads have no order among each other.
            coordinator.read(
                lane.group_id, self.keys, self.done, None, self.staleness_ns, self, deadline_ns
            )
            return
        read = coordinator.read(
            lane.group_id, self.keys, self.done, lane.last_read, 0, self, deadline_ns
        )
        if not read.finished:
            self.first = self.read = lane.last_read = read

    def done(self, outcome: ReadOutcome) -> None:
        """The outcome of the read."""
        conversation, counters = self.conversation, self.conversation.counters
        if isinstance(outcome, Failure):
            data = conversation.context.failed(outcome)
        else:
            item = outcome[0]
            if conversation.context.events.is_on:
                conversation.context.events.fetched(conversation.number, self.keys[0], item)
            if item is None:
                counters.get_misses += 1
                data = END_LINE
            elif item[0] & PIECES:
                self._open(item)
                return
            else:
                counters.get_hits += 1
                head, start = value_start(self.keys[0], item, self.with_cas)
                self._ended(len(item))
                self.replies.fill_item(self.slot, head, item, start)
                return
        self._ended(len(data))
        self.replies.fill(self.slot, data)

    def _ended(self, size: int) -> None:
        """The read has, with so many bytes of a reply."""
        end_read(self.lane, self.first, self.read)
        self.replies.came(self.reserved, 1, size)
        self.conversation.order.ended(self.lane, False)

    def _read_again(self) -> None:
        """The value is gone. Later reads still follow the first one."""
        self.read, coordinator = None, self.conversation.coordinator
        until_ns = coordinator.deadline_ns()
        self.read = coordinator.read(
            self.lane.group_id, self.keys, self.done, None, self.staleness_ns, self, until_ns
        )

    def _open(self, item: bytes) -> None:
        """It is a large item."""
        source = self.read.target if self.read is not None else 0
        if self.first is not None:
            self.first.is_unsettled = True

        def opened(stream: ValueStream | Failure | None) -> None:
            if stream is None:
                self._read_again()
            elif isinstance(stream, Failure):
                self._ended(0)
                self.replies.fill(self.slot, self.conversation.context.failed(stream))
            else:
                self.conversation.counters.get_hits += 1
                head = value_head(self.keys[0], item, self.with_cas)
                self._ended(len(head))
                fill_with_stream(self.replies, self.slot, head, stream, b"\r\n" + END_LINE)

        self.open_value(self.lane.group_id, self.keys[0], item, source, opened)


class MultiGet(Windows):
    """get and gets: one read per group, each in its lane."""

    def __init__(
        self,
        conversation: Conversation,
        keys: tuple[bytes, ...],
        with_cas: bool,
        is_alone: bool = False,
    ) -> None:
        super().__init__(conversation, keys, is_alone)
        self.with_cas = with_cas
        self.staleness_ns = conversation.settings.staleness_ns
        self.found: dict[bytes, bytes | None] = {}
        self.held_bytes = 0
        """Of what was found in the window under way: it counts as replies before it is in any."""
        self.opened: dict[bytes, ValueStream] = {}
        """The values of large items."""
        self.failure: Failure | None = None

    def _begin(self) -> None:
        conversation = self.conversation
        by_group: dict[int, dict[bytes, None]] = {}
        for key in self.window:
            by_group.setdefault(conversation.context.group_of(key), {})[key] = None
        self.pending = len(by_group)
        now_ns = conversation.context.monotonic_ns()
        for group_id, keys in by_group.items():
            if self.staleness_ns or not self._read_quickly(group_id, keys, now_ns):
                order = conversation.order
                order.begin(order.lane_of(group_id), False, self._reader(group_id, tuple(keys)))

    def _read_quickly(self, group_id: int, keys: dict[bytes, None], now_ns: int) -> bool:
        self.pending += len(keys) - 1  # Each ends by itself.
        if read_quickly(self.conversation, self, group_id, keys, now_ns):
            return True
        self.pending -= len(keys) - 1
        return False

    def came(self, key: bytes, item: bytes | None) -> None:
        """For `KeysRead`."""
        self.hold(key, item)
        self._one_ended()

    def has_room(self) -> bool:
        """For `ReplyRoom`. One that runs alone takes what comes, and cuts its window."""
        return self.is_alone or super().has_room()

    def hold(self, key: bytes, item: bytes | None) -> None:
        """What a key of the window has."""
        if item is not None:
            if (
                self.is_alone
                and self.held_bytes >= self.replies.bytes_max
                and key != self.window[0]
                and not item[0] & PIECES
            ):
                item = DROPPED
            self.held_bytes += len(item)
            self.replies.reply_bytes += len(item)
        self.found[key] = item

    def fell_back(self, group_id: int, keys: tuple[bytes, ...]) -> Callable[[int], None]:
        """These keys were asked of another node quickly: what reads them in their lane now."""
        self.pending -= len(keys) - 1
        return self._reader(group_id, keys)

    def _reader(self, group_id: int, keys: tuple[bytes, ...]) -> Callable[[int], None]:
        """Reads these keys, as one operation of the window, when it is called in their lane."""
        lane = self.conversation.order.lane_of(group_id)
        return _GroupRead(self, lane, keys).start

    def ended(self, lane: GroupLane) -> None:
        """The keys of a group are read."""
        self.conversation.order.ended(lane, False)
        self._one_ended()

    def _window_ended(self) -> None:
        opened, self.opened = self.opened, {}
        self.replies.reply_bytes -= self.held_bytes
        self.held_bytes = 0
        if self.failure is not None:
            for stream in opened.values():
                stream.close()
            self._fail(self.failure)
            return
        for position, key in enumerate(self.window):
            if self.found[key] == DROPPED:  # The next window begins with it.
                self.window = self.window[:position]
                break
        pieces = self.slot.pieces
        spare: dict[bytes, ValueStream] = {}
        hits = size = 0
        for key in self.window:
            item = self.found[key]
            if item is None:
                continue
            hits += 1
            if item[0] & PIECES:
                # The client may name a key twice.
                stream = opened.pop(key) if key in opened else spare[key].again()
                spare[key] = stream
                size += self.add_large(key, item, self.with_cas, stream)
            elif self.with_cas:
                line = value_line(key, item, True)
                pieces.append(line)
                size += len(line)
            else:
                pieces.append(b"VALUE " + key)
                if len(item) <= COPY_BYTES_MAX:
                    pieces.append(item[ITEM_DATA:])
                else:
                    pieces.append(memoryview(item)[ITEM_DATA:])
                size += 6 + len(key) + len(item) - ITEM_DATA
        for stream in opened.values():
            stream.close()
        conversation = self.conversation
        if conversation.context.events.is_on:
            for key in self.window:
                conversation.context.events.fetched(conversation.number, key, self.found[key])
        counters = conversation.counters
        counters.get_hits += hits
        counters.get_misses += len(self.window) - hits
        self.found.clear()
        self._go_on(size)


class _GroupRead:
    """The keys of one group in a window. An object and no functions within each other: those would
    refer to themselves, and be there for ever (`process/run.py`, GC_THRESHOLDS).
    """

    __slots__ = ("first", "keys", "lane", "left", "multi_get", "newest")

    def __init__(self, multi_get: MultiGet, lane: GroupLane, keys: tuple[bytes, ...]) -> None:
        self.multi_get = multi_get
        self.lane = lane
        self.keys = keys
        self.first: Read | None = None
        """What later reads of the lane follow."""
        self.newest: Read | None = None
        self.left = 1
        """The read, then the values of large items that are not here."""

    def start(self, deadline_ns: int) -> None:
        """Read them, in their lane."""
        multi_get, lane, keys = self.multi_get, self.lane, self.keys
        coordinator = multi_get.conversation.coordinator
        staleness_ns = multi_get.staleness_ns
        after = None if staleness_ns else lane.last_read
        started = coordinator.read(
            lane.group_id, keys, self.done, after, staleness_ns, multi_get, deadline_ns
        )
        if not staleness_ns and not started.finished:
            self.first = self.newest = lane.last_read = started

    def done(self, outcome: ReadOutcome) -> None:
        """The outcome of the read."""
        if isinstance(outcome, Failure):
            self._fail(outcome)
            return
        for key, item in zip(self.keys, outcome, strict=True):
            self.multi_get.hold(key, item)
            if item is not None and item[0] & PIECES:
                self.left += 1
                self._open(key, item, self.first.target if self.first is not None else 0)
        self._ended()

    def _ended(self) -> None:
        self.left -= 1
        if self.left == 0:
            end_read(self.lane, self.first, self.newest)
            self.first = self.newest = None
            self.multi_get.ended(self.lane)

    def _fail(self, failure: Failure) -> None:
        self.multi_get.failure = failure
        self._ended()

    def _open(self, key: bytes, item: bytes, source: int) -> None:
        if self.first is not None:
            self.first.is_unsettled = True

        def opened(stream: ValueStream | Failure | None) -> None:
            if stream is None:
                _ReadAgain(self, key).start()
            elif isinstance(stream, Failure):
                self._fail(stream)
            else:
                self.multi_get.opened[key] = stream
                self._ended()

        self.multi_get.open_value(self.lane.group_id, key, item, source, opened)

    def came_again(self, key: bytes, outcome: ReadOutcome, source: int) -> None:
        """The outcome of a read of one key whose value was gone."""
        if isinstance(outcome, Failure):
            self._fail(outcome)
            return
        item = outcome[0]
        self.multi_get.hold(key, item)
        if item is not None and item[0] & PIECES:
            self._open(key, item, source)
        else:
            self._ended()


class _ReadAgain:
    """A key whose value was gone when it was wanted."""

    __slots__ = ("key", "of", "read")

    def __init__(self, of: _GroupRead, key: bytes) -> None:
        self.of = of
        self.key = key
        self.read: Read | None = None

    def start(self) -> None:
        """Read it once more. Later reads still follow the first one."""
        of = self.of
        multi_get = of.multi_get
        coordinator = multi_get.conversation.coordinator
        of.newest = None
        self.read = coordinator.read(
            of.lane.group_id,
            (self.key,),
            self.done,
            None,
            multi_get.staleness_ns,
            multi_get,
            coordinator.deadline_ns(),
        )

    def done(self, outcome: ReadOutcome) -> None:
        """The outcome."""
        read, self.read = self.read, None
        self.of.came_again(self.key, outcome, read.target if read is not None else 0)
