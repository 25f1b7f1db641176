"""Every counter of a node goes up by the right amount for its event, and by nothing else.

Each test plays one situation on a small cluster and says which counters it raises, and by how much;
`raises` names them. The last test compares those names with the fields of `Counters`: a counter
that no situation raises is a defect.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.clients.write_room import WRITE_BYTES_LIMIT
from quorumcache.node.directory.state import OP_SET_MAP
from quorumcache.node.inbox import Inbox
from quorumcache.node.node import Node
from quorumcache.node.protocol.responses import binary_refusal
from quorumcache.node.store.commands import OP_DELETE, OP_TXN_PREPARE
from quorumcache.node.store.results import TXN_PREPARED
from quorumcache.node.store.stamps import PLANNED
from quorumcache.node.store.store import ShardStore
from quorumcache.node.telemetry.counters import COUNTER_NAMES
from quorumcache.ring.address import parse_address
from tests.simulation.stage import Stage
from tests.support.item_tables import queued

Scenario = Callable[[Stage], Awaitable[None]]

BACKGROUND = frozenset(
    name
    for name in COUNTER_NAMES
    if name.startswith(("peer_", "bytes_", "snapshots_")) or name == "entries_applied"
)
"""Move by themselves, or with everything: told only where they are the point."""

RAISED: dict[str, str] = {}
"""Counter to the test that says that it has raised it."""


def raises(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The test asserts the exact growth of these counters."""

    def note(test: Callable[..., None]) -> Callable[..., None]:
        RAISED.update(dict.fromkeys(names, test.__name__))
        return test

    return note


class Watch:
    """What the counters of some nodes, added up, have grown by since it was made."""

    def __init__(self, *nodes: Node) -> None:
        self.nodes = nodes
        self.before = self._sum()

    def _sum(self) -> dict[str, int]:
        return {
            name: sum(getattr(node.counters, name) for node in self.nodes) for name in COUNTER_NAMES
        }

    def grown(self) -> dict[str, int]:
        now = self._sum()
        return {
            name: now[name] - self.before[name] for name in now if now[name] != self.before[name]
        }

    def check(self, **expected: int) -> None:
        """Exactly these, but for what goes by itself and is not asked for."""
        told = {
            name: growth
            for name, growth in self.grown().items()
            if name not in BACKGROUND or name in expected
        }
        assert told == expected


TOO_LARGE = b"set %b 0 0 70000\r\n" + b"x" * 70000 + b"\r\n"

COMMANDS: tuple[tuple[bytes, bytes, dict[str, int]], ...] = (
    # (request, end of its reply, counters); %b and %m are keys of a shard that the node leads
    (b"set %b 0 0 1\r\n5\r\n", b"STORED\r\n", {"cmd_set": 1, "total_items": 1, "proposals": 1}),
    (b"add %b 0 0 1\r\n5\r\n", b"NOT_STORED\r\n", {"cmd_set": 1, "proposals": 1}),
    (b"get %b\r\n", b"END\r\n", {"cmd_get": 1, "get_hits": 1, "lease_reads": 1}),
    (b"gets %b\r\n", b"END\r\n", {"cmd_get": 1, "get_hits": 1, "lease_reads": 1}),
    (b"get %m\r\n", b"END\r\n", {"cmd_get": 1, "get_misses": 1, "lease_reads": 1}),
    (b"get %b %b\r\n", b"END\r\n", {"cmd_get": 2, "get_hits": 2, "lease_reads": 1}),
    (b"incr %b 1\r\n", b"6\r\n", {"incr_hits": 1, "proposals": 1}),
    (b"decr %b 1\r\n", b"5\r\n", {"decr_hits": 1, "proposals": 1}),
    (b"touch %b 0\r\n", b"TOUCHED\r\n", {"cmd_touch": 1, "touch_hits": 1, "proposals": 1}),
    (b"gat 0 %b\r\n", b"END\r\n", {"cmd_touch": 1, "touch_hits": 1, "proposals": 1}),
    (b"cas %b 0 0 1 9999\r\n5\r\n", b"\r\n", {"cmd_set": 1, "cas_badval": 1, "proposals": 1}),
    (b"delete %b\r\n", b"DELETED\r\n", {"delete_hits": 1, "proposals": 1}),
    (b"delete %b\r\n", b"NOT_FOUND\r\n", {"delete_misses": 1, "proposals": 1}),
    (b"incr %b 1\r\n", b"NOT_FOUND\r\n", {"incr_misses": 1, "proposals": 1}),
    (b"decr %b 1\r\n", b"NOT_FOUND\r\n", {"decr_misses": 1, "proposals": 1}),
    (b"touch %b 0\r\n", b"\r\n", {"cmd_touch": 1, "touch_misses": 1, "proposals": 1}),
    (b"gat 0 %b\r\n", b"END\r\n", {"cmd_touch": 1, "touch_misses": 1, "proposals": 1}),
    (b"cas %b 0 0 1 1\r\n5\r\n", b"\r\n", {"cmd_set": 1, "cas_misses": 1, "proposals": 1}),
    (b"cluster once 1 1 1\r\nset %b 0 0 1\r\n5\r\n", b"\r\n", {"protocol_errors": 1}),
    (b"me %b\r\n", b"EN\r\n", {"cmd_meta": 1, "lease_reads": 1}),
    (b"version\r\n", b"\r\n", {"cmd_other": 1}),
    (b"verbosity 1\r\n", b"OK\r\n", {"cmd_other": 1}),
    (b"stats\r\n", b"END\r\n", {"cmd_other": 1}),
    (b"stats nonsense\r\n", b"ERROR\r\n", {"cmd_other": 1, "protocol_errors": 1}),
    (b"cluster nonsense\r\n", b"\r\n", {"cmd_other": 1, "protocol_errors": 1}),
    (b"nonsense\r\n", b"ERROR\r\n", {"protocol_errors": 1}),
    (b"nonsense noreply\r\nversion\r\n", b"\r\n", {"protocol_errors": 1, "cmd_other": 1}),
    (b"incr %b x\r\n", b"\r\n", {"protocol_errors": 1}),
    (b"shutdown\r\n", b"\r\n", {"cmd_other": 1}),
    (b"cache_memlimit 1000\r\n", b"OK\r\n", {"cmd_other": 1}),
    (b"lru_crawler sleep x\r\n", b"\r\n", {"protocol_errors": 1}),
    (
        b"lru_crawler mgdump 2\r\n",
        b"EN\r\n",
        {"cmd_other": 1, "lru_crawler_starts": 1},
    ),
)


