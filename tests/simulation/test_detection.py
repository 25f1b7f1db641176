"""The simulation notices broken rules: each test breaks one by hand and expects a seed to fail.

A simulation that finds nothing is worth what it would have found. The rarest of these faults
shows in one seed of twenty, and every change of the product changes which: the ranges are wide
enough that missing it by chance is out of the question, and are left at the first failure. Three
nodes are enough for each of them, and a seed of more nodes takes several times as long.
"""

from collections.abc import Callable
from random import Random
from typing import Any

import msgpack
import pytest

from quorumcache.node.clients.writes import PendingWrite
from quorumcache.node.consensus.raft import commit, heartbeats, state
from quorumcache.node.consensus.staleness import Freshness
from quorumcache.node.operations.coordinator import Coordinator
from quorumcache.node.operations.operation import Write
from quorumcache.node.operations.serving import Serving
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.store.store import ShardStore
from quorumcache.node.wal import format as format_
from quorumcache.node.wal import segment
from quorumcache.node.wal.wal import Wal
from tests.simulation.disk import SimulatedDisk
from tests.simulation.promises import Promises, _Kept
from tests.simulation.world import SimulationFailure, World, WorldConfig


def first_failure(seeds: range, **config: Any) -> str:
    """Text of the first failing seed; "" when all pass."""
    for seed in seeds:
        try:
            World(WorldConfig(seed=seed, fault_seconds=4.0, node_count=3, **config)).run()
        except SimulationFailure as failure:
            print(f"found by seed {seed}")
            return str(failure)
    return ""


def test_reads_without_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that was cut off or stopped would answer with what has been replaced elsewhere."""
    monkeypatch.setattr(ReplicaGroup, "has_lease", lambda self: self.is_leader)
    failure = first_failure(range(1, 200))
    assert "is not linearizable" in failure or "read below its level" in failure


def test_retries_without_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeated write would be executed twice."""
    command = Write.command
    monkeypatch.setattr(Write, "command", lambda self: (0, 0, 0, *command(self)[3:]))
    assert "is not linearizable" in first_failure(range(1, 200))


def test_repetitions_of_a_client_without_its_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that a client repeats through another node would be executed twice."""
    write, init = Coordinator.write, PendingWrite.__init__
    monkeypatch.setattr(Coordinator, "write", lambda *args: write(*args[:8]))
    monkeypatch.setattr(PendingWrite, "__init__", lambda *args: init(*args[:9]))
    assert "is not linearizable" in first_failure(range(1, 200))


def test_acknowledging_before_the_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut would take what a majority was said to hold."""
    append = Wal.append

    def eager(self: Wal, records: list, on_durable: Callable[[], None]) -> None:
        append(self, records, lambda: None)
        self._loop.call_soon(on_durable)

    monkeypatch.setattr(Wal, "append", eager)
    failure = first_failure(range(1, 400), weights={"slow_disk": 1})
    assert "on its disk are" in failure or "have on disk" in failure


