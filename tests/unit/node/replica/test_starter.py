"""What a replica starts from: the birth of its group, or what the disk remembers."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from quorumcache.node.consensus.api import ConsensusConfig
from quorumcache.node.consensus.raft.messages import AppendReply, Heartbeat
from quorumcache.node.consensus.values import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Role,
    Snapshot,
    SnapshotMeta,
)
from quorumcache.node.replica.starter import ReplicaStarter
from quorumcache.node.state_machine import encode_batch
from quorumcache.node.store.commands import OP_SET
from quorumcache.node.store.snapshot import encode_view
from quorumcache.node.store.store import ShardStore
from quorumcache.node.wal.recovery import RecoveredGroup
from tests.support.item_tables import items_of
from tests.support.scripted_log import HostWorld

GROUP = 3
BIRTH = Configuration((1, 2, 3))
LATER = Configuration((1, 2, 4))
NOW_MS = 5_000
DATA = b" 0 1\r\nx\r\n"


class World(HostWorld):
    """A host without groups, and a starter of replicas on node 1."""

    def __init__(self) -> None:
        super().__init__()
        self.recovered: dict[int, RecoveredGroup] = {}
        self.found: dict[int, Snapshot] = {}
        self.promised: dict[int, HardState] = {}
        self.starter = ReplicaStarter(
            ConsensusConfig(replica_id=1),
            host=self.host,
            random=Random(1),
            life=77,
            recovered=self.recovered,
            snapshots=self.found,
            new_store=ShardStore,
            promised=self.promised,
        )

    def start(self, stands: bool = False) -> Any:
        self.starter.start_shard(GROUP, BIRTH, stands)
        return self.host.groups[GROUP]


def snapshot(index: int, key: bytes) -> Snapshot:
    store = ShardStore()
    store.apply(index, NOW_MS, [(0, 0, 0, OP_SET, key, DATA, 0)])
    return Snapshot(SnapshotMeta(index, 2, LATER), b"".join(encode_view(store.view())))


def entry(index: int) -> Entry:
    return Entry(index, 2, int(EntryKind.NORMAL), encode_batch(NOW_MS, []))


def test_a_group_of_which_nothing_is_known_starts_empty_with_its_birth() -> None:
    world = World()
    group = world.start()
    assert (group.log.term, group.log.last_index, group.applied_index) == (0, 0, 0)
    assert group.log.configuration == BIRTH
    assert group.log.role is Role.FOLLOWER
    assert not group.machine.items


def test_what_the_disk_remembers_is_where_it_goes_on() -> None:
    """A term and a vote that were forgotten would allow a second vote in the same term."""
    world = World()
    world.recovered[GROUP] = RecoveredGroup(HardState(4, 2), [entry(11), entry(12)])
    world.found[GROUP] = snapshot(10, b"kept")
    group = world.start()
    assert (group.log.term, group.log.voted_for) == (4, 2)
    assert (group.log.first_index, group.log.last_index) == (11, 12)
    assert group.applied_index == 10
    assert group.log.configuration == LATER, "the birth is older than the snapshot"
    assert list(items_of(group.machine.items)) == [b"kept"]


def test_a_log_without_a_snapshot_starts_at_the_birth() -> None:
    world = World()
    world.recovered[GROUP] = RecoveredGroup(HardState(4, 0), [entry(1)])
    group = world.start()
    assert (group.log.last_index, group.applied_index) == (1, 0)
    assert group.log.configuration == BIRTH


def test_the_clusters_time_goes_on_behind_what_the_snapshot_has_seen() -> None:
    """Or items that had ended by the old time would be there again."""
    world = World()
    assert world.host.time.now_ms() < NOW_MS
    world.found[GROUP] = snapshot(10, b"kept")
    world.start()
    assert world.host.time.now_ms() == NOW_MS


def test_what_was_found_is_used_once() -> None:
    """It would be held in memory twice, and be wrong for a group that comes back later."""
    world = World()
    world.recovered[GROUP] = RecoveredGroup(HardState(4, 2), [entry(11)])
    world.recovered[9] = RecoveredGroup(HardState(1, 0), [])
    world.found[GROUP] = snapshot(10, b"kept")
    world.start()
    assert (list(world.recovered), list(world.found)) == ([9], [])


@pytest.mark.parametrize("stands", [False, True])
def test_who_stands_calls_an_election_and_is_looked_at(stands: bool) -> None:
    """Nobody else does in a new cluster: it would be without leaders for an election timeout."""
    world = World()
    group = world.start(stands)
    assert (group.log.role is not Role.FOLLOWER) == stands
    world.told()
    world.turn()
    assert any(step[0] in ("send", "write") for step in world.told()) == stands


def test_replicas_draw_different_pauses() -> None:
    """From one state for all, the replicas of all groups would stand at the same moment."""
    world = World()
    for group_id in range(1, 21):
        world.starter.start_shard(group_id, BIRTH, False)
    logs: list[Any] = [group.log for group in world.host.groups.values()]
    assert len({log.timeout_ticks for log in logs}) > 1


def test_what_is_forgotten_is_not_started_from() -> None:
    """The replica was removed; the one that comes later knows nothing."""
    world = World()
    world.recovered[GROUP] = RecoveredGroup(HardState(4, 2), [entry(11)])
    world.found[GROUP] = snapshot(10, b"kept")
    world.recovered[9] = RecoveredGroup(HardState(1, 0), [])
    assert world.starter.remembered() == {GROUP, 9}
    world.starter.forget(GROUP)
    world.starter.forget(GROUP)
    assert world.starter.remembered() == {9}
    group = world.start()
    assert (group.log.term, group.log.last_index, group.applied_index) == (0, 0, 0)


# -- behind one that was removed ------------------------------------------------------------------

EMPTY = Configuration(())


def test_a_new_replica_goes_on_in_the_term_of_the_removed_one() -> None:
    """A leader that stood still since then believes that the removed one votes for it still."""
    world = World()
    world.promised[GROUP] = HardState(6, 2)
    world.starter.start_shard(GROUP, EMPTY, False)
    log: Any = world.host.groups[GROUP].log
    assert (log.term, log.voted_for) == (6, 2)
    log.step(3, Heartbeat(5, 40, 1, 0))
    assert log.leader_id == 0
    (reply,) = [message for to, message in log.ready().messages_after_append if to == 3]
    assert reply == AppendReply(6, 0, True, 0, 0)


def test_what_the_log_has_seen_since_counts() -> None:
    world = World()
    world.promised[GROUP] = HardState(6, 2)
    world.recovered[GROUP] = RecoveredGroup(HardState(8, 0), [])
    assert world.start().log.term == 8


def test_the_log_has_that_term_before_anything_is_acknowledged_in_it() -> None:
    world = World()
    world.promised[GROUP] = HardState(6, 2)
    world.starter.start_shard(GROUP, EMPTY, False)
    log: Any = world.host.groups[GROUP].log
    assert log.has_ready()
    assert log.ready().hard_state == HardState(6, 2)
    world.recovered[4] = RecoveredGroup(HardState(6, 2), [])
    world.promised[4] = HardState(6, 2)
    world.starter.start_shard(4, EMPTY, False)
    log = world.host.groups[4].log
    assert not log.has_ready()
