"""Large values over a cluster: in pieces on every way, whole for every client.

The threshold is small here, so that a value of some hundred bytes is a large one. What holds under
faults is the matter of the seeds: they draw the same bounds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from quorumcache.node.store.item import PIECES
from quorumcache.node.store.store import ShardStore, shard_store
from tests.simulation.bounds import applied
from tests.simulation.stage import Stage
from tests.support.item_tables import items_of

LARGE = 100
PIECE = 64
BOUNDS = {
    "node.store.large.LARGE_VALUE_BYTES": LARGE,
    "node.store.large.PIECE_BYTES": PIECE,
}


def value(number: int, size: int = 1000) -> bytes:
    return (b"<%d>" % number * size)[:size]


def stores(stage: Stage, shard: int) -> list[ShardStore]:
    groups = [node.host.groups.get(shard + 1) for node in stage.up()]
    return [shard_store(group.machine) for group in groups if group is not None]


async def settled(stage: Stage, shard: int) -> None:
    """All replicas have applied the same, and no piece waits."""

    def check() -> bool:
        found = stores(stage, shard)
        same = len({store.digest() for store in found}) == 1
        return same and not any(store.staging.uploads for store in found)

    await stage.until("the replicas are equal and nothing is staged", check)


def play(
    scenario: Callable[[Stage], Awaitable[None]],
    *,
    bounds: dict[str, int] | None = None,
    **settings: Any,
) -> None:
    with applied({**BOUNDS, **(bounds or {})}):
        Stage(**settings).run(scenario)


def dialogue(first: bytes, second: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Requests and replies. Both values are large."""
    n, m = len(first), len(second)
    yield b"set k 5 0 %d\r\n%b" % (n, first), b"STORED\r\n"
    yield b"get k", b"VALUE k 5 %d\r\n%b\r\nEND\r\n" % (n, first)
    yield b"add k 0 0 %d\r\n%b" % (m, second), b"NOT_STORED\r\n"
    yield b"replace none 0 0 %d\r\n%b" % (m, second), b"NOT_STORED\r\n"
    yield b"append none 0 0 %d\r\n%b" % (m, second), b"NOT_STORED\r\n"
    yield b"append k 0 0 %d\r\n%b" % (m, second), b"STORED\r\n"
    yield b"prepend k 0 0 1\r\nx", b"STORED\r\n"
    yield b"get k", b"VALUE k 5 %d\r\nx%b%b\r\nEND\r\n" % (n + m + 1, first, second)
    yield b"set k 0 0 %d noreply\r\n%b" % (m, second), b""
    yield b"get k k none", b"VALUE k 0 %d\r\n%b\r\n" % (m, second) * 2 + b"END\r\n"
    yield b"incr k 1", b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
    yield b"touch k 100", b"TOUCHED\r\n"
    yield b"gat 200 k", b"VALUE k 0 %d\r\n%b\r\nEND\r\n" % (m, second)
    yield b"mg k t s v q", b"VA %d t200 s%d\r\n%b\r\n" % (m, m, second)
    yield b"mg k s", b"HD s%d\r\n" % m
    yield b"mg k T300 v", b"VA %d\r\n%b\r\n" % (m, second)
    yield b"ms k %d F7 T0\r\n%b" % (n, first), b"HD\r\n"
    yield b"ms k %d MA s\r\n%b" % (m, second), b"HD s%d\r\n" % (n + m)
    yield b"ms made %d MA N0 F3\r\n%b" % (m, second), b"HD\r\n"
    yield b"get made", b"VALUE made 3 %d\r\n%b\r\nEND\r\n" % (m, second)
    yield b"delete made", b"DELETED\r\n"
    yield b"mg k v f", b"VA %d f7\r\n%b%b\r\n" % (n + m, first, second)
    yield b"mg k v k Oq", b"VA %d kk Oq\r\n%b%b\r\n" % (n + m, first, second)
    yield b"md k I", b"HD\r\n"
    yield b"mg k v", b"VA %d X W\r\n%b%b\r\n" % (n + m, first, second)
    yield b"mg k v", b"VA %d Z X\r\n%b%b\r\n" % (n + m, first, second)
    yield b"set k 0 0 %d\r\n%b" % (n, first[:-2] + b"abcd"), b"CLIENT_ERROR bad data chunk\r\n"
    yield b"cas k 0 0 %d 1\r\n%b" % (n, first), b"EXISTS\r\n"
    yield b"cas none 0 0 %d 1\r\n%b" % (n, first), b"NOT_FOUND\r\n"
    yield b"delete k", b"DELETED\r\n"
    yield b"get k", b"END\r\n"
    yield b"set k 0 -1 %d\r\n%b" % (n, first), b"STORED\r\n"
    yield b"get k", b"END\r\n"


