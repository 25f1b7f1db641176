"""The histories alone betray broken rules of time, flushes and refusals: each test breaks one by
hand and expects that a key is called not linearizable, or a read older than its level allows.

The digests of the replicas, which see some of this at once, are made blind here. Every search is
left at the first failure; the bounds are far beyond the seeds that it takes. Three nodes with two
shards show all of it: larger clusters take several times as long and find no more.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from quorumcache.node.clients import handlers
from quorumcache.node.clients.writes import FlushAllShards
from quorumcache.node.protocol.requests import RefusedStore
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.state_machine import KEY
from quorumcache.node.store import effects
from quorumcache.node.store import store as store_module
from quorumcache.node.store.commands import OP_FLUSH, OP_GAT
from quorumcache.node.store.results import ITEM, NOT_FOUND
from quorumcache.node.store.state import ShardState
from quorumcache.node.store.store import ShardStore
from tests.simulation.process import PROCESS
from tests.simulation.world import LivenessFailure, SimulationFailure, World, WorldConfig

STEADY = {"kill_leader": 3, "isolate_leader": 3, "pause_leader": 2, "restart_gracefully": 2}
JUMPING = {**STEADY, "wall_jump": 6, "wall_glitch": 6}
WORKLOAD = {"expiring": 0.8, "registers": 3, "counters": 1, "pause_seconds": 0.008}
NARROW = {"meta": 0.0, "reads": 0.0}
"""Shares that are otherwise drawn: the search sees more of what is broken, and its histories are
judged sooner."""


@pytest.fixture(autouse=True)
def blind_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ShardStore, "digest", lambda self: b"")


def seeds_until_found(
    limit: int, weights: dict[str, int], *, may_stop: bool = False, **workload: Any
) -> int:
    """How many seeds it takes until a history is impossible; fails at `limit`.

    `may_stop`: what is broken can also keep a request from an answer. That is passed over.
    """
    for seed in range(1, limit + 1):
        config = WorldConfig(
            seed=seed,
            fault_seconds=4.0,
            node_count=3,
            shards=2,
            weights=weights,
            workload={**WORKLOAD, **workload},
        )
        text = ""
        try:
            World(config).run()
        except SimulationFailure as failure:
            is_liveness = failure.kind.startswith(LivenessFailure.__name__)
            text = "" if may_stop and is_liveness else str(failure)
        if text:
            assert "is not linearizable" in text or "read below its level" in text, text
            print(f"found by seed {seed}")
            return seed
    pytest.fail(f"{limit} seeds found nothing")


def replace_effect(
    monkeypatch: pytest.MonkeyPatch, op: int, effect: Callable[[ShardState, Any, int], Any]
) -> None:
    table = list(effects.EFFECTS)
    table[op] = effect
    monkeypatch.setattr(store_module, "EFFECTS", tuple(table))


def test_nothing_is_found_where_nothing_is_broken() -> None:
    with pytest.raises(pytest.fail.Exception, match="3 seeds found nothing"):
        seeds_until_found(3, JUMPING, flushes=0.01, silent=0.2, many=0.2)


def test_expiry_by_the_clock_of_each_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one replica has dropped, another one still has when it comes to lead. (A leader whose
    item has expired, and is not dropped by the entry that is to drop it, does not answer a get.)
    """
    apply = ShardStore.apply

    def by_local_clock(self: ShardStore, index: int, now_ms: int, *batch: Any) -> Any:
        process = PROCESS.get()
        assert process is not None
        late_ms = 1500 * int(process.name[1:])
        return apply(self, index, max(0, now_ms - late_ms), *batch)

    monkeypatch.setattr(ShardStore, "apply", by_local_clock)
    seeds_until_found(100, JUMPING, may_stop=True)


def test_a_touch_that_only_the_leader_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failover the item has its old expiry again."""
    apply, retime = ReplicaGroup.apply, effects._retime
    leads = [False]

    def noted(self: ReplicaGroup, entries: Any) -> None:
        leads[0] = self.is_leader
        apply(self, entries)

    def local(state: ShardState, command: Any, now_ms: int) -> Any:
        return retime(state, command, now_ms) if leads[0] else state.live(command[KEY], now_ms)

    monkeypatch.setattr(ReplicaGroup, "apply", noted)
    monkeypatch.setattr(effects, "_retime", local)
    seeds_until_found(100, STEADY)


def test_a_gat_that_forgets_the_new_exptime(monkeypatch: pytest.MonkeyPatch) -> None:
    def gat(state: ShardState, command: Any, now_ms: int) -> Any:
        item = state.live(command[KEY], now_ms)
        return NOT_FOUND if item is None else (ITEM, item)

    replace_effect(monkeypatch, OP_GAT, gat)
    seeds_until_found(50, STEADY)


@pytest.mark.parametrize("late_ms", [-300, 300])
def test_expiry_at_another_time(monkeypatch: pytest.MonkeyPatch, late_ms: int) -> None:
    """Whatever wall clocks do, both a life too short and one too long are noticed."""
    resolve = effects.resolve_exptime

    def wrong(exptime: int, now_ms: int, wall_ms: int) -> int:
        ends_ms = resolve(exptime, now_ms, wall_ms)
        return ends_ms + late_ms if ends_ms > 0 else ends_ms

    monkeypatch.setattr(effects, "resolve_exptime", wrong)
    seeds_until_found(50, JUMPING)


def test_a_flush_that_spares_a_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: FlushAllShards) -> None:
        conversation = self.conversation
        shards = conversation.context.shard_count
        flushed = range(shards) if shards == 1 else range(1, 2)
        self.pending = len(flushed)
        for shard in flushed:
            conversation.coordinator.write(shard + 1, OP_FLUSH, b"", (self.delay,), 0, self._done)

    monkeypatch.setattr(FlushAllShards, "start", start)
    # The keys of fewer registers all lie in the shard that is flushed.
    seeds_until_found(50, STEADY, flushes=0.02, registers=8, expiring=0.0, **NARROW)


def test_a_delayed_flush_that_comes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects, "resolve_flush", lambda delay, now_ms, wall_ms: now_ms)
    seeds_until_found(50, STEADY, flushes=0.01)


def test_a_delayed_flush_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ShardStore, "flush_due", lambda self, now_ms: False)
    apply = ShardStore.apply

    def forgetful(self: ShardStore, index: int, *batch: Any) -> Any:
        self.pending_flush_ms = 0
        return apply(self, index, *batch)

    monkeypatch.setattr(ShardStore, "apply", forgetful)
    seeds_until_found(100, STEADY, flushes=0.01, expiring=0.0, **NARROW)


def test_noreply_writes_that_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    write, random = handlers._write, Random(1)

    def forgetful(conversation: Any, op: int, key: bytes, args: Any, size: int, *rest: Any) -> None:
        if not rest[0] or random.random() < 0.9:
            write(conversation, op, key, args, size, *rest)

    monkeypatch.setattr(handlers, "_write", forgetful)
    seeds_until_found(100, STEADY, silent=0.6, expiring=0.1, flushes=0.0, **NARROW)


def test_a_refused_set_that_leaves_the_old_value(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(conversation: Any, request: RefusedStore) -> None:
        if not request.noreply:
            conversation.replies.reply(request.reply)

    monkeypatch.setitem(handlers.HANDLERS, RefusedStore, refuse)
    seeds_until_found(60, STEADY, oversize=0.1, expiring=0.0)
