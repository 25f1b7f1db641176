"""What the leader of group 0 decides."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.directory.state import OP_SET_MAP, DirectoryState
from quorumcache.node.directory.steward import STARTED_TICKS, Steward
from quorumcache.node.store.results import EXISTS, OK
from quorumcache.ring import ClusterMap, NodeInfo
from tests.support.founding import disk_id, record_of

MEMBERS = {"a": "hosta:1", "b": "hostb:1", "c": "hostc:1"}
IDS = {"a": 1, "b": 2, "c": 3}


def info(name: str, client: str = "") -> NodeInfo:
    address = MEMBERS[name]
    client = client or f"{name}:11211"
    return NodeInfo(IDS[name], name, address, client, "", "", 1.0, disk_id(IDS[name]))


RECORD = record_of(*MEMBERS)


def first_map() -> ClusterMap:
    return RECORD.first_map()


def set_map(expected_epoch: int, cluster_map: ClusterMap) -> tuple[Any, ...]:
    return (0, 0, 0, OP_SET_MAP, b"", expected_epoch, cluster_map.to_bytes())


class World:
    """A steward whose group is a list of proposals."""

    def __init__(self, *known: str) -> None:
        self.state = DirectoryState(lambda m: None)
        self.known = {IDS[name]: info(name) for name in known}
        self.is_leader = True
        self.applied_index = 1
        self.log = SimpleNamespace(term_start_index=1)
        self.submitted: list[tuple[Any, ...]] = []
        group: Any = self
        self.steward = Steward(record=RECORD, group=group, state=self.state, known=self.known)

    def submit(self, command: tuple[Any, ...], size: int, waiter: Any) -> None:
        self.submitted.append(command)

    def commit(self) -> list[Any]:
        results = [self.state.apply(1, 1, [command])[0] for command in self.submitted]
        self.submitted.clear()
        for result in results:
            self.steward.on_result(result)
        return results


def test_the_first_map_follows_from_the_record_and_waits_for_nobody() -> None:
    world = World("a")
    world.steward.tick()
    world.steward.tick()
    assert len(world.submitted) == 1
    assert world.commit() == [OK]
    assert world.state.cluster_map == first_map()
    world.steward.tick()
    assert not world.submitted


@pytest.mark.parametrize("names", ["ab", "abc"])
def test_nodes_that_rotate_their_addresses_change_together(names: str) -> None:
    """Each takes the peer and the client address that the next one has just left."""
    world = World("a", "b", "c")
    world.steward.tick()
    world.commit()
    olds = [world.known[IDS[name]] for name in names]
    for old, new in zip(olds, olds[1:] + olds[:1], strict=True):
        world.known[old.node_id] = replace(
            old, peer_address=new.peer_address, client_address=new.client_address
        )
    world.steward.tick()
    assert world.commit() == [OK]
    assert world.state.cluster_map is not None
    assert world.state.cluster_map.nodes == tuple(world.known[n] for n in (1, 2, 3))


def test_an_address_is_not_taken_from_a_node_that_was_not_heard_of() -> None:
    """a has b's old address and b is silent: only a's change waits, until b comes."""
    world = World("a", "c")
    world.steward.tick()
    world.commit()
    world.known[1] = replace(info("a"), peer_address=MEMBERS["b"])
    world.known[3] = info("c", "moved:1")
    world.steward.tick()
    assert world.commit() == [OK]
    after = world.state.cluster_map
    assert after is not None
    assert (after.node(1), after.node(3)) == (info("a"), info("c", "moved:1"))
    world.steward.tick()
    assert not world.submitted
    world.known[2] = replace(info("b"), peer_address="elsewhere:1")
    world.steward.tick()
    assert world.commit() == [OK]
    assert world.state.cluster_map is not None
    assert world.state.cluster_map.nodes == tuple(world.known[n] for n in (1, 2, 3))


def test_a_chain_of_claims_on_a_silent_nodes_address_waits_as_a_whole() -> None:
    """b claims the address of c, which is silent, and a the one that b would leave."""
    world = World("a", "b")
    world.steward.tick()
    world.commit()
    world.known[2] = replace(info("b"), peer_address=MEMBERS["c"])
    world.known[1] = replace(info("a"), peer_address=MEMBERS["b"])
    world.steward.tick()
    assert not world.submitted


def test_groups_that_have_started_are_told_together_with_what_else_changed() -> None:
    world = World("a", "b", "c")
    world.steward.tick()
    world.commit()
    world.steward.started(0b0101)
    world.steward.tick()
    world.steward.started(0b1000)
    assert not world.submitted
    world.known[2] = info("b", "elsewhere:1")
    for _ in range(STARTED_TICKS):
        world.steward.tick()
        world.commit()
    after = world.state.cluster_map
    assert after is not None
    assert after.started == 0b1101
    assert after.node(2) == info("b", "elsewhere:1")
    assert after.epoch <= 3
    world.steward.started(0b0101 | 1 << 40)
    for _ in range(3 * STARTED_TICKS):
        world.steward.tick()
    assert not world.submitted


def test_only_a_leader_that_has_applied_its_first_entry_acts() -> None:
    world = World("a", "b", "c")
    world.is_leader = False
    world.steward.tick()
    world.is_leader, world.applied_index = True, 0
    world.steward.tick()
    assert not world.submitted
    world.applied_index = 1
    world.steward.tick()
    assert len(world.submitted) == 1


def test_a_changed_address_becomes_the_next_epoch_and_placement_stays() -> None:
    world = World("a", "b", "c")
    world.steward.tick()
    world.commit()
    before = world.state.cluster_map
    assert before is not None
    world.known[2] = info("b", "elsewhere:1")
    world.steward.tick()
    assert world.commit() == [OK]
    after = world.state.cluster_map
    assert after is not None
    assert (after.epoch, after.node(2).client_address) == (2, "elsewhere:1")
    assert after.replica_sets == before.replica_sets


def test_a_stranger_does_not_get_into_the_map() -> None:
    world = World("a", "b", "c")
    world.steward.tick()
    world.commit()
    world.known[9] = NodeInfo(9, "z", "z:1", "z:2", "", "", 1.0)
    world.steward.tick()
    assert not world.submitted


def test_a_proposal_that_was_overtaken_changes_nothing_and_is_looked_at_again() -> None:
    world = World("a", "b", "c")
    world.steward.tick()
    other = first_map()
    world.state.apply(1, 1, [set_map(0, other)])
    world.known[1] = info("a", "moved:1")
    assert world.commit() == [EXISTS]
    assert world.state.cluster_map == other
    world.steward.tick()
    assert world.commit() == [OK]
    assert world.state.epoch == 2


@pytest.mark.parametrize("end", ["on_lost", "on_refused"])
def test_a_proposal_without_an_answer_is_made_again(end: str) -> None:
    world = World("a", "b", "c")
    world.steward.tick()
    world.submitted.clear()
    getattr(world.steward, end)(*(["why"] if end == "on_refused" else []))
    world.steward.tick()
    assert len(world.submitted) == 1
