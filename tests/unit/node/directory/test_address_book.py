"""What nodes pass on of each other's addresses: news only, never old for new, and bounded."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from quorumcache.node.directory.address_book import AddressBook
from quorumcache.node.directory.members import Members
from quorumcache.node.peers.items import ADDRESSES, ADDRESSES_MAX, check_directory_item
from quorumcache.node.storage.known_nodes import KnownNode, KnownNodes
from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.ring.node_info import LOST
from tests.support.founding import disk_id, record_of

RECORD = record_of("a", "b", "c")
FIRST = replace(RECORD.first_map(), form=2, directory=(1, 2, 3))


def moved(cluster_map: ClusterMap, node_id: int, peer: str) -> ClusterMap:
    node = replace(cluster_map.node(node_id), peer_address=peer)
    return replace(cluster_map.with_node(node), epoch=cluster_map.epoch + 1)


class File:
    """`KnownNodesFile`, in memory."""

    def __init__(self, found: KnownNodes | None = None) -> None:
        self.found = found or KnownNodes()
        self.stored = self.found

    def store(self, known: KnownNodes) -> None:
        self.stored = known


class World:
    """Node 1, a. All nodes read form 2, but those in `old`."""

    def __init__(self, file: File | None = None) -> None:
        self.sent: list[tuple[int, Any]] = []
        self.old: set[int] = set()
        self.news = 0
        self.members = Members()
        self.members.own_id, self.members.record = 1, RECORD
        stored: Any = file
        self.book = AddressBook(self.members, peers=self, flush=lambda: None, file=stored)
        self.book.on_news = self.on_news

    def on_news(self) -> None:
        self.news += 1

    def send(self, node_id: int, item: tuple[Any, ...]) -> bool:
        check_directory_item(item)
        self.sent.append((node_id, item[1]))
        return True

    def form_of(self, node_id: int) -> int:
        return 1 if node_id in self.old else 2

    def learned(self, cluster_map: ClusterMap) -> None:
        self.members.learned(cluster_map)
        self.book.learned(cluster_map)

    def tell(self) -> list[tuple[int, Any]]:
        """What it tells whom now."""
        self.sent.clear()
        self.book.tell()
        return self.sent

    def heard(self, *told: tuple[int, int, str]) -> None:
        self.book.heard((ADDRESSES, told))


def test_what_the_map_says_is_no_news() -> None:
    world = World()
    world.learned(FIRST)
    assert world.tell() == []
    world.book.told(2, 1, FIRST.node(2).peer_address)
    assert world.tell() == []


def test_what_a_node_told_otherwise_than_the_map_says_is_passed_on_until_the_map_says_it() -> None:
    world = World()
    world.learned(FIRST)
    world.book.told(2, 7, "moved:1")
    news = ((2, 7, "moved:1"),)
    assert world.tell() == [(2, news), (3, news)]
    assert world.tell() == [(2, news), (3, news)], "a message may be lost"
    world.learned(moved(FIRST, 2, "moved:1"))
    assert world.tell() == []


def test_what_is_passed_on_says_where_to_dial_and_is_passed_on_again() -> None:
    world = World()
    world.learned(FIRST)
    world.heard((3, 4, "there:1"), (2, 1, "here:1"))
    assert world.book.places(3) == ("there:1",)
    assert world.news == 1
    assert world.tell()[0][1] == ((2, 1, "here:1"), (3, 4, "there:1"))
    world.heard((3, 4, "there:1"))
    assert world.news == 1, "it is no news any more"


def test_old_news_never_takes_the_place_of_newer() -> None:
    world = World()
    world.learned(FIRST)
    world.heard((3, 4, "new:1"))
    world.heard((3, 3, "old:1"))
    assert world.book.places(3) == ("new:1",)
    world.book.told(3, 3, "old:1")
    assert world.book.places(3) == ("new:1",), "a process that has ended may be heard late"
    world.book.told(3, 5, "newest:1")
    world.heard((3, 4, "new:1"))
    assert world.book.places(3) == ("newest:1",)
    world.book.told(3, 0, "memory:1")
    assert world.book.places(3) == ("newest:1",), "a node that counts no starts is not passed on"


def test_in_whatever_order_news_come_the_newest_stays() -> None:
    told = [(3, version, f"host{version}:1") for version in range(1, 9)]
    for seed in range(20):
        order = Random(seed).sample(told, len(told))
        world = World()
        world.learned(FIRST)
        for each in order:
            world.heard(each)
        assert world.book.places(3) == ("host8:1",)


def test_a_node_does_not_let_others_say_where_it_is_itself_nor_hears_of_strangers() -> None:
    world = World()
    world.learned(FIRST)
    world.heard((1, 9, "elsewhere:1"), (77, 9, "stranger:1"))
    assert world.book.places(1) == world.book.places(77) == ()
    assert world.news == 0
    assert world.tell() == []


def test_a_map_that_moved_on_from_what_was_known_is_not_contradicted() -> None:
    world = World()
    world.learned(moved(FIRST, 2, "first:1"))
    world.book.told(2, 7, "first:1")
    world.learned(moved(moved(FIRST, 2, "second:1"), 3, "x:1"))
    assert world.tell() == []
    world.heard((2, 6, "older:1"))
    assert world.book.places(2) == ("second:1",)


def test_who_left_is_forgotten_and_a_lost_node_is_not_told_of() -> None:
    world = World()
    world.learned(FIRST)
    world.book.told(2, 7, "moved:1")
    world.learned(
        replace(FIRST.with_node(replace(FIRST.node(2), state=LOST)), epoch=FIRST.epoch + 1)
    )
    assert world.tell() == []
    sets = [(1, 3)] * FIRST.shard_count
    without = replace(FIRST.with_replica_sets(sets), directory=(1, 3)).without_node(2)
    world.learned(replace(without, epoch=FIRST.epoch + 2))
    assert world.book.places(2) == ()


def test_nothing_is_told_by_a_map_of_the_first_form_nor_to_a_node_that_reads_no_other() -> None:
    file = File()
    world = World(file)
    world.learned(RECORD.first_map())
    world.book.told(2, 7, "moved:1")
    assert world.tell() == []
    assert file.stored == KnownNodes()
    world.learned(replace(FIRST, epoch=FIRST.epoch + 1))
    world.old = {3}
    assert [node_id for node_id, _ in world.tell()] == [2]


def test_one_item_is_bounded_and_all_get_their_turn() -> None:
    world = World()
    count = 2 * ADDRESSES_MAX + 5
    nodes = [
        NodeInfo(n, f"n{n}", f"h{n}:1", f"h{n}:2", "", "", 1.0, disk_id(n))
        for n in range(4, 4 + count)
    ]
    large = replace(FIRST, nodes=(*FIRST.nodes, *nodes), next_node_id=4 + count)
    world.learned(large)
    for node in nodes:
        world.book.told(node.node_id, 1, f"moved{node.node_id}:1")
    told = []
    for _ in range(3):
        news = world.tell()[0][1]
        assert len(news) <= ADDRESSES_MAX
        told += [each[0] for each in news]
    assert {*told} == {node.node_id for node in nodes}


def test_a_hint_of_the_operator_is_one_more_place() -> None:
    world = World()
    world.learned(FIRST)
    world.book.hint(2, "seed:1")
    world.book.hint(2, "seed:1")
    assert world.news == 1
    assert world.book.places(2) == ("seed:1",)
    assert world.tell() == [], "it is not known to be what the node says"


def test_what_is_known_is_kept_and_found_again() -> None:
    file = File()
    world = World(file)
    world.learned(FIRST)
    world.book.told(2, 7, "moved:1")
    world.tell()
    b, c = FIRST.node(2), FIRST.node(3)
    assert file.stored == KnownNodes(
        FIRST.epoch,
        {
            2: KnownNode(7, "moved:1", "b", b.disk_id or RECORD.founders[1].disk_id),
            3: KnownNode(0, c.peer_address, "c", c.disk_id or RECORD.founders[2].disk_id),
        },
    )
    again = World(File(file.stored))
    assert again.book.places(2) == ("moved:1",)
    assert again.book.stored == file.stored
    again.learned(FIRST)
    again.heard((2, 6, "older:1"))
    assert again.book.places(2) == ("moved:1",)
    assert again.tell()[0][1] == ((2, 7, "moved:1"),)