@pytest.mark.parametrize("size", [LARGE + 1, 2 * PIECE, 5 * PIECE + 1, 3000])
@pytest.mark.parametrize("pipelined", [False, True])
def test_every_command_through_every_node(size: int, pipelined: bool) -> None:
    async def scenario(stage: Stage) -> None:
        for number, name in enumerate(stage.nodes):
            wire = await stage.connect(name)
            script = list(dialogue(value(number, size), value(9 - number, size + 7)))
            fence = b"mn\r\n"
            if pipelined:
                wire.writer.write(b"".join([ask + b"\r\n" + fence for ask, _ in script]))
            for ask, expected in script:
                if not pipelined:
                    wire.writer.write(ask + b"\r\n" + fence)
                async with asyncio.timeout(30):
                    found = b""
                    while not found.endswith(b"MN\r\n"):
                        found += await wire.reader.readline()
                if expected.endswith(b"bad data chunk\r\n"):
                    rest = b"CLIENT_ERROR bad command line format\r\nMN\r\n"
                    assert found == expected + rest, "the surplus is a line"
                else:
                    assert found == expected + b"MN\r\n", ask[:30]
            wire.close()
        for shard in range(2):
            await settled(stage, shard)

    play(scenario)


def test_a_value_at_the_limit_and_one_beyond_it() -> None:
    """What is refused is swallowed, and a set takes the old value with it."""

    async def scenario(stage: Stage) -> None:
        key = stage.key(0)
        for name in stage.nodes:
            fits = 4096 - 59 - len(key)
            request = b"set %b 0 0 %d\r\n%b\r\n"
            assert await stage.ask(name, request % (key, fits, bytes(fits))) == b"STORED\r\n"
            reply = await stage.ask(name, request % (key, fits + 1, bytes(fits + 1)))
            assert reply == b"SERVER_ERROR object too large for cache\r\n"
            assert await stage.ask(name, b"get %b\r\n" % key) == b"END\r\n"
            more = 4096 - 59 - len(key) - 200
            assert await stage.ask(name, request % (key, 200, bytes(200))) == b"STORED\r\n"
            extend = b"append %b 0 0 %d\r\n%b\r\n"
            assert await stage.ask(name, extend % (key, more + 1, bytes(more + 1))) == (
                b"NOT_STORED\r\n"
            )
            assert await stage.ask(name, extend % (key, more, bytes(more))) == b"STORED\r\n"
        await settled(stage, 0)

    play(scenario, item_bytes_max=4096)


def test_two_clients_that_store_under_the_same_key_at_once() -> None:
    """Their pieces come in turns; each value is whole."""

    async def scenario(stage: Stage) -> None:
        key = stage.key(0)
        names = ["n1", "n2", "n3", "n1"]
        wires = [await stage.connect(name) for name in names]
        for number, wire in enumerate(wires):
            wire.writer.write(b"set %b 0 0 1000\r\n" % key)
            wire.writer.write(value(number)[:500])
        await asyncio.sleep(0.05)
        assert len(stores(stage, 0)[0].staging.uploads) == len(wires)
        for number, wire in enumerate(wires):
            wire.writer.write(value(number)[500:] + b"\r\n")
        for wire in wires:
            assert await wire.ask(b"") == b"STORED\r\n"
        found = await stage.ask("n2", b"get %b\r\n" % key, b"END\r\n")
        wanted = [b"VALUE %b 0 1000\r\n%b\r\nEND\r\n" % (key, value(n)) for n in range(4)]
        assert found in wanted
        await settled(stage, 0)

    play(scenario)


