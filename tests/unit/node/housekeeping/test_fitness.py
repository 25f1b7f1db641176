"""Whether a node should lead: what it finds out about itself, and what it hears of others."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.alarms import Alarms
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.housekeeping.fitness import (
    BETTER_FACTOR,
    FORGIVEN_NS,
    LATE_FRACTION,
    LATE_NS,
    LOOK_MS,
    MS_NS,
    REST_DOUBLINGS_MAX,
    REST_MS,
    REST_MS_MAX,
    TOLD_NS,
    Fitness,
)
from quorumcache.node.peers.items import FITNESS
from tests.support.housekeeping import FakePeers
from tests.support.scripted_log import ManualClock

ELECTION_MS = 400
LATE_MS = ELECTION_MS // LATE_FRACTION
TICK_MS = 10
LOOKS = -(-LATE_NS // (LOOK_MS // (TICK_MS + LATE_MS) * (TICK_MS + LATE_MS) * MS_NS))
"""How many it takes, each of as many ticks as fit."""
NEW, OLD, NEWER = 2, 3, 4


class World:
    """A node's fitness; the others are of form 2, 1 and 3."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.clock.ns = 1 << 40
        self.alarms = Alarms()
        self.peers = FakePeers({NEW: 2, OLD: 1, NEWER: 3})
        self.flushed = 0
        self.fitness = Fitness(
            clock=self.clock,
            election_ms=ELECTION_MS,
            tick_ms=TICK_MS,
            alarms=self.alarms,
            peers=self.peers,
            flush_soon=self.flush_soon,
        )
        self.fitness.tick()

    def passes(self, ms: int) -> None:
        self.clock.ns += ms * MS_NS

    def run(self, late_ms: int = 0, looks: int = 1) -> None:
        """The loop is so late at each tick, until so many looks."""
        for _ in range(looks):
            for _ in range(max(1, LOOK_MS // (TICK_MS + late_ms))):
                self.passes(TICK_MS + late_ms)
                self.fitness.tick()
            self.fitness.look()

    def flush_soon(self) -> None:
        self.flushed = len(self.peers.sent)

    def taken(self) -> list[tuple[int, tuple[Any, ...]]]:
        sent, self.peers.sent = self.peers.sent, []
        assert len(sent) == self.flushed, "the rest stays until something else is sent"
        self.flushed = 0
        return sent


def test_a_loop_that_is_late_all_the_time_makes_unfit_and_not_before_two_seconds() -> None:
    world = World()
    world.run()
    world.run(LATE_MS, LOOKS - 1)
    assert not world.fitness.is_late
    assert not world.fitness.rests
    world.run(LATE_MS)
    assert world.fitness.is_late
    assert world.fitness.rests
    assert world.fitness.late_ms == LATE_MS
    assert [alarm.name for alarm in world.alarms.raised()] == ["loop_late"]
    world.run(LATE_MS // 2)
    assert world.fitness.is_late, "a little better is not well"
    world.run(LATE_MS // 2 - 2)
    assert not world.fitness.is_late
    assert world.alarms.raised() == []
    assert world.fitness.rests, "for a while"
    world.passes(REST_MS)
    assert not world.fitness.rests


@pytest.mark.parametrize("pause_ms", [300, 5_000, 60_000])
def test_pauses_now_and_then_do_not(pause_ms: int) -> None:
    """Leases end in a long one, and others lead; nothing says that there will be another."""
    world = World()
    for _ in range(10):
        world.run(looks=4)
        world.passes(pause_ms)
        world.run(looks=1)
        assert world.fitness.late_ms > LATE_MS, "it was seen"
    assert not world.fitness.is_late
    assert not world.fitness.rests


def test_a_loop_that_runs_and_stands_in_turns_is_late_by_what_the_average_moment_waits() -> None:
    """As under a quota of processor time: most ticks are on time, most of the time is not."""
    world = World()
    for _ in range(5):
        for _ in range(4):
            world.passes(TICK_MS)
            world.fitness.tick()
        world.passes(6 * TICK_MS)
        world.fitness.tick()
    world.fitness.look()
    assert (
        world.fitness.late_ms == (4 * TICK_MS**2 + (6 * TICK_MS) ** 2) // (10 * TICK_MS) - TICK_MS
    )


def test_a_disk_that_does_not_answer_makes_unfit_at_once() -> None:
    world = World()
    assert not world.fitness.is_disk_slow
    assert world.fitness.disk_waits()
    assert world.fitness.is_disk_slow
    assert world.fitness.rests
    world.passes(TICK_MS)
    assert not world.fitness.disk_waits(), "known already"
    world.passes(200)
    assert not world.fitness.is_disk_slow
    assert world.fitness.rests
    assert world.fitness.disk_waits(), "again"


def test_each_further_rest_takes_twice_as_long_until_all_is_forgiven() -> None:
    world = World()

    def rested_ms() -> int:
        began = world.clock.ns
        world.fitness.disk_waits()
        while world.fitness.rests:
            world.passes(1000)
        return (world.clock.ns - began) // MS_NS

    rests = [rested_ms() for _ in range(REST_DOUBLINGS_MAX + 2)]
    doubled = [REST_MS << times for times in range(REST_DOUBLINGS_MAX + 1)]
    assert rests == [*doubled, doubled[-1]]
    assert rests[-1] <= REST_MS_MAX
    world.clock.ns += FORGIVEN_NS - 1_000_000
    assert rested_ms() == doubled[-1]
    world.clock.ns += FORGIVEN_NS + 1
    assert rested_ms() == REST_MS


def test_a_cause_that_lasts_is_one_rest_that_begins_at_its_end() -> None:
    world = World()
    for _ in range(3 * REST_MS // 100):
        world.fitness.disk_waits()
        world.passes(100)
    world.passes(REST_MS - 200)
    assert world.fitness.rests
    world.passes(200)
    assert not world.fitness.rests
    world.fitness.disk_waits()
    world.passes(2 * REST_MS - 1)
    assert world.fitness.rests, "the second, so it is twice as long"


# --- what nodes tell each other


def test_a_node_that_is_well_tells_nothing() -> None:
    world = World()
    world.run(LATE_MS // BETTER_FACTOR - 1, 20)
    assert world.taken() == []


def test_only_nodes_that_know_the_item_and_are_up_are_told_until_all_is_well() -> None:
    world = World()
    late_ms = -(-LATE_MS // BETTER_FACTOR)
    world.run(late_ms)
    item = (FITNESS, late_ms, 0)
    assert world.taken() == [(NEW, item), (NEWER, item)]
    world.peers.down = {NEW}
    world.run()
    assert world.taken() == [(NEWER, (FITNESS, 0, 0))]
    world.run()
    assert world.taken() == []
    world.peers.down = set()
    world.peers.forms[NEW] = 1  # Started anew, with an older version.
    world.run(late_ms)
    assert [node_id for node_id, _ in world.taken()] == [NEWER]


def test_a_rest_is_told_until_it_ends() -> None:
    world = World()
    world.fitness.disk_waits()
    told = []
    for _ in range(REST_MS // LOOK_MS + 3):
        world.run()
        told += [item[2] for node_id, item in world.taken() if node_id == NEW]
    assert told == [*range(REST_MS - LOOK_MS, -1, -LOOK_MS)]


def test_who_rests_may_not_lead_for_so_long() -> None:
    world = World()
    fitness = world.fitness
    assert fitness.may_lead(NEW)
    fitness.heard(NEW, (FITNESS, 0, 3000))
    world.passes(2999)
    assert not fitness.may_lead(NEW)
    assert fitness.may_lead(OLD)
    world.passes(1)
    assert fitness.may_lead(NEW)
    fitness.heard(NEW, (FITNESS, 0, 1 << 60))
    world.passes(REST_MS_MAX)
    assert fitness.may_lead(NEW), "there is a bound to what one item does"
    fitness.heard(NEW, (FITNESS, 0, 3000))
    fitness.met(NEW)
    assert fitness.may_lead(NEW), "another process"


def test_better_off_is_who_is_well_or_much_less_late() -> None:
    world = World()
    fitness = world.fitness
    world.run(LATE_MS)
    assert fitness.is_better_off(NEW), "it says nothing, so it is well"
    assert not fitness.is_better_off(OLD), "it cannot say how it is"
    assert not fitness.is_better_off(9)
    fitness.heard(NEW, (FITNESS, LATE_MS // BETTER_FACTOR, 0))
    assert fitness.is_better_off(NEW)
    fitness.heard(NEW, (FITNESS, LATE_MS // BETTER_FACTOR + 1, 0))
    assert not fitness.is_better_off(NEW)
    world.clock.ns += TOLD_NS
    assert fitness.is_better_off(NEW), "it has said nothing for a while"


@pytest.mark.parametrize(
    "item",
    [(FITNESS, 1), (FITNESS, 1, 2, 3), (FITNESS, -1, 0), (FITNESS, 0, -1), (FITNESS, "1", 0)],
)
def test_another_form_is_refused(item: tuple[Any, ...]) -> None:
    world = World()
    with pytest.raises(PeerFrameError):
        world.fitness.heard(NEW, item)
