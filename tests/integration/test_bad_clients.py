"""Clients that send nonsense, too much, too slowly, or never listen: the node serves the others."""

from __future__ import annotations

import contextlib
import random
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from quorumcache.node.protocol.responses import binary_refusal
from tests.support.load import in_threads
from tests.support.processes import Cluster, NodeProcess, running_node, wait_until
from tests.support.wire import Wire, ask

BIG = b"v" * 1_000_000


@pytest.fixture
def node(cluster: Cluster) -> Iterator[NodeProcess]:
    """Node b of the shared cluster, which has to be as well afterwards as before."""
    yield cluster["b"]
    for one in cluster:
        assert one.is_running
        with one.wire() as wire:
            assert wire.set(b"still-here", b"yes") == b"STORED\r\n"
            assert wire.get(b"still-here") == b"yes"
        one.check_log()


def test_garbage(node: NodeProcess) -> None:
    """Random bytes: errors or a closed connection, and an end to it."""
    draw = random.Random(11)

    def one(number: int) -> None:
        with node.wire() as wire:
            # What looks like a storage command makes the node wait for a block: half close ends it.
            with contextlib.suppress(ConnectionError):
                wire.send(b"x" + draw.randbytes(20_000))
                wire.half_close()
            for line in wire.rest().splitlines():
                assert line.startswith((b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR")), line

    in_threads(20, one)


@pytest.mark.parametrize("start", [b"", b"get ", b"set ", b"gat 0 "])
def test_endless_line(node: NodeProcess, start: bytes) -> None:
    """A line without an end is cut off: the connection is closed, whatever is still coming."""
    before = node.forget_peak()
    with node.wire() as wire:
        wire.send(start)
        with pytest.raises(ConnectionError):  # noqa: PT012
            for _ in range(4096):
                wire.send(b"x" * 16_384)
            wire.line()
    assert node.memory_kib("VmHWM") < before + 64 * 1024


def test_wrong_byte_counts(node: NodeProcess) -> None:
    with node.wire() as wire:
        wire.send(b"set k 0 0 3\r\ntoo long\r\nget k\r\n")
        assert wire.line() == b"CLIENT_ERROR bad data chunk\r\n"
        wire.half_close()
        assert b"VALUE" not in wire.rest()
    with node.wire() as wire:
        wire.send(b"set k 0 0 -1\r\nset k 0 0 99999999999\r\nset k 0 0 x\r\n")
        for _ in range(3):
            assert wire.line() == b"CLIENT_ERROR bad command line format\r\n"
        # A block of 2 GiB that is announced, and not even begun.
        wire.send(b"set k 0 0 2147483645\r\n")
    with node.wire() as wire:
        wire.send(b"set cut 0 0 10\r\n12345")
        wire.half_close()
        assert wire.rest() == b""
        assert ask(node.port, b"get cut") == b"END\r\n"


def test_a_value_far_too_large(node: NodeProcess) -> None:
    """64 MiB are swallowed as they come, not kept."""
    before = node.forget_peak()
    with node.wire() as wire:
        wire.send(b"set huge 0 0 %d\r\n" % (64 << 20))
        for _ in range(64):
            wire.send(b"x" * (1 << 20))
        wire.send(b"\r\nversion\r\n")
        assert wire.line() == b"SERVER_ERROR object too large for cache\r\n"
        assert wire.line().startswith(b"VERSION")
    assert node.memory_kib("VmHWM") < before + 32 * 1024


def test_any_byte_in_a_key(node: NodeProcess, cluster: Cluster) -> None:
    """NUL, control bytes and high bytes are bytes of a key like any other, at every node."""
    keys = [bytes([value]) + b"k" for value in range(256) if value not in b" \r\n"]
    with node.wire() as wire:
        for key in keys:
            wire.send(b"set a%b 0 0 1\r\nx\r\n" % key)
        for _ in keys:
            assert wire.line() == b"STORED\r\n"
    with cluster["c"].wire() as wire:
        for key in keys:
            assert wire.get(b"a" + key) == b"x"


def test_first_byte_of_the_binary_protocol(node: NodeProcess) -> None:
    before = int(counted(node))
    with node.wire() as wire:
        wire.send(b"\x80" + bytes(23))
        assert wire.rest() == binary_refusal(b"\x80" + bytes(23))
        wait_until("it is counted", lambda: int(counted(node)) > before)


def counted(node: NodeProcess) -> str:
    """Binary clients so far."""
    with node.wire() as wire:
        return wire.stats()["binary_clients"]


def test_http_request(node: NodeProcess) -> None:
    """A browser or a forged request from one: closed without being carried out."""
    with node.wire() as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nset forged 0 0 1\r\nx\r\n")
        wire.rest()
    assert ask(node.port, b"get forged") == b"END\r\n"


def test_one_byte_at_a_time(node: NodeProcess) -> None:
    with node.wire() as wire:
        for byte in b"set slow 0 0 5\r\nhello\r\nget slow\r\nincr slow 1\r\n":
            wire.send(bytes([byte]))
        assert wire.line() == b"STORED\r\n"
        assert wire.value(b"slow") == b"hello"
        assert wire.line().startswith(b"CLIENT_ERROR cannot increment")


def test_half_closed(node: NodeProcess, cluster: Cluster) -> None:
    """As in `printf ... | nc`: all replies come, in order, then the end."""
    for one in cluster:
        with one.wire() as wire:
            wire.send(
                b"set h 0 0 1\r\nx\r\nget h\r\nflush_all\r\nget h\r\nset h 0 0 1\r\ny\r\nget h"
            )
            wire.send(b"\r\n")
            wire.half_close()
            hits = [b"VALUE h 0 1\r\n%b\r\nEND\r\n" % value for value in (b"x", b"y")]
            expected = b"STORED\r\n%bOK\r\nEND\r\nSTORED\r\n%b" % (hits[0], hits[1])
            assert wire.rest() == expected
        with one.wire() as wire:  # More than may be under way at a time.
            wire.send(b"".join(b"set h%d 0 0 1\r\nx\r\n" % number for number in range(5000)))
            wire.half_close()
            assert wire.rest() == b"STORED\r\n" * 5000


@pytest.mark.parametrize("ask_for", ["gets", "one get", "far gets"])
def test_clients_that_never_read(cluster: Cluster, node: NodeProcess, ask_for: str) -> None:
    """Big values are asked for and not taken: memory is bounded, other clients are served."""
    keys = [key for one in cluster for key in cluster.keys_led_by(one.name, 1, b"rude")]
    for key in keys:
        with node.wire() as wire:
            assert wire.set(key, BIG) == b"STORED\r\n"
    if ask_for == "gets":
        requests = b"".join(b"get %b\r\ngets %b\r\n" % (key, key) for key in keys) * 300
    elif ask_for == "one get":
        requests = b"get" + b"".join(b" " + key for key in keys) * 500 + b"\r\n"
    else:
        # Of keys that another node leads: each value crosses the connection between the nodes.
        requests = b"get %b\r\n" % keys[0] * 1500
    before = {one.name: one.forget_peak() for one in cluster}
    rude = [Wire(node.port, receive_buffer=4096) for _ in range(2)]
    try:
        for wire in rude:
            wire.socket.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                wire.send(requests)
        for number in range(60):
            for one in cluster:
                with one.wire() as wire:
                    key = b"polite-%d" % number
                    assert wire.set(key, b"x") == b"STORED\r\n"
                    assert wire.get(key) == b"x"
        for one in cluster:
            grown = one.memory_kib("VmHWM") - before[one.name]
            print(f"{ask_for}: node {one.name} grew by {grown // 1024} MiB")
            assert grown < 512 * 1024
    finally:
        for wire in rude:
            wire.close()


def test_clients_that_write_as_fast_as_they_can(cluster: Cluster, node: NodeProcess) -> None:
    """Big values without a pause: the node takes them no faster than they become durable."""
    keys = cluster.keys_led_by("a", 2, b"fast") + cluster.keys_led_by("c", 2, b"fast")
    before = {one.name: one.forget_peak() for one in cluster}
    rounds = 25

    def one(number: int) -> None:
        request = b"set %b 0 0 %d\r\n%b\r\n" % (keys[number], len(BIG), BIG)
        with node.wire() as wire:
            for _ in range(rounds):
                wire.send(request)
            for _ in range(rounds):
                assert wire.line() == b"STORED\r\n"

    in_threads(len(keys), one)
    for each in cluster:
        grown = each.memory_kib("VmHWM") - before[each.name]
        print(f"fast writes: node {each.name} grew by {grown // 1024} MiB")
        assert grown < 400 * 1024


def test_a_thousand_idle_connections(node: NodeProcess) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))
    before = node.memory_kib()
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(node.wire()) for _ in range(1000)]
        with node.wire() as wire:
            wait_until("1001 of them", lambda: int(wire.stats()["curr_connections"]) >= 1001)
            assert wire.set(b"k", b"v") == b"STORED\r\n"
        print(f"1000 idle connections: {node.memory_kib() - before} KiB")
        for wire in wires[::100]:
            assert wire.get(b"k") == b"v"
    with node.wire() as wire:
        wait_until("their end", lambda: int(wire.stats()["curr_connections"]) < 50)


def test_too_many_connections(tmp_path: Path) -> None:
    with (
        running_node(tmp_path, "--max-connections", "5") as node,
        contextlib.ExitStack() as stack,
    ):
        wires = [stack.enter_context(node.wire()) for _ in range(5)]
        for wire in wires:
            assert wire.get(b"k") is None
        with node.wire() as one_more:
            assert one_more.rest() == b"ERROR Too many open connections\r\n"
        assert wires[0].stats()["rejected_connections"] == "1"
        wires.pop().close()
        wait_until("room", lambda: ask(node.port, b"version").startswith(b"VERSION"))