def test_a_large_value_and_what_its_client_sends_behind_it() -> None:
    """Through the leader's node, where writes of a connection follow each other at once."""

    async def scenario(stage: Stage) -> None:
        key = stage.key(0)
        large = b"set %b 0 0 1000%b\r\n%b\r\n"
        small = b"set %b 0 0 3\r\nnew\r\n" % key
        for name in stage.nodes:
            wire = await stage.connect(name)
            for noreply in (b"", b" noreply"):
                wire.writer.write(large % (key, noreply, value(1)) + small + b"get %b\r\n" % key)
                expected = b"" if noreply else b"STORED\r\n"
                expected += b"STORED\r\nVALUE %b 0 3\r\nnew\r\nEND\r\n" % key
                assert await wire.ask(b"", b"END\r\n") == expected
            wire.writer.write(large % (key, b" noreply", value(2)))
            wire.writer.write_eof()
            assert await wire.rest() == b""

            stored = b"VALUE %b 0 1000\r\n%b\r\nEND\r\n" % (key, value(2))
            for _ in range(500):
                if await stage.ask(name, b"get %b\r\n" % key, b"END\r\n") == stored:
                    break
                await asyncio.sleep(0.01)
            else:
                pytest.fail("a silent set of a client that is gone is lost")

    play(scenario)


def test_a_client_that_goes_in_mid_value_leaves_nothing() -> None:
    async def scenario(stage: Stage) -> None:
        key = stage.key(0)
        assert await stage.ask("n1", b"set %b 0 0 3\r\nold\r\n" % key) == b"STORED\r\n"
        for name in stage.nodes:
            wire = await stage.connect(name)
            wire.writer.write(b"set %b 0 0 1000\r\n%b" % (key, value(1)[:900]))
            await stage.until("pieces came", lambda: stores(stage, 0)[0].staging.uploads)
            wire.close()
            await settled(stage, 0)
        found = await stage.ask("n2", b"get %b\r\n" % key, b"END\r\n")
        assert found == b"VALUE %b 0 3\r\nold\r\nEND\r\n" % key

    play(scenario)


def test_what_a_killed_node_has_begun_goes_in_time() -> None:
    async def scenario(stage: Stage) -> None:
        key = stage.key(0)
        leader = stage.leader(0)
        other = next(name for name in stage.nodes if name != leader)
        wire = await stage.connect(other)
        wire.writer.write(b"set %b 0 0 1000\r\n%b" % (key, value(1)[:900]))
        await stage.until("pieces came", lambda: stores(stage, 0)[0].staging.uploads)
        stage.nodes[other].crash()
        await settled(stage, 0)
        assert await stage.ask(leader, b"get %b\r\n" % key) == b"END\r\n"

    play(scenario, bounds={"node.housekeeping.expiry.UPLOAD_IDLE_MS": 1000})


@pytest.mark.parametrize("pieces", [1, 7, 15])
def test_a_leader_that_dies_in_mid_value(pieces: int) -> None:
    """The client hears how it ended, and that is what readers see."""

    async def scenario(stage: Stage) -> None:
        key = stage.key(0)
        leader = stage.leader(0)
        other = next(name for name in stage.nodes if name != leader)
        wire = await stage.connect(other)
        wire.writer.write(b"set %b 0 0 1000\r\n%b" % (key, value(1)[: pieces * PIECE]))
        await stage.until("pieces came", lambda: stores(stage, 0)[0].staging.uploads)
        stage.nodes[leader].crash()
        wire.writer.write(value(1)[pieces * PIECE :] + b"\r\n")
        assert await wire.ask(b"") == b"STORED\r\n"
        found = await stage.ask(other, b"get %b\r\n" % key, b"END\r\n")
        assert found == b"VALUE %b 0 1000\r\n%b\r\nEND\r\n" % (key, value(1))
        stage.nodes[leader].start()
        await settled(stage, 0)

    play(scenario, request_timeout_ms=10_000)


