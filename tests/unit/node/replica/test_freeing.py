"""What replicas leave behind is freed a little at a time, one after the other, to its end."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.replica.freeing import STEP_SECONDS, STEP_WORK_MAX, Freeing
from tests.support.manual_loop import ManualLoop


class Left:
    """A replica that has left: so many entries of its log, and so many steps for its state."""

    def __init__(self, entries: int, steps: int, read_until: float = 0.0) -> None:
        """`read_until`: until when somebody reads its state, of which nothing goes before."""
        self.loop: Any = None
        self.entries = entries
        self.steps = steps
        self.read_until = read_until
        self.freed: list[str] = []

    def take(self, loop: ManualLoop, freeing: Freeing) -> None:
        self.loop = loop
        group: Any = type("Group", (), {"log": Log(self), "machine": Machine(self)})()
        freeing.take(group)


class Log:
    def __init__(self, left: Left) -> None:
        self.left = left

    def let_go(self, work_max: int) -> int:
        work = min(work_max, self.left.entries)
        self.left.entries -= work
        if work:
            self.left.freed.append("entries")
        return work


class Machine:
    def __init__(self, left: Left) -> None:
        self.left = left

    def let_go(self) -> bool:
        if self.left.loop.now >= self.left.read_until:
            self.left.steps -= 1
            self.left.freed.append("state")
        return self.left.steps > 0


def test_first_the_log_goes_and_then_the_state_with_pauses_for_others() -> None:
    loop: Any = ManualLoop()
    freeing = Freeing(loop)
    left = Left(2 * STEP_WORK_MAX, 2)
    left.take(loop, freeing)
    assert left.freed == [], "in the turn in which it stopped it may still be read"
    for step in range(1, 5):
        assert loop.run(steps_max=1) == 1
        assert len(left.freed) == step
        assert loop.now == pytest.approx(step * STEP_SECONDS)
    assert left.freed == ["entries", "entries", "state", "state"]
    assert loop.run() == 0, "no step is due when nothing is left"


def test_one_replica_after_the_other_and_later_ones_as_well() -> None:
    loop: Any = ManualLoop()
    freeing = Freeing(loop)
    first, second, third = Left(0, 2), Left(0, 2), Left(1, 1)
    first.take(loop, freeing)
    second.take(loop, freeing)
    loop.run(steps_max=2)
    assert (first.freed, second.freed) == (["state"] * 2, [])
    loop.run()
    assert second.freed == ["state"] * 2
    third.take(loop, freeing)
    loop.run()
    assert third.freed == ["entries", "state"]


def test_a_state_that_somebody_reads_is_waited_for_without_a_hurry() -> None:
    loop: Any = ManualLoop()
    freeing = Freeing(loop)
    left = Left(0, 1, read_until=1.0)
    left.take(loop, freeing)
    loop.run(until=0.99)
    assert left.freed == []
    loop.run(until=1.1)
    assert left.freed == ["state"]


def test_one_that_cannot_be_freed_does_not_stop_the_others() -> None:
    loop: Any = ManualLoop()
    freeing = Freeing(loop)
    broken, sound = Left(1, 1), Left(1, 1)
    broken.take(loop, freeing)
    sound.take(loop, freeing)
    broken.entries = "a fault"  # type: ignore[assignment]
    with pytest.raises(TypeError):
        loop.run()
    loop.run()
    assert sound.freed == ["entries", "state"]
    later = Left(1, 1)
    later.take(loop, freeing)
    loop.run()
    assert later.freed == ["entries", "state"]
