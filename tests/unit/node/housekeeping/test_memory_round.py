"""What nodes tell each other of memory, and what a leader makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.consensus.values import Configuration
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.housekeeping.memory_round import (
    ALL_TIDY_ROUNDS,
    LATE_SECONDS,
    LOOKS_PER_ROUND,
    SILENT_NS,
    TIDY_ENTRIES,
    MemoryRound,
)
from quorumcache.node.housekeeping.memory_shares import Need, divide, most_bytes
from quorumcache.node.peers.items import MEMORY
from quorumcache.node.replica.memory_room import LENT_SECONDS, MemoryRoom
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID
from tests.support.coordinator_world import ManualClock
from tests.support.housekeeping import FakePeers

MIB = 1 << 20
ALONE = divide(64 * MIB, {1: Need(0)}, {})[1]
"""What a node of 64 MiB grants its only replica, which is empty."""
HERE, THERE, ELSEWHERE = 1, 2, 3


class Machine:
    """A shard's state: only its sizes."""

    def __init__(self) -> None:
        self.bytes_used = 0
        self.tables = 0
        self.evicted_bytes = 0
        self.planned_bytes = self.promised_bytes = self.uploading_bytes = 0
        self.moves = 0
        self.looks = 0

    @property
    def memory_bytes(self) -> int:
        return self.bytes_used + self.tables

    def tidy(self) -> int:
        self.looks += 1
        return self.moves


class Log:
    def __init__(self, *members: int) -> None:
        self.configuration = Configuration(members)


class Group:
    def __init__(self, group_id: int, leader: int, *members: int) -> None:
        self.group_id = group_id
        self.leader_id = leader
        self.log = Log(*members)
        self.machine = Machine()
        self.applied_index = 0
        self.share_bytes = 0

    @property
    def is_leader(self) -> bool:
        return self.leader_id == HERE


class World:
    """A node of 64 MiB whose groups lead here or elsewhere, and what it says."""

    def __init__(self, *groups: Group) -> None:
        self.groups = {group.group_id: group for group in groups}
        self.groups[DIRECTORY_GROUP_ID] = Group(DIRECTORY_GROUP_ID, HERE, HERE)
        self.evicts = self.may_use_new_ops = True
        self.clock = ManualClock()
        self.peers = FakePeers({THERE: 2, ELSEWHERE: 2})
        self.room = MemoryRoom(64 * MIB)
        host: Any = self
        self.round = MemoryRound(host, self.room, self.peers, self.clock)
        self.flushes = 0

    @property
    def may_evict(self) -> bool:
        return self.evicts and self.may_use_new_ops

    @property
    def bytes_used(self) -> int:
        return sum(group.machine.bytes_used for group in self.groups.values())

    def flush_soon(self) -> None:
        self.flushes += 1

    def hear(
        self,
        node_id: int,
        grants: dict[int, int],
        *,
        lendable: int = 4 * MIB,
        most: int = 1 << 40,
        free: int = 1 << 40,
        wanted: dict[int, int] | None = None,
    ) -> None:
        pairs = tuple(grants.items()), tuple((wanted or {}).items())
        self.round.heard(node_id, (MEMORY, lendable, most, free, *pairs))

    def decide(self) -> list[tuple[int, tuple[Any, ...]]]:
        self.clock.ns += 1_000_000_000
        self.round.decide()
        sent, self.peers.sent = self.peers.sent, []
        return sent


def led(group_id: int, *members: int) -> Group:
    return Group(group_id, HERE, *(members or (HERE, THERE, ELSEWHERE)))


def test_a_leaders_share_is_the_least_that_any_node_grants() -> None:
    world = World(led(1))
    world.decide()
    assert world.groups[1].share_bytes == ALONE, "nobody else has said anything yet"
    world.hear(THERE, {1: 30 * MIB})
    world.hear(ELSEWHERE, {1: 20 * MIB})
    world.decide()
    assert world.groups[1].share_bytes == 20 * MIB
    world.hear(ELSEWHERE, {1: 100 * MIB})
    world.hear(THERE, {1: 90 * MIB})
    world.decide()
    assert world.groups[1].share_bytes == ALONE
    assert world.groups[DIRECTORY_GROUP_ID].share_bytes == 0


