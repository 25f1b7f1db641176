"""What those ask who look after a server: one client who watches, and those who are watched."""

from __future__ import annotations

import re
from typing import Any

from quorumcache.node.clients.admin_words import WATCHER_BYTES_MAX
from quorumcache.node.clients.events import LINES_PER_WINDOW_MAX, WATCHERS_MAX, WINDOW_NS
from quorumcache.node.store.results import DELETED, EXISTS, NOT_FOUND, STORED
from tests.support.fake_server import Client, item, set_line


def watching(words: bytes = b"", *, high: int = 64 << 10) -> tuple[Client, Client]:
    """A watcher that was let in, and another client of the same node."""
    watcher = Client(high=high)
    watcher.send(b"watch" + words + b"\r\n")
    assert watcher.read() == b"OK\r\n"
    return watcher, Client(server=watcher.server)


def facts(watcher: Client) -> list[bytes]:
    """What it was told, without times and numbers."""
    watcher.turn()
    lines = watcher.read().splitlines()
    return [re.sub(rb"\Ats=\d+\.\d{6} gid=\d+ ", b"", line) for line in lines]


def test_a_watcher_sees_what_others_do() -> None:
    watcher, client = watching(b" fetchers mutations deletions")
    client.lead_all()
    client.send(set_line(b"k", b"abc") + b"delete k\r\n")
    first, second = client.coordinator.started
    first.end(STORED)
    second.end(DELETED)
    client.coordinator.started.clear()
    client.turn()
    assert facts(watcher) == [
        b"type=item_store key=k status=stored cmd=set ttl=0 clsid=1 cfd=1 size=3",
        b"type=deleted key=k cmd=delete clsid=1 size=0",
    ]


def test_gets_that_are_answered_on_the_spot_are_seen_too() -> None:
    client = Client()
    client.lead_all()
    client.put(b"k", b"abc")
    client.coordinator.answer = lambda started: [item(b"abc")] * len(started.keys)
    client.send(b"version\r\n")  # What comes first may be binary: it goes the general way.
    client.send(b"get k\r\n")
    assert client.server.counters.lease_reads == 1
    watcher = Client(server=client.server)
    # The server, which these tests do not have, tells the connections.
    client.server.watch_reads(True)
    client.connection.use_quick_groups()
    watcher.send(b"watch\r\n")
    assert watcher.read() == b"OK\r\n"
    client.send(b"get k\r\nget k\r\n")
    assert client.server.counters.lease_reads == 1
    line = b"type=item_get key=k status=found clsid=1 cfd=1 size=3"
    assert facts(watcher) == [line, line]
    client.send(b"get k l\r\ngat 0 k\r\n")
    assert facts(watcher)[:2] == [line, line.replace(b"key=k", b"key=l")]


def test_meta_commands_are_seen_too() -> None:
    watcher, client = watching(b" fetchers mutations deletions")
    client.lead_all()
    client.put(b"k", b"abc")
    client.server.coordinator.host.may_use_new_ops = True
    client.send(b"ms k 3 T30\r\nabc\r\nms k 1 C5 MR\r\nx\r\nmd k\r\nma k\r\n")
    for started, result in zip(
        client.coordinator.started, (STORED, EXISTS, DELETED, NOT_FOUND), strict=True
    ):
        started.end(result)
    client.coordinator.started.clear()
    assert facts(watcher) == [
        b"type=item_store key=k status=stored cmd=set ttl=30 clsid=1 cfd=1 size=3",
        b"type=item_store key=k status=exists cmd=cas ttl=0 clsid=0 cfd=1 size=1",
        b"type=deleted key=k cmd=md clsid=1 size=0",
    ]


def test_stores_that_are_too_large_are_told_once() -> None:
    watcher, client = watching(b" mutations deletions")
    block = b"2000000\r\n" + b"x" * 2_000_000 + b"\r\n"
    client.send(b"set k 0 0 " + block + b"add k 0 0 " + block + b"ms k " + block)
    client.coordinator.end_all(DELETED)
    told = b"type=item_store key=k status=too_large cmd=%b ttl=0 clsid=0 cfd=1 size=0"
    assert facts(watcher) == [told % b"set", told % b"add", told % b"set"]


def test_a_write_that_was_not_done_is_not_told() -> None:
    watcher, client = watching(b" mutations")
    client.server.write_room.taken_bytes = 1 << 40
    client.send(set_line(b"k"))
    assert b"not done" in client.read()
    assert facts(watcher) == []


def test_what_a_watcher_says_is_ignored_until_it_goes() -> None:
    watcher, client = watching()
    watcher.send(b"get a\r\nset k 0 0 1\r\nx\r\nquit\r\nnonsense\r\n")
    assert watcher.read() == b""
    assert not client.coordinator.started
    assert not watcher.transport.closed
    assert watcher.server.counters.log_watchers == 1
    assert watcher.connection.state == "watch"
    watcher.connection.eof_received()
    watcher.turn()
    assert watcher.transport.closed
    assert watcher.server.counters.log_watchers == 0
    assert not watcher.server.events.is_on


