"""The keys of the shards that a node leads, listed beside everything else that it does."""

from __future__ import annotations

import re
from typing import Any

from quorumcache.node.clients.key_dump import KEYS_PER_TURN
from quorumcache.node.store.commands import OP_FLUSH
from quorumcache.node.store.item import item_cost
from tests.support.fake_server import SHARDS, Client, keys_of
from tests.support.item_tables import item_of

LINE = re.compile(
    rb"key=(\S+) exp=(-?\d+) la=(\d+) cas=(\d+) fetch=(yes|no) cls=1 size=(\d+) flags=(\d+)\n"
)


def dumped(reply: bytes) -> list[bytes]:
    """The keys of a metadump."""
    assert reply.startswith(b"OK\r\n")
    assert reply.endswith(b"END\r\n")
    lines = reply.removeprefix(b"OK\r\n").removesuffix(b"END\r\n").splitlines(keepends=True)
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches), lines
    return [match[1] for match in matches if match]


def loaded(count: int) -> tuple[Client, list[bytes]]:
    client = Client()
    client.lead_all()
    keys = [b"k%d" % number for number in range(count)]
    for key in keys:
        client.put(key, b"v")
    return client, keys


def store_of(client: Client, key: bytes) -> Any:
    return client.server.groups[client.server.group_of(key)].machine


def test_every_key_of_all_shards_is_listed_once() -> None:
    client, keys = loaded(5 * KEYS_PER_TURN)
    for words in (b"all", b"hash", b"1", b"2,1"):
        client.send(b"lru_crawler metadump " + words + b"\r\n")
        assert sorted(dumped(client.read())) == sorted(keys)
    counters = client.server.counters
    assert (counters.lru_crawler_starts, counters.cmd_other) == (4, 4)
    assert counters.crawler_items_checked == 4 * (len(keys) + SHARDS)
    assert counters.cmd_get == 0


def test_a_line_says_all_of_an_item() -> None:
    client, _ = loaded(0)
    key = b"k:\xff"
    store = store_of(client, key)
    store.apply(1, 1000, [(0, 0, 0, 1, key, b" 5 3\r\nabc\r\n", 100)])
    client.send(b"lru_crawler metadump all\r\n")
    match = LINE.search(client.read())
    assert match is not None
    assert match[1] == b"k%3A%FF"
    assert int(match[4]) == 1
    assert int(match[6]) == item_cost(key, item_of(store.items, key))
    assert match[7] == b"5"
    # 100 s after the time of its batch, which is a second ago.
    assert int(match[2]) == 1_700_000_000 + 99


def test_mgdump_lists_commands_that_read_the_keys() -> None:
    client, _ = loaded(0)
    for key in (b"plain:\xff", b"with space", b"\r\nquit"):
        client.put(key, b"v")
    client.send(b"lru_crawler mgdump hash\r\n")
    reply = client.read()
    assert reply.startswith(b"OK\r\n")
    assert reply.endswith(b"EN\r\n")
    lines = reply.removeprefix(b"OK\r\n").removesuffix(b"EN\r\n").splitlines(keepends=True)
    assert sorted(lines) == [
        b"mg DQpxdWl0 b\r\n",
        b"mg d2l0aCBzcGFjZQ== b\r\n",
        b"mg plain:\xff\r\n",
    ]


def test_classes_that_hold_nothing_are_empty() -> None:
    client, _ = loaded(3)
    client.send(b"lru_crawler metadump 2,3\r\nlru_crawler mgdump 63\r\n")
    assert client.read() == b"OK\r\nEND\r\nOK\r\nEN\r\n"


def test_shards_that_are_led_elsewhere_are_left_out() -> None:
    client, keys = loaded(100)
    groups: Any = client.server.groups
    groups[2].is_leader = False
    client.send(b"lru_crawler metadump all\r\n")
    left_out = {key for key in keys if client.server.group_of(key) == 2}
    assert left_out
    assert sorted(dumped(client.read())) == sorted(set(keys) - left_out)


def test_what_has_ended_is_left_out() -> None:
    client, _ = loaded(0)
    gone, flushed = keys_of(client.server, 1, 1)[0], keys_of(client.server, 2, 1)[0]
    store_of(client, gone).apply(1, 1000, [(0, 0, 0, 1, gone, b" 0 1\r\nx\r\n", 3)])
    store_of(client, flushed).apply(1, 1000, [(0, 0, 0, 1, flushed, b" 0 1\r\nx\r\n", 0)])
    store_of(client, flushed).apply(2, 1000, [(0, 0, 0, OP_FLUSH, b"", 3)])
    client.send(b"lru_crawler metadump all\r\n")
    assert sorted(dumped(client.read())) == sorted([gone, flushed])
    groups: Any = client.server.groups
    for group in groups.values():
        group.time_ms += 5000
    client.send(b"lru_crawler metadump all\r\n")
    assert dumped(client.read()) == []


def test_a_turn_of_the_loop_writes_so_many_keys_and_the_next_requests_wait() -> None:
    client, keys = loaded(400)
    client.connection.data_received(b"lru_crawler metadump all\r\nversion\r\n")
    turns = 0
    reply = b""
    while b"VERSION" not in reply:
        client.server.loop.run(steps_max=1)
        piece = client.transport.drain()
        assert piece.count(b"key=") <= 200  # Of one turn, and what was flushed of the one before.
        reply += piece
        turns += 1
    assert turns >= 3
    assert sorted(dumped(reply.removesuffix(b"VERSION 1\r\n"))) == sorted(keys)


def test_nothing_is_listed_for_a_client_that_does_not_read() -> None:
    client, keys = loaded(20 * KEYS_PER_TURN)
    client.transport.high = 4096
    client.send(b"lru_crawler metadump all\r\n")
    waiting = client.connection.unread_bytes + len(client.transport.unread)
    assert waiting < 3 * KEYS_PER_TURN * 100
    assert sorted(dumped(client.read())) == sorted(keys)


def test_keys_stored_and_deleted_meanwhile_do_no_harm() -> None:
    client, keys = loaded(20 * KEYS_PER_TURN)
    client.transport.high = 4096
    client.send(b"lru_crawler metadump all\r\n")
    deleted = set(keys[::2])
    for key in deleted:
        store_of(client, key).remove(key)
    for number in range(500):
        client.put(b"new%d" % number, b"v")
    listed = dumped(client.read())
    assert len(listed) == len(set(listed))
    assert set(keys) - deleted <= set(listed)


def test_one_dump_runs_at_a_time() -> None:
    client, keys = loaded(20 * KEYS_PER_TURN)
    client.transport.high = 4096
    client.send(b"lru_crawler metadump all\r\n")
    other = Client(server=client.server)
    busy = b"BUSY currently processing crawler request\r\n"
    other.send(b"lru_crawler mgdump all\r\nversion\r\n")
    assert other.read() == busy + b"VERSION 1\r\n"
    assert client.server.is_dumping()
    client.connection.connection_lost(None)
    client.turn()
    assert not client.server.is_dumping()
    other.send(b"lru_crawler metadump all\r\n")
    assert sorted(dumped(other.read())) == sorted(keys)
    assert not client.server.is_dumping()


def test_dumps_can_be_refused() -> None:
    client, _ = loaded(1)
    client.server.controls.may_dump = False
    client.send(b"lru_crawler metadump all\r\nlru_crawler mgdump all\r\n")
    assert client.read() == b"ERROR metadump not allowed\r\nERROR key dump not allowed\r\n"
    assert client.server.counters.protocol_errors == 2
