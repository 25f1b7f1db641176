"""The order of one connection's requests: which may run now, and which operation came before.

This is its one owner among the clients. It decides when a request starts: in the lane of its group
(`lanes.py`), or alone, when it concerns all groups or takes several turns. It also knows the newest
unfinished write and read of each group, which the next one names as its predecessor.

What follows from the predecessor is decided in `operations/order.py`: an operation is tried several
times, at several leaders, long after its connection has started it, and only there is it known when
an attempt has failed, so that a later write has to be repeated behind an earlier one, or an answer
that overtook an earlier one has to be asked for again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from quorumcache.node.clients.context import ClientContext
from quorumcache.node.clients.lanes import Lane
from quorumcache.node.operations.operation import Read, Write


class GroupLane(Lane):
    """The lane of one group, and the operations in it that later ones follow."""

    __slots__ = ("_context", "group_id", "last_read", "last_write", "until_ns")

    def __init__(self, context: ClientContext, group_id: int) -> None:
        super().__init__()
        self._context = context
        self.group_id = group_id
        self.last_write: Write | None = None
        """The newest unfinished write; a following one is repeated after it."""
        self.last_read: Read | None = None
        """The newest unfinished linearizable read; a following one's answer is never older."""
        self.until_ns: int = 0
        """What waits for earlier writes has at least until then: see `RequestOrder.answered`."""

    def may_follow(self) -> bool:
        """Where this node leads the group, or while the newest write has not left for the node that
        does: see `operations/order.py`."""
        context, last = self._context, self.last_write
        return context.leads(self.group_id) or (
            last is not None and context.coordinator.forwards.is_gathered(last)
        )

    def ended_write(self, write: Write | None) -> None:
        """A write has its outcome: what came before it is followed, if that goes on."""
        if write is not None and self.last_write is write:
            before = write.unfinished_before()
            self.last_write = before if isinstance(before, Write) else None

    def ended_read(self, read: Read | None) -> None:
        """Likewise, a read."""
        if read is not None and self.last_read is read:
            before = read.unfinished_before()
            self.last_read = before if isinstance(before, Read) else None


class RequestOrder:
    """See the module docstring."""

    __slots__ = ("_context", "barrier", "draining", "lanes", "quick")

    def __init__(self, context: ClientContext) -> None:
        self._context = context
        self.lanes: dict[int, GroupLane] = {}
        """By group, those with requests under way."""
        self.quick: dict[int, int] = {}
        """By group: gets under way that have no lane (`forwarded_gets.py`). They begin while the
        group has no lane; what begins behind them waits in its lane for their end."""
        self.barrier = False
        """A request that must run alone is under way."""
        self.draining = False
        """The next request must run alone: what came before it has to end first."""

    def lane_of(self, group_id: int) -> GroupLane:
        """The lane for a request that is begun in it next."""
        lane = self.lanes.get(group_id)
        if lane is None:
            lane = self.lanes[group_id] = GroupLane(self._context, group_id)
        return lane

    def begin(self, lane: GroupLane, is_write: bool, start: Callable[[int], None]) -> None:
        """Start a request, now or when its lane is free for it. Its time runs from now on: `start`
        hears the deadline of a request that had to wait; 0 = it begins now.
        """
        if self.starts(lane, is_write):
            start(0)
        else:
            self.wait(lane, is_write, start)

    def starts(self, lane: GroupLane, is_write: bool) -> bool:
        """Whether a request is to start now, with the deadline 0: its lane counts on it. If not it
        has to `wait`. The two make up `begin`, for those that hand over nothing to call."""
        if self.quick and lane.group_id in self.quick:
            return False
        if lane.may_start(is_write):
            lane.started(is_write)
            return True
        return False

    def wait(self, lane: GroupLane, is_write: bool, start: Callable[[int], None]) -> None:
        """Start it when its lane is free for it."""
        deadline_ns = self._context.coordinator.deadline_ns()
        lane.wait(is_write, lambda: start(max(deadline_ns, lane.until_ns)))

    def answered(self, lane: GroupLane) -> None:
        """The group has executed a write for which later requests wait: their time runs anew. Where
        another node leads, a thousand pipelined writes of one group take their time one after the
        other, and the last ones would run out of it though nothing is wrong. A group that does not
        answer still ends them all together.
        """
        lane.until_ns = self._context.coordinator.deadline_ns()

    def ended(self, lane: GroupLane, is_write: bool) -> None:
        """An operation has its outcome: start what waited for it."""
        lane.ended(is_write)
        self._leave(lane)

    def busy(self) -> dict[int, Any]:
        """The groups, as keys, with requests under way that a get must not overtake."""
        if not self.quick:
            return self.lanes
        return {**self.lanes, **self.quick} if self.lanes else self.quick

    def quick_ended(self, group_id: int) -> None:
        """A get without a lane was answered: with the last one, start what waited."""
        left = self.quick[group_id] - 1
        if left:
            self.quick[group_id] = left
            return
        del self.quick[group_id]
        lane = self.lanes.get(group_id)
        if lane is not None:
            self._go_on(lane)

    def quick_fell(
        self, group_id: int, starts: Sequence[Callable[[int], None]], until_ns: int
    ) -> None:
        """All gets of a group without a lane become reads in its lane, by these calls: they begin
        now, before what waits. `until_ns`: their deadline.
        """
        del self.quick[group_id]
        lane = self.lane_of(group_id)
        for _ in starts:  # All of them, or what waits could begin when the first one ends.
            lane.started(False)
        for start in starts:
            start(until_ns)
        self._go_on(lane)

    def _go_on(self, lane: GroupLane) -> None:
        lane.go_on()
        self._leave(lane)

    def _leave(self, lane: GroupLane) -> None:
        if not (lane.reads or lane.writes or lane.waiting):
            self.lanes.pop(lane.group_id, None)