@raises(
    *("cmd_get", "cmd_set", "cmd_touch", "cmd_other", "get_hits", "get_misses"),
    *("incr_hits", "incr_misses", "decr_hits", "decr_misses", "delete_hits", "delete_misses"),
    *("touch_hits", "touch_misses", "cas_badval", "cas_misses", "total_items"),
    *("protocol_errors", "proposals", "lease_reads", "lru_crawler_starts", "cmd_meta"),
)
def test_each_command_counts_once() -> None:
    async def scenario(stage: Stage) -> None:
        leader = stage.leader(0)
        key = stage.key(0)
        wire = await stage.connect(leader)
        # The node's own session is opened with the first write, by an entry of its own.
        await wire.ask(b"set %b 0 0 1\r\n5\r\n" % key)
        for request, end, expected in COMMANDS:
            watch = Watch(*stage.up())
            text = request.replace(b"%b", key).replace(b"%m", stage.key(0, 1))
            reply = await wire.ask(text, end)
            grown = watch.grown()
            watch.check(**expected)
            assert grown["bytes_read"] == len(text), request
            assert grown["bytes_written"] == len(reply), request

    Stage().run(scenario)


@raises(
    *("locks_acquired", "locks_released", "lock_waits_over", "lock_leases_ended"),
    "fences_refused",
)
def test_locks_and_fences() -> None:
    async def scenario(stage: Stage) -> None:
        leader, key = stage.leader(0), stage.key(0)
        wire = await stage.connect(leader)
        await wire.ask(b"set %b 0 0 1\r\n5\r\n" % key)
        acquire = b"cluster lock acquire %b %%b 60000 %%d\r\n" % key
        release = b"cluster lock release %b %%b\r\n" % key
        for request, expected in (
            (acquire % (b"a", 0), {"locks_acquired": 1}),
            (acquire % (b"b", 0), {}),
            (acquire % (b"b", 300), {"lock_waits_over": 1, "lease_reads": 1}),
            (b"cluster lock renew %b a 1 60000\r\n" % key, {}),
            (release % b"a", {"locks_released": 1}),
            (release % b"a", {}),
            (acquire % (b"b", 300), {"locks_acquired": 1}),
        ):
            watch = Watch(*stage.up())
            await wire.ask(request)
            watch.check(cmd_other=1, proposals=1, **expected)
        watch = Watch(*stage.up())
        await wire.ask(b"cluster lock show %b\r\n" % key, b"END\r\n")
        watch.check(cmd_other=1, lease_reads=1)
        await wire.ask(b"cluster lock renew %b b 2 100\r\n" % key)
        watch = Watch(*stage.up())
        await stage.until("it is over", lambda: "lock_leases_ended" in watch.grown())
        watch.check(lock_leases_ended=1, proposals=1)
        fenced = b"cluster fence lock %%d\r\nincr %b 1\r\n" % key
        watch = Watch(*stage.up())
        assert await wire.ask(fenced % 8) == b"6\r\n"
        watch.check(proposals=1, incr_hits=1)
        watch = Watch(*stage.up())
        assert (await wire.ask(fenced % 7)).startswith(b"CLIENT_ERROR stale fence")
        watch.check(proposals=1, fences_refused=1)

    Stage().run(scenario)


@raises("cas_hits", "store_too_large", "cmd_flush", "bytes_read", "bytes_written")
def test_commands_of_more_than_one_step() -> None:
    async def scenario(stage: Stage) -> None:
        leader, key = stage.leader(0), stage.key(0)
        wire = await stage.connect(leader)
        await wire.ask(b"set %b 0 0 1\r\n5\r\n" % key)
        unique = (await wire.ask(b"gets %b\r\n" % key, b"END\r\n")).split()[4]
        watch = Watch(*stage.up())
        request = b"cas %b 0 0 1 %b\r\n6\r\n" % (key, unique)
        assert await wire.ask(request) == b"STORED\r\n"
        watch.check(
            cmd_set=1,
            cas_hits=1,
            total_items=1,
            proposals=1,
            bytes_read=len(request),
            bytes_written=8,
        )
        watch = Watch(*stage.up())
        assert b"too large" in await wire.ask(TOO_LARGE % key)
        watch.check(store_too_large=1, proposals=1)
        watch = Watch(*stage.up())
        assert await wire.ask(b"flush_all\r\n") == b"OK\r\n"
        grown = watch.grown()
        assert grown["cmd_flush"] == 1

    Stage().run(scenario)


