"""A disk without space under one of three nodes: the others go on, it recovers by itself."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from quorumcache.ring.secret import CLIENT, Secret
from tests.support.load import load
from tests.support.processes import Cluster, NodeProcess, running_cluster, wait_until
from tests.support.wire import DEADLINE_S

FILES = 'segment-size = "256k"\nlog-size = "2m"\nsnapshot-size = "128k"\nhttp = "127.0.0.1:0"\n'


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    if os.geteuid() != 0:
        pytest.skip("FULL DISK NOT TESTED: mounting a small tmpfs needs root")
    where = tmp_path / "disk"
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(where)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"FULL DISK NOT TESTED: {mounted.stderr.strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


def fill(path: Path) -> None:
    """Write until there is no space left, not for a byte."""
    with path.open("wb", buffering=0) as filler:
        for size in (1 << 20, 4096, 1):
            while True:
                try:
                    if filler.write(bytes(size)) < size:
                        break
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    break


@contextmanager
def kept_full(path: Path) -> Iterator[None]:
    """Somebody else takes every byte that becomes free, also what the node gives up itself."""
    ended = threading.Event()

    def work() -> None:
        number = 0
        while not ended.wait(0.02):
            fill(path / f"filler-{number}")
            number += 1

    path.mkdir()
    fill(path / "filler")
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for name in os.listdir(path):
            (path / name).unlink()


def health(node: NodeProcess, http: str) -> int:
    try:
        with urllib.request.urlopen(f"http://{http}/health", timeout=DEADLINE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def http_address(cluster: Cluster, name: str) -> str:
    return cluster[name].wait_log("event=ready").split(" http=")[1].split()[0]


def test_full_disk_and_back(tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "node.toml").write_text(FILES)
    data_dir = small_disk / "data"
    filler = small_disk / "filler"
    with running_cluster(
        tmp_path,
        flags=("--config", str(tmp_path / "node.toml")),
        data_dirs={"a": data_dir},
    ) as cluster:
        full = cluster["a"]
        others = cluster.others("a")
        cluster.wait_balanced()
        http = http_address(cluster, "a")
        wait_until("health", lambda: health(full, http) == 200)
        with load(
            "full", [node.port for node in cluster], read_ports=[node.port for node in others]
        ) as writers:
            elsewhere = writers.on(*(node.port for node in others))
            own = writers.on(full.port)
            writers.wait_acks(50)
            with kept_full(filler):
                full.wait_log("event=disk_trouble")
                writers.wait_acks(150, elsewhere)
                cluster.wait_led(without="a")
                writers.wait_acks(50, elsewhere)
                # It may be well for a moment, when it has given up space of its own.
                wait_until("no health", lambda: health(full, http) == 503)
                wait_until("it leads nothing", lambda: not cluster.shards_led_by("a"))
            full.wait_log("event=disk_well")
            writers.wait_acks(50, own)
            writers.wait_acks(50, elsewhere)
        slowest = max(writer.slowest_s for writer in elsewhere)
        print(f"disk full: slowest reply elsewhere {slowest * 1000:.0f} ms")
        print(f"own clients: {sum(len(writer.errors) for writer in own)} errors")
        writers.check_no_errors(elsewhere)
        for writer in own:
            assert not writer.disconnected
            for line in writer.errors:
                assert line.startswith((b"SERVER_ERROR not done: ", b"SERVER_ERROR outcome unkno"))
        for node in cluster:
            writers.check(node.port)
        cluster.wait_balanced()
        wait_until("health", lambda: health(full, http) == 200)
        # What it acknowledged before, meanwhile and after is on the disk that was full.
        full.kill()
        full.start()
        writers.check(full.port)


def test_a_drain_goes_round_a_node_whose_disk_is_full(tmp_path: Path, small_disk: Path) -> None:
    """Nothing of the drained node goes there, and it loses nothing that it has. Of the shards that
    it holds the old replica goes when it has room: a third one has to be whole.
    """
    (tmp_path / "node.toml").write_text(FILES)
    with running_cluster(
        tmp_path,
        nodes=5,
        flags=("--config", str(tmp_path / "node.toml")),
        data_dirs={"e": small_disk / "data"},
    ) as cluster:
        cluster.wait_balanced()
        secret = Secret((cluster.data_dirs["a"] / "cluster.secret").read_text())
        e_id = cluster.node_id("e")
        before = shards_of(cluster, e_id)
        with load("round", [cluster[name].port for name in "bcd"]) as writers:
            writers.wait_acks(50)
            with kept_full(small_disk / "filler"):
                cluster["e"].wait_log("event=disk_trouble")
                wait_until("the drain", lambda: is_changed(cluster["b"], secret, "drain a"))
                others = set(range(8)).difference(before)
                wait_until("others", lambda: others.isdisjoint(left_on(cluster, "a")))
                assert not any("e" in move["add"] for move in moves_shown(cluster["b"])["moves"])
            cluster["e"].wait_log("event=disk_well")
            wait_until("a ends", lambda: not cluster["a"].is_running)
            assert [n["name"] for n in moves_shown(cluster["b"])["nodes"]] == ["b", "c", "d", "e"]
            assert shards_of(cluster, e_id) == before
            writers.wait_acks(50)
        writers.check_no_errors()
        for name in "bcde":
            writers.check(cluster[name].port)


def shards_of(cluster: Cluster, node_id: int) -> list[int]:
    """The shards that a node holds, as node b shows it."""
    topology = cluster.topology(cluster["b"])
    assert topology is not None
    sets = topology.map.replica_sets
    return [shard for shard, replicas in enumerate(sets) if node_id in replicas]


def moves_shown(node: NodeProcess) -> dict[str, Any]:
    with node.wire() as wire:
        size = int(wire.ask(b"cluster moves").split()[1])
        shown: dict[str, Any] = json.loads(wire.exactly(size + 2))
        return shown


def left_on(cluster: Cluster, name: str) -> set[int]:
    """The shards that a node holds, and all that move."""
    moves = {move["shard"] for move in moves_shown(cluster["b"])["moves"]}
    return moves.union(shards_of(cluster, cluster.node_id(name)))


def is_changed(node: NodeProcess, secret: Secret, words: str) -> bool:
    with node.wire() as wire:
        nonce = bytes.fromhex(wire.ask(b"cluster auth").split()[1].decode())
        assert wire.ask(b"cluster auth " + secret.proof(CLIENT, nonce).hex().encode()) == b"OK\r\n"
        return wire.ask(f"cluster change {words}".encode()).startswith(b"CHANGE ")


def test_a_node_alone_on_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    """There is no other node: clear errors until there is space, and nothing lost."""
    config = tmp_path / "node.toml"
    config.write_text(FILES + f'name = "a"\ndata-dir = "{small_disk / "data"}"\n')
    node = NodeProcess("a", tmp_path, ["--config", str(config), "--request-timeout-ms", "300"])
    try:
        node.start()
        with node.wire() as wire:
            assert wire.set(b"k", b"before") == b"STORED\r\n"
            with kept_full(small_disk / "filler"):
                number = 0
                while (reply := wire.set(b"k-%d" % number, b"x" * 5000)) == b"STORED\r\n":
                    number += 1  # What was written ahead still has room.
                assert reply.startswith(b"SERVER_ERROR "), reply
                print(reply)
                print(wire.set(b"after", b"x"))
            node.wait_log("event=disk_well")
            wait_until("a write", lambda: wire.set(b"k", b"again") == b"STORED\r\n")
            node.kill()
        node.start()
        with node.wire() as wire:
            assert wire.get(b"k") == b"again"
            for at in range(number):
                assert wire.get(b"k-%d" % at) == b"x" * 5000
    finally:
        node.end()
    node.check_log()
