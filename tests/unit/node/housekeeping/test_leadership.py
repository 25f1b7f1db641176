"""Leaders that go home, and leaders over slow links."""

from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.consensus.values import Configuration, Role
from quorumcache.node.housekeeping.leadership import (
    RETURN_DOUBLINGS_MAX,
    SLOW_PASSES,
    SLOW_REST_PASSES,
    STEADY_PASSES,
    TRANSFERS_AT_ONCE_MAX,
)
from quorumcache.node.replica.snapshotting import KEEP_ENTRIES
from tests.support.housekeeping import HERE, THERE, OpenGroup
from tests.support.housekeeping import HousekeepingWorld as World

MS = 1_000_000


@pytest.fixture(autouse=True)
def _open_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.scripted_log.ReplicaGroup", OpenGroup)


def follower(match_index: int = 0, active: bool = True, echo_ns: int = 1 << 60) -> Any:
    return SimpleNamespace(match_index=match_index, recent_active=active, echo_ns=echo_ns)


def passes(world: World, count: int) -> None:
    for _ in range(count):
        world.keeper.leadership.return_to_preferred()


def test_a_leader_without_a_lease_hands_over_once_and_keeps_what_comes_back_for_a_while() -> None:
    world = World(1)
    log = world.logs[1]
    log.configuration = Configuration((HERE, THERE, 3))
    log.members = {THERE: follower(5), 3: follower(7)}
    log.lease_until_ns = world.groups[1].lease_until_ns = 0
    for _ in range(SLOW_PASSES - 1):
        world.keeper.leadership.hand_over_slow()
    assert log.transferred == []
    world.keeper.leadership.hand_over_slow()
    assert log.transferred == [3], "the voter that is furthest along"
    for _ in range(SLOW_REST_PASSES + SLOW_PASSES - 1):
        world.keeper.leadership.hand_over_slow()
    assert log.transferred == [3]
    world.keeper.leadership.hand_over_slow()
    assert log.transferred == [3, 3]


def test_a_leader_keeps_a_group_with_a_lease_or_a_voter_that_is_silent() -> None:
    world = World(1)
    log = world.logs[1]
    log.configuration = Configuration((HERE, THERE, 3))
    log.members = {THERE: follower(), 3: follower()}
    world.groups[1].lease_until_ns = 1 << 60
    for _ in range(2 * SLOW_PASSES):
        world.keeper.leadership.hand_over_slow()
    world.groups[1].lease_until_ns = 0
    log.members[3] = follower(active=False)
    for _ in range(2 * SLOW_PASSES):
        world.keeper.leadership.hand_over_slow()
    assert log.transferred == []


def test_a_preferred_leader_with_slow_answers_does_not_get_its_shard_back() -> None:
    world = World(1)
    world.clock.ns = 1000 * MS
    world.logs[1].members = {THERE: follower(echo_ns=700 * MS)}
    passes(world, 2 * STEADY_PASSES)
    assert world.logs[1].transferred == []
    world.logs[1].members = {THERE: follower(echo_ns=701 * MS)}
    passes(world, STEADY_PASSES + 1)
    assert world.logs[1].transferred == [THERE]


def test_a_preferred_leader_gets_its_shard_back_when_it_has_kept_up_for_a_while() -> None:
    world = World(1)
    world.logs[1].members = {THERE: follower()}
    passes(world, STEADY_PASSES)
    assert world.logs[1].transferred == []
    passes(world, 1)
    assert world.logs[1].transferred == [THERE]


def test_a_preferred_leader_that_fails_to_take_over_is_asked_less_and_less_often() -> None:
    """A disk that is slow but answers, say: each attempt keeps writes waiting."""

    def passes_until_asked() -> int:
        before = len(log.transferred)
        for count in range(1, 1000):
            passes(world, 1)
            if len(log.transferred) > before:
                return count
        raise AssertionError("not asked any more")

    world = World(1)
    log = world.logs[1]
    log.members = {THERE: follower()}
    gaps = [(STEADY_PASSES << times) + 1 for times in range(RETURN_DOUBLINGS_MAX + 1)]
    assert [passes_until_asked() for _ in gaps] == gaps
    assert passes_until_asked() == gaps[-1], "but it is"
    log.become(Role.CANDIDATE, 2)  # Between two of its own terms.
    passes(world, 1)
    log.lead(2)
    assert passes_until_asked() == gaps[-1]
    log.become(Role.FOLLOWER, 3, THERE)
    passes(world, 1)
    log.lead(4)
    assert [passes_until_asked() for _ in range(2)] == gaps[:2], "it did lead in between"
    world.up = False
    passes(world, 1)
    world.up = True
    assert passes_until_asked() == gaps[0], "it was started anew"


def test_the_lease_ends_before_the_successor_can_hear_of_it() -> None:
    world = World(1)
    log, group = world.logs[1], world.groups[1]
    log.lease_until_ns = 1000
    group.update_lease()
    assert group.has_lease()
    world.keeper.leadership.transfer(group, THERE)
    assert not group.has_lease()


@pytest.mark.parametrize("why", ["down", "silent", "behind", "unknown"])
def test_who_has_not_kept_up_does_not_get_it(why: str) -> None:
    world = World(1)
    world.logs[1].members = {THERE: follower()}
    passes(world, STEADY_PASSES)
    if why == "down":
        world.up = False
    elif why == "silent":
        world.logs[1].members = {THERE: follower(active=False)}
    elif why == "behind":
        world.logs[1].last_index = KEEP_ENTRIES + 1
    else:
        world.logs[1].members = {}
    passes(world, 1)
    world.up, world.logs[1].last_index = True, 0
    world.logs[1].members = {THERE: follower()}
    passes(world, STEADY_PASSES)
    assert world.logs[1].transferred == [], "the count begins anew"


def test_few_leaderships_go_at_once_and_the_directory_stays() -> None:
    world = World(*range(TRANSFERS_AT_ONCE_MAX + 3))
    for log in world.logs.values():
        log.members = {THERE: follower()}
    passes(world, STEADY_PASSES + 1)
    assert sum(len(log.transferred) for log in world.logs.values()) == TRANSFERS_AT_ONCE_MAX
    passes(world, 1)
    assert world.logs[0].transferred == []
    assert sum(len(log.transferred) for log in world.logs.values()) == len(world.logs) - 1


def test_a_follower_hands_nothing_over() -> None:
    world = World(1)
    world.logs[1].become(Role.FOLLOWER, 2, 3)
    world.keeper.leadership.transfer(world.groups[1], THERE)
    assert world.logs[1].transferred == []
