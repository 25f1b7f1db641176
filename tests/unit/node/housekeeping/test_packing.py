"""Old entries of all groups are packed bit by bit."""

from __future__ import annotations

from typing import Any

from quorumcache.node.housekeeping.packing import WORK_PER_LOOK, Packing


class Log:
    def __init__(self, due: int) -> None:
        self.due = due
        self.looks = 0

    def pack(self, work_max: int) -> int:
        self.looks += 1
        packed = min(self.due, work_max)
        self.due -= packed
        return packed


class Group:
    def __init__(self, due: int, *, is_removed: bool = False) -> None:
        self.log = Log(due)
        self.is_removed = is_removed


class Host:
    def __init__(self, *groups: Group) -> None:
        self.groups = dict(enumerate(groups))


def packing_of(*groups: Group) -> Packing:
    host: Any = Host(*groups)
    return Packing(host)


def test_a_look_is_bounded_and_the_next_one_goes_on() -> None:
    groups = [Group(WORK_PER_LOOK // 2) for _ in range(5)]
    packing = packing_of(*groups)
    looks = []
    for _ in range(3):
        packing.look()
        looks.append(sum(group.log.looks for group in groups))
    assert looks == [2, 4, 5]
    for group in groups:
        group.log.due = 1
    packing.look()
    assert not any(group.log.due for group in groups), "little to do: all groups in one look"


def test_a_group_that_left_meanwhile_is_left_alone() -> None:
    first, second = Group(0), Group(WORK_PER_LOOK)
    packing = packing_of(first, second)
    packing.look()
    first.is_removed = True
    packing.look()
    assert (first.log.looks, second.log.looks) == (0, 1)


def test_a_long_log_is_packed_bit_by_bit_beside_those_of_others() -> None:
    long, other = Group(10 * WORK_PER_LOOK), Group(1)
    packing = packing_of(other, long)
    packing.look()
    assert long.log.due == 9 * WORK_PER_LOOK
    packing.look()
    assert (other.log.due, other.log.looks) == (0, 1)
    for _ in range(20):
        packing.look()
    assert long.log.due == 0
