"""Items that make room, in whole clusters: what clients may see of it, and who holds what then."""

from __future__ import annotations

import asyncio

import pytest

from quorumcache.node.node import Node
from quorumcache.node.store.store import ShardStore, shard_store
from tests.simulation.elastic_world import ElasticWorld
from tests.simulation.linearizability import ILLEGAL, LEGAL, check_key
from tests.simulation.model import Model
from tests.simulation.stage import Stage, Wire
from tests.simulation.staleness import OK, Read, StaleHistory, Write, check
from tests.simulation.test_model_time import MISS, hit, timed
from tests.simulation.world import World, WorldConfig
from tests.support.item_tables import items_of

VALUE = bytes(4_000)

# -- what the checks allow -------------------------------------------------------------------------

VANISHES = [(1, 10, "set", b"a", "STORED"), (11, 20, "get", None, hit(b"a"))]


def test_an_acknowledged_value_may_go_where_items_make_room_and_nowhere_else() -> None:
    history = timed(*VANISHES, (21, 30, "get", None, MISS), (31, 40, "get", None, MISS))
    assert check_key(history, Model(may_evict=True)).kind == LEGAL
    assert check_key(history, Model()).kind == ILLEGAL


@pytest.mark.parametrize(
    "more",
    [
        [(21, 30, "get", None, MISS), (31, 40, "get", None, hit(b"a"))],
        [(21, 30, "get", None, MISS), (31, 40, "append", b"b", "STORED")],
        [(21, 30, "add", b"b", "STORED"), (31, 40, "get", None, hit(b"a"))],
        [(21, 30, "delete", None, "NOT_FOUND"), (31, 40, "incr", 1, ("number", 1))],
        [(21, 30, "get", None, hit(b"other"))],
    ],
)
def test_what_has_gone_does_not_come_back(more) -> None:
    assert check_key(timed(*VANISHES, *more), Model(may_evict=True)).kind == ILLEGAL


def test_a_late_copy_of_a_value_may_be_absent_and_is_never_too_old() -> None:
    history = StaleHistory(
        writes={"k": [Write(b"a", 1_000, 2_000, OK), Write(b"b", 3_000, 4_000, OK)]},
        reads=[Read("k", 10, 9_000, None, 10_000)],
    )
    assert check(history) != []
    assert check(history, may_evict=True) == []
    history.reads = [Read("k", 10, 9_000, b"a", 10_000)]
    assert check(history, may_evict=True) != []


# -- clusters under faults -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [15, 56, 123])
def test_faults_while_memory_is_short(seed: int) -> None:
    """Crashes, partitions, restarts with another memory; all histories and states are checked."""
    world = World(WorldConfig(seed=seed, fault_seconds=3.0))
    assert world.may_evict
    assert world.run().totals["evictions"] > 0


@pytest.mark.parametrize("seed", [17, 46])
def test_replicas_move_while_memory_is_short(seed: int) -> None:
    """Nodes come and go; a new replica gets a snapshot, and evicts when it comes to lead."""
    world = ElasticWorld(WorldConfig(seed=seed, fault_seconds=4.0, elastic=True))
    assert world.may_evict
    totals = world.run().totals
    assert totals["evictions"] > 0
    assert totals["moves_completed"] > 0


# -- step by step ----------------------------------------------------------------------------------


def stores(stage: Stage) -> dict[str, ShardStore]:
    """Of shard 0, by node."""
    return {node.config.name: shard_store(node.host.groups[1].machine) for node in stage.up()}


def memory_used(node: Node) -> int:
    groups = node.host.groups.items()
    return sum(group.machine.memory_bytes for group_id, group in groups if group_id)


async def fill(wire: Wire, count: int, *, first: int = 0) -> None:
    for number in range(first, first + count):
        request = b"set key-%d 0 0 %d\r\n%b\r\n" % (number, len(VALUE), VALUE)
        assert await wire.ask(request) == b"STORED\r\n"


async def same_everywhere(stage: Stage) -> None:
    def are_equal() -> bool:
        return len({store.digest() for store in stores(stage).values()}) == 1

    await stage.until("all replicas hold the same", are_equal)


async def within_memory(stage: Stage, *names: str) -> None:
    def is_kept() -> bool:
        nodes = [stage.node(name) for name in names] or stage.up()
        return all(memory_used(node) <= node.config.memory_bytes for node in nodes)

    await stage.until("no node takes more than it has", is_kept)


def test_a_full_cluster_takes_new_items_in_and_all_replicas_drop_the_same() -> None:
    async def scenario(stage: Stage) -> None:
        await asyncio.sleep(2)
        wire = await stage.connect(stage.leader(0))
        await fill(wire, 1000)
        await within_memory(stage)
        await same_everywhere(stage)
        held = set(items_of(stores(stage)["n1"].items))
        assert 250 < len(held) < 800
        assert b"key-999" in held
        assert await wire.ask(b"get key-0\r\n", b"END\r\n") == b"END\r\n"

    Stage(memory_bytes=2 << 20, shards=1).run(scenario)