@raises("forwarded_out", "forwarded_in")
def test_a_forwarded_command_counts_where_it_came_in_and_once_as_forwarded() -> None:
    async def scenario(stage: Stage) -> None:
        leader, key = stage.leader(0), stage.key(0)
        other = next(name for name in stage.nodes if name != leader)
        wire = await stage.connect(other)
        await wire.ask(b"set %b 0 0 1\r\n5\r\n" % key)
        here, there = Watch(stage.node(other)), Watch(stage.node(leader))
        await wire.ask(b"set %b 0 0 1\r\n5\r\n" % key)
        here.check(cmd_set=1, total_items=1, forwarded_out=1)
        there.check(forwarded_in=1, proposals=1)
        here, there = Watch(stage.node(other)), Watch(stage.node(leader))
        await wire.ask(b"get %b\r\n" % key, b"END\r\n")
        here.check(cmd_get=1, get_hits=1, forwarded_out=1)
        there.check(forwarded_in=1, lease_reads=1)
        await wire.ask(b"set %b 0 60 1\r\n5\r\n" % key)
        there = Watch(stage.node(leader))
        await wire.ask(b"get %b\r\n" % key, b"END\r\n")
        there.check(forwarded_in=1, lease_reads=1)

    Stage().run(scenario)


@raises(
    *("crawler_items_checked", "log_worker_written", "log_watcher_sent"),
    *("log_worker_dropped", "log_watcher_skipped"),
)
def test_dumps_and_watchers() -> None:
    async def scenario(stage: Stage) -> None:
        leader = stage.node(stage.leader(0))
        wire = await stage.connect(stage.leader(0))
        await wire.ask(b"set %b 0 0 1\r\n5\r\n" % stage.key(0))
        watch = Watch(leader)
        dump = await wire.ask(b"lru_crawler metadump all\r\n", b"END\r\n")
        assert dump.count(b"key=") == 1
        looked_at = stage.shards + 1  # Each shard, and the key.
        watch.check(cmd_other=1, lru_crawler_starts=1, crawler_items_checked=looked_at)

        watcher = await stage.connect(stage.leader(0))
        await watcher.ask(b"watch\r\n", b"OK\r\n")
        watch = Watch(leader)
        await wire.ask(b"get %b\r\n" % stage.key(0), b"END\r\n")
        read = {"cmd_get": 1, "get_hits": 1, "lease_reads": 1}
        watch.check(**read, log_worker_written=1, log_watcher_sent=1)

        leader.client_events._lines_left = 0
        watch = Watch(leader)
        await wire.ask(b"get %b\r\n" % stage.key(0), b"END\r\n")
        watch.check(**read, log_worker_dropped=1)

        leader.client_events._lines_left = 1
        [watching] = leader.client_events._watchers
        watching._offer = lambda line: False
        watch = Watch(leader)
        await wire.ask(b"get %b\r\n" % stage.key(0), b"END\r\n")
        watch.check(**read, log_worker_written=1, log_watcher_skipped=1)

    Stage().run(scenario)


@raises("redirects")
def test_a_redirected_command_is_no_request_of_this_node() -> None:
    async def scenario(stage: Stage) -> None:
        leader, key = stage.leader(0), stage.key(0)
        other = next(name for name in stage.nodes if name != leader)
        wire = await stage.connect(other)
        await wire.ask(b"cluster redirect on\r\n")
        for request in (
            b"get %b\r\n",
            b"set %b 0 0 1\r\nx\r\n",
            b"set %b 0 0 70000\r\n" + b"x" * 70000 + b"\r\n",
            b"incr %b 1\r\n",
            b"delete %b\r\n",
            b"touch %b 1\r\n",
            b"gat 1 %b\r\n",
        ):
            watch = Watch(*stage.up())
            assert (await wire.ask(request % key)).startswith(b"MOVED ")
            watch.check(redirects=1)

    Stage().run(scenario)


@raises("gets_fallen_back")
def test_a_get_that_its_leader_does_not_answer_goes_the_general_way() -> None:
    async def scenario(stage: Stage) -> None:
        leader, key = stage.leader(0), stage.key(0)
        other = next(name for name in stage.nodes if name != leader)
        wire = await stage.connect(other)
        await wire.ask(b"set %b 0 0 1\r\n5\r\n" % key)
        watch = Watch(*stage.up())
        stage.network.partition([other], [leader])  # The third node still reaches both.
        reply = await wire.ask(b"get %b\r\n" % key, b"END\r\n")
        assert reply == b"VALUE %b 0 1\r\n5\r\nEND\r\n" % key
        grown = watch.grown()
        assert (grown["gets_fallen_back"], grown["cmd_get"], grown["get_hits"]) == (1, 1, 1)
        stage.network.heal()

    Stage().run(scenario)


