"""Which writes find no room: with and without eviction; what is lent, and how it comes back."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.replica.memory_room import (
    BORROWED_PARTS,
    LARGE_PARTS,
    LENT_BYTES_MIN,
    LENT_SECONDS,
    WANTED_SECONDS,
    MemoryRoom,
)

MIB = 1 << 20
GROUP, OTHER = 1, 2


class Machine:
    planned_bytes = 0
    promised_bytes = 0
    uploading_bytes = 0
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
    room.lendable_bytes = 4 * MIB
    room.reserve_bytes = MIB
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


def test_without_eviction_what_an_upload_brings_was_counted_when_it_began(room: MemoryRoom) -> None:
    """While there is room at all: by then others may have taken it."""
    room.free_bytes = {GROUP: 100}
    group = Group(GROUP)
    group.may_evict = False
    assert not refuses(room, group, 60)
    assert not refuses(room, group, 0)
    assert not refuses(room, group, 40)
    assert not refuses(room, group, 0)
    room.free_bytes = {GROUP: 1}
    assert not refuses(room, group, 0)
    room.free_bytes = {GROUP: 0}
    assert refuses(room, group, 0)
    room.free_bytes = {}
    assert refuses(room, group, 0, room.memory_bytes + 1)


def test_with_eviction_small_items_always_fit_and_are_lent_nothing(room: MemoryRoom) -> None:
    group = Group(used=MIB)
    assert not refuses(room, group, MIB // LARGE_PARTS, 1 << 50)
    assert group.share_bytes == MIB


def test_a_large_item_is_lent_what_it_lacks(room: MemoryRoom) -> None:
    group = Group(used=MIB)
    assert not refuses(room, group, MIB)
    assert MIB < room.lent_to(GROUP) < MIB + MIB // 50
    assert group.share_bytes == MIB + room.lent_to(GROUP)
    assert room.lendable_bytes == 4 * MIB - room.lent_to(GROUP)
    half_empty = Group(OTHER, used=MIB // 2)
    assert not refuses(room, half_empty, MIB // 4)
    assert room.lent_to(OTHER) == 0, "it has room"


def test_what_an_item_takes_beside_its_value_is_lent_too(room: MemoryRoom) -> None:
    """160 bytes for each of its pieces, and tables that grow: or it would be evicted itself."""
    group = Group(share=MIB)
    assert not refuses(room, group, 4 * MIB)
    pieces = 4 * MIB // (128 << 10)
    assert group.share_bytes > 4 * MIB + pieces * 160 + 10_000


def test_what_uploads_under_way_will_bring_is_not_there_for_others(room: MemoryRoom) -> None:
    group = Group(share=4 * MIB)
    group.machine.promised_bytes = 3 * MIB
    assert not refuses(room, group, 2 * MIB)
    assert MIB < room.lent_to(GROUP) < MIB + MIB // 10


def test_uploads_of_a_shard_begin_only_if_there_is_room_for_all_of_them(room: MemoryRoom) -> None:
    """Their pieces cannot be evicted: a dozen slow clients would take many times the memory."""
    group: Any = Group(share=10 * MIB, used=10 * MIB)
    room.lendable_bytes = 0
    assert not refuses(room, group, 4 * MIB)
    group.machine.uploading_bytes = 4 * MIB
    assert not refuses(room, group, 5 * MIB)
    group.machine.uploading_bytes = 9 * MIB
    assert refuses(room, group, 2 * MIB)
    assert room.waits(group, 2 * MIB), "until one of them has ended"
    assert room.wanted == {}
    assert not refuses(room, group, 128 << 10), "a later piece of one that was let in"
    assert not room.waits(group, 20 * MIB)
    group.machine.uploading_bytes = 0
    assert not room.waits(group, 20 * MIB)


def test_all_shards_together_are_lent_no_more_than_is_there(room: MemoryRoom) -> None:
    for group_id in range(1, 9):
        assert not refuses(room, Group(group_id, used=MIB), 1000_000)
    assert sum(room.lent_to(group_id) for group_id in range(1, 9)) == 4 * MIB
    assert room.lendable_bytes == 0


def test_a_refused_item_takes_nothing_from_others(room: MemoryRoom) -> None:
    assert refuses(room, Group(used=MIB), 8 * MIB)
    assert room.lendable_bytes == 4 * MIB


def test_small_items_borrow_what_nobody_was_granted_but_not_the_reserve(room: MemoryRoom) -> None:
    group: Any = Group(used=MIB)
    room.borrow(group, 100)
    assert room.lent_to(GROUP) == MIB // BORROWED_PARTS, "and the next ones need not ask"
    room.borrow(group, 2 * MIB)
    assert group.share_bytes == 3 * MIB + MIB // BORROWED_PARTS
    room.borrow(group, 2 * MIB)
    assert group.share_bytes == 4 * MIB
    assert room.lendable_bytes == MIB
    room.borrow(group, 1)
    assert group.share_bytes == 4 * MIB


def test_what_has_no_room_even_alone_is_refused_and_wanted(room: MemoryRoom) -> None:
    group = Group(used=MIB)
    assert refuses(room, group, 8 * MIB)
    wanted, seconds = room.wanted[GROUP]
    assert 8 * MIB < wanted < 8 * MIB + MIB // 4
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


def test_what_was_lent_is_called_back_after_a_while(room: MemoryRoom) -> None:
    refuses(room, Group(used=MIB), MIB)
    before = room.lent_to(GROUP)
    for _ in range(LENT_SECONDS):
        room.pass_second()
        assert room.lent_to(GROUP) == before, "the nodes have to hear of it first"
    room.pass_second()
    assert before // 2 < room.lent_to(GROUP) < before
    for _ in range(30):
        assert room.lent_to(GROUP) == 0 or room.lent_to(GROUP) >= LENT_BYTES_MIN
        room.pass_second()
    assert room.lent_to(GROUP) == 0


def test_what_a_share_covers_is_lent_no_more(room: MemoryRoom) -> None:
    group: Any = Group(used=MIB)
    assert not refuses(room, group, MIB)
    level = group.share_bytes
    assert room.cover(group, level - MIB // 2) == MIB // 2
    assert room.cover(group, level - MIB) == MIB // 2, "nor is it lent again when the share falls"
    assert room.cover(group, level) == 0
    assert room.lent_to(GROUP) == 0


def test_what_others_may_not_know_of_and_what_is_not_used_is_not_lent_again(
    room: MemoryRoom,
) -> None:
    group: Any = Group(used=MIB)
    assert not refuses(room, group, MIB)
    lent = room.lent_to(GROUP)
    group.machine.memory_bytes = 2 * MIB
    room.pass_second()
    assert room.cover(group, MIB) == lent
    assert room.lent_lately(1) == lent, "a node that spoke before does not count it as held"
    room.pass_second()
    assert 0 < room.lent_lately(1) == lent - MIB, "only what the shard may still take"
    assert room.lent_lately(2) == lent


def test_a_group_that_is_led_elsewhere_is_forgotten(room: MemoryRoom) -> None:
    group = Group(used=MIB)
    refuses(room, group, MIB)
    refuses(room, group, 8 * MIB)
    room.forget(GROUP)
    assert (room.lent_to(GROUP), room.wanted, room.most_bytes) == (0, {}, {})