def test_a_shard_that_is_full_of_uploads_lets_others_wait() -> None:
    async def scenario(stage: Stage) -> None:
        first = await stage.connect("n1")
        first.writer.write(b"set %b 0 0 1000\r\n%b" % (stage.key(0), value(1)[:900]))
        await stage.until("pieces came", lambda: stores(stage, 0)[0].staging.uploads)
        other = stage.key(0, 1)
        second = await stage.connect("n2")
        second.writer.write(b"set %b 0 0 1000\r\n%b\r\n" % (other, value(2)))
        await asyncio.sleep(0.5)
        assert len(stores(stage, 0)[0].staging.uploads) == 1
        first.writer.write(value(1)[900:] + b"\r\n")
        assert await first.ask(b"") == b"STORED\r\n"
        assert await second.ask(b"") == b"STORED\r\n"
        first.writer.write(b"set %b 0 0 1000\r\n%b" % (stage.key(0), value(1)[:900]))
        second.writer.write(b"set %b 0 0 1000\r\n%b\r\n" % (other, value(3)))
        assert (await second.ask(b"")).startswith(b"SERVER_ERROR not done: the shard takes in as")
        found = await stage.ask("n3", b"get %b\r\n" % other, b"END\r\n")
        assert found == b"VALUE %b 0 1000\r\n%b\r\nEND\r\n" % (other, value(2))

    play(scenario, bounds={"node.store.staging.UPLOADS_MAX": 1})


def test_a_node_without_memory_refuses_a_large_value() -> None:
    """A refused set takes the old value with it, another store does not; no piece stays."""

    async def scenario(stage: Stage) -> None:
        key, full = stage.key(0), b"SERVER_ERROR out of memory storing object\r\n"
        request = b"%b %b 0 0 30000\r\n%b\r\n"
        for name in stage.nodes:
            assert await stage.ask(name, b"set %b 0 0 3\r\nold\r\n" % key) == b"STORED\r\n"
            assert await stage.ask(name, request % (b"replace", key, bytes(30000))) == full
            found = await stage.ask(name, b"get %b\r\n" % key, b"END\r\n")
            assert found == b"VALUE %b 0 3\r\nold\r\nEND\r\n" % key
            assert await stage.ask(name, request % (b"set", key, bytes(30000))) == full
            assert await stage.ask(name, b"get %b\r\n" % key) == b"END\r\n"
            await settled(stage, 0)
            assert all(store.bytes_used == 0 for store in stores(stage, 0))

    with applied({"node.settings.checks.MEMORY_BYTES_MIN": 1024}):
        play(scenario, memory_bytes=20_000, evicts=False)


def test_a_client_that_numbers_its_writes_stores_a_large_value_once() -> None:
    async def scenario(stage: Stage) -> None:
        key = stage.key(0)
        line = await stage.ask("n1", b"cluster session open 0\r\n")
        session = line.split()[2]
        once = b"cluster once %b 1 1\r\n" % session
        append = b"append %b 0 0 1000\r\n%b\r\n" % (key, value(1))
        await stage.ask("n1", b"set %b 0 0 1\r\nx\r\n" % key)
        for name in ("n1", "n2", "n3", "n1"):
            assert await stage.ask(name, once + append) == b"STORED\r\n"
        found = await stage.ask("n2", b"get %b\r\n" % key, b"END\r\n")
        assert found == b"VALUE %b 0 1001\r\nx%b\r\nEND\r\n" % (key, value(1))
        twice = await stage.connect("n1")
        twice.writer.write(once + once + append)
        assert (await twice.ask(b"")).startswith(b"CLIENT_ERROR once")
        await settled(stage, 0)

    play(scenario)


def test_a_redirected_client_is_told_where_to_go_and_nothing_is_staged() -> None:
    async def scenario(stage: Stage) -> None:
        key, leader = stage.key(0), stage.leader(0)
        other = next(name for name in stage.nodes if name != leader)
        wire = await stage.connect(other)
        assert await wire.ask(b"cluster redirect on\r\n") == b"OK\r\n"
        request = b"set %b 0 0 1000\r\n%b\r\n" % (key, value(1))
        assert (await wire.ask(request)).startswith(b"MOVED ")
        assert (await wire.ask(b"version\r\n")).startswith(b"VERSION ")
        await settled(stage, 0)
        assert await stage.ask(other, b"get %b\r\n" % key) == b"END\r\n"

    play(scenario)


