"""What the durable state of a node does when the node ends."""

from random import Random

from quorumcache.node.cluster_time import ClusterTime
from quorumcache.node.config import NodeConfig
from quorumcache.node.errors import AcknowledgedDataLost
from quorumcache.node.founding.durable_state import DurableState
from tests.simulation.loop import VirtualLoop
from tests.support.fake_disk import FakeDisk
from tests.support.scripted_log import ManualClock


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
