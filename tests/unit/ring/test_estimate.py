"""Goal: an estimate counts what a change moves that was not to move before."""

from __future__ import annotations

from dataclasses import replace

from quorumcache.ring import ClusterView, Move
from quorumcache.ring.estimate import COPY_BYTES_PER_S, estimate
from tests.support.clusters import make_nodes
from tests.support.moving_world import founded

MAP = replace(founded(make_nodes(5), 4, 3, (1, 2, 3)), replica_sets=((1, 2, 3),) * 4)
VIEW = ClusterView(bytes={1: 3 * COPY_BYTES_PER_S, 2: COPY_BYTES_PER_S})
MOVED = replace(
    MAP,
    epoch=2,
    moves=(
        Move(1, (1, 2, 3), (4, 1, 2)),
        Move(2, (1, 2, 3), (1, 2, 4)),
        Move(3, (1, 2, 3), (1, 4, 5)),
        Move(4, (1, 2, 3), (1, 2)),
    ),
)


def test_replicas_bytes_and_leaders_are_counted() -> None:
    assert estimate(MAP, MOVED, VIEW) == {
        "replicas_moved": 4,
        "bytes": 4 * COPY_BYTES_PER_S,
        "seconds": 4 + 3,  # 200 MB into node 4, in two rounds of a move
        "received": {"n4": 3, "n5": 1},
        "leaders_changed": 1,
    }


def test_nothing_costs_nothing() -> None:
    nothing = {"replicas_moved": 0, "bytes": 0, "seconds": 0, "received": {}, "leaders_changed": 0}
    assert estimate(MAP, MAP, VIEW) == nothing
    assert estimate(MOVED, replace(MOVED, is_paused=True), VIEW) == nothing


def test_a_node_that_would_hold_more_than_its_memory_is_named() -> None:
    """By all that it would hold, not only by what it gets; one that gets nothing is not the
    change's doing, and one that does not say what it can hold is not judged."""
    size = dict.fromkeys(range(1, 5), 100)

    def too_much(**memory: int) -> object:
        view = ClusterView(bytes=size, memory_bytes={int(n[1:]): m for n, m in memory.items()})
        return estimate(MAP, MOVED, view).get("too_much")

    assert too_much() is None
    assert too_much(n1=1000, n4=300, n5=100) is None
    assert too_much(n4=299, n5=99) == {"n4": (300, 299), "n5": (100, 99)}
    assert too_much(n1=399) is None
    view = ClusterView(bytes=size, memory_bytes={1: 1})
    assert "too_much" not in estimate(MAP, MAP, view)


def test_only_what_is_new_counts() -> None:
    before = replace(MAP, moves=MOVED.moves[:1])
    assert estimate(before, MOVED, VIEW)["received"] == {"n4": 2, "n5": 1}


def test_a_bound_of_the_rate_takes_time() -> None:
    slow = replace(MOVED, settings=(("move_rate", str(COPY_BYTES_PER_S // 10)),))
    assert estimate(MAP, slow, VIEW)["seconds"] == 40 + 3
