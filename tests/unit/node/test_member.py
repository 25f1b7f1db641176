"""What makes a node a member: which maps it takes, whom it tells of them, how it comes and goes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.clock import SystemClock
from quorumcache.node.errors import ConfigError, PeerError
from quorumcache.node.member import Member
from quorumcache.node.node import Node
from quorumcache.node.peers.items import FOUNDED, MAP_EPOCH, MAP_REPLY
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.storage.founding_record import FoundingRecord
from quorumcache.node.store.store import ShardStore
from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.ring.secret import SECRET_REQUIRED, SECRET_SETTING
from tests.support.founding import member_of, record_of
from tests.support.scripted_log import NO_SNAPSHOT, ScriptedLog

CONFIG = NodeConfig(shards=1)
RECORD = record_of("a", config=CONFIG)


def a_map(cluster_id: str) -> ClusterMap:
    alone = NodeInfo(1, "a", "hosta:1", "hosta:2", "", "", 1.0)
    return ClusterMap(
        epoch=1,
        cluster_id=cluster_id,
        shard_count=1,
        replication=1,
        nodes=(alone,),
        replica_sets=((1,),),
    )


def taken(*maps: bytes) -> ClusterMap | None:
    """The map of a node to which these came, in this order."""

    async def test() -> ClusterMap | None:
        loop = asyncio.get_running_loop()
        node = Node(CONFIG, clock=SystemClock(), disk=None, random=Random(1), loop=loop)
        node.durable.become(member_of(RECORD, 1))
        member = node._become_member()
        for data in maps:
            member.inbox.on_rare_item(2, (MAP_REPLY, data))
        return node.map

    return asyncio.run(test())


def test_an_older_map_is_never_taken() -> None:
    """A peer that was away sends what it knows; epochs that were passed do not come back."""
    first = a_map(RECORD.cluster_id)
    second = first.with_node(NodeInfo(1, "a", "hosta:1", "moved:2", "", "", 1.0))
    third = second.with_node(NodeInfo(1, "a", "hosta:1", "again:2", "", "", 1.0))
    assert taken(first.to_bytes()) == first
    assert taken(second.to_bytes(), first.to_bytes()) == second
    assert taken(second.to_bytes(), first.to_bytes(), third.to_bytes()) == third


def test_the_map_of_another_cluster_is_not_taken() -> None:
    with pytest.raises(PeerError, match="another cluster"):
        taken(a_map("another").to_bytes())


def test_what_is_no_map_is_the_peers_fault() -> None:
    with pytest.raises(PeerError, match="an invalid cluster map"):
        taken(b"\x93\x01\x02\x03")


# -- coming and going ----------------------------------------------------------------------------

SECONDS = 30.0
"""A deadline that only a test that hangs reaches."""

PAIR = record_of("a", "b", config=CONFIG)
INFO = PAIR.founders[0]


class FakePeers:
    """A peer network that writes down what it is told; all nodes are up."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.specs: dict[int, Any] = {}

    def is_up(self, node_id: int) -> bool:
        return True

    def set_map(self, epoch: int, form: int, named: frozenset[int]) -> None:
        self.told.append(("epoch", epoch))
        self.named = named

    def require_proofs(self, is_required: bool) -> None:
        self.told.append(("required", is_required))

    def set_founded(self) -> None:
        self.told.append("founded")

    def send_to_all(self, item: tuple[Any, ...]) -> None:
        self.told.append(item)

    def update_peers(self, specs: dict[int, Any]) -> None:
        self.specs = specs


def pair_map(epoch: int, address_of_b: str) -> ClusterMap:
    nodes = (
        NodeInfo(1, "a", "host:1", "c:1", "", "", 1.0),
        NodeInfo(2, "b", address_of_b, "c:2", "", "", 1.0),
    )
    return ClusterMap(epoch, PAIR.cluster_id, 1, 2, nodes, ((1, 2),))


def play(
    story: Callable[[Node, Member], Awaitable[None]],
    *,
    record: FoundingRecord = PAIR,
    is_complete: bool = True,
) -> None:
    """A story of node a, one of the founders; whether it knows that all have accepted."""

    async def timed() -> None:
        config = NodeConfig(name="a", shards=1, listen="127.0.0.1:0", http="")
        loop = asyncio.get_running_loop()
        node = Node(config, clock=SystemClock(), disk=None, random=Random(1), loop=loop)
        node.durable.become(member_of(record, 1, is_complete=is_complete))
        member = node._become_member()
        async with asyncio.timeout(SECONDS):
            await story(node, member)
            await node.stop()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"still running: {left}"

    asyncio.run(timed())


