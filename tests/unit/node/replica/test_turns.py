"""A turn takes along what comes meanwhile, waits for nothing at rest, and never for long."""

from __future__ import annotations

from typing import Any

from quorumcache.node.replica.turns import HOLD_NS, Turns
from quorumcache.node.telemetry.counters import Counters
from tests.support.manual_loop import ManualLoop
from tests.support.scripted_log import ManualClock


class World:
    def __init__(self) -> None:
        self.loop: Any = ManualLoop()
        self.clock = ManualClock()
        self.counters = Counters()
        self.done: list[str] = []
        self.turns = Turns(
            self.loop,
            self.clock,
            self.counters,
            lambda: self.done.append("turn"),
            lambda: self.done.append("flush"),
        )

    def look(self) -> list[str]:
        """One step of the loop: what was done in it."""
        before = len(self.done)
        self.loop.run(steps_max=1)
        return self.done[before:]


def test_at_rest_a_turn_comes_after_one_more_look() -> None:
    world = World()
    world.turns.want_turn()
    assert world.look() == []
    assert world.look() == ["turn"]
    assert world.look() == []


def test_a_turn_waits_while_requests_or_frames_come() -> None:
    world = World()
    world.turns.want_turn()
    assert world.look() == []
    for _ in range(3):
        world.counters.bytes_read += 10
        assert world.look() == []
        world.counters.peer_bytes_received += 10
        assert world.look() == []
    assert world.look() == ["turn"]


def test_a_turn_waits_no_longer_than_it_may() -> None:
    world = World()
    world.turns.want_turn()
    assert world.look() == []
    world.counters.bytes_read += 10
    world.clock.ns += HOLD_NS - 1
    assert world.look() == []
    world.counters.bytes_read += 10
    world.clock.ns += 1
    assert world.look() == ["turn"]


def test_each_turn_has_its_own_time_to_wait() -> None:
    world = World()
    world.turns.want_turn()
    world.look()
    world.counters.bytes_read += 10
    world.clock.ns += HOLD_NS
    assert world.look() == ["turn"]
    world.turns.want_turn()
    assert world.look() == []
    world.counters.bytes_read += 10
    assert world.look() == []
    assert world.look() == ["turn"]


def test_a_flush_is_part_of_a_turn_that_is_wanted_as_well() -> None:
    world = World()
    world.turns.want_flush()
    assert world.look() == []
    assert world.look() == ["flush"]
    world.turns.want_flush()
    world.turns.want_turn()
    world.turns.want_flush()
    assert world.look() == []
    assert world.look() == ["turn"]
    assert world.look() == []


def test_what_a_turn_wants_comes_in_another_turn() -> None:
    world = World()
    wanted = [True]

    def turn() -> None:
        world.done.append("turn")
        if wanted:
            wanted.pop()
            world.turns.want_turn()

    world.turns = Turns(world.loop, world.clock, world.counters, turn, turn)
    world.turns.want_turn()
    done = [world.look() for _ in range(5)]
    assert done == [[], ["turn"], [], ["turn"], []]


def test_what_is_wanted_twice_is_done_once() -> None:
    world = World()
    for _ in range(3):
        world.turns.want_turn()
        world.turns.want_flush()
    assert [world.look() for _ in range(6)] == [[], ["turn"], [], [], [], []]


def test_what_is_due_by_the_clock_leaves_at_once() -> None:
    world = World()
    world.turns.flush_now()
    assert world.done == ["flush"]
    assert world.look() == []


def test_what_is_due_by_the_clock_goes_along_with_a_turn_that_is_wanted() -> None:
    world = World()
    for want in (world.turns.want_turn, world.turns.want_flush):
        want()
        world.turns.flush_now()
        world.look()
        world.turns.flush_now()
        world.look()
    assert world.done == ["turn", "flush"]


def test_the_waits_of_a_write_are_short_beside_the_shortest_tick() -> None:
    """One at its leader and one at a follower. A tick has a millisecond at least."""
    assert 2 * HOLD_NS <= 1_000_000
