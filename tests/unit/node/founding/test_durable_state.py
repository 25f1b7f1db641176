"""What the durable state of a node does when the node ends."""

from random import Random

import pytest

from quorumcache.node.cluster_time import ClusterTime
from quorumcache.node.config import NodeConfig
from quorumcache.node.errors import AcknowledgedDataLost, NodeLeft, WrongDataDir
from quorumcache.node.founding.durable_state import DurableState
from quorumcache.node.storage.founding_record import propose
from tests.simulation.loop import VirtualLoop
from tests.support.fake_disk import FakeDisk
from tests.support.founding import founder
from tests.support.scripted_log import ManualClock


def durable(disk: FakeDisk, loop: VirtualLoop) -> DurableState:
    clock = ManualClock()
    return DurableState(
        NodeConfig(data_dir="d"),
        disk,
        clock=clock,
        random=Random(1),
        loop=loop,
        time=ClusterTime(clock),
        incarnation=1,
    )


@pytest.mark.parametrize("was_drained", [True, False])
def test_the_directory_of_a_node_that_has_left_is_marked_and_starts_no_node(
    was_drained: bool,
) -> None:
    """It holds replicas and votes that the cluster does not count on any more."""
    loop = VirtualLoop()
    disk = FakeDisk(loop)
    storage = durable(disk, loop)
    alone = [founder("a", 1, disk=storage.identity.disk_id)]
    storage.accept(propose(Random(1), alone, NodeConfig(data_dir="d").fixed_settings))
    storage.failed(NodeLeft("a", "c" * 32, 7, was_drained=was_drained))
    disk.close()
    with pytest.raises(WrongDataDir, match=r"not be used any more: node a (was drained|is no member)"):
        durable(disk, loop)
    loop.close()


def test_a_directory_that_cannot_be_condemned_keeps_no_node_from_ending() -> None:
    """A full disk has no room for the note; the next start finds out again."""
    loop = VirtualLoop()
    disk = FakeDisk(loop)
    storage = durable(disk, loop)
    lost = AcknowledgedDataLost("shard 0", "has forgotten an entry")
    disk.capacity_bytes = disk.used_bytes()
    storage.failed(lost)
    assert "d/data.lost" not in disk.paths()
    disk.capacity_bytes = None
    storage.failed(lost)
    assert "d/data.lost" in disk.paths()
    loop.close()