def test_tables_are_those_of_the_leader() -> None:
    """A follower grants what its own tables leave; the leader compares all that it has itself."""
    world = World(led(1), Group(2, THERE, HERE, THERE))
    world.groups[1].machine.tables = 3 * MIB
    world.groups[2].machine.tables = 5 * MIB
    world.hear(THERE, {1: 10 * MIB})
    sent = dict(world.decide())
    assert world.groups[1].share_bytes == 13 * MIB
    grants = divide(64 * MIB, {1: Need(3 * MIB), 2: Need(5 * MIB)}, {})
    assert sent[THERE][4] == ((1, grants[1] - 3 * MIB), (2, grants[2] - 5 * MIB))


def test_a_learner_counts_and_a_stranger_does_not() -> None:
    world = World(led(1, HERE))
    world.hear(THERE, {1: MIB})
    world.decide()
    assert world.groups[1].share_bytes == ALONE
    world.groups[1].log.configuration = Configuration((HERE,), learners=(THERE,))
    world.decide()
    assert world.groups[1].share_bytes == MIB


def test_a_node_that_is_silent_does_not_count() -> None:
    world = World(led(1))
    world.hear(THERE, {1: MIB})
    world.decide()
    assert world.groups[1].share_bytes == MIB
    world.clock.ns += SILENT_NS
    world.decide()
    assert world.groups[1].share_bytes == ALONE
    world.hear(THERE, {1: 2 * MIB})
    world.decide()
    assert world.groups[1].share_bytes == 2 * MIB


def test_each_leader_is_told_what_its_groups_may_take_here() -> None:
    world = World(
        led(1), Group(2, THERE, HERE, THERE), Group(3, ELSEWHERE, HERE), Group(4, 0, HERE)
    )
    sent = dict(world.decide())
    assert sent.keys() == {THERE, ELSEWHERE}
    each = divide(64 * MIB, {g: Need(0) for g in range(1, 5)}, {})[1]
    assert sent[THERE] == (
        MEMORY,
        (64 * MIB - 4 * each) // 3,
        most_bytes(64 * MIB, 4),
        64 * MIB // 3,
        ((1, each), (2, each)),
        (),
    )
    assert sent[ELSEWHERE][4] == ((1, each), (3, each))
    assert world.flushes == 1


def test_who_comes_to_lead_knows_the_least_that_the_others_grant() -> None:
    """They told it before: a follower with less memory would pass its limit until they speak."""
    world = World(Group(2, THERE, HERE, THERE, ELSEWHERE))
    world.hear(ELSEWHERE, {2: 3 * MIB})
    world.decide()
    assert world.groups[2].share_bytes == 3 * MIB


def test_what_nobody_was_granted_is_told_and_nothing_of_what_is_held() -> None:
    world = World(Group(1, THERE, HERE, THERE), Group(2, THERE, HERE, THERE))
    grants = divide(64 * MIB, {1: Need(20 * MIB), 2: Need(10 * MIB)}, {})
    world.groups[1].machine.bytes_used = 20 * MIB
    world.groups[2].machine.bytes_used = 10 * MIB
    item = dict(world.decide())[THERE]
    assert item[1] == 64 * MIB - sum(grants.values())
    world.groups[1].machine.promised_bytes = 20 * MIB
    again = dict(world.decide())[THERE]
    assert again[1] == 64 * MIB - 40 * MIB - grants[2], "an upload will bring it"
    assert again[4] == item[4], "but nobody has to evict for it yet"
    world.groups[1].machine.bytes_used = 52 * MIB
    assert dict(world.decide())[THERE][1] == 0, "it holds more than it was granted"


def test_nothing_is_told_to_nodes_that_do_not_know_it_nor_before_all_do() -> None:
    world = World(Group(2, THERE, HERE, THERE), Group(3, ELSEWHERE, HERE))
    world.peers.forms[THERE] = 1
    assert [to for to, _ in world.decide()] == [ELSEWHERE]
    world.may_use_new_ops = False
    assert world.decide() == []
    assert world.groups[2].share_bytes == 0, "nothing may be evicted"


def test_without_eviction_there_are_no_shares_but_what_is_free_elsewhere_is_known() -> None:
    world = World(led(1), led(2, HERE, ELSEWHERE), led(4, HERE), Group(3, THERE, HERE, THERE))
    world.evicts = False
    world.groups[3].machine.bytes_used = 40 * MIB
    world.groups[3].machine.tables = 2 * MIB
    world.hear(THERE, {1: MIB}, free=3)
    world.hear(ELSEWHERE, {1: MIB, 2: MIB}, free=5)
    item = dict(world.decide())[THERE]
    assert world.groups[1].share_bytes == 0
    assert world.room.free_bytes == {1: 3, 2: 5}
    assert world.room.table_bytes == 2 * MIB
    assert item[3] == 11 * MIB, "22 MiB, for two leaders"


