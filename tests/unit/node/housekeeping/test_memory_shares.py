"""How a node's memory is divided: the rules of `memory_shares.py`, by property and by story."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from quorumcache.node.housekeeping.memory_shares import (
    FALL_BYTES_MIN,
    FALL_PARTS,
    FREE_PARTS,
    Need,
    divide,
    floor_bytes,
    lately,
    most_bytes,
    reserve_bytes,
)

MIB = 1 << 20

memories = st.integers(1, 1 << 40)
amounts = st.integers(0, 1 << 34)
all_needs = st.dictionaries(
    st.integers(1, 100),
    st.builds(Need, *[amounts] * 5),
    min_size=1,
    max_size=20,
)


def second(
    memory_bytes: int,
    held: dict[int, int],
    grants: Mapping[int, int],
    written: Mapping[int, int],
    evicted: dict[int, int],
) -> dict[int, int]:
    """One second of shards that are written to, and evict what their grants do not hold."""
    for group_id in held:
        wanted = held[group_id] + written.get(group_id, 0)
        bound = grants.get(group_id, floor_bytes(memory_bytes, len(held)))
        held[group_id] = min(wanted, bound)
        evicted[group_id] = lately(evicted.get(group_id, 0), wanted - held[group_id])
    needs = {g: Need(held[g], evicted[g]) for g in held}
    return divide(memory_bytes, needs, grants)


@settings(max_examples=500)
@given(memories, all_needs, st.dictionaries(st.integers(1, 100), amounts, max_size=20))
def test_grants_are_never_more_than_the_memory_less_the_reserve(
    memory_bytes: int, needs: dict[int, Need], before: dict[int, int]
) -> None:
    grants = divide(memory_bytes, needs, before)
    assert grants.keys() == needs.keys()
    assert sum(grants.values()) <= memory_bytes - reserve_bytes(memory_bytes)
    assert all(grant >= 0 for grant in grants.values())


@settings(max_examples=500)
@given(memories, all_needs, st.dictionaries(st.integers(1, 100), amounts, max_size=20))
def test_the_floor_is_kept_but_where_others_hold_what_is_not_theirs(
    memory_bytes: int, needs: dict[int, Need], before: dict[int, int]
) -> None:
    floor = floor_bytes(memory_bytes, len(needs))
    grants = divide(memory_bytes, needs, before)
    taken = sum(max(need.held + need.promised, grants[g]) for g, need in needs.items())
    for group_id, grant in grants.items():
        if taken < memory_bytes - len(needs):
            assert grant >= floor
        assert grant >= min(floor, needs[group_id].held), "nothing is evicted for the others"


@settings(max_examples=300)
@given(st.integers(1 << 20, 1 << 40), all_needs)
def test_a_grant_falls_slowly_below_what_is_held(memory_bytes: int, needs: dict[int, Need]) -> None:
    """From grants that hold everything: the memory allowed it."""
    total = memory_bytes - reserve_bytes(memory_bytes)
    part = total // len(needs)
    needs = {g: need._replace(held=min(need.held, part)) for g, need in needs.items()}
    before = dict.fromkeys(needs, part)
    for group_id, grant in divide(memory_bytes, needs, before).items():
        held = needs[group_id].held
        assert grant >= held - max(held // FALL_PARTS, FALL_BYTES_MIN)


@settings(max_examples=200)
@given(memories, all_needs)
def test_it_comes_to_rest(memory_bytes: int, needs: dict[int, Need]) -> None:
    """The same needs, again and again, in the end get the same grants."""
    needs = {g: need._replace(held=min(need.held, memory_bytes // 50)) for g, need in needs.items()}
    grants: dict[int, int] = {}
    for _ in range(200):
        before, grants = grants, divide(memory_bytes, needs, grants)
    assert grants == before


def test_while_there_is_room_everybody_may_grow_and_most_of_it_is_left_to_lend() -> None:
    needs = {1: Need(10 * MIB), 2: Need(1 * MIB), 3: Need(0)}
    grants = divide(64 * MIB, needs, {})
    assert all(grants[g] >= needs[g].held + 3 * MIB for g in needs)
    assert all(grants[g] >= floor_bytes(64 * MIB, 3) for g in needs)
    assert sum(grants.values()) < 48 * MIB


def test_who_evicts_takes_nothing_from_others_while_there_is_room() -> None:
    """One shard has borrowed for a large item, and another one evicts and evicts."""
    needs = dict.fromkeys(range(1, 65), Need(0))
    needs[1], needs[2] = Need(15 * MIB), Need(MIB // 2, evicted=100 * MIB)
    grants = divide(64 * MIB, needs, {})
    assert grants[1] >= 15 * MIB
    assert grants[2] > 5 * MIB


def test_what_a_replica_holds_for_the_moment_beyond_its_grant_gets_little_more_than_that() -> None:
    needs = dict.fromkeys(range(1, 65), Need(0))
    needs[1] = Need(15 * MIB, over=14 * MIB)
    grants = divide(1024 * MIB, needs, {})
    assert 15 * MIB <= grants[1] < 30 * MIB


def test_one_shard_may_have_nearly_all_that_the_others_do_not_need() -> None:
    held = {1: 0, 2: MIB, 3: MIB, 4: MIB}
    grants: dict[int, int] = {}
    evicted: dict[int, int] = {}
    for _ in range(60):
        grants = second(64 * MIB, held, grants, {1: 4 * MIB}, evicted)
    assert held[1] > 36 * MIB, "60 MiB less three floors of 7.5 MiB"
    assert grants[1] > 36 * MIB


def test_a_shard_that_grows_gets_what_others_give_up() -> None:
    """Full to begin with. Then shards 2 to 4 lose their items, and 1 is written to."""
    held = dict.fromkeys((1, 2, 3, 4), 15 * MIB)
    grants = dict.fromkeys(held, 15 * MIB)
    evicted: dict[int, int] = {}
    for number in range(40):
        for group_id in (2, 3, 4):
            held[group_id] = max(MIB, held[group_id] - MIB)
        grants = second(64 * MIB, held, grants, {1: 2 * MIB}, evicted)
        assert sum(held.values()) <= 64 * MIB, number
    assert held[1] > 34 * MIB


def test_idle_shards_that_are_full_give_to_one_that_evicts_but_keep_their_floor() -> None:
    held = dict.fromkeys((1, 2, 3, 4), 15 * MIB)
    grants = dict.fromkeys(held, 15 * MIB)
    evicted: dict[int, int] = {}
    lowest = []
    for _ in range(60):
        grants = second(64 * MIB, held, grants, {1: 5 * MIB}, evicted)
        lowest.append(min(grants.values()))
    assert held[1] > 30 * MIB
    assert min(lowest) >= floor_bytes(64 * MIB, 4)
    assert lowest[0] > 13 * MIB, "over seconds, not at once"


def test_shards_that_evict_alike_come_to_the_same_share() -> None:
    held = {1: 40 * MIB, 2: 10 * MIB, 3: 5 * MIB, 4: 5 * MIB}
    grants = dict(held)
    evicted: dict[int, int] = {}
    for _ in range(300):
        grants = second(64 * MIB, held, grants, dict.fromkeys(held, 2 * MIB), evicted)
    assert max(held.values()) < 1.1 * min(held.values())
    assert sum(held.values()) > 58 * MIB


def test_memory_that_was_lowered_counts_at_once() -> None:
    held = dict.fromkeys(range(1, 9), 100 * MIB)
    needs = {g: Need(held[g]) for g in held}
    before = divide(1000 * MIB, needs, {})
    grants = divide(100 * MIB, needs, before)
    assert sum(grants.values()) <= 94 * MIB
    grants = divide(100 * MIB, needs, {})
    assert sum(grants.values()) <= 94 * MIB, "at a restart as well"
    assert min(grants.values()) >= 5 * MIB


def test_what_a_replica_holds_beyond_its_grant_is_not_there_for_others() -> None:
    """A snapshot of 40 MiB came to a node of 64: the others stop growing, and lose nothing."""
    needs = {1: Need(40 * MIB), 2: Need(10 * MIB), 3: Need(10 * MIB)}
    grants = divide(64 * MIB, needs, dict.fromkeys(needs, 20 * MIB))
    most = sum(max(needs[g].held, grants[g]) for g in needs)
    assert most <= 64 * MIB
    assert min(grants[2], grants[3]) >= 9 * MIB
    needs[1] = Need(60 * MIB)
    grants = divide(64 * MIB, needs, grants)
    assert grants[2] == grants[3] == 10 * MIB, "no room is left at all"


def test_what_an_upload_will_bring_is_not_there_for_others_either() -> None:
    needs = {1: Need(5 * MIB, promised=35 * MIB), 2: Need(10 * MIB), 3: Need(10 * MIB)}
    grants = divide(64 * MIB, needs, dict.fromkeys(needs, 20 * MIB))
    most = 40 * MIB + grants[2] + grants[3]
    assert most <= 64 * MIB
    assert min(grants[2], grants[3]) >= 10 * MIB, "nobody evicts for it"


def test_what_a_leader_wants_is_granted_before_others_rise() -> None:
    needs = {g: Need(MIB, evicted=100 * MIB) for g in range(1, 65)}
    needs[7] = Need(0, wanted=20 * MIB)
    grants: dict[int, int] = {}
    for _ in range(20):
        grants = divide(64 * MIB, needs, grants)
        needs = {g: need._replace(held=min(need.held, grants[g])) for g, need in needs.items()}
    assert grants[7] >= 20 * MIB
    needs[7] = Need(0, wanted=500 * MIB)
    for _ in range(20):
        grants = divide(64 * MIB, needs, grants)
        needs = {g: need._replace(held=min(need.held, grants[g])) for g, need in needs.items()}
    assert 0 <= most_bytes(64 * MIB, 64) - grants[7] < 64 * 1024


def test_all_wants_together_get_half_of_what_is_left_above_the_floors() -> None:
    needs = {g: Need(0, wanted=5 * MIB) for g in range(1, 65)}
    grants = divide(64 * MIB, needs, {})
    got = [g for g, grant in grants.items() if grant >= 5 * MIB]
    assert got == [1, 2, 3]
    assert sum(grants.values()) < 60 * MIB - 7 * MIB


def test_the_numbers_of_one_replica_and_of_none() -> None:
    assert divide(64 * MIB, {}, {1: 5}) == {}
    assert divide(64 * MIB, {3: Need(0)}, {}) == {3: 30 * MIB + 30 * MIB // FREE_PARTS}
    assert divide(64 * MIB, {3: Need(58 * MIB)}, {}) == {3: 60 * MIB}
    assert most_bytes(64 * MIB, 1) == 60 * MIB
    assert most_bytes(64 * MIB, 0) == 60 * MIB
    assert most_bytes(64 * MIB, 2) == 45 * MIB


def test_what_was_evicted_is_forgotten() -> None:
    evicted = lately(0, 1000)
    for _ in range(100):
        evicted = lately(evicted, 0)
    assert evicted == 0