def test_a_follower_with_less_memory_bounds_its_shard_and_a_lowered_setting_does_so() -> None:
    async def scenario(stage: Stage) -> None:
        await asyncio.sleep(2)
        wire = await stage.connect(stage.leader(0))
        await fill(wire, 1000)
        small = next(name for name in stage.nodes if name != stage.leader(0))
        before = len(stores(stage)[small].items)
        stage.nodes[small].crash()
        stage.nodes[small].change_settings(memory_bytes=1 << 20)
        stage.nodes[small].start()
        await stage.until("it is back", lambda: len(stage.up()) == 3)
        await stage.until(
            "the shard is smaller", lambda: len(stores(stage)[small].items) < 0.7 * before
        )
        await within_memory(stage)
        await same_everywhere(stage)
        wire = await stage.connect(stage.leader(0))
        await fill(wire, 200, first=1000)
        await within_memory(stage)

    Stage(memory_bytes=2 << 20, shards=1).run(scenario)


def test_a_shard_that_grows_takes_room_from_one_that_rests() -> None:
    async def scenario(stage: Stage) -> None:
        await asyncio.sleep(2)

        def held(shard: int) -> int:
            node = stage.node(stage.leader(shard))
            return node.host.groups[shard + 1].machine.bytes_used

        async def write(shard: int, first: int) -> None:
            wire = await stage.connect(stage.leader(shard))
            for number in range(first, first + 400):
                key = stage.key(shard, number)
                request = b"set %b 0 0 %d\r\n%b\r\n" % (key, len(VALUE), VALUE)
                assert await wire.ask(request) == b"STORED\r\n"
                await asyncio.sleep(0.02)

        await write(0, 0)
        before = held(0)
        await write(1, 0)
        await write(1, 400)
        await within_memory(stage)
        assert held(0) < 0.9 * before
        assert held(1) > held(0)
        await same_everywhere(stage)

    Stage(memory_bytes=2 << 20, shards=2).run(scenario)


def test_without_eviction_stores_are_refused() -> None:
    async def scenario(stage: Stage) -> None:
        await asyncio.sleep(2)
        wire = await stage.connect(stage.leader(0))
        replies = set()
        for number in range(1000):
            request = b"add key-%d 0 0 %d\r\n%b\r\n" % (number, len(VALUE), VALUE)
            replies.add(await wire.ask(request))
        assert replies == {b"STORED\r\n", b"SERVER_ERROR out of memory storing object\r\n"}
        assert all(b"key-0" in store.items for store in stores(stage).values())

    Stage(memory_bytes=2 << 20, shards=1, evicts=False).run(scenario)


def test_a_new_leader_keeps_what_was_asked_for_under_the_old_one() -> None:
    """It has seen no read. The old leader's sketch tells it enough."""

    async def scenario(stage: Stage) -> None:
        await asyncio.sleep(2)
        old = stage.leader(0)
        wire = await stage.connect(old)
        await fill(wire, 600)
        await asyncio.sleep(3)  # Its share has grown, and it fills that, too: its memory is short.
        await fill(wire, 200, first=600)
        hot = sorted(items_of(stores(stage)[old].items))[::4]
        for key in hot:
            await wire.ask(b"get %b\r\n" % key, b"END\r\n")
        await asyncio.sleep(8)
        stage.nodes[old].crash()
        await stage.until("another one leads", lambda: stage.leader(0) not in ("", old))
        new = stage.leader(0)
        wire = await stage.connect(new)
        await stage.until("it evicts", lambda: stage.node(new).host.groups[1].evicts)
        await asyncio.sleep(2)
        items = stores(stage)[new].items
        before = len(items)
        held = [key for key in hot if key in items]
        await fill(wire, before * 2 // 3, first=10_000)
        kept = sum(key in items for key in held)
        names = items_of(items)
        others = sum(not key.startswith(b"key-1") or len(key) < 9 for key in names) - kept
        assert kept > 0.8 * len(held)
        assert others < 0.5 * (before - len(held))

    Stage(memory_bytes=2 << 20, shards=1).run(scenario)


def test_hints_begin_anew_at_a_new_leader() -> None:
    """It knows that the item is there, and of no access before it came to lead."""

    async def scenario(stage: Stage) -> None:
        await asyncio.sleep(2)
        old = stage.leader(0)
        wire = await stage.connect(old)
        assert await wire.ask(b"set k 0 0 1\r\na\r\n") == b"STORED\r\n"
        await wire.ask(b"get k\r\n", b"END\r\n")
        await asyncio.sleep(20)
        assert await wire.ask(b"set k 0 0 1\r\nb\r\n") == b"STORED\r\n"  # Of the same size.
        await wire.ask(b"get k\r\n", b"END\r\n")
        await asyncio.sleep(20)
        assert await wire.ask(b"mg k h l v u\r\n", b"b\r\n") == b"VA 1 h1 l20\r\nb\r\n"
        stage.nodes[old].crash()
        await stage.until("another one leads", lambda: stage.leader(0) not in ("", old))
        wire = await stage.connect(stage.leader(0))
        first = await wire.ask(b"mg k h l v\r\n", b"b\r\n")
        assert first in (b"VA 1 h0 l0\r\nb\r\n", b"VA 1 h0 l1\r\nb\r\n")
        await asyncio.sleep(5)
        assert await wire.ask(b"mg k h l v\r\n", b"b\r\n") == b"VA 1 h1 l5\r\nb\r\n"

    Stage(shards=1).run(scenario)