def test_acknowledging_before_the_sync_when_nobody_looks_at_the_wire(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same rule by its consequence alone: power cuts lose what was acknowledged."""
    append = Wal.append

    def eager(self: Wal, records: list, on_durable: Callable[[], None]) -> None:
        append(self, records, lambda: None)
        self._loop.call_soon(on_durable)

    monkeypatch.setattr(Wal, "append", eager)
    monkeypatch.setattr(Promises, "on_write", lambda *_: None)
    monkeypatch.setattr(Promises, "check_recovered", lambda *_: None)
    weights = {"power_cut_all": 3, "power_cut": 2, "slow_disk": 2}
    assert first_failure(range(1, 400), weights=weights)


def test_voting_before_the_vote_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut the voter would have a second vote in the same term."""
    append = Wal.append

    def eager(self: Wal, records: list, on_durable: Callable[[], None]) -> None:
        if any(record.entries for record in records):
            append(self, records, on_durable)
        else:
            append(self, records, lambda: None)
            self._loop.call_soon(on_durable)

    monkeypatch.setattr(Wal, "append", eager)
    failure = first_failure(range(1, 50), weights={"kill_leader": 1})
    assert "votes" in failure
    assert "on its disk are" in failure


def test_committing_what_a_minority_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that counts itself alone answers what a power cut may take."""
    monkeypatch.setattr(commit, "majority_value", max)
    assert "have on disk" in first_failure(range(1, 50))


def test_a_lease_that_outlasts_the_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes would hold a lease at the same time, whatever the clients see of it."""
    lease_ns = state.lease_ns
    monkeypatch.setattr(state, "lease_ns", lambda *settings: 4 * lease_ns(*settings))
    weights = {"isolate_leader": 3, "pause_leader": 3}
    assert "hold a lease at the same time" in first_failure(range(1, 200), weights=weights)


def test_a_start_that_forgets_the_newest_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything was durable, and acknowledged; one node begins without its end."""
    opened = Wal.open.__func__  # type: ignore[attr-defined]

    def forgetful(cls: type[Wal], *arguments: Any, **options: Any) -> Any:
        wal, groups = opened(cls, *arguments, **options)
        for group in groups.values():
            del group.entries[-1:]
        return wal, groups

    monkeypatch.setattr(Wal, "open", classmethod(forgetful))
    failure = first_failure(range(1, 50), weights={"kill": 1})
    assert "started with" in failure
    assert "without entries" in failure


def test_serving_from_a_rotten_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that believes any frame would take a turned bit for what was written."""
    for module in (segment, format_):
        monkeypatch.setattr(module, "intact_frame_end", believing_frame_end)
    assert first_failure(range(1, 200), weights={"bit_rot": 1})


def test_a_turned_bit_hides_no_snapshot() -> None:
    """Others go on to count on what a node had promised, while that node has no sound disk."""
    node = World(WorldConfig(seed=1, node_count=1)).nodes[0]
    meta = msgpack.packb((1, 77, 1))
    snapshot = bytes(12) + len(meta).to_bytes(4, "big") + bytes(4) + meta + b"items"
    node.disk.put("/data/snapshots/000001.snapshot", snapshot)
    turned = set()
    for seed in range(400):
        turned.add(node.disk.rot(Random(seed)))
        assert _Kept(node).snapshot_index(1) == 77
        node.disk.unrot()
    assert len(turned) > 100


def believing_frame_end(data: bytes, offset: int, salt: int) -> int:
    """As the product's, without the checksum."""
    if data[offset : offset + 4] != b"QCfr" or len(data) < offset + 16:
        return 0
    end = offset + 16 + int.from_bytes(data[offset + 8 : offset + 12], "big")
    return end if end <= len(data) else 0


def test_believing_the_bytes_of_a_failed_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A further sync reports success without writing them; they go with the power."""

    def sync_only(self: SimulatedDisk, path: str, size: int) -> None:
        inode = self._inode(path)
        inode.cut(size)
        inode.sync()

    monkeypatch.setattr(SimulatedDisk, "rewrite", sync_only)
    weights = {"failing_disk": 8, "power_cut": 5}
    failure = first_failure(range(1, 400), weights=weights, client_count=2, program_count=0)
    assert "is damaged" in failure or "on its disk are" in failure


def test_a_state_machine_that_looks_at_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replicas would drift apart: equal logs, different states."""
    apply = ShardStore.apply
    calls = iter(range(10**9))

    def moody(self: ShardStore, index: int, now_ms: int, *batch: Any) -> list:
        return apply(self, index, now_ms + next(calls) % 2, *batch)

    monkeypatch.setattr(ShardStore, "apply", moody)
    assert "differs" in first_failure(range(1, 50))


# Sending stamps back without a lease shows in one seed of hundreds here, and in every third walk of
# `tests/property/test_raft_staleness.py`.


def test_counting_staleness_from_the_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that was long on its way would make a state look as fresh as itself."""
    monkeypatch.setattr(heartbeats, "stamp_ns", lambda stamp, life, now_ns: now_ns)
    weights = {"pause": 5, "isolate": 3, "kill_leader": 2, "one_way": 2, "slow_links": 2}
    failure = first_failure(range(1, 400), weights=weights, client_count=1, program_count=0)
    assert "read below its level" in failure


def test_not_waiting_for_what_has_to_be_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower that lacks entries would call itself fresh."""
    known_ns = Freshness.known_ns
    monkeypatch.setattr(Freshness, "known_ns", lambda self, index: known_ns(self, 1 << 60))
    weights = {"one_way": 5, "isolate": 3, "slow_disk": 8, "slow_links": 3}
    failure = first_failure(range(1, 400), weights=weights, client_count=1, program_count=0)
    assert "read below its level" in failure


def test_serving_whatever_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower that was cut off would tell what was replaced long ago."""
    monkeypatch.setattr(ReplicaGroup, "staleness_ns", lambda self, now_ns: 0)
    assert "read below its level" in first_failure(range(1, 200))


@pytest.mark.parametrize("check", ["on_write", "check_recovered"])
def test_an_error_in_a_check_is_told_with_its_cause(
    monkeypatch: pytest.MonkeyPatch, check: str
) -> None:
    """A node that received it would take it for a broken connection, and the run would go on."""

    def broken(*_: Any) -> None:
        raise AttributeError("a name that is not there")

    monkeypatch.setattr(Promises, check, broken)
    failure = first_failure(range(1, 2))
    assert "a check of the simulation failed" in failure
    assert "a name that is not there" in failure


def test_an_answer_that_nobody_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer to another node would wait for whatever this node sends next."""

    def reply(self: Serving, node_id: int, item: tuple[Any, ...]) -> None:
        self.peers.send(node_id, item)

    monkeypatch.setattr(Serving, "reply", reply)
    assert "no flush is due" in first_failure(range(1, 200))
