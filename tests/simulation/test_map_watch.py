"""The rules about cluster maps, each kept and each broken."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.ring.cluster_map import ClusterMap
from quorumcache.ring.move import Move
from tests.simulation.checkers import InvariantViolation
from tests.simulation.map_watch import LATE_NS, LEFT_NS, VOTE_REPLY, MapWatch
from tests.simulation.steadiness import STEADY_NS, Steadiness
from tests.simulation.test_configurations import cluster_map

VOTE = (VOTE_REPLY, 1, (3, True))
REFUSAL = (VOTE_REPLY, 1, (3, False))


class Nodes:
    """Two nodes and the maps that they know."""

    def __init__(self) -> None:
        self.loop = SimpleNamespace(now_ns=0)
        self.unsteady: frozenset[int] = frozenset()
        self.trace = SimpleNamespace(tell=lambda text: None)
        self.nodes: list[Any] = [
            SimpleNamespace(
                name=f"n{number}",
                node_id=number,
                incarnation=1,
                has_own_directory=True,
                process=SimpleNamespace(is_dead=False),
                node=SimpleNamespace(map=None),
            )
            for number in (1, 2)
        ]
        self.watch = MapWatch(self)  # type: ignore[arg-type]

    def unsteady_nodes(self) -> frozenset[int]:
        return self.unsteady

    def know(self, number: int, found: ClusterMap) -> None:
        self.nodes[number - 1].node.map = found
        self.watch.look()


def rule(nodes: Nodes, number: int, found: ClusterMap) -> str:
    with pytest.raises(InvariantViolation) as caught:
        nodes.know(number, found)
    return caught.value.rule


def test_newer_maps_come_and_the_newest_is_known() -> None:
    nodes = Nodes()
    nodes.know(1, cluster_map((1, 2, 3), epoch=8))
    nodes.know(2, cluster_map((1, 2, 3), epoch=7))
    nodes.know(2, cluster_map((1, 2, 3), epoch=8))
    assert nodes.watch.newest is not None
    assert nodes.watch.newest.epoch == 8


def test_who_leaves_is_out_of_the_map() -> None:
    nodes = Nodes()
    nodes.know(1, cluster_map((1, 2, 3)))
    nodes.watch.on_left(6)
    nodes.loop.now_ns += 2 * LEFT_NS
    nodes.watch.look()
    nodes.watch.on_left(5)
    nodes.watch.look()
    nodes.loop.now_ns += 2 * LEFT_NS
    with pytest.raises(InvariantViolation, match="node 5 has left"):
        nodes.watch.look()


def test_there_is_one_map_of_an_epoch() -> None:
    nodes = Nodes()
    nodes.know(1, cluster_map((1, 2, 3)))
    assert rule(nodes, 2, cluster_map((1, 2, 4))) == "two maps of one epoch"


def test_no_process_goes_back() -> None:
    nodes = Nodes()
    nodes.know(1, cluster_map((1, 2, 3), epoch=8))
    assert rule(nodes, 1, cluster_map((1, 2, 3), epoch=7)) == "a map goes back"


def test_an_id_is_not_used_again() -> None:
    nodes = Nodes()
    before = cluster_map((1, 2, 3))
    nodes.know(1, before)
    other = replace(before.nodes[4], disk_id="f" * 32)
    after = replace(before, epoch=8, nodes=(*before.nodes[:4], other))
    assert rule(nodes, 1, after) == "a node id is used again"


def test_moves_are_bounded() -> None:
    nodes = Nodes()
    move = Move(1, (1, 2, 3), (1, 2, 4), 7)
    nodes.know(1, cluster_map((), move))
    assert nodes.watch.moves_most == 1
    many = replace(
        cluster_map((1, 2, 3), epoch=8),
        shard_count=4,
        replica_sets=((1, 2, 3), *(move.replica_set,) * 3),
        founding_sets=((1, 2, 3),) * 4,
        moves=tuple(move._replace(group_id=group) for group in (2, 3, 4)),
    )
    assert rule(nodes, 1, many) == "too many moves at once"


def test_a_move_that_cannot_get_on_keeps_no_place() -> None:
    nodes = Nodes()
    move = Move(1, (1, 2, 3), (1, 2, 4), 7)
    many = replace(
        cluster_map((), move),
        shard_count=4,
        replica_sets=(move.replica_set,) * 4,
        founding_sets=((1, 2, 3),) * 4,
        moves=tuple(move._replace(group_id=group) for group in (1, 2, 3, 4)),
    )
    nodes.unsteady = frozenset((2, 3))  # No majority of the voters, or perhaps none.
    nodes.know(1, many)
    assert nodes.watch.moves_most == 0
    nodes.unsteady = frozenset((4,))  # The copy may have no room.
    nodes.know(1, replace(many, epoch=8))
    assert nodes.watch.moves_most == 0
    nodes.unsteady = frozenset((3,))
    assert rule(nodes, 1, replace(many, epoch=9)) == "too many moves at once"


def test_a_node_is_steady_again_when_nothing_has_happened_to_it_for_a_while() -> None:
    process = SimpleNamespace(is_running=True)
    disk = SimpleNamespace(capacity_bytes=None)
    node = SimpleNamespace(name="n1", host="n1", node_id=1, process=process, node=1, disk=disk)
    troubled: set[str] = set()
    network = SimpleNamespace(hosts_in_trouble=lambda: troubled)
    loop = SimpleNamespace(now_ns=0)
    world: Any = SimpleNamespace(nodes=[node], network=network, loop=loop)
    steadiness = Steadiness(world)
    for begin, end in (
        (lambda: troubled.add("n1"), troubled.clear),
        (
            lambda: setattr(process, "is_running", False),
            lambda: setattr(process, "is_running", True),
        ),
        (lambda: setattr(disk, "capacity_bytes", 1), lambda: setattr(disk, "capacity_bytes", None)),
    ):
        steadiness.look()
        assert not steadiness.unsteady()
        begin()
        steadiness.look()
        end()
        loop.now_ns += STEADY_NS - 1
        steadiness.look()
        assert steadiness.unsteady() == {1}
        loop.now_ns += 1


def test_a_node_that_the_map_let_go_decides_nothing() -> None:
    nodes = Nodes()
    before = cluster_map((1, 2, 3))
    nodes.know(1, before)
    gone = SimpleNamespace(node_id=5)
    newcomer = SimpleNamespace(node_id=6)
    nodes.watch.on_promise(gone, nodes.nodes[0], VOTE)
    nodes.know(1, replace(before, epoch=8, nodes=before.nodes[:4]))
    nodes.watch.on_promise(gone, nodes.nodes[0], VOTE)  # On its way for a moment.
    nodes.loop.now_ns += 2 * LATE_NS
    nodes.watch.on_promise(gone, nodes.nodes[0], REFUSAL)
    nodes.watch.on_promise(newcomer, nodes.nodes[0], VOTE)  # In a map that n1 has not heard of.
    with pytest.raises(InvariantViolation, match="promises"):
        nodes.watch.on_promise(gone, nodes.nodes[0], VOTE)