async def _holder_and_stranger(stage: Stage, shard: int) -> tuple[str, str]:
    """Nodes that lead a shard, and that have no replica of it."""
    without = [name for name in stage.nodes if stage.node(name).host.groups.get(shard + 1) is None]
    return stage.leader(shard), without[0]


def test_a_value_of_another_node_is_read_to_its_end_though_it_is_replaced() -> None:
    """The node that was asked has no replica, so it fetches the pieces while its client reads."""

    async def scenario(stage: Stage) -> None:
        key = stage.key(0)
        leader, stranger = await _holder_and_stranger(stage, 0)
        size = 60_000
        request = b"set %b 0 0 %d\r\n%b\r\n"
        assert await stage.ask(leader, request % (key, size, value(1, size))) == b"STORED\r\n"
        wire = await stage.connect(stranger)
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        wire.writer.write(b"get %b\r\n" % key * 3 + b"gets %b %b\r\n" % (key, key))
        await asyncio.sleep(0.1)
        assert await stage.ask(leader, request % (key, size, value(2, size))) == b"STORED\r\n"
        wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
        seen = []
        for _ in range(5):
            head = await wire.ask(b"")
            if head == b"END\r\n":
                head = await wire.ask(b"")
            seen.append(await wire.reader.readexactly(size + 2))
            assert seen[-1] in (value(1, size) + b"\r\n", value(2, size) + b"\r\n")
        assert seen == sorted(seen)
        assert seen[0] == value(1, size) + b"\r\n"

    play(scenario, nodes=4, bounds={"node.clients.replies.STREAMS_MAX": 1})


def test_a_leader_that_dies_while_its_value_is_read() -> None:
    """Its replicas have the same value under the same number: the reader notices nothing. If they
    have it no more, the connection ends."""

    async def scenario(stage: Stage) -> None:
        key = stage.key(0)
        for number, is_replaced in enumerate((False, True)):
            await stage.served()
            leader, stranger = await _holder_and_stranger(stage, 0)
            size = 60_000
            request = b"set %b 0 0 %d\r\n%b\r\n" % (key, size, value(number, size))
            assert await stage.ask(leader, request) == b"STORED\r\n"
            wire = await stage.connect(stranger)
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
            wire.writer.write(b"get %b\r\n" % key)
            await asyncio.sleep(0.1)
            if is_replaced:
                assert await stage.ask(leader, b"set %b 0 0 1\r\nx\r\n" % key) == b"STORED\r\n"
                await settled(stage, 0)
            stage.nodes[leader].crash()
            wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert await wire.ask(b"") == b"VALUE %b 0 %d\r\n" % (key, size)
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionResetError):
                async with asyncio.timeout(12):
                    rest = await wire.reader.readexactly(size + 2)
                assert rest == value(number, size) + b"\r\n"
                assert not is_replaced, "nobody had the rest"
                stage.nodes[leader].start()
                continue
            assert is_replaced

    play(scenario, nodes=4, request_timeout_ms=5000)


def test_a_restarted_and_a_caught_up_node_have_large_values() -> None:
    """From the log, and from a snapshot with values and an upload under way in it."""

    async def scenario(stage: Stage) -> None:
        leader = stage.leader(0)
        other = next(name for name in stage.nodes if name != leader)
        stage.nodes[other].crash()
        for number in range(60):
            request = b"set %b 0 0 3000\r\n%b\r\n" % (stage.key(0, number % 7), value(number, 3000))
            assert await stage.ask(leader, request) == b"STORED\r\n"
        wire = await stage.connect(leader)
        wire.writer.write(b"set %b 0 0 3000\r\n%b" % (stage.key(0), value(99, 3000)[:2000]))
        await asyncio.sleep(2)
        stage.nodes[other].start()
        await stage.served()
        wire.writer.write(value(99, 3000)[2000:] + b"\r\n")
        assert await wire.ask(b"") == b"STORED\r\n"
        await settled(stage, 0)
        items = items_of(stores(stage, 0)[0].items)
        assert sum(bool(item[0] & PIECES) for item in items.values()) == 7
        assert stage.node(other).counters.snapshots_received > 0

    play(scenario)
