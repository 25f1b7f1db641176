"""The life of one node: it starts, refuses to start, waits for its founding, and stops."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.clock import SystemClock
from quorumcache.node.consensus.values import HardState
from quorumcache.node.errors import ConfigError, StartupError, WrongDataDir
from quorumcache.node.node import Node
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.storage.checksum import with_checksum
from quorumcache.node.store.item_table import new_item_table, use_hash_seed
from quorumcache.ring import NodeInfo
from tests.simulation.loop import VirtualLoop
from tests.support.fake_disk import FakeDisk
from tests.support.new_nodes import ALONE, ONE_OF_TWO, SECONDS, new_node, play


def test_a_lone_node_founds_its_cluster_and_serves_and_stops() -> None:
    async def story() -> None:
        node = new_node(**ALONE)
        await node.start()
        assert await node.wait_serving(SECONDS)
        assert node.node_id == 1
        assert node.map is not None
        await node.stop()
        await node.stop()
        assert not node.failed.done()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", int(node.listen_address.split(":")[1]))

    play(story)


def test_a_node_that_leaves_waits_only_for_clients_that_know_no_other() -> None:
    """One that routes by itself may keep a connection for ever."""

    async def story() -> None:
        node = new_node(**ALONE)
        await node.start()
        assert await node.wait_serving(SECONDS)
        assert node.member is not None
        count_clients = node.member.office.departure.count_clients
        host, port = node.listen_address.rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port))
        for line, waited_for in ((b"version", 1), (b"cluster redirect on", 0)):
            writer.write(line + b"\r\n")
            await reader.readuntil(b"\r\n")
            assert count_clients() == waited_for
        writer.close()
        await writer.wait_closed()
        await node.stop()

    play(story)


def test_a_new_node_waits_for_the_others_and_says_so() -> None:
    async def story() -> None:
        node = new_node(**ONE_OF_TWO)
        await node.start()
        assert node.peer_address, "the other founders have to reach it"
        assert not await node.wait_serving(0.3)
        assert not node.host.groups
        await node.stop()
        assert not node.failed.done()

    play(story)


@pytest.mark.parametrize("settings", [ALONE, ONE_OF_TWO])
@pytest.mark.parametrize("leave", ["stop", "abort"])
def test_a_node_that_was_not_started_can_leave(settings: dict[str, Any], leave: str) -> None:
    """A signal may come between the making of the node and its start."""

    async def story() -> None:
        node = new_node(**settings)
        if leave == "stop":
            await node.stop()
        else:
            node.abort()
        assert not node.failed.done()

    play(story)


@pytest.mark.parametrize("turns", range(6))
def test_a_node_can_stop_while_it_starts(turns: int) -> None:
    """It listens to clients, and is about to found its cluster, or to store its first map."""

    async def story() -> None:
        node = new_node(**ALONE, data_dir="d")
        starting = asyncio.ensure_future(node.start())
        async with asyncio.timeout(SECONDS):
            while not node.listen_address:  # noqa: ASYNC110 - turn by turn
                await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait([starting])
        await node.stop()
        assert not node.failed.done()

    play(story)


def test_what_cannot_be_held_ends_the_node_and_only_the_first_reason_counts() -> None:
    async def story() -> None:
        node = new_node(**ALONE)
        await node.start()
        assert await node.wait_serving(SECONDS)
        first = StartupError("the disk is gone")
        node._fatal(first)
        node._fatal(StartupError("and so is the rest"))
        assert node.failed.result() is first
        assert node.host.stopped
        assert not node.server.connections
        await node.stop()

    play(story)


def test_a_port_that_is_taken_is_refused() -> None:
    async def story() -> None:
        first = new_node(**ALONE)
        await first.start()
        second = new_node(**{**ALONE, "listen": first.listen_address})
        with pytest.raises(StartupError, match=first.listen_address):
            await second.start()
        await second.stop()
        await first.stop()

    play(story)


def test_settings_that_make_no_node_are_refused_before_anything_is_touched() -> None:
    loop = VirtualLoop()
    disk = FakeDisk(loop)
    config = NodeConfig(**{**ONE_OF_TWO, "name": "c", "data_dir": "d"})
    with pytest.raises(ConfigError, match="'c' is not in initial_cluster"):
        Node(config, clock=SystemClock(), disk=disk, random=Random(1), loop=loop)
    assert not disk.paths()
    loop.close()


def test_the_directory_of_another_node_is_refused() -> None:
    async def story() -> None:
        disk = FakeDisk(asyncio.get_running_loop())
        settings = {**ALONE, "data_dir": "d"}
        node = new_node(disk, **settings, name="a")
        await node.start()
        assert await node.wait_serving(SECONDS)
        cluster_id, disk_id = node.cluster_id, node.disk_id
        await node.stop()
        with pytest.raises(WrongDataDir, match="this is node b"):
            new_node(disk, **settings, name="b")
        disk.close()
        again = new_node(disk, **settings, name="a")
        assert (again.node_id, again.cluster_id, again.disk_id) == (1, cluster_id, disk_id)
        again.abort()

    play(story)


def test_a_start_goes_on_with_a_removal_and_the_replica_comes_again_without_a_vote() -> None:
    """The map still places the shard here: it would be born a voter if it was never here."""

    async def story() -> None:
        disk = FakeDisk(asyncio.get_running_loop())
        first = new_node(disk, **ALONE, data_dir="d")
        await first.start()
        assert await first.wait_serving(SECONDS)
        assert first.host.groups[1].log.configuration.voters == (1,)
        first.host.remove_group(1)
        await first.durable.local_state.begin_leaving(1, HardState(2, 1))
        await first.stop()
        second = new_node(disk, **ALONE, data_dir="d")
        assert second.durable.local_state.leaving == {1}
        await second.start()
        for _ in range(1000):
            if 1 in second.host.groups:
                break
            await asyncio.sleep(0.01)
        assert second.durable.local_state.leaving == set()
        group = second.host.groups[1]
        assert group.log.configuration.voters == ()
        assert (group.log.last_index, group.term) == (0, 2)
        await second.stop()

    play(story)


def test_a_start_without_a_map_goes_on_with_the_removal_of_group_0() -> None:
    """The operator has removed a damaged map. Only that said that this node has no seat any more:
    the founding record names it as a voter."""

    async def story() -> None:
        disk = FakeDisk(asyncio.get_running_loop())
        first = new_node(disk, **ALONE, data_dir="d")
        await first.start()
        assert await first.wait_serving(SECONDS)
        first.host.remove_group(0)
        await first.durable.local_state.begin_leaving(0, HardState(2, 1))
        await first.stop()
        disk.remove("d/cluster.map")
        second = new_node(disk, **ALONE, data_dir="d")
        assert (second.map, second.durable.local_state.leaving) == (None, {0})
        await second.start()
        for _ in range(1000):
            if not second.durable.local_state.leaving:
                break
            await asyncio.sleep(0.01)
        assert not second.durable.local_state.leaving
        assert not second.failed.done()
        assert 0 not in second.host.groups
        await second.stop()

    play(story)


def test_a_node_that_was_drained_takes_no_client_when_it_starts_again() -> None:
    """Not even until it has read the map that it has stored."""

    async def story() -> None:
        settings = {**ALONE, "data_dir": "d", "peer": "127.0.0.1:0"}
        disk = FakeDisk(asyncio.get_running_loop())
        first = new_node(disk, **settings)
        await first.start()
        assert await first.wait_serving(SECONDS)
        present = first.map
        assert present is not None
        await first.stop()
        own = replace(present.nodes[0], state="drained")
        other = NodeInfo(2, "b", "127.0.0.1:1", "127.0.0.1:2", "", "", 1.0, "b" * 32)
        drained = replace(
            present,
            epoch=present.epoch + 1,
            form=2,
            nodes=(own, other),
            replica_sets=((2,), (2,)),
            directory=(2,),
            next_node_id=3,
        )
        disk.write("d/cluster.map", with_checksum(drained.to_bytes()))
        second = new_node(disk, **settings)
        starting = asyncio.ensure_future(second.start())
        refused = 0
        while not starting.done() or refused < 5:
            await asyncio.sleep(0)
            if second.listen_address:
                host, port = second.listen_address.rsplit(":", 1)
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection(host, int(port))
                refused += 1
        assert [alarm.name for alarm in second.alarms.raised()][:1] == ["drained"]
        await second.stop()

    play(story)


def test_a_node_with_an_auth_file_has_to_be_handed_its_users() -> None:
    """It reads no files itself, and must not let everybody in."""

    async def story() -> None:
        with pytest.raises(ConfigError, match="its users were not handed to the node"):
            new_node(**ALONE, auth_file="users")

    play(story)


def test_a_node_that_counts_prefixes_from_the_start() -> None:
    async def story() -> None:
        node = new_node(**ALONE, prefix_delimiter="/")
        await node.start()
        assert await node.wait_serving(SECONDS)
        host, port = node.listen_address.rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port))
        for line in (b"set a/b 0 0 1\r\nx\r\n", b"set c:d 0 0 1\r\nx\r\n"):
            writer.write(line)
            assert await reader.readuntil(b"\r\n") == b"STORED\r\n"
        writer.write(b"stats detail dump\r\n")
        assert await reader.readuntil(b"END\r\n") == (
            b"PREFIX a get 0 hit 0 set 1 del 0\r\nEND\r\n"
        )
        writer.close()
        await writer.wait_closed()
        await node.stop()

    play(story)


def test_a_node_with_entropy_takes_a_seed_for_the_hash_of_keys_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A node of a simulation has none: all of its runs are alike."""
    stand_in = SimpleNamespace(ItemTable=lambda seed: ("native", seed))
    monkeypatch.setitem(sys.modules, "quorumcache.node.core.items", stand_in)

    async def story() -> None:
        new_node(**ALONE)
        assert new_item_table() == ("native", 0)
        seams = {"clock": SystemClock(), "random": Random(1), "loop": asyncio.get_running_loop()}
        Node(NodeConfig(**ALONE), disk=None, entropy=Random(3), **seams)
        assert new_item_table() == ("native", Random(3).getrandbits(64))

    try:
        play(story)
    finally:
        use_hash_seed(0)
