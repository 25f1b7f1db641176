"""`/health` on plain values: each reason, in its words. tests/simulation has it on clusters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quorumcache.node.admin.status import (
    BEHIND_ENTRIES,
    PROBLEMS_MAX,
    health_document,
    health_problems,
    health_warnings,
)
from quorumcache.ring import Move
from tests.support.fake_node import FakeGroup, FakeNode, FakeProgress, FakeStore

NEVER = 1 << 62


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


def test_what_a_replica_may_lag_behind(node: FakeNode) -> None:
    group = node.host.groups[1]
    for staleness_ms, words in (
        (0, []),
        (3000, []),
        (3100, ["shard 0: its leader has not confirmed the replica here for 3.1 s"]),
    ):
        group.staleness = staleness_ms * 1_000_000
        assert health_problems(node) == words
    group.staleness = NEVER
    assert health_problems(node) == ["shard 0: its replica here is still catching up"]


def test_the_bound_grows_with_the_election_timeout() -> None:
    node = FakeNode()
    object.__setattr__(node.config, "election_ms", 2000)
    node.host.groups[1].staleness = 9_000_000_000
    assert health_problems(node) == []


def test_a_leader_that_nobody_answers(node: FakeNode) -> None:
    node.host.groups[2].staleness = NEVER
    node.clock.now_ns = node.started_ns + 2_900_000_000
    assert health_problems(node) == []
    node.clock.now_ns = node.started_ns + 12_340_000_000
    assert health_problems(node) == ["shard 1: led here, but no majority has answered for 12.3 s"]


def test_a_replica_far_behind_is_told_by_its_leader(node: FakeNode) -> None:
    node.peers = {2: True, 3: True}
    log = node.host.groups[2].log
    log.last_index = BEHIND_ENTRIES + 5
    log.replicas = {1: FakeProgress(0), 2: FakeProgress(6), 3: FakeProgress(5)}
    document = health_document(node)
    assert document["problems"] == []
    assert document["warnings"] == [
        f"shard 1: the replica on node c lacks {BEHIND_ENTRIES} entries"
    ]


def test_many_problems_are_counted(node: FakeNode) -> None:
    for group_id in range(3, 40):
        node.host.groups[group_id] = FakeGroup(group_id, leader_id=0, machine=FakeStore())
    found = health_problems(node)
    assert len(found) == PROBLEMS_MAX + 1
    assert found[-1] == "and 27 more"


@pytest.mark.parametrize(
    ("origin", "target", "is_well"),
    [
        ((2, 3), (2, 3, 1), True),  # Its replica is being copied here.
        ((2, 3, 1), (2, 3), True),  # It is about to go.
        ((1, 2), (1, 3), False),  # It stays, and has to be well.
    ],
)
def test_a_replica_that_comes_or_goes_is_no_problem(
    node: FakeNode, origin: tuple[int, ...], target: tuple[int, ...], is_well: bool
) -> None:
    node.host.groups[1].staleness = NEVER
    move = Move(1, origin, target, 1)
    assert node.map is not None
    sets = (move.replica_set, *node.map.replica_sets[1:])
    node.map = replace(
        node.map, form=2, directory=(1, 2, 3), moves=(move,), replica_sets=sets, founding_sets=sets
    )
    assert (health_problems(node) == []) is is_well


def test_a_replica_that_the_map_does_not_place_here_any_more_is_no_problem(node: FakeNode) -> None:
    node.host.groups[1].leader_id = 0
    assert health_problems(node) == ["shard 0: no leader known"]
    assert node.map is not None
    sets = ((2, 3), *node.map.replica_sets[1:])
    node.map = replace(node.map, replica_sets=sets)
    assert health_problems(node) == []


def test_a_replica_that_is_being_copied_may_lack_entries(node: FakeNode) -> None:
    node.peers = {2: True, 3: True}
    log = node.host.groups[2].log
    log.last_index = BEHIND_ENTRIES + 5
    log.replicas = {1: FakeProgress(0), 3: FakeProgress(5)}
    assert len(health_warnings(node)) == 1
    assert node.map is not None
    move = Move(2, (1, 2), (1, 2, 3), 1)
    sets = (node.map.replica_sets[0], move.replica_set)
    node.map = replace(node.map, form=2, directory=(1,), moves=(move,), replica_sets=sets)
    assert health_warnings(node) == []
