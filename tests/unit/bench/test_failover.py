"""The failover client: what a pause is, what an error is, what a wrong read is."""

from __future__ import annotations

import threading

import pytest

from quorumcache.bench.cluster import wait_for
from quorumcache.bench.errors import StartError, TargetError
from quorumcache.bench.failover import Kill, SteadyClient, choose_victim, failover_table, keys_for
from quorumcache.bench.text_client import TextClient, Topology
from quorumcache.ring import ClusterMap, NodeInfo, place, shard_of
from tests.support.tiny_memcached import TinyMemcached

NODES = tuple(NodeInfo(n, f"n{n}", f"h:{n}", f"h:{n + 10}", "", "", 1.0) for n in (1, 2, 3))
MAP = ClusterMap(1, "test", 8, 3, NODES, place(NODES, 8, 3))


class Clock:
    """Moved by hand, in milliseconds."""

    def __init__(self):
        self.ms = 0

    def __call__(self):
        return self.ms * 1_000_000


def until(check):
    wait_for("a test's condition", check, 20.0)


def test_a_stall_is_the_pause_and_no_error():
    clock, stalled, go_on = Clock(), threading.Event(), threading.Event()
    stall = threading.Event()

    def hook(line):
        if stall.is_set():
            stalled.set()
            go_on.wait(20)
        return None

    with TinyMemcached(hook) as server:
        client = SteadyClient(server.address, [b"x", b"y"], clock)
        client.start()
        try:
            until(lambda: client.answered() == {b"x", b"y"})
            client.next_phase()
            stall.set()
            assert stalled.wait(20)
            clock.ms += 431
            stall.clear()
            go_on.set()
            until(lambda: client.answered() == {b"x", b"y"})
            phase = client.next_phase()
        finally:
            go_on.set()
            client.stop()
    assert phase.pause_ms == 431
    assert phase.error_count == 0
    assert phase.operations >= 2


def test_a_pause_that_goes_on_counts_in_both_phases():
    clock = Clock()
    client = SteadyClient(("127.0.0.1", 1), [b"x"], clock)
    clock.ms = 50
    assert client.next_phase().pause_ms == 50
    clock.ms = 80
    assert client.next_phase().pause_ms == 30


def test_error_replies_and_lost_connections_are_errors():
    replies = iter([b"SERVER_ERROR not done: no leader\r\n"])
    with TinyMemcached(lambda line: next(replies, None)) as server:
        client = SteadyClient(server.address, [b"x"])
        client.start()
        until(lambda: client.answered())
        client.stop()
        assert client.next_phase().errors == {"SERVER_ERROR not done: no leader": 1}
    client = SteadyClient(("127.0.0.1", 1), [b"x"])
    client.start()
    wait_for("errors", lambda: bool(client._phase.errors), 20.0)
    client.stop()
    assert "cannot connect" in next(iter(client.next_phase().errors))


def test_a_lost_write_is_a_wrong_read():
    with TinyMemcached() as server:
        client = SteadyClient(server.address, [b"x"])
        server.hook = lambda line: b"END\r\n" if line.startswith(b"get") else None
        client.start()
        until(lambda: client._phase.wrong_reads > 0)
        client.stop()


def test_an_unknown_outcome_may_be_read_or_not():
    """After `outcome unknown` both the old and the new value are right, whichever is read."""
    for happened in (False, True):
        sets = []

        def hook(line, sets=sets, happened=happened):
            if not line.startswith(b"set"):
                return None
            sets.append(line)
            if len(sets) != 2:
                return None
            if happened:
                server.items[b"x"] = b"2"
            return b"SERVER_ERROR outcome unknown: timeout\r\n"

        with TinyMemcached(hook) as server:
            client = SteadyClient(server.address, [b"x"])
            client.start()
            until(lambda client=client: client._phase.operations > 6)
            client.stop()
            phase = client.next_phase()
        assert phase.wrong_reads == 0
        assert phase.error_count == 1


def test_a_write_that_was_not_done_must_not_be_read():
    sets = []

    def hook(line):
        if not line.startswith(b"set"):
            return None
        sets.append(line)
        if len(sets) != 2:
            return None
        server.items[b"x"] = b"2"
        return b"SERVER_ERROR not done: a lie\r\n"

    with TinyMemcached(hook) as server:
        client = SteadyClient(server.address, [b"x"])
        client.start()
        until(lambda: client._phase.wrong_reads > 0)
        client.stop()


def test_stopping_does_not_wait_for_a_server_that_never_answers():
    never = threading.Event()
    asked = threading.Event()

    def hook(line):
        asked.set()
        never.wait(20)
        return None

    with TinyMemcached(hook) as server:
        client = SteadyClient(server.address, [b"x"])
        client.start()
        assert asked.wait(20)
        client.stop()
        never.set()
    assert not client._thread.is_alive()


def test_keys_cover_the_shards_and_no_others():
    topology = Topology(MAP, (1,) * 8, (1,) * 8)
    keys = keys_for(topology, [1, 5], "p", 3)
    assert [shard_of(key, 8) for key in keys] == [1, 5, 1, 5, 1, 5]
    assert len(set(keys)) == 6


def test_the_victim_leads_most_and_equals_take_turns():
    assert choose_victim(Topology(MAP, (1, 1, 1, 2, 2, 3, 3, 1), (1,) * 8), 5) == 1
    even = Topology(MAP, (1, 1, 2, 2, 3, 3, 0, 0), (1,) * 8)
    assert [choose_victim(even, turn) for turn in range(4)] == [1, 2, 3, 1]


def test_the_table_has_the_spread():
    kills = [
        Kill(
            node="a",
            led_shards=21,
            leader_pause_ms=pause,
            follower_pause_ms=1.0,
            return_pause_ms=2.0,
            back_seconds=3.0,
            errors=1,
            error_kinds={"oops": 1},
            wrong_reads=0,
        )
        for pause in (400.0, 300.0, 500.0)
    ]
    table = failover_table(kills)
    assert table.data["leader_pause_ms"]["median"] == 400
    assert table.data["errors"] == {"oops": 3}
    assert any("300 / 400 / 500 ms" in note for note in table.notes)
    assert len(table.rows) == 3


def test_topology_is_read_from_the_wire():
    data = MAP.to_bytes()

    def hook(line):
        if line == b"cluster map":
            return b"MAP 1 %d\r\n%b\r\n" % (len(data), data)
        if line == b"cluster leaders":
            return b"".join(b"LEADER %d 7 %d\r\n" % (s, s % 3 + 1) for s in range(8)) + b"END\r\n"
        return None

    with TinyMemcached(hook) as server, TextClient(server.address) as client:
        topology = client.topology()
        assert topology is not None
        assert topology.map == MAP
        assert topology.led_by(2) == [1, 4, 7]
        assert client.version() == "tiny"
    with TinyMemcached() as server, TextClient(server.address) as client:
        assert client.topology() is None
        with pytest.raises(TargetError, match="ERROR"):
            client.lines(b"cluster leaders")


def test_waiting_is_bounded():
    with pytest.raises(StartError, match="never took more than 0"):
        wait_for("never", lambda: False, 0.0)
