"""Goal: ticks pass at the clock's pace, all that are due in one call, and none after the end."""

from typing import Any

import pytest

from quorumcache.node.replica.ticking import Ticker
from tests.support.fake_node import FakeClock
from tests.support.manual_loop import ManualLoop

TICK_NS = 10_000_000


class World:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.loop = ManualLoop()
        self.passed: list[int] = []
        self.fatal: list[BaseException] = []
        self.is_broken = False
        loop: Any = self.loop
        self.ticker = Ticker(loop, self.clock, 10, self.take, self.fatal.append)

    def take(self, now_ns: int, due: int) -> None:
        if self.is_broken:
            raise AssertionError("our bug")
        assert now_ns == self.clock.monotonic_ns()
        self.passed.append(due)


def test_what_is_due_is_passed_on_once() -> None:
    world = World()
    before = world.ticker.done
    world.ticker.look()
    assert world.passed == []
    world.clock.now_ns += 3 * TICK_NS
    world.ticker.look()
    world.ticker.look()
    assert world.passed == [3]
    assert world.ticker.done == before + 3


def test_the_time_before_the_start_does_not_count_and_the_loop_wakes_it() -> None:
    world = World()
    world.clock.now_ns += 100 * TICK_NS
    world.ticker.start()
    world.clock.now_ns += TICK_NS
    world.loop.run(steps_max=1)
    world.clock.now_ns += 2 * TICK_NS
    world.loop.run(steps_max=1)
    assert world.passed == [1, 2]


def test_after_the_end_nothing_is_passed_on() -> None:
    world = World()
    world.ticker.start()
    world.ticker.stop()
    world.clock.now_ns += TICK_NS
    world.loop.run(steps_max=1)
    assert world.passed == []


def test_a_failure_is_told_and_ends_the_ticks() -> None:
    world = World()
    world.ticker.start()
    world.is_broken = True
    world.clock.now_ns += TICK_NS
    with pytest.raises(AssertionError):
        world.loop.run(steps_max=1)
    assert len(world.fatal) == 1
    world.is_broken = False
    world.clock.now_ns += TICK_NS
    world.loop.run(steps_max=1)
    assert world.passed == []
