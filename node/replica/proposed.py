"""What a replica remembers of an entry that was proposed here, until it is applied or lost."""

from __future__ import annotations

from collections.abc import Sequence

from quorumcache.node.state_machine import Command, Result, StateMachine, Waiter


class Proposed:
    """The fields of its `Batch`, who waits for it, and what it counts for. A class and no tuple:
    each entry has one, and mypyc keeps the numbers of a class as they are."""

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
        commands: Sequence[Command],
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
        self.wall_ms: int = wall_ms
        self.item_bytes_max: int = item_bytes_max
        self.waiters = waiters
        """Of each command, in their order."""
        self.size: int = size
        """Bytes that are in flight with it."""
        self.growth: int = growth
        """By how much it makes the state grow, at most."""

    def apply_to(self, machine: StateMachine, index: int) -> list[Result]:
        """It was committed as the entry of this index: run it, without a look at its bytes."""
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