@raises("cmd_get_bounded", "cmd_get_local", "replica_reads", "bounded_too_stale")
def test_read_levels() -> None:
    async def scenario(stage: Stage) -> None:
        leader, key = stage.leader(0), stage.key(0)
        other = next(name for name in stage.nodes if name != leader)
        wire = await stage.connect(other)
        await wire.ask(b"set %b 0 0 1\r\n5\r\n" % key)
        await asyncio.sleep(0.2)
        for level, end, expected in (
            (b"local", b"END\r\n", {"cmd_get_local": 1, "replica_reads": 1}),
            (b"bounded 10000", b"END\r\n", {"cmd_get_bounded": 1, "replica_reads": 1}),
        ):
            await wire.ask(b"cluster read %b\r\n" % level)
            watch = Watch(*stage.up())
            await wire.ask(b"get %b\r\n" % key, end)
            watch.check(cmd_get=1, get_hits=1, **expected)
        stage.network.partition([other], [leader])  # Its state ages, but for what others tell.
        await asyncio.sleep(0.05)
        await wire.ask(b"cluster read bounded 1\r\n")
        watch = Watch(stage.node(other))
        wire.writer.write(b"get %b\r\n" % key)
        await asyncio.sleep(0.01)
        assert watch.grown()["bounded_too_stale"] == 1
        stage.network.heal()

    Stage().run(scenario)


async def end_of(stage: Stage, leader: str, key: bytes) -> None:
    """Wait until the leader's clock shows an item to have ended, and nobody has removed it."""
    group = stage.node(leader).host.groups[1]
    store: Any = group.machine
    await stage.until("it ends", lambda: store.lookup(key, group.now_ms()) != store.items.get(key))
    assert key in store.items


def without_sweep(stage: Stage) -> None:
    """What has ended stays until somebody reads it."""
    for node in stage.up():
        assert node.member is not None
        node.member.housekeeper.expiry.sweep = lambda: None  # type: ignore[method-assign]


@raises("get_expired", "get_flushed", "reclaimed")
def test_reads_of_what_has_ended() -> None:
    async def scenario(stage: Stage) -> None:
        leader, key = stage.leader(0), stage.key(0)
        other = next(name for name in stage.nodes if name != leader)
        without_sweep(stage)
        wire, far = await stage.connect(leader), await stage.connect(other)
        for reader in (wire, far):
            await wire.ask(b"set %b 0 1 1\r\n5\r\n" % key)
            await end_of(stage, leader, key)
            watch = Watch(stage.node(leader))
            everywhere = Watch(*stage.up())
            await reader.ask(b"get %b\r\n" % key, b"END\r\n")
            expected = {"get_expired": 1, "reclaimed": 1, "lease_reads": 1, "proposals": 1}
            grown = watch.grown()
            assert {name: grown.get(name, 0) for name in expected} == expected
            assert everywhere.grown()["get_misses"] == 1
            watch = Watch(stage.node(leader))
            await reader.ask(b"get %b\r\n" % key, b"END\r\n")
            assert "get_expired" not in watch.grown()
            assert "reclaimed" not in watch.grown()
        await wire.ask(b"set %b 0 0 1\r\n5\r\n" % key)
        await wire.ask(b"flush_all 1\r\n")
        await end_of(stage, leader, key)
        watch = Watch(stage.node(leader))
        await wire.ask(b"get %b\r\n" % key, b"END\r\n")
        watch.check(cmd_get=1, get_misses=1, get_flushed=1, lease_reads=1, proposals=1)

    Stage().run(scenario)


@raises("expired_unfetched")
def test_the_sweep_counts_what_it_removed_once_on_the_leader_only() -> None:
    async def scenario(stage: Stage) -> None:
        leader = stage.leader(0)
        wire = await stage.connect(leader)
        watch = Watch(*stage.up())
        for number in range(300):  # More than one batch of the sweep.
            await wire.ask(b"set %b 0 1 1\r\nx\r\n" % stage.key(0, number))
        for number in range(280, 300):
            await wire.ask(b"get %b\r\n" % stage.key(0, number), b"END\r\n")
        store: Any = stage.node(leader).host.groups[1].machine
        await stage.until("the sweep removes all", lambda: not store.items)
        await asyncio.sleep(0.2)
        assert watch.grown()["reclaimed"] == 300
        assert watch.grown()["expired_unfetched"] == 280
        assert Watch(stage.node(leader)).before["reclaimed"] == 300

    Stage().run(scenario)


@raises("store_no_memory")
def test_a_full_memory() -> None:
    async def scenario(stage: Stage) -> None:
        leader = stage.leader(0)
        wire = await stage.connect(leader)
        value = b"x" * 60_000
        reply = b""
        for number in range(40):
            watch = Watch(*stage.up())
            request = b"add %b 0 0 60000\r\n%b\r\n" % (stage.key(0, number), value)
            reply = await wire.ask(request)
            if reply != b"STORED\r\n":
                break
        assert reply == b"SERVER_ERROR out of memory storing object\r\n"
        assert watch.grown()["store_no_memory"] == 1

    Stage(memory_bytes=1 << 20, evicts=False).run(scenario)


