"""The table of a placement: its rules, and how it comes to balance. Whole placements:
test_placement.py."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from quorumcache.ring.board import Board, Swap
from quorumcache.ring.shares import ZoneBounds

ONE_ZONE = ZoneBounds((3,), (3,))
TWO_ZONES = ZoneBounds((1, 1), (2, 2))


def board_of(
    present: Sequence[Sequence[int]],
    quotas: Sequence[int],
    zones: Sequence[int] | None = None,
    bounds: ZoneBounds = ONE_ZONE,
) -> Board:
    return Board(zones or [0] * len(quotas), bounds, 3, quotas, present)


def check(board: Board) -> None:
    """What it counts is what its members say."""
    count = len(board.quotas)
    assert board.loads == [sum(node in m for m in board.members) for node in range(count)]
    for node in range(count):
        held = [shard for shard, members in enumerate(board.members) if node in members]
        assert sorted(board.shards[node]) == held
        assert set(board.fresh[node]) <= set(held)
    assert all(len(set(members)) == len(members) for members in board.members)


def test_a_node_is_in_a_shard_once() -> None:
    board = board_of([[0, 1, 2]], [1, 1, 1, 0])
    assert not board.can_swap(0, 0, 1)
    assert board.can_swap(0, 0, 3)
    board.drop(0, 2)
    assert not board.can_add(0, 1)
    assert board.can_add(0, 3)


def test_a_newcomer_takes_the_place_of_the_one_that_leaves() -> None:
    board = board_of([[0, 1, 2]], [1, 1, 1, 1])
    board.swap(Swap(0, 1, 3))
    assert board.members == [[0, 3, 2]]
    assert board.fresh[3] == {0: None}, "it does not hold the shard today"
    check(board)


def test_no_zone_takes_all_replicas_of_a_shard() -> None:
    zones = [0, 0, 0, 1, 1]
    board = board_of([[0, 1, 3]], [1] * 5, zones, TWO_ZONES)
    assert not board.can_swap(0, 3, 2), "the other zone would have none"
    assert board.can_swap(0, 3, 4)
    assert board.can_swap(0, 1, 4), "two there and one here is as good"
    assert board.extra_members(0) == []
    crowded = board_of([[0, 1, 2]], [1] * 5, zones, TWO_ZONES)
    assert crowded.extra_members(0) == [0, 1, 2]


def test_balance_takes_a_chain_where_no_single_swap_helps() -> None:
    """Node 0 has a shard too many and shares each with 3, which is below its quota: node 1 or 2
    has to stand between."""
    present = [[0, 1, 3], [0, 2, 3], [1, 2, 4]]
    board = board_of(present, [1, 2, 2, 3, 1])
    board.balance()
    assert board.loads == [1, 2, 2, 3, 1]
    check(board)


def test_balance_moves_nothing_that_is_in_order() -> None:
    present = [[0, 1, 2], [1, 2, 3], [2, 3, 0], [3, 0, 1]]
    board = board_of(present, [3, 3, 3, 3])
    board.balance()
    assert board.members == present


def test_random_boards_come_to_balance() -> None:
    rng = Random(1)
    for _ in range(100):
        count, shards = rng.randint(3, 8), rng.randint(1, 20)
        present = [rng.sample(range(count), 3) for _ in range(shards)]
        each, more = divmod(3 * shards, count)
        quotas = [each + (node < more) for node in range(count)]
        if max(quotas) > shards:
            continue
        board = board_of(present, quotas)
        board.balance()
        assert board.loads == quotas
        check(board)
