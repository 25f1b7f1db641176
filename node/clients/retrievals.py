"""Retrievals of a client connection that are under way: get, gets, gat, gats.

Each takes its place in the order of replies when it is made, starts its operations at the
coordinator, and fills its place when they have ended. One of many keys goes in windows, so that it
holds only so many answers at a time, and runs alone (`MemcachedConnection.alone`): what is sent
behind it must not be seen by its later windows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.operation import (
    Read,
    ReadOutcome,
    ReplyRoom,
    Write,
    WriteOutcome,
)
from quorumcache.node.protocol.requests import GetAndTouch
from quorumcache.node.protocol.responses import END_LINE, value_line
from quorumcache.node.store.commands import OP_GAT
from quorumcache.node.store.item import ITEM_DATA
from quorumcache.node.store.results import ITEM

if TYPE_CHECKING:
    from quorumcache.node.clients.connection import MemcachedConnection

WINDOW_KEYS: Final = 64
"""Keys of one retrieval that are looked up, or touched, at a time."""

COPY_BYTES_MAX: Final = 4096
"""Values up to this size are copied out of their item; larger ones are referred to."""


class SingleGet(ReplyRoom):
    """get and gets of one key that could not be answered on the spot."""

    __slots__ = (
        "connection",
        "group_id",
        "keys",
        "read",
        "reserved",
        "slot",
        "staleness_ns",
        "with_cas",
    )

    def __init__(
        self,
        connection: MemcachedConnection,
        group_id: int,
        keys: tuple[bytes, ...],
        with_cas: bool,
    ) -> None:
        self.connection = connection
        self.group_id = group_id
        self.keys = keys
        self.with_cas = with_cas
        self.read: Read | None = None
        self.staleness_ns = connection.staleness_ns
        slot = connection.take_slot()
        assert slot is not None
        self.slot = slot
        self.reserved = connection.reserve(1)

    def start(self, deadline_ns: int) -> None:
        """Read it, in its lane."""
        connection = self.connection
        coordinator = connection.server.coordinator
        if self.staleness_ns:  # Such reads have no order among each other.
            coordinator.read(
                self.group_id, self.keys, self.done, None, self.staleness_ns, self, deadline_ns
            )
            return
        last = connection.last_read
        before = last.get(self.group_id)
        read = coordinator.read(self.group_id, self.keys, self.done, before, 0, self, deadline_ns)
        if not read.finished:
            self.read = last[self.group_id] = read

    def has_room(self) -> bool:
        """For `ReplyRoom`."""
        return self.connection.has_room(self.slot)

    def is_waiting(self) -> bool:
        """For `ReplyRoom`."""
        return self.connection.has_parked

    def park(self, read: Read) -> None:
        """For `ReplyRoom`."""
        self.connection.park(self.slot, read)

    def done(self, outcome: ReadOutcome) -> None:
        connection = self.connection
        if self.read is not None and connection.last_read.get(self.group_id) is self.read:
            del connection.last_read[self.group_id]
        counters = connection.server.counters
        if isinstance(outcome, Failure):
            data = connection.server.failed(outcome)
        else:
            item = outcome[0]
            if item is None:
                counters.get_misses += 1
                data = END_LINE
            else:
                counters.get_hits += 1
                data = value_line(self.keys[0], item, self.with_cas) + END_LINE
        connection.came(self.reserved, 1, len(data))
        connection.lane_ended(self.group_id, False)
        connection.fill(self.slot, data)


class Windows(ReplyRoom):
    """A retrieval of any number of keys over any number of shards, a window of keys at a time."""

    def __init__(self, connection: MemcachedConnection, keys: tuple[bytes, ...]) -> None:
        self.connection = connection
        self.keys = keys
        slot = connection.take_slot()
        assert slot is not None
        self.slot = slot
        self.position = 0
        """First key of the window under way."""
        self.window: tuple[bytes, ...] = ()
        self.pending = 0
        """Operations of the window that have not ended."""
        self.reserved = 0
        """Room made for the answers of the window under way."""

    def start(self) -> None:
        """Begin the next window."""
        self.window = self.keys[self.position : self.position + WINDOW_KEYS]
        self.reserved = self.connection.reserve(len(self.window))
        self._begin()

    def has_room(self) -> bool:
        """For `ReplyRoom`. Answers of its own window do not count yet, so that it ends."""
        return self.connection.has_room(self.slot)

    def is_waiting(self) -> bool:
        """For `ReplyRoom`."""
        return self.connection.has_parked

    def park(self, read: Read) -> None:
        """For `ReplyRoom`."""
        self.connection.park(self.slot, read)

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

    def _go_on(self, size: int) -> None:
        """The window's lines, of so many bytes, are in the slot."""
        connection = self.connection
        connection.came(self.reserved, len(self.window), size)
        connection.reply_bytes += size
        self.position += len(self.window)
        if self.position < len(self.keys):
            connection.release()
            connection.unfinished = self
            connection.schedule_pump()
        else:
            self._finish(END_LINE)

    def _fail(self, failure: Failure) -> None:
        self.connection.came(self.reserved, 1, 0)
        self._finish(self.connection.server.failed(failure))

    def _finish(self, line: bytes) -> None:
        if len(self.keys) > WINDOW_KEYS:
            self.connection.barrier = False
        self.connection.fill(self.slot, line)


