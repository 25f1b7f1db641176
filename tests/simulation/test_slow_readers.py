"""Clients that ask for much, or do not read what they asked for, hurt nobody but themselves.

A node that has to fetch the values from another node. In virtual time, so independent of the
machine; what is asserted is who is answered, not how fast.
"""

import asyncio
from typing import Any

from tests.simulation.cluster import SimulatedNode
from tests.simulation.gaps import Gaps
from tests.simulation.liveness import probe_keys
from tests.simulation.process import Process
from tests.simulation.stage import Stage

SHARD = 0
BIG_BYTES = 1_000_000
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def clients(world: Gaps, count: int) -> list[Process]:
    return [Process(world.loop, f"x{n}", host=f"x{n}") for n in range(count)]


def follower(world: Gaps) -> SimulatedNode:
    leader = world.leader(SHARD)
    return next(node for node in world.nodes if node is not leader)


async def store(world: Gaps, key: bytes, value: bytes) -> None:
    node = world.leader(SHARD)
    reader, writer = await asyncio.open_connection(*node.address)
    writer.write(b"set %b 0 0 %d\r\n%b\r\n" % (key, len(value), value))
    assert await reader.readline() == b"STORED\r\n"
    writer.close()


async def ask(node: SimulatedNode, key: bytes, count: int) -> list[bytes]:
    """The first word of each answer to so many pipelined gets."""
    reader, writer = await asyncio.open_connection(*node.address)
    writer.write(b"get %b\r\n" % key * count)
    words = []
    for _ in range(count):
        line = await reader.readuntil(b"\r\n")
        words.append(line.split()[0])
        if line.startswith(b"VALUE"):
            await reader.readexactly(int(line.split()[3]) + 2)
            assert await reader.readuntil(b"\r\n") == b"END\r\n"
    writer.close()
    return words


async def ask_and_read_nothing(node: SimulatedNode, key: bytes, count: int) -> Streams:
    reader, writer = await asyncio.open_connection(*node.address, limit=1)
    transport: Any = writer.transport
    transport.pause_reading()
    writer.write(b"get %b\r\n" % key * count)
    return reader, writer


def test_many_connections_with_long_pipelines_are_all_answered() -> None:
    """15,360 reads of one small value are under way at once at a node that does not lead it."""
    world = Gaps(1, nodes=3)
    key = probe_keys("k", world.shards)[SHARD]

    async def play() -> None:
        await store(world, key, b"small")
        node = follower(world)
        asked = [process.spawn(ask(node, key, 128)) for process in clients(world, 120)]
        for words in await asyncio.gather(*asked):
            assert words == [b"VALUE"] * 128

    world.run(play)


def test_clients_that_read_nothing_do_not_hold_up_others_and_are_closed() -> None:
    world = Gaps(1, nodes=3, slow_client_ms=20_000)
    key = probe_keys("k", world.shards)[SHARD]

    async def play() -> None:
        await store(world, key, bytes(BIG_BYTES))
        node = follower(world)
        assert node.node is not None
        greedy = clients(world, 8)
        asked = [process.spawn(ask_and_read_nothing(node, key, 64)) for process in greedy]
        streams = await asyncio.gather(*asked)
        await world.measure(8.0)
        assert not world.failures
        assert world.worst(through=node) < 0.5
        (other,) = clients(world, 1)
        assert await other.spawn(ask(node, key, 64)) == [b"VALUE"] * 64
        held = sum(connection.unread_bytes for connection in node.node.server.connections.values())
        assert held < len(greedy) * 6 * BIG_BYTES, f"{held >> 20} MiB wait for them"
        counters = node.node.counters
        assert counters.answers_dropped > 0
        assert counters.slow_clients_closed == 0
        await asyncio.sleep(15.0)
        assert counters.slow_clients_closed == len(greedy)
        for _, writer in streams:
            writer.close()
        assert not world.failures

    world.run(play)


def test_a_client_that_reads_slowly_gets_everything() -> None:
    """Values of two sizes, so that more answers come than there is room for."""
    world = Gaps(2, nodes=3)
    small, big = b"small-a", b""
    number = 0
    while not big:  # Of the same shard as `small`.
        candidate = b"big-%d" % number
        number += 1
        if probe_shard(candidate, world.shards) == probe_shard(small, world.shards) == SHARD:
            big = candidate
        elif probe_shard(small, world.shards) != SHARD:
            small = b"small-%d" % number

    async def play() -> None:
        await store(world, small, b"s")
        await store(world, big, bytes(BIG_BYTES))
        node = follower(world)
        assert node.node is not None
        (process,) = clients(world, 1)

        async def read_slowly() -> list[int]:
            await ask(node, small, 30)
            reader, writer = await asyncio.open_connection(*node.address, limit=2 * BIG_BYTES)
            writer.write(b"get %b\r\n" % small * 40 + (b"get %b\r\n" % big) * 40)
            sizes = []
            for _ in range(80):
                line = await reader.readuntil(b"\r\n")
                assert line.startswith(b"VALUE"), line
                sizes.append(int(line.split()[3]))
                await reader.readexactly(sizes[-1] + 2 + 5)
                await asyncio.sleep(0.3 if sizes[-1] > 1 else 0.0)
            writer.close()
            return sizes

        assert await process.spawn(read_slowly()) == [1] * 40 + [BIG_BYTES] * 40
        assert node.node.counters.slow_clients_closed == 0

    world.run(play)


def probe_shard(key: bytes, shards: int) -> int:
    from quorumcache.ring.hashing import shard_of

    return shard_of(key, shards)


def test_the_time_in_which_a_node_stood_still_is_not_its_clients() -> None:
    """One that does not read and one that says nothing are closed for their own time alone."""

    async def scenario(stage: Stage) -> None:
        simulated, key = stage.nodes["n1"], stage.key(0)
        counters = stage.node("n1").counters
        slow, idle = await stage.connect("n1"), await stage.connect("n1")
        await slow.ask(b"set %b 0 0 60000\r\n%b\r\n" % (key, b"x" * 60_000))
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
        slow.writer.write(b"get %b\r\n" % key * 500)
        await idle.ask(b"version\r\n")
        await asyncio.sleep(3.0)
        simulated.process.pause()
        await asyncio.sleep(60.0)
        simulated.process.resume()
        await asyncio.sleep(3.0)
        assert counters.curr_connections == 2
        await stage.until("the slow one is closed", lambda: counters.slow_clients_closed)
        await stage.until("the idle one is closed", lambda: counters.idle_kicks)

    Stage(nodes=1, slow_client_ms=10_000, idle_timeout_ms=20_000).run(scenario)