@raises("evictions", "evicted_unfetched", "evicted_active")
def test_a_full_memory_where_items_make_room() -> None:
    async def scenario(stage: Stage) -> None:
        leader = stage.leader(0)
        wire = await stage.connect(leader)
        store = stage.node(leader).host.groups[1].machine
        assert isinstance(store, ShardStore)
        watch = Watch(*stage.up())
        await asyncio.sleep(2)  # Until the share is known.
        for number in range(200):
            wire.writer.write(b"set key-%d 0 0 20000\r\n%b\r\n" % (number, bytes(20_000)))
            while b"key-%d" % number not in store.items:
                for victim in queued(store.items, PLANNED)[: number % 2]:
                    store.note_hit(victim)  # As a get does that comes before the entry is applied.
                await asyncio.sleep(0.0001)
            assert await wire.reader.readline() == b"STORED\r\n"
        grown = watch.grown()
        assert grown["cmd_set"] == 200
        assert "store_no_memory" not in grown
        assert grown["evictions"] == 200 - len(store.items) > 100
        assert 0 < grown["evicted_active"] <= grown["evictions"] - grown["evicted_unfetched"]
        one = Watch(stage.node(leader)).before
        assert one["evictions"] == grown["evictions"]  # The leader counts, and nobody else.

    Stage(memory_bytes=1 << 20, shards=1).run(scenario)


@raises("writes_refused")
def test_too_many_writes_of_all_clients() -> None:
    async def scenario(stage: Stage) -> None:
        leader = stage.leader(0)
        node = stage.node(leader)
        wire = await stage.connect(leader)
        watch = Watch(node)
        room = node.server.context.write_room
        room.taken_bytes += 2 * WRITE_BYTES_LIMIT  # Of clients that are not here.
        reply = await wire.ask(b"set %b 0 0 1\r\n5\r\n" % stage.key(0))
        assert reply.startswith(b"SERVER_ERROR not done: this node has too many unfinished writes")
        room.taken_bytes -= 2 * WRITE_BYTES_LIMIT
        assert room.taken_bytes == 0
        grown = watch.grown()
        assert (grown["writes_refused"], grown["requests_failed"]) == (1, 1)

    Stage().run(scenario)


@raises("requests_failed", "requests_unknown", "index_reads")
def test_requests_that_cannot_be_answered() -> None:
    async def scenario(stage: Stage) -> None:
        leader, key = stage.leader(0), stage.key(0)
        node = stage.node(leader)
        wire, second = await stage.connect(leader), await stage.connect(leader)
        await wire.ask(b"set %b 0 0 1\r\n5\r\n" % key)
        others = [name for name in stage.nodes if name != leader]
        stage.network.partition([leader], others)
        watch = Watch(node)
        wire.writer.write(b"incr %b 1\r\n" % key)  # Proposed, and acknowledged by nobody.
        group = node.host.groups[1]
        await stage.until("the lease ends", lambda: not group.has_lease())
        assert group.is_leader
        second.writer.write(b"get %b\r\n" % key)
        await asyncio.sleep(0.01)
        assert watch.grown()["index_reads"] == 1
        assert "lease_reads" not in watch.grown()
        assert b"outcome unknown" in await wire.ask(b"")
        assert b"not done" in await second.ask(b"")
        grown = watch.grown()
        assert (grown["requests_unknown"], grown["requests_failed"]) == (1, 1)
        assert "incr_hits" not in grown
        assert "get_misses" not in grown
        stage.network.heal()

    Stage().run(scenario)


@raises(
    *("transactions_begun", "transactions_committed", "transactions_conflicts"),
    *("transactions_aborted", "transactions_in_doubt", "transactions_recovered", "hold_waits"),
)
def test_transactions() -> None:
    async def scenario(stage: Stage) -> None:
        leader = stage.leader(0)
        node, wire = stage.node(leader), await stage.connect(leader)
        key, other = stage.key(0), stage.key(1)

        async def commit(*lines: bytes, wait: float = 0.0, limit_ms: int = 5000) -> bytes:
            begun = await wire.ask(b"cluster txn begin %d\r\n" % limit_ms)
            await asyncio.sleep(wait)
            txn, deadline_ms = begun.split()[1:]
            block = b"".join(line + b"\r\n" for line in lines)
            head = b"cluster txn commit %b %b %d\r\n" % (txn, deadline_ms, len(block))
            return await wire.ask(head + block + b"\r\n")

        def told() -> dict[str, int]:
            grown = watch.grown()
            return {n: v for n, v in grown.items() if n.startswith(("transactions_", "hold_"))}

        watch = Watch(*stage.up())
        both = [b"set %b 0 0 1\r\nx" % each for each in (key, other)]
        assert await commit(*both) == b"COMMITTED\r\n"
        assert told() == {"transactions_begun": 1, "transactions_committed": 1}
        watch = Watch(*stage.up())
        assert await commit(*both, b"check %b 0" % key) == b"CONFLICT %b\r\n" % key
        assert told() == {"transactions_begun": 1, "transactions_conflicts": 1}
        watch = Watch(*stage.up())
        assert await commit(*both, wait=0.5, limit_ms=100) == b"TOO_LATE\r\n"
        assert told() == {"transactions_begun": 1, "transactions_aborted": 1}
        await asyncio.sleep(1.0)
        watch = Watch(*stage.up())
        args = (bytes(16), 2, node.time.now_ms() + 5000, (), ((key, OP_DELETE),))
        heard: list[object] = []
        node.coordinator.write(1, OP_TXN_PREPARE, b"", args, 10, heard.append)  # By nobody.
        await stage.until("it is prepared", lambda: heard)
        assert heard == [TXN_PREPARED]
        assert await wire.ask(b"get %b\r\n" % key, b"END\r\n") != b"END\r\n"
        assert told() == {"transactions_recovered": 1, "hold_waits": 1}
        watch = Watch(node)
        stage.network.partition([leader], [name for name in stage.nodes if name != leader])
        assert b"outcome unknown" in await commit(both[0])
        assert told() == {"transactions_begun": 1, "transactions_in_doubt": 1}
        stage.network.heal()

    Stage().run(scenario)


