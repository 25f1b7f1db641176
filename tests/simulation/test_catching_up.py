"""Replicas that come back while writes go on: they catch up, and stay caught up.

A leader shortens its log while a snapshot is on its way to a follower, which then would need the
next one; and a follower counts again after its disk has hung.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.simulation.stage import Stage

VALUE = b"v" * 20_000
KEYS = 40
WRITERS = 4
MS = 1_000_000


@asynccontextmanager
async def load(stage: Stage, through: str, pause_seconds: float) -> AsyncIterator[None]:
    """Some 20 kB are set again and again by a few clients meanwhile."""
    is_over = False

    async def write(number: int) -> None:
        wire = await stage.connect(through)
        turn = 0
        while not is_over:
            turn += 1
            key = b"k%d-%d" % (number, turn % KEYS)
            request = b"set %b 0 0 %d\r\n%b\r\n" % (key, len(VALUE), VALUE)
            assert await wire.ask(request) == b"STORED\r\n"
            await asyncio.sleep(pause_seconds)

    writers = [stage.process.spawn(write(number)) for number in range(WRITERS)]
    try:
        yield
    finally:
        is_over = True
        await asyncio.gather(*writers)


def test_a_follower_over_a_long_link_is_not_sent_one_snapshot_after_the_other() -> None:
    """It is back after a while, 20 ms away and always some megabytes behind, which is more than the
    leader keeps behind its own snapshots: it goes on from the log, which is kept for it.
    """
    stage = Stage(
        shards=1, segment_bytes_max=1 << 20, wal_bytes_max=64 << 20, memory_bytes=64 << 20
    )

    async def scenario(stage: Stage) -> None:
        leader = stage.leader(0)
        follower = next(name for name in stage.nodes if name != leader)
        async with load(stage, leader, 0.01):
            stage.nodes[follower].crash()
            await asyncio.sleep(1.0)
            for link in ((leader, follower), (follower, leader)):
                stage.network.link(*link).extra_latency_ns = 20 * MS
            stage.nodes[follower].start()
            await asyncio.sleep(3.0)
            sent = stage.node(leader).counters.snapshots_sent
            taken = stage.node(leader).counters.snapshots_taken
            await asyncio.sleep(4.0)
            assert stage.leader(0) == leader
            assert stage.node(leader).counters.snapshots_taken > taken + 3, "too little is written"
            assert stage.node(leader).counters.snapshots_sent == sent
            log = stage.node(leader).host.groups[1].log
            assert log.log_bytes < 32 << 20

    stage.run(scenario)


def test_a_follower_whose_disk_has_hung_counts_again_when_it_is_well() -> None:
    stage = Stage(shards=1)

    async def scenario(stage: Stage) -> None:
        leader = stage.leader(0)
        hanging, other = (name for name in stage.nodes if name != leader)
        async with load(stage, leader, 0.1):
            stage.nodes[hanging].disk.hang(6.0)
            await asyncio.sleep(7.0)
            stage.nodes[other].crash()
            began = stage.loop.time()
            assert await stage.ask(leader, b"set k 0 0 1\r\nx\r\n") == b"STORED\r\n"
            assert stage.loop.time() - began < 1.5
            assert stage.leader(0) == leader

    stage.run(scenario)


def test_requests_through_a_node_that_is_back_do_not_wait_for_all_that_it_lacks() -> None:
    """It lacks 12 MB, which take 3 s on its links."""
    stage = Stage(shards=8, memory_bytes=64 << 20)

    async def scenario(stage: Stage) -> None:
        back, *others = stage.nodes
        stage.nodes[back].crash()
        wire = await stage.connect(others[0])
        for number in range(600):
            request = b"set k%d 0 0 %d\r\n%b\r\n" % (number, len(VALUE), VALUE)
            assert await wire.ask(request) == b"STORED\r\n"
        for name in others:
            stage.network.link(name, back).narrow(2_000_000)
        stage.nodes[back].start()
        await stage.until("it leads nothing yet", lambda: len(stage.up()) == 3)
        await asyncio.sleep(0.5)
        began = stage.loop.time()
        requests = [b"set %b 0 0 1\r\nx\r\n" % stage.key(shard) for shard in range(8)]
        answers = await asyncio.gather(*[stage.ask(back, request) for request in requests])
        assert answers == [b"STORED\r\n"] * 8
        assert stage.loop.time() - began < 1.0, "a session is opened, and the set is forwarded"

    stage.run(scenario)
