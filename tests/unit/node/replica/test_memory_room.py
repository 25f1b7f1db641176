"""Which writes find no room: with and without eviction; what is lent, and how it comes back."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.replica.memory_room import (
    LARGE_PARTS,
    LENT_BYTES_MIN,
    WANTED_SECONDS,
    MemoryRoom,
)

MIB = 1 << 20
GROUP, OTHER = 1, 2


class Machine:
    planned_bytes = 0
    memory_bytes = 0


class Group:
    """Of a shard, as far as memory is concerned."""

    def __init__(self, group_id: int = GROUP, share: int = MIB, used: int = 0) -> None:
        self.group_id = group_id
        self.share_bytes = share
        self.growing_bytes = 0
        self.machine = Machine()
        self.machine.memory_bytes = used
        self.may_evict = True

    @property
    def evicts(self) -> bool:
        return self.may_evict and self.share_bytes > 0


def refuses(room: MemoryRoom, group: Any, size: int, item_bytes: int = 0) -> bool:
    return room.refuses(group, size, item_bytes)


def test_a_shard_without_a_share_gets_one_before_anything_is_refused(room: MemoryRoom) -> None:
    """A node that has just started waits for no round, be it empty or full since before."""
    group = Group(share=0, used=10 * MIB)
    decided: list[int] = []

    def decide() -> None:
        decided.append(1)
        group.share_bytes = 8 * MIB

    room.decide_now = decide
    assert not refuses(room, group, 1000, 70 * MIB)
    assert not refuses(room, group, 1000, 70 * MIB)
    assert decided == [1]
    keeps = Group(share=0)
    keeps.may_evict = False
    assert refuses(room, keeps, 1000, 64 * MIB)
    assert decided == [1]


@pytest.fixture
def room() -> MemoryRoom:
    room = MemoryRoom(64 * MIB)
    room.lent_bytes_max = 4 * MIB
    room.most_bytes[GROUP] = 30 * MIB
    return room


def test_without_eviction_the_nodes_memory_decides_tables_included(room: MemoryRoom) -> None:
    group = Group()
    group.may_evict = False
    assert not refuses(room, group, MIB, 63 * MIB)
    assert refuses(room, group, MIB + 1, 63 * MIB)
    room.table_bytes = 1
    assert refuses(room, group, MIB, 63 * MIB)
    room.memory_bytes *= 2
    assert not refuses(room, group, MIB, 63 * MIB)


def test_without_eviction_what_is_free_on_other_nodes_counts_as_well(room: MemoryRoom) -> None:
    room.free_bytes = {OTHER: 100}
    one, other = Group(GROUP), Group(OTHER)
    one.may_evict = other.may_evict = False
    assert refuses(room, other, 101)
    assert not refuses(room, one, 60), "not there, but this node cannot tell"
    assert not refuses(room, other, 40)
    assert refuses(room, other, 1)
    room.pass_second()
    assert refuses(room, other, 1), "they may not have counted it yet"
    room.pass_second()
    assert not refuses(room, other, 100)


def test_with_eviction_small_items_always_fit_and_are_lent_nothing(room: MemoryRoom) -> None:
    group = Group(used=MIB)
    assert not refuses(room, group, MIB // LARGE_PARTS, 1 << 50)
    assert group.share_bytes == MIB


def test_a_large_item_is_lent_what_it_lacks(room: MemoryRoom) -> None:
    group = Group(used=MIB)
    assert not refuses(room, group, MIB)
    assert MIB <= room.lent_to(GROUP) < MIB + 1000
    assert group.share_bytes == MIB + room.lent_to(GROUP)
    half_empty = Group(OTHER, used=MIB // 2)
    assert not refuses(room, half_empty, MIB // 4)
    assert room.lent_to(OTHER) == 0, "it has room"


def test_all_shards_together_are_lent_no_more_than_the_reserve(room: MemoryRoom) -> None:
    for group_id in range(1, 9):
        assert not refuses(room, Group(group_id, used=MIB), 1000_000)
    assert sum(room.lent_to(group_id) for group_id in range(1, 9)) == 4 * MIB


def test_what_has_no_room_even_alone_is_refused_and_wanted(room: MemoryRoom) -> None:
    group = Group(used=MIB)
    assert refuses(room, group, 8 * MIB)
    wanted, seconds = room.wanted[GROUP]
    assert 8 * MIB < wanted < 8 * MIB + 1000
    assert seconds == WANTED_SECONDS
    for _ in range(WANTED_SECONDS):
        assert GROUP in room.wanted
        room.pass_second()
    assert room.wanted == {}


def test_what_can_never_have_room_is_refused_for_good(room: MemoryRoom) -> None:
    group = Group(used=MIB)
    assert refuses(room, group, 30 * MIB)
    assert room.wanted == {}
    assert room.lent_to(GROUP) == 0, "nothing is evicted, or lent, for it"


def test_what_was_lent_is_called_back(room: MemoryRoom) -> None:
    refuses(room, Group(used=MIB), MIB)
    before = room.lent_to(GROUP)
    room.pass_second()
    assert before // 2 < room.lent_to(GROUP) < before
    for _ in range(30):
        assert room.lent_to(GROUP) == 0 or room.lent_to(GROUP) >= LENT_BYTES_MIN
        room.pass_second()
    assert room.lent_to(GROUP) == 0


def test_a_group_that_is_led_elsewhere_is_forgotten(room: MemoryRoom) -> None:
    group = Group(used=MIB)
    refuses(room, group, 8 * MIB)
    room.forget(GROUP)
    assert (room.lent_to(GROUP), room.wanted, room.most_bytes) == (0, {}, {})
