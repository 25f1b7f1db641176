"""What others read of a node: nothing of a cluster while it is new, and then what it is."""

from __future__ import annotations

from quorumcache.node.storage.disk import DiskSpace
from tests.support.new_nodes import ALONE, ONE_OF_TWO, SECONDS, new_node, play


def test_a_node_that_is_new_shows_nothing_of_a_cluster() -> None:
    async def story() -> None:
        node = new_node(**ONE_OF_TWO)
        await node.start()
        assert (node.node_id, node.cluster_id, node.map) == (0, "", None)
        assert (node.member, node.founding, node.peers) == (None, None, None)
        assert (node.is_alone, node.is_serving) == (False, False)
        assert (node.peers_up(), node.peers_apart()) == ({}, {})
        assert (node.disk_space, node.disk_waiting_since_ns) == (DiskSpace(0, 0), 0)
        assert node.disk_id, "the directory has its id before there is a cluster"
        assert node.peer_address.startswith("127.0.0.1:")
        assert not await node.wait_serving(0.01)
        await node.stop()

    play(story)


def test_a_member_shows_its_cluster() -> None:
    async def story() -> None:
        node = new_node(**ALONE, data_dir="d")
        await node.start()
        assert await node.wait_serving(SECONDS)
        assert node.is_serving
        assert (node.node_id, node.is_alone) == (1, True)
        assert node.map is not None
        assert node.map.cluster_id == node.cluster_id
        assert node.founding is not None
        assert node.founding.record.cluster_id == node.cluster_id
        assert node.disk_id == node.map.node(1).disk_id
        assert node.name_of(1) == node.config.name
        assert node.client_address_of(1) == node.listen_address
        assert (node.peer_address, node.peers_up(), node.peers_apart()) == ("", {}, {})
        assert list(node.connections) == []
        await node.stop()

    play(story)


def test_a_node_that_has_failed_is_not_waited_for() -> None:
    async def story() -> None:
        node = new_node(**ONE_OF_TWO)
        node.failed.set_result(OSError("the disk is gone"))
        assert not await node.wait_serving(SECONDS)
        node.abort()

    play(story)
