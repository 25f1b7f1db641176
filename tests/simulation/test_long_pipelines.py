"""Many requests of one client for one shard, sent at once through any node. In virtual time.

Through a node that does not lead the shard they go to its leader a bundle after the other. All of
them are executed: no request runs out of time while those before it are answered.
"""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from quorumcache.node.peers.items import WRITES_MAX
from tests.simulation.stage import Stage

TIMEOUT_MS = 300
COUNT = 600
FAR_MS = 25
"""From one node to another, where they are far apart."""
BUNDLES = 4
"""So many take longer than TIMEOUT_MS one after the other, where nodes are far apart."""


def count_up(key: bytes, noreply: bool, count: int = COUNT) -> bytes:
    """Requests that count from 0 on, and show it."""
    incr = b"incr %b 1%b\r\n" % (key, b" noreply" if noreply else b"")
    return b"set %b 0 0 1\r\n0\r\n" % key + incr * count + b"mn\r\nget %b\r\n" % key


@pytest.mark.parametrize("noreply", [True, False])
def test_all_of_a_long_pipeline_is_executed_through_every_node(noreply: bool) -> None:
    stage = Stage(request_timeout_ms=TIMEOUT_MS)

    async def play(stage: Stage) -> None:
        key = stage.key(0)
        for ends in itertools.permutations(stage.nodes, 2):
            stage.network.link(*ends).extra_latency_ns = FAR_MS * 1_000_000
        took = {}
        count = BUNDLES * WRITES_MAX
        for name in stage.nodes:
            begun = stage.loop.time()
            reply = await stage.ask(name, count_up(key, noreply, count), b"END\r\n")
            took[name] = stage.loop.time() - begun
            answers = b"" if noreply else b"".join(b"%d\r\n" % n for n in range(1, count + 1))
            value = b"%d" % count
            found = b"VALUE %b 0 %d\r\n%b\r\nEND\r\n" % (key, len(value), value)
            assert reply == b"STORED\r\n" + answers + b"MN\r\n" + found, name
        del took[stage.leader(0)]
        assert min(took.values()) > TIMEOUT_MS / 1000, "too short to show anything"

    stage.run(play)


def test_a_pipeline_begun_at_a_leader_is_finished_when_it_leads_no_more() -> None:
    """What was begun together has to be repeated in its order."""
    stage = Stage(request_timeout_ms=TIMEOUT_MS)

    async def play(stage: Stage) -> None:
        key, name = stage.key(0), stage.leader(0)
        wire = await stage.connect(name)
        node = stage.node(name)
        wire.writer.write(count_up(key, True))
        await stage.until("some are under way", lambda: node.counters.cmd_set)
        other = next(n for n in stage.up() if n is not node)
        assert node.member is not None
        node.member.housekeeper.leadership.transfer(node.host.groups[1], other.node_id)
        reply = await wire.reader.readuntil(b"END\r\n")
        assert stage.leader(0) != name
        assert b"\r\n%d\r\nEND" % COUNT in reply, reply

    stage.run(play)


def test_a_shard_that_does_not_answer_ends_all_that_waits_for_it_together() -> None:
    stage = Stage(request_timeout_ms=TIMEOUT_MS)

    async def play(stage: Stage) -> None:
        key, leader = stage.key(0), stage.leader(0)
        name = next(name for name in stage.nodes if name != leader)
        wire = await stage.connect(name)
        begun = stage.loop.time()
        wire.writer.write(b"set %b 0 0 1\r\n0\r\n" % key * COUNT + b"mn\r\n")
        await wire.reader.readuntil(b"STORED\r\n")
        for other in stage.nodes:
            if other != name:
                stage.nodes[other].crash()
        reply = await wire.reader.readuntil(b"MN\r\n")
        lines = Counter(line[:12] for line in reply.splitlines())
        assert lines[b"SERVER_ERROR"] > COUNT // 2
        assert stage.loop.time() - begun < 3 * TIMEOUT_MS / 1000

    stage.run(play, all_well=True)