def borrower(world: World, used: int) -> Any:
    group: Any = world.groups[1]
    group.may_evict, group.growing_bytes = True, 0
    group.machine.bytes_used = used
    return group


def test_what_is_lent_comes_on_top_and_is_called_back() -> None:
    world = World(led(1, HERE))
    group = borrower(world, 59 * MIB)
    world.decide()
    assert group.share_bytes == 60 * MIB
    assert world.room.lendable_bytes == 4 * MIB
    assert not world.room.refuses(group, 5 * MIB, 0)
    assert group.share_bytes == 64 * MIB
    group.machine.bytes_used = 64 * MIB
    for _ in range(LENT_SECONDS):
        world.decide()
        assert group.share_bytes == 64 * MIB
        assert world.room.lendable_bytes == 0
    world.decide()
    assert group.share_bytes == 63 * MIB
    for _ in range(40):
        world.decide()
    assert group.share_bytes == 60 * MIB


def test_while_there_is_room_the_shares_follow_what_is_lent() -> None:
    """Ten values of 5 MiB, each of another shard, one after the other: all of them stay."""
    world = World(*(led(number, HERE) for number in range(1, 65)))
    world.room.memory_bytes = 128 * MIB
    groups: list[Any] = [world.groups[number] for number in range(1, 11)]
    for group in groups:
        group.may_evict, group.growing_bytes = True, 0
        world.decide()
        assert not world.room.refuses(group, 5 * MIB, 0)
        group.machine.bytes_used = 5 * MIB
        assert sum(g.share_bytes for g in world.groups.values()) <= 128 * MIB
    for _ in range(LENT_SECONDS + 20):
        world.decide()
        assert all(group.share_bytes >= 5 * MIB for group in groups)
        assert sum(g.share_bytes for g in world.groups.values()) <= 128 * MIB
    assert all(world.room.lent_to(group.group_id) == 0 for group in groups)


def test_loans_stay_within_the_least_that_the_nodes_concerned_have_to_lend() -> None:
    world = World(led(1, HERE, THERE), Group(2, ELSEWHERE, HERE, ELSEWHERE))
    world.hear(ELSEWHERE, {}, lendable=1)
    world.decide()
    own = sum(divide(64 * MIB, {1: Need(0), 2: Need(0)}, {}).values())
    assert world.room.lendable_bytes == (64 * MIB - own) // 2, "its own, for two leaders"
    assert world.room.reserve_bytes == 2 * MIB
    world.hear(THERE, {}, lendable=MIB)
    world.decide()
    assert world.room.lendable_bytes == MIB


def test_what_was_lent_after_a_node_spoke_is_not_lent_again() -> None:
    world = World(led(1, HERE, THERE))
    group = borrower(world, 10 * MIB)
    world.hear(THERE, {1: 10 * MIB}, lendable=3 * MIB)
    world.decide()
    assert not world.room.refuses(group, MIB, 0)
    lent = world.room.lent_to(1)
    group.machine.bytes_used += lent
    for _ in range(8):
        world.decide()
        assert world.room.lendable_bytes == 3 * MIB - lent, "it has said nothing since"
    for _ in range(LATE_SECONDS + 1):
        world.hear(THERE, {1: 12 * MIB}, lendable=2 * MIB)
        world.decide()
    assert world.room.lendable_bytes == 2 * MIB
    assert world.room.lent_to(1) == 0, "its grant covers it"


def test_an_item_larger_than_any_node_can_ever_grant_is_known() -> None:
    world = World(led(1, HERE, THERE), led(2, HERE))
    world.hear(THERE, {}, most=7 * MIB)
    world.decide()
    assert world.room.most_bytes == {1: 7 * MIB, 2: most_bytes(64 * MIB, 2)}


