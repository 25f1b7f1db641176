"""What the durable state of a node does when the node ends."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from quorumcache.node.cluster_time import ClusterTime
from quorumcache.node.errors import AcknowledgedDataLost, NodeLeft, SecretDiffers, WrongDataDir
from quorumcache.node.founding.durable_state import DurableState
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.storage.founding_record import FoundingRecord
from quorumcache.ring.secret import Secret
from tests.simulation.loop import VirtualLoop
from tests.support.fake_disk import FakeDisk
from tests.support.founding import record_of
from tests.support.scripted_log import ManualClock


def state_of(loop: VirtualLoop, disk: FakeDisk | None, **options: Any) -> DurableState:
    clock = ManualClock()
    return DurableState(
        NodeConfig(data_dir="d" if disk is not None else None),
        disk,
        clock=clock,
        random=Random(1),
        loop=loop,
        time=ClusterTime(clock),
        incarnation=1,
        **options,
    )


def record_with(state: DurableState) -> FoundingRecord:
    """In which its directory is the only founder's."""
    record = record_of("a", config=NodeConfig(data_dir="d" if state.disk is not None else None))
    own = replace(record.founders[0], disk_id=state.identity.disk_id)
    return replace(record, founders=(own,))


GIVEN, MADE = Secret("what the operator gave"), Secret("what the founding made")


@pytest.mark.parametrize(
    ("accepted", "given", "then"),
    [(MADE, None, MADE), (MADE, MADE, MADE), (None, None, None), (None, GIVEN, GIVEN)],
)
def test_a_member_has_the_secret_that_it_keeps_or_the_given_one(
    accepted: Secret | None, given: Secret | None, then: Secret | None
) -> None:
    loop = VirtualLoop()
    disk = FakeDisk(loop)
    state = state_of(loop, disk)
    assert state.secret is None
    state.accept(record_with(state), accepted)
    assert state.secret == accepted
    for given_now in (given, None):
        disk.crash()
        assert state_of(loop, disk, given_secret=given_now).secret == then
    disk.crash()
    if then is not None:
        with pytest.raises(SecretDiffers):
            state_of(loop, disk, given_secret=Secret("another secret than that"))
    loop.close()


def test_without_a_disk_the_given_secret_counts() -> None:
    loop = VirtualLoop()
    state = state_of(loop, None, given_secret=GIVEN)
    state.accept(record_with(state), GIVEN)
    assert state.secret == GIVEN
    loop.close()


@pytest.mark.parametrize("was_drained", [True, False])
def test_the_directory_of_a_node_that_has_left_is_marked_and_starts_no_node(
    was_drained: bool,
) -> None:
    """It holds replicas and votes that the cluster does not count on any more."""
    loop = VirtualLoop()
    disk = FakeDisk(loop)
    state = state_of(loop, disk)
    state.accept(record_with(state), None)
    state.failed(NodeLeft("a", "c" * 32, 7, was_drained=was_drained))
    disk.crash()
    with pytest.raises(WrongDataDir, match=r"used any more: node a (was drained|is no m)"):
        state_of(loop, disk)
    loop.close()


def test_a_directory_that_cannot_be_condemned_keeps_no_node_from_ending() -> None:
    """A full disk has no room for the note; the next start finds out again."""
    loop = VirtualLoop()
    disk, clock = FakeDisk(loop), ManualClock()
    storage = DurableState(
        NodeConfig(data_dir="d"),
        disk,
        clock=clock,
        random=Random(1),
        loop=loop,
        time=ClusterTime(clock),
        incarnation=1,
    )
    lost = AcknowledgedDataLost("shard 0", "has forgotten an entry")
    disk.capacity_bytes = disk.used_bytes()
    storage.failed(lost)
    assert "d/data.lost" not in disk.paths()
    disk.capacity_bytes = None
    storage.failed(lost)
    assert "d/data.lost" in disk.paths()
    loop.close()