@raises("elections", "elections_won", "leaderships_lost")
def test_leaders_come_and_go() -> None:
    async def scenario(stage: Stage) -> None:
        led = {name: len(stage.node(name).host.groups) for name in stage.nodes}
        assert set(led.values()) == {3}, "the directory and two shards"
        watch = Watch(*stage.up())
        node = stage.node(stage.leader(0))
        group = node.host.groups[1]
        group.log.step_down()
        node.host.mark_dirty(group)
        await stage.until("another leads", lambda: not group.is_leader and stage.leader(0))
        grown = watch.grown()
        assert grown["leaderships_lost"] == 1
        assert grown["elections_won"] == 1
        assert grown["elections"] >= 1

    Stage().run(scenario)


def test_a_node_alone_stands_and_wins_once_for_each_group() -> None:
    async def scenario(stage: Stage) -> None:
        counters = stage.node("n1").counters
        assert (counters.elections, counters.elections_won) == (3, 3)
        assert counters.leaderships_lost == 0

    Stage(nodes=1).run(scenario)


@raises("snapshots_taken", "snapshots_sent", "snapshots_received", "entries_applied")
def test_snapshots() -> None:
    async def scenario(stage: Stage) -> None:
        leader = stage.leader(0)
        behind = next(name for name in stage.nodes if name != leader)
        groups = {name: stage.node(name).host.groups[1] for name in stage.nodes if name != behind}
        stage.nodes[behind].crash()
        taken = {name: {group.snapshot_index} for name, group in groups.items()}
        applied = {name: group.applied_index for name, group in groups.items()}
        watches = {name: Watch(stage.node(name)) for name in groups}
        wire = await stage.connect(leader)
        value = b"x" * 1000
        for number in range(600):
            await wire.ask(b"set %b 0 0 1000\r\n%b\r\n" % (stage.key(0, number), value))
            for name, group in groups.items():
                taken[name].add(group.snapshot_index)
        await asyncio.sleep(0.2)
        for name, group in groups.items():
            taken[name].add(group.snapshot_index)
            others = sum(g.snapshot_index > 0 for g in stage.node(name).host.groups.values()) - 1
            grown = watches[name].grown()
            assert len(taken[name]) - 1 <= grown["snapshots_taken"] <= len(taken[name]) - 1 + others
            assert grown["entries_applied"] >= group.applied_index - applied[name]
        watch = Watch(*stage.up())
        stage.nodes[behind].start()
        await stage.served()
        await stage.until(
            "it has caught up",
            lambda: stage.node(behind).host.groups[1].applied_index >= group.applied_index,
        )
        assert watch.grown()["snapshots_sent"] == 1
        assert stage.node(behind).counters.snapshots_received == 1

    Stage().run(scenario)


@raises(
    "peer_connects",
    "peer_disconnects",
    "peer_bytes_sent",
    "peer_bytes_received",
    "peer_messages_sent",
    "peer_messages_received",
    "peer_messages_dropped",
)
def test_connections_to_peers() -> None:
    async def scenario(stage: Stage) -> None:
        counters = stage.node("n1").counters
        assert (counters.peer_connects, counters.peer_disconnects) == (2, 0)
        # Nothing is lost between nodes that are well; only what is on its way is missing.
        await stage.until("nothing is on its way", lambda: equal(stage))
        watch = Watch(stage.node("n1"))
        stage.nodes["n3"].crash()
        await stage.until("it is noticed", lambda: not stage.node("n1").peers_up()[3])
        await asyncio.sleep(0.5)
        grown = watch.grown()
        assert grown["peer_disconnects"] == 1
        assert "peer_connects" not in grown
        assert grown["peer_messages_dropped"] > 0
        watch = Watch(stage.node("n1"))
        stage.nodes["n3"].start()
        await stage.served()
        grown = watch.grown()
        assert grown["peer_connects"] == 1
        assert "peer_disconnects" not in grown

    def equal(stage: Stage) -> bool:
        watch = Watch(*stage.up()).before
        return (
            watch["peer_bytes_sent"] == watch["peer_bytes_received"]
            and watch["peer_messages_sent"] == watch["peer_messages_received"] > 0
        )

    Stage().run(scenario)


