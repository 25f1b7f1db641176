"""What those who watch are told: lines as memcached writes them, and no more than they take."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.clients.events import (
    LINES_PER_WINDOW_MAX,
    WATCHERS_MAX,
    WINDOW_NS,
    ClientEvents,
    Watcher,
)
from quorumcache.node.protocol.admin_lines import (
    CONNEVENTS,
    DELETIONS,
    EVICTIONS,
    FETCHERS,
    MUTATIONS,
)
from quorumcache.node.store.commands import (
    OP_APPEND,
    OP_CAS,
    OP_DELETE,
    OP_INCR,
    OP_SET,
)
from quorumcache.node.store.results import (
    DELETED,
    EXISTS,
    NOT_FOUND,
    OUT_OF_MEMORY,
    STORED,
)
from quorumcache.node.telemetry.counters import Counters
from tests.support.fake_server import item

ALL = FETCHERS | MUTATIONS | EVICTIONS | CONNEVENTS | DELETIONS
DATA = b" 0 3\r\nabc\r\n"


class World:
    """Events, and one watcher whose client takes lines while it has room."""

    def __init__(self, kinds: int = ALL) -> None:
        self.now_ns = 0
        self.counters = Counters()
        self.events = ClientEvents(
            self.counters, lambda: self.now_ns, lambda: 1_700_000_000_007 + self.now_ns // 1_000_000
        )
        self.has_room = True
        self.lines: list[bytes] = []
        self.watcher = Watcher(kinds, self._take)
        assert self.events.add(self.watcher)

    def _take(self, line: bytes) -> bool:
        if self.has_room:
            self.lines.append(line)
        return self.has_room

    def told(self) -> list[bytes]:
        """What came after the time and the number, which are checked on the way."""
        told = []
        for number, line in enumerate(self.lines, 1):
            head = b"ts=1700000000.007000 gid=%d " % number
            assert line.startswith(head), line
            assert line.endswith(b"\n")
            told.append(line[len(head) : -1])
        return told


def test_reads() -> None:
    world = World()
    world.events.fetched(7, b"k:\xff~", item(b"value"))
    world.events.fetched(8, b"k", None)
    assert world.told() == [
        b"type=item_get key=k%3A%FF~ status=found clsid=1 cfd=7 size=5",
        b"type=item_get key=k status=not_found clsid=0 cfd=8 size=0",
    ]


@pytest.mark.parametrize(
    ("op", "args", "result", "told"),
    [
        (OP_SET, (DATA, 0), STORED, b"status=stored cmd=set ttl=0 clsid=1 cfd=7 size=3"),
        (OP_SET, (DATA, 100), STORED, b"status=stored cmd=set ttl=100 clsid=1 cfd=7 size=3"),
        (
            OP_SET,
            (DATA, 1_700_000_060),
            STORED,
            b"status=stored cmd=set ttl=60 clsid=1 cfd=7 size=3",
        ),
        (OP_SET, (DATA, -1), STORED, b"status=stored cmd=set ttl=4294967295 clsid=1 cfd=7 size=3"),
        (OP_APPEND, (b"yy",), STORED, b"status=stored cmd=append ttl=0 clsid=1 cfd=7 size=2"),
        (OP_CAS, (DATA, 0, 9), EXISTS, b"status=exists cmd=cas ttl=0 clsid=0 cfd=7 size=3"),
        (OP_CAS, (DATA, 0, 9), NOT_FOUND, b"status=not_found cmd=cas ttl=0 clsid=0 cfd=7 size=3"),
        (OP_SET, (DATA, 0), OUT_OF_MEMORY, b"status=no_memory cmd=set ttl=0 clsid=0 cfd=7 size=3"),
        # A leader that is full runs a set as a delete.
        (OP_SET, (DATA, 0), DELETED, b"status=no_memory cmd=set ttl=0 clsid=0 cfd=7 size=3"),
        (OP_SET, (DATA, 0), NOT_FOUND, b"status=no_memory cmd=set ttl=0 clsid=0 cfd=7 size=3"),
    ],
)
def test_stores(op: int, args: tuple[Any, ...], result: int, told: bytes) -> None:
    world = World()
    world.events.wrote(7, op, b"k", args, result)
    assert world.told() == [b"type=item_store key=k " + told]


def test_other_writes() -> None:
    world = World()
    world.events.stored(7, "add", b"k", "too_large", 0, 0)
    world.events.wrote(7, OP_DELETE, b"k", (), DELETED)
    world.events.wrote(7, OP_DELETE, b"k", (), NOT_FOUND)
    world.events.wrote(7, OP_INCR, b"k", (1,), NOT_FOUND)
    assert world.told() == [
        b"type=item_store key=k status=too_large cmd=add ttl=0 clsid=0 cfd=7 size=0",
        b"type=deleted key=k cmd=delete clsid=1 size=0",
    ]


def test_evictions_and_connections() -> None:
    world = World()
    world.events.evicted(b"k", 5, True, -1, 30)
    world.events.evicted(b"l", 6, False, 10, 0)
    world.events.connected(3, "127.0.0.1:5000")
    world.events.closed(3, "[::1]:5000", "normal")
    world.events.closed(4, "unix:", "idle_timeout")
    assert world.told() == [
        b"type=eviction key=k fetch=yes ttl=-1 la=30 clsid=1 size=5",
        b"type=eviction key=l fetch=no ttl=10 la=0 clsid=1 size=6",
        b"type=conn_new rip=127.0.0.1 rport=5000 transport=tcp cfd=3",
        b"type=conn_close rip=::1 rport=5000 transport=tcp reason=normal cfd=3",
        b"type=conn_close rip=unix rport=0 transport=local reason=idle_timeout cfd=4",
    ]


def test_a_watcher_sees_what_it_asked_for_only() -> None:
    for kind in (FETCHERS, MUTATIONS, EVICTIONS, CONNEVENTS, DELETIONS):
        world = World(kind)
        events = world.events
        events.fetched(1, b"k", None)
        events.stored(1, "set", b"k", "stored", 0, 1)
        events.evicted(b"k", 5, True, -1, 30)
        events.connected(3, "h:1")
        events.deleted("delete", b"k", True)
        assert len(world.lines) == 1, kind
        assert world.counters.log_worker_written == 1


def test_lines_without_room_are_counted_and_told_before_the_next_one() -> None:
    world = World()
    world.events.fetched(1, b"a", None)
    world.has_room = False
    for _ in range(3):
        world.events.fetched(1, b"lost", None)
    world.has_room = True
    world.events.fetched(1, b"b", None)
    world.events.fetched(1, b"c", None)
    first, second, third = world.lines
    assert b"key=a " in first
    assert second.startswith(b"skipped=3\nts=1700000000.007000 gid=5 ")
    assert b"key=c " in third
    assert b"skipped" not in third
    counters = world.counters
    assert (counters.log_watcher_sent, counters.log_watcher_skipped) == (3, 3)
    assert counters.log_worker_written == 6


def test_lines_beyond_the_rate_are_not_even_written() -> None:
    world = World()
    for _ in range(LINES_PER_WINDOW_MAX + 5):
        world.events.fetched(1, b"k", None)
    assert len(world.lines) == LINES_PER_WINDOW_MAX
    assert world.counters.log_worker_dropped == 5
    world.now_ns += WINDOW_NS
    world.events.fetched(1, b"k", None)
    assert world.lines[-1].startswith(b"skipped=5\nts=1700000000.107000 ")


def test_a_rate_exceeded_by_one_kind_is_no_loss_of_a_watcher_of_another() -> None:
    world = World(FETCHERS)
    other = Watcher(EVICTIONS, world._take)
    assert world.events.add(other)
    for _ in range(LINES_PER_WINDOW_MAX + 5):
        world.events.fetched(1, b"k", None)
    assert (world.watcher.skipped, other.skipped) == (5, 0)


def test_the_number_of_watchers_is_bounded() -> None:
    world = World()
    watchers = [Watcher(FETCHERS, world._take) for _ in range(WATCHERS_MAX)]
    assert [world.events.add(each) for each in watchers] == [True] * (WATCHERS_MAX - 1) + [False]
    assert world.counters.log_watchers == WATCHERS_MAX
    world.events.remove(watchers[-1])  # It was not let in.
    world.events.remove(watchers[0])
    world.events.remove(watchers[0])
    assert world.counters.log_watchers == WATCHERS_MAX - 1
    assert world.events.add(watchers[-1])


def test_reads_are_told_of_only_while_somebody_watches_or_counts_them() -> None:
    world = World(MUTATIONS)
    switched: list[bool] = []
    world.events.on_reads_watched = switched.append
    assert world.events.is_on
    reader = Watcher(FETCHERS, world._take)
    world.events.add(reader)
    world.events.count_prefixes(True)
    world.events.remove(reader)
    assert switched == [True]
    world.events.count_prefixes(False)
    assert switched == [True, False]
    world.events.remove(world.watcher)
    assert not world.events.is_on
    assert world.events.kinds == 0
    world.events.fetched(1, b"k", None)
    assert not world.lines


def test_prefixes_are_counted_without_a_watcher() -> None:
    events = World(0).events
    events.count_prefixes(True)
    assert events.is_on
    events.fetched(1, b"a:k", item())
    events.wrote(1, OP_SET, b"a:k", (DATA, 0), EXISTS)
    events.wrote(1, OP_DELETE, b"a:k", (), NOT_FOUND)
    events.count_prefixes(False)
    events.fetched(1, b"a:k", item())
    assert events.prefix_lines() == b"PREFIX a get 1 hit 1 set 1 del 1\r\n"
    events.forget_prefixes()
    assert events.prefix_lines() == b""


def test_evictions_are_asked_for_only_while_somebody_watches_them() -> None:
    world = World(FETCHERS)
    switched: list[bool] = []
    world.events.on_evictions_watched = switched.append
    other = Watcher(EVICTIONS, world._take)
    world.events.add(other)
    world.events.remove(other)
    assert switched == [True, False]


def test_meta_commands_are_told_and_not_counted_by_prefix() -> None:
    world = World()
    world.events.count_prefixes(True)
    world.events.fetched(1, b"a:k", item(), is_meta=True)
    world.events.stored(1, "set", b"a:k", "stored", 0, 1, is_meta=True)
    world.events.deleted("md", b"a:k", True)
    assert [line.partition(b" ")[0] for line in world.told()] == [
        *(b"type=item_get", b"type=item_store", b"type=deleted"),
    ]
    assert world.events.prefix_lines() == b""
