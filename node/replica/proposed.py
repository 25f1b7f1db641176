"""What a replica remembers of an entry that was proposed here, until it is applied or lost.

That is who waits for it, and its commands, unless they are of the usual kind: those are applied
from their bytes, and what they are made of can be used again meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence

from quorumcache.node.state_machine import Command, Result, StateMachine, Waiter, batch_fields


class Proposed:
    """A class and no tuple: each entry has one, and mypyc keeps the numbers of a class as they
    are."""

    __slots__ = (
        "commands",
        "growth",
        "item_bytes_max",
        "now_ms",
        "size",
        "term",
        "waiters",
        "wall_ms",
    )

    def __init__(
        self,
        term: int,
        now_ms: int,
        commands: Sequence[Command] | None,
        wall_ms: int,
        item_bytes_max: int,
        waiters: list[Waiter],
        size: int,
        growth: int,
    ) -> None:
        self.term: int = term
        """The one in which it was proposed. An entry of another one has taken its place."""
        self.now_ms: int = now_ms
        self.commands = commands
        """None: they are in the entry alone."""
        self.wall_ms: int = wall_ms
        self.item_bytes_max: int = item_bytes_max
        self.waiters = waiters
        """Of each command, in their order."""
        self.size: int = size
        """Bytes that are in flight with it."""
        self.growth: int = growth
        """By how much it makes the state grow, at most."""

    def apply_to(self, machine: StateMachine, index: int, payload: bytes) -> list[Result]:
        """It was committed as the entry of this index: run it."""
        if self.commands is None:
            return apply_payload(machine, index, payload)
        return machine.apply(index, self.now_ms, self.commands, self.wall_ms, self.item_bytes_max)

    def answer(self, results: list[Result]) -> None:
        """Tell each waiter its result."""
        for waiter, result in zip(self.waiters, results, strict=True):
            waiter.on_result(result)

    def answer_all(self, result: Result) -> None:
        """Tell all of them the same."""
        for waiter in self.waiters:
            waiter.on_result(result)

    def lost(self) -> None:
        """It may be applied or not: nobody here will know."""
        for waiter in self.waiters:
            waiter.on_lost()


def apply_payload(machine: StateMachine, index: int, payload: bytes) -> list[Result]:
    """Run the commands of an entry's bytes."""
    now_ms, commands, wall_ms, item_bytes_max = batch_fields(payload, machine.op_count)
    return machine.apply(index, now_ms, commands, wall_ms, item_bytes_max)
