"""SIGTERM under load, and followers that come and go: other nodes' clients see a pause at most."""

from __future__ import annotations

import signal
from http.client import HTTPConnection
from pathlib import Path

from tests.support.load import load
from tests.support.processes import (
    HOST,
    free_ports,
    running_cluster,
    running_node,
    wait_until,
)
from tests.support.wire import DEADLINE_S, Wire


def patient(directory: Path) -> tuple[str, str]:
    """Flags of a node that is not in a hurry when it stops."""
    settings = directory / "patient.toml"
    settings.write_text("stop-timeout-ms = 3_600_000\n")
    return "--config", str(settings)


def test_sigterm_of_each_node_under_load(tmp_path: Path) -> None:
    """A rolling restart: no client of another node sees an error, and the status is 0."""
    with running_cluster(tmp_path) as cluster:
        for name in ("a", "b", "c"):
            node = cluster[name]
            others = cluster.others(name)
            with load(f"stop-{name}", [one.port for one in cluster]) as writers:
                writers.wait_acks(60)
                assert node.terminate() == 0
                writers.wait_acks(100, writers.on(*(one.port for one in others)))
            elsewhere = writers.on(*(one.port for one in others))
            slowest = max(writer.slowest_s for writer in elsewhere)
            print(f"SIGTERM of {name}: slowest reply elsewhere {slowest * 1000:.0f} ms")
            writers.check_no_errors(elsewhere)
            for writer in writers.on(node.port):
                assert not writer.errors, writer.errors[:3]
            node.start()
            for one in cluster:
                writers.check(one.port)


def test_clients_get_the_replies_to_what_they_sent_before_the_close(tmp_path: Path) -> None:
    """Requests that are in the node's socket when the signal arrives are answered, all of them."""
    with running_cluster(tmp_path) as cluster:
        node = cluster["a"]
        wires = [node.wire() for _ in range(6)]
        try:
            for number, wire in enumerate(wires):
                assert wire.set(b"before-%d" % number, b"0") == b"STORED\r\n"
            node.pause()
            for number, wire in enumerate(wires):
                for count in range(50):
                    wire.send(b"set k-%d-%d 0 0 1\r\nx\r\n" % (number, count))
                wire.send(b"get k-%d-49\r\n" % number)
            node.signal(signal.SIGTERM)
            node.resume()
            for number, wire in enumerate(wires):
                for _ in range(50):
                    assert wire.line() == b"STORED\r\n"
                assert wire.value(b"k-%d-49" % number) == b"x"
                assert wire.rest() == b""
            assert node.wait_end() == 0
        finally:
            for wire in wires:
                wire.close()
        with cluster["b"].wire() as wire:
            for number in range(6):
                for count in range(50):
                    assert wire.get(b"k-%d-%d" % (number, count)) == b"x"


def test_a_node_alone_stops_and_keeps_its_data(tmp_path: Path) -> None:
    with running_node(tmp_path, "--data-dir", str(tmp_path / "data")) as node:
        with node.wire() as wire:
            assert wire.set(b"k", b"v") == b"STORED\r\n"
        node.signal(signal.SIGINT)
        assert node.wait_end() == 0
        node.start()
        with node.wire() as wire:
            assert wire.get(b"k") == b"v"


def test_a_node_that_is_stopping_is_not_well(tmp_path: Path) -> None:
    """It takes no new client, so a load balancer must not send it any. A client that does not read
    its reply holds the stop up meanwhile."""
    [http] = free_ports(1)
    with (
        running_node(tmp_path, "--http", f"{HOST}:{http}", *patient(tmp_path)) as node,
        node.wire() as wire,
        Wire(node.port, receive_buffer=4096) as stuck,
    ):
        assert wire.set(b"big", b"x" * 1_000_000) == b"STORED\r\n"
        stuck.send(b"get big\r\n" * 40)
        assert stuck.line() == b"VALUE big 0 1000000\r\n"
        wait_until("a node that is well", lambda: health(http)[0] == 200)
        node.signal(signal.SIGTERM)
        node.wait_log("event=stopping")
        wait_until("a node that is not well", lambda: health(http)[0] == 503)
        assert "the node is stopping" in health(http)[1]
        node.signal(signal.SIGTERM)
        assert node.wait_end() == 128 + signal.SIGTERM


def health(port: int) -> tuple[int, str]:
    """Status and body of `/health`."""
    connection = HTTPConnection(HOST, port, timeout=DEADLINE_S)
    try:
        connection.request("GET", "/health", headers={"Connection": "close"})
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    finally:
        connection.close()


def test_a_second_signal_ends_at_once_and_loses_nothing(tmp_path: Path) -> None:
    """A client that does not read its reply holds the first stop up; not the second."""
    with running_cluster(tmp_path, shards=2, flags=patient(tmp_path)) as cluster:
        node = cluster["a"]
        with node.wire() as wire, Wire(node.port, receive_buffer=4096) as stuck:
            big = b"x" * 1_000_000
            assert wire.set(b"big", big) == b"STORED\r\n"
            stuck.send(b"get big\r\n" * 40)
            assert stuck.line() == b"VALUE big 0 1000000\r\n"
            node.signal(signal.SIGTERM)
            node.wait_log("event=stopping")
            node.signal(signal.SIGTERM)
            assert node.wait_end() == 128 + signal.SIGTERM
        with cluster["b"].wire() as wire:
            assert wire.get(b"big") == big


def test_writes_go_on_while_a_follower_is_away_and_it_catches_up(tmp_path: Path) -> None:
    with running_cluster(tmp_path, shards=1) as cluster:
        leader = cluster.leader_of(b"any", seen_by="a")
        follower = cluster.others(leader)[0]
        with load("away", [cluster[leader].port]) as writers:
            writers.wait_acks(50)
            follower.kill()
            writers.wait_acks(100)
            follower.start()
            writers.wait_acks(100)
            # The other one goes: what comes now needs the one that came back.
            other = cluster.others(leader, follower.name)[0]
            other.kill()
            writers.wait_acks(100)
        print(f"followers away: slowest reply {writers.slowest_s() * 1000:.0f} ms")
        writers.check_no_errors()
        writers.check(follower.port)


def test_all_nodes_told_to_stop_at_once_do_not_hand_leaderships_to_and_fro(tmp_path: Path) -> None:
    """With an hour to hand over in, nodes that go on giving would never be seen to end."""
    with running_cluster(tmp_path, flags=patient(tmp_path)) as cluster:
        for node in cluster:
            node.signal(signal.SIGTERM)
        assert [node.wait_end() for node in cluster] == [0, 0, 0]
