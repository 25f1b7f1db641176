"""Leaders that go home, and leaders over slow links."""

from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.consensus.values import Configuration, Role
from quorumcache.node.housekeeping.fitness import LATE_NS
from quorumcache.node.housekeeping.leadership import (
    AWAY_PASSES,
    GIVEN_UP_ELECTIONS,
    RETURN_DOUBLINGS_MAX,
    SLOW_PASSES,
    SLOW_REST_PASSES,
    STEADY_PASSES,
    TRANSFERS_AT_ONCE_MAX,
)
from quorumcache.node.peers.items import FITNESS
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


def test_while_the_preferred_leader_is_away_its_stand_in_gets_the_shard() -> None:
    world = World(1)
    log = world.logs[1]
    log.configuration = Configuration((HERE, THERE, 3))
    log.members = {THERE: follower(), 3: follower()}
    world.down = {THERE}
    passes(world, AWAY_PASSES)
    assert log.transferred == [], "it may just be restarted"
    passes(world, 1)
    assert log.transferred == [3]
    passes(world, 2 * AWAY_PASSES)
    assert log.transferred == [3], "one that does not take over is asked less often"
    passes(world, 1)
    assert log.transferred == [3, 3]
    world.down = set()
    passes(world, STEADY_PASSES)
    assert log.transferred == [3, 3]
    passes(world, 1)
    assert log.transferred == [3, 3, THERE], "it is back, and what it did not do is forgotten"


@pytest.mark.parametrize("why", ["itself", "nobody", "down", "silent", "back"])
def test_a_shard_stays_where_it_is_without_a_stand_in_that_can_take_it(why: str) -> None:
    world = World(1)
    log = world.logs[1]
    log.configuration = Configuration((HERE, THERE, 3))
    log.members = {THERE: follower(active=False), 3: follower()}
    world.down = {THERE}
    passes(world, AWAY_PASSES)
    if why == "itself":
        world.stand_in = HERE
    elif why == "nobody":
        world.stand_in = 0
    elif why == "down":
        world.down = {THERE, 3}
    elif why == "silent":
        log.members[3] = follower(active=False)
    else:
        world.down = set()
    passes(world, 1)
    world.down, world.stand_in, log.members[3] = {THERE}, 3, follower()
    passes(world, AWAY_PASSES)
    assert log.transferred == [], "the count begins anew"


def test_a_preferred_leader_keeps_its_shard_though_it_has_no_connection_to_itself() -> None:
    world = World(1)
    log = world.logs[1]
    log.configuration = Configuration((HERE, THERE, 3))
    log.members = {THERE: follower(), 3: follower()}
    world.preferred, world.down = HERE, {HERE}
    passes(world, 4 * AWAY_PASSES)
    assert log.transferred == []


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


# --- a node that is not fit to lead


def unfit_world(*group_ids: int) -> World:
    """It leads groups of three, and the two others keep up."""
    world = World(*group_ids)
    world.clock.ns = 1 << 40
    for log in world.logs.values():
        log.configuration = Configuration((HERE, THERE, 3))
        log.members = {THERE: follower(5), 3: follower(5)}
    return world


def given(world: World) -> list[int]:
    """To whom leaderships were given since the last call, sorted."""
    found = sorted(to for log in world.logs.values() for to in log.transferred)
    for log in world.logs.values():
        log.transferred.clear()
    return found