@raises("peer_datagrams_received", "peer_datagrams_refused")
def test_datagrams() -> None:
    async def scenario(stage: Stage) -> None:
        watch = Watch(stage.node("n1"))
        await asyncio.sleep(3.1)
        grown = watch.grown()
        # Two nodes, each with a heartbeat or an answer in every second; not 20 of each.
        assert 2 * 3 <= grown["peer_datagrams_received"] < 2 * 20
        assert "peer_datagrams_refused" not in grown
        host, port = parse_address(stage.node("n1").peer_address)
        end, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=(host, port)
        )
        watch = Watch(stage.node("n1"))
        await stage.until("one has come", lambda: refused(watch, end))
        end.close()

    def refused(watch: Watch, end: asyncio.DatagramTransport) -> bool:
        end.sendto(b"a stranger says something")
        return "peer_datagrams_refused" in watch.grown()

    Stage().run(scenario)


@raises("peer_refused")
def test_a_refused_handshake_counts_once_on_each_side(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: dict[str, int] = {}
    note = Inbox.on_refused

    def counted(self: Inbox, node_id: int, why: str) -> None:
        name = self._members.name_of(self._members.own_id)
        refused[name] = refused.get(name, 0) + 1
        note(self, node_id, why)

    monkeypatch.setattr(Inbox, "on_refused", counted)

    async def scenario(stage: Stage) -> None:
        await stage.served()
        odd = stage.nodes["n3"]
        odd.crash()
        odd.config = replace(odd.config, election_ms=1200)
        odd.start()
        refused.clear()
        before = {name: stage.node(name).counters.peer_refused for name in ("n1", "n2")}
        await stage.until("all have heard of it", lambda: len(refused) == 3)
        await asyncio.sleep(5.0)
        for name, times in refused.items():
            assert stage.node(name).counters.peer_refused - before.get(name, 0) == times

    Stage().run(scenario, all_well=False)


@raises("reads_paused")
def test_a_client_that_sends_too_much_at_once() -> None:
    async def scenario(stage: Stage) -> None:
        leader, key = stage.leader(0), stage.key(0)
        other = next(name for name in stage.nodes if name != leader)
        wire = await stage.connect(other)
        await wire.ask(b"set %b 0 0 1\r\n5\r\n" % key)
        watch = Watch(stage.node(other))
        wire.writer.write(b"".join([b"incr %b 1\r\n" % key] * 1500) + b"version\r\n")
        await wire.reader.readuntil(b"VERSION")
        assert watch.grown()["reads_paused"] >= 1
        assert watch.grown()["incr_hits"] == 1500

    Stage().run(scenario)


@raises("disk_full")
def test_a_full_disk() -> None:
    async def scenario(stage: Stage) -> None:
        leader, key = stage.leader(0), stage.key(0)
        node = stage.node(leader)
        watch = Watch(node)
        stage.nodes[leader].disk.fill()
        value = b"x" * 60_000
        for _ in range(3):
            await stage.ask(leader, b"set %b 0 0 60000\r\n%b\r\n" % (key, value))
        await stage.until("it is noticed", lambda: node.host.disk_trouble)
        await asyncio.sleep(2.0)
        assert watch.grown()["disk_full"] == 1
        stage.nodes[leader].disk.make_space()
        await stage.served()
        assert watch.grown()["disk_full"] == 1

    Stage().run(scenario)


@raises("descriptors_exhausted")
def test_no_descriptors_left() -> None:
    async def scenario(stage: Stage) -> None:
        leader = stage.leader(0)
        watch = Watch(stage.node(leader))
        stage.nodes[leader].disk.descriptors_left = 0
        await asyncio.sleep(2.5)
        stage.nodes[leader].disk.descriptors_left = 1000
        assert watch.grown()["descriptors_exhausted"] in (2, 3)
        assert stage.nodes[leader].is_up

    Stage().run(scenario)


@raises("total_connections", "rejected_connections", "connections_limit_reached")
def test_the_limit_of_connections() -> None:
    async def scenario(stage: Stage) -> None:
        node = stage.node("n1")
        for _ in range(2):
            watch = Watch(node)
            wires = [await stage.connect("n1") for _ in range(2)]
            for wire in wires:
                await wire.ask(b"version\r\n")
            for _ in range(3):
                wire = await stage.connect("n1")
                assert await wire.rest() == b"ERROR Too many open connections\r\n"
            grown = watch.grown()
            assert grown["total_connections"] == 2
            assert grown["rejected_connections"] == 3
            assert grown["connections_limit_reached"] == 1
            for wire in wires:
                wire.close()
            await stage.until("they are gone", lambda: not node.counters.curr_connections)

    Stage(nodes=1, connections_max=2).run(scenario)


@raises("binary_clients")
def test_clients_of_the_binary_protocol() -> None:
    async def scenario(stage: Stage) -> None:
        watch = Watch(stage.node("n1"))
        for _ in range(2):
            wire = await stage.connect("n1")
            wire.writer.write(b"\x80" + bytes(23))
            assert await wire.rest() == binary_refusal(b"\x80" + bytes(23))
        assert watch.grown()["binary_clients"] == 2
        watch.check(binary_clients=2, total_connections=2)

    Stage(nodes=1).run(scenario)


@raises("auth_cmds", "auth_errors")
def test_clients_that_give_passwords() -> None:
    async def scenario(stage: Stage) -> None:
        watch = Watch(stage.node("n1"))
        wire = await stage.connect("n1")
        assert await wire.ask(b"set k 0 0 6\r\nann no\r\n") == (
            b"CLIENT_ERROR authentication failure\r\n"
        )
        assert await wire.ask(b"version\r\n") == b"CLIENT_ERROR unauthenticated\r\n"
        assert await wire.ask(b"set k 0 0 10\r\nann secret\r\n") == b"STORED\r\n"
        assert (await wire.ask(b"version\r\n")).startswith(b"VERSION ")
        watch.check(auth_cmds=2, auth_errors=1, total_connections=1, cmd_other=1)

    Stage(nodes=1, auth_file="users").run(scenario)


@raises("slow_clients_closed", "idle_kicks")
def test_clients_that_do_not_read_and_clients_that_say_nothing() -> None:
    async def scenario(stage: Stage) -> None:
        node, key = stage.node("n1"), stage.key(0)
        slow = await stage.connect("n1")
        await slow.ask(b"set %b 0 0 60000\r\n%b\r\n" % (key, b"x" * 60_000))
        watch = Watch(node)
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
        slow.writer.write(b"get %b\r\n" % key * 500)
        await stage.until("it is closed", lambda: not node.counters.curr_connections)
        grown = watch.grown()
        assert (grown["slow_clients_closed"], grown.get("idle_kicks", 0)) == (1, 0)
        idle = await stage.connect("n1")
        await idle.ask(b"version\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert await idle.rest() == b""
        grown = watch.grown()
        assert (grown["slow_clients_closed"], grown["idle_kicks"]) == (1, 1)

    Stage(nodes=1, slow_client_ms=10_000, idle_timeout_ms=20_000).run(scenario)


@raises("answers_dropped")
def test_answers_that_a_slow_client_has_no_room_for() -> None:
    async def scenario(stage: Stage) -> None:
        leader, key = stage.leader(0), stage.key(0)
        other = next(name for name in stage.nodes if name != leader)
        wire = await stage.connect(other)
        await wire.ask(b"set %b 0 0 60000\r\n%b\r\n" % (key, b"x" * 60_000))
        watch = Watch(stage.node(other))
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        wire.writer.write(b"get %b\r\n" % key * 400 + b"version\r\n")
        await asyncio.sleep(3.0)
        assert watch.grown()["answers_dropped"] > 0
        wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(400):
            await wire.ask(b"", b"END\r\n")
        assert (await wire.ask(b"")).startswith(b"VERSION")
        assert watch.grown()["get_hits"] == 400

    Stage().run(scenario)


@raises("nodes_joined", "nodes_left", "nodes_down", "moves_started", "moves_completed")
def test_nodes_that_come_die_and_leave() -> None:
    """Counted by the node that leads the directory, whichever it is."""

    async def scenario(stage: Stage) -> None:
        def steps() -> dict[str, int]:
            names = ("nodes_joined", "nodes_left", "nodes_down", "moves_started", "moves_completed")
            return {name: count for name, count in watch.grown().items() if name in names}

        n1 = stage.node("n1")
        await stage.until("starts", lambda: n1.map is not None and n1.map.started == 0b11)
        watch = Watch(*stage.up())
        present = n1.map
        assert present is not None
        joining = present.with_node(replace(present.node(4), state="joining"))
        for node in stage.up():
            group = node.host.groups.get(0)
            if group is not None and group.is_leader:
                data = joining.to_bytes()
                command = (0, 0, 0, OP_SET_MAP, b"", present.epoch, data)
                waiter: Any = SimpleNamespace(on_result=lambda result: None)
                group.submit(command, len(data), waiter)
        await stage.until("it is heard", lambda: "nodes_joined" in steps())
        assert n1.member is not None
        answers: list[int] = []
        n1.member.office.desk.ask(("drain", "n4"), lambda code, payload: answers.append(code))
        await stage.until("it has left", lambda: "nodes_left" in steps())
        assert answers == [0]
        grown = steps()
        assert (grown["nodes_joined"], grown["nodes_left"]) == (1, 1)
        assert grown["moves_started"] == grown["moves_completed"] > 0
        stage.nodes["n4"].problems.clear()
        n1.member.office.desk.ask(("settings", "dead-after-ms=1000"), lambda *answer: None)
        stage.nodes["n3"].crash()
        await stage.until("it is found dead", lambda: "nodes_down" in steps())
        assert steps()["nodes_down"] == 1

    Stage(nodes=4).run(scenario)


@raises("tasks_failed")
def test_a_background_task_that_fails() -> None:
    async def scenario(stage: Stage) -> None:
        watch = Watch(stage.node("n1"))

        async def broken() -> None:
            raise ZeroDivisionError("on purpose")

        stage.node("n1").tasks.once("broken", broken, lambda: None)
        await asyncio.sleep(0.1)
        assert watch.grown()["tasks_failed"] == 1
        assert "task_failed" in [alarm.name for alarm in stage.node("n1").alarms.raised()]
        assert len(stage.loop.errors) == 1
        stage.loop.errors.clear()

    Stage(nodes=1).run(scenario)


def test_every_counter_has_a_situation_that_raises_it() -> None:
    assert sorted(set(COUNTER_NAMES) - set(RAISED)) == []
    assert sorted(set(RAISED) - set(COUNTER_NAMES)) == []
