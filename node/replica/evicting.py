"""A leader's plan of what its shard evicts. Followers plan nothing: they apply what the log says.

A batch of writes that would take the state past the shard's share carries its victims itself, as
the first command of its entry (`make_room`). When the share has become smaller, or nobody writes,
the housekeeper starts an entry that has nothing but victims (`excess`).

What is under way counts: what proposed entries will add, and what they will free. So entries that
are proposed before the first one is applied do not evict for the same bytes twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from quorumcache.node.state_machine import Command, Eviction, Result, StateMachine, Waiter

if TYPE_CHECKING:
    from quorumcache.node.telemetry.counters import Counters

SLACK_PARTS: Final = 256
SLACK_BYTES_MAX: Final = 1 << 20
"""An eviction makes room for what comes next, too: one part of so many of the share, and no more
than that. So most entries carry no victims, and the items that leave early are few."""

COMMAND_EXTRA_BYTES: Final = 128
"""About what an item takes beside its key, its value and what is charged for its command."""

VICTIM_BYTES: Final = 16
"""About what one victim takes in a log entry beside its key."""


VictimLog = Callable[[StateMachine, Sequence[bytes]], Callable[[int], None]]
"""Hears which keys were chosen, and answers who hears how many of them were removed."""

Borrow = Callable[[Any, int], int]
"""Raises a group's share by what it lacks, as far as the nodes have memory that nobody was granted,
and answers what the share is then (`MemoryRoom.borrow`)."""


class EvictingHost:
    """What a plan needs of the process it is made in. A class and no `Protocol`: each batch asks
    it, and mypyc reads the fields of a class directly.
    """

    counters: Counters
    victim_log: VictimLog | None  # while somebody watches evictions
    borrow: Borrow | None  # of memory that is free


class EvictingGroup:
    """What a plan needs of its group, likewise."""

    __slots__ = ()

    machine: StateMachine
    share_bytes: int
    growing_bytes: int


def memory_ahead(machine: StateMachine, growing_bytes: int) -> int:
    """What the state takes when all that is under way has happened. `growing_bytes`: by how much
    proposed entries make it grow.
    """
    return machine.memory_bytes + growing_bytes - machine.planned_bytes


def make_room(
    group: EvictingGroup,
    host: EvictingHost,
    batch: list[tuple[Command, Waiter, int]],
    size: int,
) -> int:
    """Borrow what a batch lacks, for the group, or put its victims before its commands. `size`: of
    its commands.

    Answers how much the batch makes the state grow, at most.
    """
    machine, growing_bytes = group.machine, group.growing_bytes
    used = memory_ahead(machine, growing_bytes)
    growth = size + COMMAND_EXTRA_BYTES * len(batch)
    if used + growth <= group.share_bytes:
        return growth
    growth = 0
    for command, _, cost in batch:
        growth += machine.growth(command, cost)
    over = used + growth - group.share_bytes
    if over > 0 and host.borrow is not None:
        host.borrow(group, over)
    eviction = excess(machine, group.share_bytes, growing_bytes + growth)
    if eviction is not None:
        waiter = EvictionWaiter(machine, host.counters, eviction, host.victim_log)
        batch.insert(0, (eviction.command, waiter, 0))
    return growth


def excess(machine: StateMachine, share_bytes: int, growing_bytes: int) -> Eviction | None:
    """Choose what has to leave, and a little more. None if nothing has to, or nothing is there."""
    over = memory_ahead(machine, growing_bytes) - share_bytes
    if over <= 0:
        return None
    return machine.plan_eviction(over + min(share_bytes // SLACK_PARTS, SLACK_BYTES_MAX))


def entry_bytes(eviction: Eviction) -> int:
    """About what an eviction takes in a log entry."""
    return sum(map(len, eviction.keys)) + VICTIM_BYTES * len(eviction.keys)


class EvictionWaiter:
    """Counts what was evicted; victims of an entry that was lost may be chosen again.

    An item counts at the leader that chose it, when it is applied there. One whose entry was lost
    to that leader may be gone all the same, and counts nowhere.
    """

    __slots__ = ("_counters", "_eviction", "_machine", "_tell")

    def __init__(
        self,
        machine: StateMachine,
        counters: Counters,
        eviction: Eviction,
        victim_log: VictimLog | None = None,
    ) -> None:
        self._machine = machine
        self._counters = counters
        self._eviction = eviction
        self._tell = victim_log(machine, eviction.keys) if victim_log is not None else None

    def on_result(self, result: Result) -> None:
        """So many of the victims were still there."""
        evicted = result[1] if type(result) is tuple else 0
        assert type(evicted) is int, result
        unfetched, active = self._machine.take_eviction_tallies()
        counters = self._counters
        counters.evictions += evicted
        counters.evicted_unfetched += unfetched
        counters.evicted_active += active
        if self._tell is not None:
            self._tell(evicted)

    def on_refused(self, why: str) -> None:
        """It never came to the log."""
        self._machine.spare(self._eviction)

    def on_lost(self) -> None:
        """It may be applied or not."""
        self._machine.spare(self._eviction)