def test_one_of_several_without_an_address_for_the_others_does_not_join() -> None:
    """It would wait for them, and they for it, and nothing would say why."""

    async def story(node: Node, member: Member) -> None:
        with pytest.raises(ConfigError, match="a cluster of 2 nodes needs an address that"):
            await member.join(INFO)
        assert member.peers is None

    play(story)


def test_the_map_that_the_disk_remembers_is_known_before_anybody_answers() -> None:
    async def story(node: Node, member: Member) -> None:
        node.durable.map_found = pair_map(7, "host:2")
        with pytest.raises(ConfigError):
            await member.join(INFO)
        assert node.map == pair_map(7, "host:2")

    play(story)


def test_a_newer_map_is_told_to_the_others_and_a_node_that_moved_is_dialled_there() -> None:
    async def story(node: Node, member: Member) -> None:
        peers: Any = FakePeers()
        member.peers = peers
        member.follower.arrived(pair_map(3, "moved:2"))
        assert peers.told == [("epoch", 3), ("required", False), (MAP_EPOCH, 3)]
        assert member.node_id in peers.named
        assert {n: spec.address for n, spec in peers.specs.items()} == {2: "moved:2"}
        member.follower.arrived(pair_map(2, "old:2"))
        assert len(peers.told) == 3
        settings = ((SECRET_SETTING, SECRET_REQUIRED),)
        newer = replace(pair_map(4, "moved:2"), form=2, directory=(1,), settings=settings)
        member.follower.arrived(newer)
        assert ("required", True) in peers.told
        member.peers = None

    play(story)


def test_the_directory_starts_once_the_founding_is_complete_and_the_others_hear_of_it() -> None:
    """A founder that voted before all have accepted could found a second cluster."""

    async def story(node: Node, member: Member) -> None:
        peers: Any = FakePeers()
        member.peers = peers
        assert not node.host.groups
        member.founding.accepted(2, is_complete=True)
        assert peers.told == ["founded", (FOUNDED, 1)]
        assert list(node.host.groups) == [0]
        member.peers = None

    play(story, is_complete=False)


def test_who_has_joined_works_in_the_background_until_it_rests() -> None:
    """Work that went on would hold up the end, or write while the files are closed."""

    def working() -> set[str]:
        names = {task.get_name() for task in asyncio.all_tasks()}
        return names & {"housekeeper", "map follower"}

    async def story(node: Node, member: Member) -> None:
        await member.join(INFO)
        assert list(node.host.groups) == [0], "it votes in the directory, and nobody else does"
        assert working() == {"housekeeper", "map follower"}
        assert not member.inbox.is_stopping
        member.rest()
        assert member.inbox.is_stopping
        while working():  # noqa: ASYNC110 - turn by turn
            await asyncio.sleep(0)

    play(story, record=RECORD)


def leading(node: Node) -> Any:
    """The log of a group that this node leads; node 2 has all of it."""
    log: Any = ScriptedLog()
    log.lead()
    log.members = {2: SimpleNamespace(match_index=5, recent_active=True)}
    node.host.add_group(ReplicaGroup(1, log, ShardStore(), node.host, NO_SNAPSHOT))
    return log


@pytest.mark.parametrize(("seconds", "given"), [(SECONDS, [2]), (-1.0, [])])
def test_leaderships_are_given_away_until_the_deadline(seconds: float, given: list[int]) -> None:
    async def story(node: Node, member: Member) -> None:
        log = leading(node)
        peers: Any = FakePeers()
        member.peers = peers
        transfer = log.transfer_leadership

        def transferred(to: int) -> None:
            transfer(to)
            log.become(log.role.FOLLOWER, log.term + 1, to)

        log.transfer_leadership = transferred
        await member.hand_over(asyncio.get_running_loop().time() + seconds)
        assert log.transferred == given
        member.peers = None
        node.host.stop()

    play(story)


def test_who_is_alone_has_nobody_to_give_anything_to() -> None:
    async def story(node: Node, member: Member) -> None:
        log = leading(node)
        await member.hand_over(asyncio.get_running_loop().time() + SECONDS)
        await member.leave()
        member.abort()
        assert not log.transferred
        node.host.stop()

    play(story)