def test_a_watcher_that_is_gone_watches_no_more() -> None:
    watcher, client = watching(b" fetchers")
    watcher.connection.connection_lost(None)
    watcher.turn()
    assert watcher.server.counters.log_watchers == 0
    client.send(b"get k\r\n")
    client.coordinator.end_all()
    client.turn()


def test_a_node_that_stops_lets_its_watchers_go() -> None:
    watcher, _ = watching()
    watcher.connection.finish()
    watcher.turn()
    assert watcher.transport.closed


def test_watch_waits_for_the_replies_before_it() -> None:
    client = Client()
    client.send(b"gets k\r\nwatch\r\n")
    get = client.coordinator.take()
    assert client.read() == b""
    get.end([None])
    client.turn()
    assert client.read() == b"END\r\nOK\r\n"
    assert client.server.counters.log_watchers == 1


def test_a_watcher_that_does_not_read_loses_lines_and_holds_nobody_up() -> None:
    watcher, client = watching(b" fetchers", high=1024)
    client.coordinator.answer = lambda started: [None] * len(started.keys)
    key = b"k" * 200
    rounds = 0
    while watcher.server.counters.log_watcher_skipped < 10:
        client.send(b"gets %b\r\n" % key)
        assert client.read() == b"END\r\n"
        rounds += 1
        watcher.server.now_ns += WINDOW_NS // LINES_PER_WINDOW_MAX
        assert rounds < 10_000
    assert watcher.connection.unread_bytes <= WATCHER_BYTES_MAX
    # It is not closed for that, however long it takes.
    assert watcher.connection.look(1 << 60, 1, 1) == ""
    told = watcher.read()
    assert told.count(b"type=item_get") == watcher.server.counters.log_watcher_sent
    client.send(b"gets l\r\n")
    watcher.turn()
    assert watcher.read().startswith(b"skipped=10\nts=")
    assert watcher.server.counters.log_worker_written == rounds + 1


def test_the_number_of_watchers_is_bounded() -> None:
    watcher, _ = watching()
    for _ in range(WATCHERS_MAX - 1):
        other = Client(server=watcher.server)
        other.send(b"watch\r\n")
        assert other.read() == b"OK\r\n"
    last = Client(server=watcher.server)
    last.send(b"watch\r\nversion\r\n")
    assert last.read() == b"WATCHER_TOO_MANY log watcher limit reached\r\nVERSION 1\r\n"


def test_watch_can_be_refused() -> None:
    client = Client()
    client.server.controls.may_watch = False
    client.send(b"watch\r\nversion\r\n")
    assert client.read() == b"CLIENT_ERROR watch commands not allowed\r\nVERSION 1\r\n"


def test_a_watcher_needs_no_node_in_particular() -> None:
    watcher, client = watching()
    assert watcher.connection.finds_leaders
    assert not client.connection.finds_leaders


def test_verbosity_and_memory_are_handed_on() -> None:
    client = Client()
    client.server.memory_bytes_max = 64 << 20
    client.send(
        b"verbosity 2\r\nverbosity 1 noreply\r\ncache_memlimit 64\r\ncache_memlimit 65\r\n"
        b"cache_memlimit 32 noreply\r\ncache_memlimit 7\r\n"
    )
    assert client.read() == (
        b"OK\r\nOK\r\nMEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n"
        b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n"
    )
    megabyte = 1 << 20
    assert client.server.said == [
        *(("verbosity", 2), ("verbosity", 1), ("memory", 64 * megabyte)),
        *(("memory", 65 * megabyte), ("memory", 32 * megabyte)),
    ]


def test_shutdown_is_refused_where_it_is_not_enabled() -> None:
    client = Client()
    client.send(b"shutdown\r\nshutdown now\r\nshutdown noreply\r\nversion\r\n")
    line = b"SERVER_ERROR: shutdown not enabled\r\n"
    assert client.read() == line * 2 + b"VERSION 1\r\n"


def test_shutdown_closes_the_connection_and_stops_the_node() -> None:
    for words in (b"shutdown\r\n", b"shutdown graceful\r\n"):
        client = Client()
        asked: list[Any] = []
        client.server.controls.shut_down = lambda asked=asked: asked.append(1)  # type: ignore[misc]
        client.send(b"shutdown now\r\nversion\r\n")
        assert client.read() == b"CLIENT_ERROR invalid shutdown mode\r\nVERSION 1\r\n"
        assert not asked
        client.send(words + b"version\r\n")
        assert asked == [1]
        assert client.read() == b""
        assert client.transport.closed