def test_what_a_leader_wants_is_told_and_granted() -> None:
    world = World(led(1), *(Group(number, THERE, HERE, THERE) for number in range(2, 65)))
    for group in world.groups.values():
        group.machine.bytes_used = MIB * 9 // 10
    world.decide()
    assert world.groups[1].share_bytes < 2 * MIB
    world.room.wanted[1] = (8 * MIB, 10)
    sent = dict(world.decide())
    assert sent[THERE][5] == ((1, 8 * MIB),)
    for _ in range(8):
        for group in world.groups.values():  # Their leaders evict.
            group.machine.bytes_used = min(group.machine.bytes_used, group.share_bytes)
        world.decide()
    assert world.groups[1].share_bytes >= 8 * MIB
    other = World(*(Group(number, THERE, HERE, THERE) for number in range(1, 65)))
    other.hear(THERE, {}, wanted={1: 8 * MIB})
    other.decide()
    assert dict(dict(other.decide())[THERE][4])[1] >= 8 * MIB


def test_a_replica_that_holds_more_than_it_was_granted_gets_more_in_time() -> None:
    """It came as a snapshot; the others are full, and nothing evicts."""
    world = World(*(led(number, HERE) for number in range(1, 5)))
    for group in world.groups.values():
        group.machine.bytes_used = 13 * MIB
    world.decide()
    world.groups[1].machine.bytes_used = 20 * MIB
    for _ in range(60):
        world.decide()
        for group in world.groups.values():
            group.machine.bytes_used = min(group.machine.bytes_used, max(group.share_bytes, MIB))
    used = [world.groups[number].machine.bytes_used for number in range(1, 5)]
    assert sum(used) <= 64 * MIB
    assert min(used) >= 7 * MIB


def test_lowering_the_memory_lowers_the_shares_at_once() -> None:
    world = World(*(led(number, HERE) for number in range(1, 5)))
    for group in world.groups.values():
        group.machine.bytes_used = 14 * MIB
    world.decide()
    world.room.memory_bytes = 16 * MIB
    world.decide()
    assert sum(group.share_bytes for group in world.groups.values()) <= 15 * MIB


def test_a_node_without_replicas_has_nothing_to_say() -> None:
    world = World()
    assert world.decide() == []
    assert world.room.table_bytes == 0


def test_a_group_that_left_is_forgotten() -> None:
    world = World(led(1), led(2))
    world.decide()
    del world.groups[2]
    world.round.forget(2)
    world.decide()
    assert world.groups[1].share_bytes == ALONE
    assert world.room.most_bytes.keys() == {1}


def test_all_tables_are_looked_at_in_the_time_of_a_round() -> None:
    world = World(*(led(number, HERE) for number in range(1, 65)))
    for _ in range(LOOKS_PER_ROUND):
        world.round.tidy()
    looks = [world.groups[number].machine.looks for number in range(1, 65)]
    assert min(looks) >= 1
    assert max(looks) <= 2


def test_a_group_that_has_applied_nothing_is_looked_at_in_one_round_of_many() -> None:
    world = World(led(1, HERE), led(2, HERE), led(3, HERE))
    quiet, busy, untidy = (world.groups[number] for number in (1, 2, 3))
    untidy.machine.moves = 1
    rounds = 4 * ALL_TIDY_ROUNDS
    for _ in range(rounds * 3):
        world.round.tidy()
        busy.applied_index += 1
    looks = [group.machine.looks for group in (quiet, busy, untidy)]
    assert looks == [1 + 4, rounds, rounds]


def test_one_look_moves_a_bounded_number_of_entries() -> None:
    world = World(*(led(number, HERE) for number in range(1, 257)))
    for group in world.groups.values():
        group.machine.moves = TIDY_ENTRIES // 2 + 1
    world.round.tidy()
    assert sum(group.machine.looks for group in world.groups.values()) == 2


@pytest.mark.parametrize(
    "item",
    [
        (MEMORY,),
        (MEMORY, 1, 1, 1, ()),
        (MEMORY, -1, 1, 1, (), ()),
        (MEMORY, 1, 1, True, (), ()),
        (MEMORY, 1, 1, 1, ((1,),), ()),
        (MEMORY, 1, 1, 1, ((1, -1),), ()),
        (MEMORY, 1, 1, 1, ((0, 1),), ()),
        (MEMORY, 1, 1, 1, (), ((1, "x"),)),
        (MEMORY, 1, 1 << 61, 1, (), ()),
        (MEMORY, 1, 1, 1, ((1, 1),) * 5000, ()),
    ],
)
def test_an_item_of_another_form_is_refused(item: tuple[Any, ...]) -> None:
    with pytest.raises(PeerFrameError, match="unknown form"):
        World().round.heard(THERE, item)
