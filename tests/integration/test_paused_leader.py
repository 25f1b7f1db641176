"""SIGSTOP of a leader for longer than its lease: when it wakes it serves nothing that is stale."""

from __future__ import annotations

from pathlib import Path

from tests.support.processes import Cluster, running_cluster
from tests.support.wire import Wire

KEYS = 24
READERS = 6
ROUNDS = 3


def write_versions(cluster: Cluster, port: int, keys: list[bytes], version: int) -> None:
    """Set every key to this version, each acknowledged."""
    with Wire(port) as wire:
        for key in keys:
            assert wire.set(key, b"%d" % version) == b"STORED\r\n"


def stop_and_overtake(cluster: Cluster, name: str, number: int, *, long: bool) -> None:
    """Stop a leader, have its shards written elsewhere, then read from it as it wakes.

    Half of the requests are in its sockets before it stops looking, half while it stands still; all
    were sent by clients that had seen the new version acknowledged. On some connections the gets
    stand alone (the fast path), on others they follow something else.
    """
    sleeper = cluster[name]
    others = cluster.others(name)
    keys = cluster.keys_led_by(name, KEYS, b"round-%d" % number)
    old, new = 10 * number + 1, 10 * number + 2
    write_versions(cluster, sleeper.port, keys, old)
    readers = [sleeper.wire() for _ in range(READERS)]
    try:
        for reader in readers:  # The connections are accepted, and these reads are under a lease.
            assert reader.get(keys[0]) == b"%d" % old
        silences = {other: len(other.log_lines("heard nothing for")) for other in others}
        sleeper.pause()
        # Acknowledged by a new leader, so the lease of the old one has run out.
        write_versions(cluster, others[0].port, keys, new)
        if long:  # Until the others have given up their connections with it.
            for other in others:
                other.wait_log("heard nothing for", count=silences[other] + 1)
        for place, reader in enumerate(readers):
            if place % 3 == 1:
                reader.send(b"get %b\r\n" % b" ".join(keys))
            elif place % 3 == 2:
                reader.send(b"version\r\n" + b"".join(b"get %b\r\n" % key for key in keys))
            else:
                reader.send(b"".join(b"get %b\r\n" % key for key in keys))
        sleeper.resume()
        for place, reader in enumerate(readers):
            if place % 3 == 1:
                for key in keys:
                    line = reader.line()
                    assert line.split()[:2] == [b"VALUE", key], line
                    version = int(reader.exactly(int(line.split()[3]) + 2))
                    assert version >= new, f"stale: {key!r} at {version}, {new} was acknowledged"
                assert reader.line() == b"END\r\n"
                continue
            if place % 3 == 2:
                assert reader.line().startswith(b"VERSION ")
            for key in keys:
                value = reader.value(key)
                assert value is not None
                assert int(value) >= new, f"stale: {key!r} at {value!r}, {new} was acknowledged"
    finally:
        for reader in readers:
            reader.close()
        sleeper.resume()


def test_no_stale_read_from_a_leader_that_was_stopped(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as cluster:
        for number in range(ROUNDS):
            name = cluster.busiest()
            stop_and_overtake(cluster, name, number, long=number == ROUNDS - 1)
            cluster.wait_led()


def test_all_nodes_stopped_and_continued(tmp_path: Path) -> None:
    """Nobody wrote meanwhile: all goes on, with what was there."""
    with running_cluster(tmp_path) as cluster:
        keys = [b"k%d" % number for number in range(KEYS)]
        write_versions(cluster, cluster["a"].port, keys, 1)
        for node in cluster:
            node.pause()
        wires = [node.wire() for node in cluster]  # The kernel accepts for them.
        try:
            for wire in wires:
                wire.send(b"incr k0 1\r\nget k1\r\n")
            for node in cluster:
                node.resume()
            told = []
            for wire in wires:
                told.append(int(wire.line()))
                assert wire.value(b"k1") == b"1"
            assert sorted(told) == [2, 3, 4]
        finally:
            for wire in wires:
                wire.close()
            for node in cluster:
                node.resume()