def late(world: World, late_ms: int = 60) -> None:
    """The loop has been late for as long as it takes."""
    for _ in range(2 + LATE_NS // (10 + late_ms) // MS):
        world.fitness.tick()
        world.fitness.look()
        world.clock.ns += (10 + late_ms) * MS


def test_a_node_that_is_fit_gives_nothing_up() -> None:
    world = unfit_world(0, 1)
    world.keeper.leadership.give_up()
    assert given(world) == []


def test_with_a_slow_disk_all_go_at_once_to_each_of_the_others() -> None:
    """The directory, too."""
    world = unfit_world(*range(2 * TRANSFERS_AT_ONCE_MAX))
    world.fitness.disk_waits()
    world.keeper.leadership.give_up()
    assert given(world) == [THERE] * TRANSFERS_AT_ONCE_MAX + [3] * TRANSFERS_AT_ONCE_MAX
    world.clock.ns += GIVEN_UP_ELECTIONS * 300 * MS - 1
    world.fitness.disk_waits()
    world.keeper.leadership.give_up()
    assert given(world) == [], "they are on their way"
    world.clock.ns += 1
    world.keeper.leadership.give_up()
    assert len(given(world)) == 2 * TRANSFERS_AT_ONCE_MAX, "they did not take over"


def test_one_that_lacks_much_of_the_log_gets_nothing_while_another_has_it() -> None:
    world = unfit_world(*range(4))
    for log in world.logs.values():
        log.members[THERE] = follower(5 + KEEP_ENTRIES + 1)
    world.fitness.disk_waits()
    world.keeper.leadership.give_up()
    assert given(world) == [THERE] * 4


@pytest.mark.parametrize(
    ("configuration", "silent", "goes"),
    [
        (Configuration((HERE, THERE, 3)), {3}, False),
        (Configuration((HERE,)), set(), False),
        (Configuration((HERE, THERE)), set(), False),
        (Configuration((HERE, THERE, 3, 4, 5)), {5}, True),
        (Configuration((HERE, THERE, 3, 4, 5)), {4, 5}, False),
        (Configuration((THERE, 3, 4), (), (HERE, THERE, 3)), {4}, True),
        (Configuration((THERE, 3, 4), (), (HERE, THERE, 3)), {3}, False),
        (Configuration((HERE, THERE, 3), (4, 5)), {3}, False),
    ],
)
def test_with_a_slow_disk_a_group_stays_where_no_other_can_be_elected(
    configuration: Configuration, silent: set[int], goes: bool
) -> None:
    """Without this node's vote, which waits for the disk: it would have no leader at all."""
    world = unfit_world(1)
    world.logs[1].configuration = configuration
    world.logs[1].members = {
        v: follower(5, active=v not in silent) for v in configuration.members() if v != HERE
    }
    world.fitness.disk_waits()
    world.keeper.leadership.give_up()
    assert bool(given(world)) == goes


def test_a_late_loop_gives_a_few_at_a_time_to_nodes_that_are_better_off() -> None:
    world = unfit_world(*range(TRANSFERS_AT_ONCE_MAX + 2))
    late(world)
    world.fitness.heard(3, (FITNESS, 60, 0))
    world.keeper.leadership.give_up()
    assert given(world) == [THERE] * TRANSFERS_AT_ONCE_MAX
    world.keeper.leadership.give_up()
    assert given(world) == [THERE] * 2


def test_where_all_loops_are_late_everything_stays() -> None:
    world = unfit_world(1, 2)
    late(world)
    for node_id in (THERE, 3):
        world.fitness.heard(node_id, (FITNESS, 40, 0))
    assert world.fitness.is_late
    world.keeper.leadership.give_up()
    assert given(world) == []


def test_who_rests_gets_nothing_neither_what_is_given_up_nor_what_is_its_own() -> None:
    world = unfit_world(1)
    world.fitness.heard(THERE, (FITNESS, 0, 5000))
    passes(world, 3 * STEADY_PASSES)
    assert given(world) == []
    world.fitness.disk_waits()
    world.keeper.leadership.give_up()
    assert given(world) == [3]
    world.clock.ns += 5000 * MS
    passes(world, STEADY_PASSES + 1)
    assert given(world) == [THERE], "its own again"


def test_a_leader_over_slow_links_prefers_a_voter_that_does_not_rest() -> None:
    world = unfit_world(1)
    log = world.logs[1]
    log.lease_until_ns = world.groups[1].lease_until_ns = 0
    log.members = {THERE: follower(5), 3: follower(7)}
    world.fitness.heard(3, (FITNESS, 0, 5000))
    for _ in range(SLOW_PASSES):
        world.keeper.leadership.hand_over_slow()
    assert given(world) == [THERE]