class MultiGet(Windows):
    """get and gets: one read per group, each in its lane."""

    def __init__(
        self, connection: MemcachedConnection, keys: tuple[bytes, ...], with_cas: bool
    ) -> None:
        super().__init__(connection, keys)
        self.with_cas = with_cas
        self.staleness_ns = connection.staleness_ns
        self.found: dict[bytes, bytes | None] = {}
        self.failure: Failure | None = None

    def _begin(self) -> None:
        connection = self.connection
        by_group: dict[int, dict[bytes, None]] = {}
        for key in self.window:
            by_group.setdefault(connection.server.group_of(key), {})[key] = None
        self.pending = len(by_group)
        for group_id, keys in by_group.items():
            self._read(group_id, tuple(keys))

    def _read(self, group_id: int, keys: tuple[bytes, ...]) -> None:
        connection = self.connection
        last = connection.last_read
        read: Read | None = None

        def done(outcome: ReadOutcome) -> None:
            if read is not None and last.get(group_id) is read:
                del last[group_id]
            if isinstance(outcome, Failure):
                self.failure = outcome
            else:
                self.found.update(zip(keys, outcome, strict=True))
            connection.lane_ended(group_id, False)
            self._one_ended()

        def start(deadline_ns: int) -> None:
            nonlocal read
            coordinator = connection.server.coordinator
            if self.staleness_ns:
                coordinator.read(group_id, keys, done, None, self.staleness_ns, self, deadline_ns)
                return
            started = coordinator.read(
                group_id, keys, done, last.get(group_id), 0, self, deadline_ns
            )
            if not started.finished:
                read = last[group_id] = started

        connection.in_lane(group_id, False, start)

    def _window_ended(self) -> None:
        if self.failure is not None:
            self._fail(self.failure)
            return
        pieces = self.slot.pieces
        hits = size = 0
        for key in self.window:
            item = self.found[key]
            if item is None:
                continue
            hits += 1
            if self.with_cas:
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
        counters = self.connection.server.counters
        counters.get_hits += hits
        counters.get_misses += len(self.window) - hits
        self.found.clear()
        self._go_on(size)


class MultiTouch(Windows):
    """gat and gats: one write per key."""

    def __init__(self, connection: MemcachedConnection, request: GetAndTouch) -> None:
        super().__init__(connection, request.keys)
        self.exptime = request.exptime
        self.with_cas = request.with_cas
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
        connection = self.connection
        group_id = connection.server.group_of(key)
        last = connection.last_write
        write: Write | None = None

        def done(outcome: WriteOutcome) -> None:
            if write is not None and last.get(group_id) is write:
                del last[group_id]
            if isinstance(outcome, Failure):
                if self.failure is None or self.failure.outcome_known:
                    self.failure = outcome
            else:
                self.some_done = True
                if type(outcome) is tuple and outcome[0] == ITEM:
                    assert isinstance(outcome[1], bytes)
                    self.items[place] = outcome[1]
            connection.lane_ended(group_id, True)
            self._one_ended()

        def start(deadline_ns: int) -> None:
            nonlocal write
            started = connection.server.coordinator.write(
                group_id,
                OP_GAT,
                key,
                (self.exptime,),
                len(key),
                done,
                last.get(group_id),
                None,
                deadline_ns,
            )
            if not started.finished:
                write = last[group_id] = started

        connection.in_lane(group_id, True, start)

    def _window_ended(self) -> None:
        failure = self.failure
        if failure is not None:
            if self.some_done:
                failure = Failure(failure.why, outcome_known=False)
            self._fail(failure)
            return
        counters = self.connection.server.counters
        pieces = self.slot.pieces
        size = 0
        for key, item in zip(self.window, self.items, strict=True):
            if item is None:
                counters.touch_misses += 1
            else:
                counters.touch_hits += 1
                line = value_line(key, item, self.with_cas)
                pieces.append(line)
                size += len(line)
        self.items = []
        self._go_on(size)
