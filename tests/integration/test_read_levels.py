"""Reads below linearizable on real processes: a bound holds when processes are stopped.

Every limit here is one that the product promises, measured by our clock; none is about how fast the
machine is.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from quorumcache.ring import shard_of
from tests.support.processes import Cluster, NodeProcess, running_cluster
from tests.support.wire import DEADLINE_S, Wire

BOUND_MS = 500


def at_level(wire: Wire, level: bytes, *, redirect: bool = False) -> Wire:
    if redirect:
        wire.send(b"cluster redirect on\r\n")
        assert wire.line() == b"OK\r\n"
    wire.send(b"cluster read %b\r\n" % level)
    assert wire.line() == b"OK\r\n"
    return wire


def answer(wire: Wire, key: bytes) -> bytes | None:
    """The value, empty for a miss; None if the replica did not answer.

    It then sends the client on to the leader. When the bound passes between its two looks at the
    clock, the first for MOVED and the second for the item, it asks the leader itself, which may
    stand still.
    """
    wire.send(b"get %b\r\n" % key)
    line = wire.line()
    if line.startswith((b"MOVED ", b"SERVER_ERROR not done: ")):
        return None
    if line == b"END\r\n":
        return b""
    assert line.startswith(b"VALUE "), line
    data = wire.exactly(int(line.split()[3]) + 2)
    assert wire.line() == b"END\r\n"
    return data[:-2]


def wait_served(wire: Wire, key: bytes, value: bytes) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while answer(wire, key) != value:
        assert time.monotonic() < deadline, "the replica never became fresh enough"
        time.sleep(0.01)


def served_alone(bounded: Wire, local: Wire, key: bytes) -> int:
    """How often a follower answers after its leader was stopped, until its bound has passed."""
    stopped = time.monotonic()
    served = 0
    while True:
        sent = time.monotonic()
        value = answer(bounded, key)
        assert answer(local, key) == b"v"
        if value is None:
            return served
        served += 1
        assert sent - stopped <= BOUND_MS / 1000, "served beyond its bound"


def follower_of(cluster: Cluster, leader: str) -> NodeProcess:
    return cluster.others(leader)[0]


def test_cut_off_from_its_leader_a_follower_serves_its_bound_and_no_longer(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as cluster:
        leader = "a"
        cluster.wait_balanced()  # Else a shard may move on to the follower meanwhile.
        (key,) = cluster.keys_led_by(leader, 1)
        shard = shard_of(key, cluster.shards)
        follower = follower_of(cluster, leader)
        with Wire(cluster[leader].port) as wire:
            assert wire.set(key, b"v") == b"STORED\r\n"
        bounded = at_level(follower.wire(), b"bounded %d" % BOUND_MS, redirect=True)
        local = at_level(follower.wire(), b"local", redirect=True)
        others = cluster.others(follower.name)
        try:
            served = 0
            began = time.monotonic()
            while not served:  # On a busy machine, half a second may be over before it is asked.
                assert time.monotonic() - began < DEADLINE_S, "never served without its leader"
                for other in others:
                    other.resume()
                wait_served(bounded, key, b"v")
                for other in others:
                    other.pause()
                served = served_alone(bounded, local, key)
            assert answer(bounded, key) is None
            assert answer(local, key) == b"v"
            with follower.wire() as wire:
                behind = wire.stats(b"shards")[f"shard:{shard}:staleness_ms"]
            assert int(behind) >= BOUND_MS // 2
            for other in others:
                other.resume()
            wait_served(bounded, key, b"v")
        finally:
            for other in others:
                other.resume()
            bounded.close()
            local.close()


def test_a_follower_that_was_stopped_does_not_show_what_it_missed(tmp_path: Path) -> None:
    """Requests wait in its socket while others write; it answers them as it wakes."""
    with running_cluster(tmp_path) as cluster:
        leader = "a"
        cluster.wait_balanced()
        keys = cluster.keys_led_by(leader, 8)
        follower = follower_of(cluster, leader)
        wires = [at_level(follower.wire(), b"bounded %d" % BOUND_MS) for _ in range(4)]
        try:
            with Wire(cluster[leader].port) as writer:
                for key in keys:
                    assert writer.set(key, b"1") == b"STORED\r\n"
                for key in keys:
                    wait_served(wires[0], key, b"1")
                follower.pause()
                for key in keys:
                    assert writer.set(key, b"2") == b"STORED\r\n"
            time.sleep(1.1 * BOUND_MS / 1000)  # From here on "1" is too old at the bound.
            for wire in wires:
                wire.send(b"".join(b"get %b\r\n" % key for key in keys))
            follower.resume()
            for wire in wires:
                for key in keys:
                    assert wire.value(key) == b"2"
        finally:
            follower.resume()
            for wire in wires:
                wire.close()


def test_the_command_line_reads_at_a_level(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as cluster:
        seeds = ",".join(f"127.0.0.1:{node.port}" for node in cluster)
        with Wire(cluster["a"].port) as wire:
            assert wire.set(b"k", b"v") == b"STORED\r\n"
        for level in ("linearizable", "bounded:5000"):
            command = ["-m", "quorumcache.router.cli", "-s", seeds, "get", "--read", level, "k"]
            done = subprocess.run(
                [sys.executable, *command], capture_output=True, timeout=DEADLINE_S, check=False
            )
            assert (done.returncode, done.stdout) == (0, b"v\n"), done.stderr
