"""The read of a lock, as an operation: to the leader of its shard, and back (`lock_answers.py`).

A LOCK_WAIT is kept there until it is its owner's turn (`lock_waits.py`).
"""

from __future__ import annotations

from collections.abc import Callable

from quorumcache.node.operations.operation import OperationOwner, Read, ReadOutcome


def _ignore(outcome: object) -> None:
    """Stands in for the `done` of a finished read."""


class LockRead(Read):
    """One attempt of such a read."""

    __slots__ = ("asked", "asks", "park_ms")

    def __init__(
        self,
        owner: OperationOwner,
        group_id: int,
        deadline_ns: int,
        asked: tuple[bytes, ...],
        asks: int,
        park_ms: int,
        done: Callable[[ReadOutcome], None],
    ) -> None:
        """`asked`: the lock's name, behind it the owner's for a LOCK_WAIT. `park_ms`: for how long
        the leader may keep it at most. `done` hears a list of one answer.
        """
        super().__init__(owner, group_id, deadline_ns, asked[:1], done)
        self.asked = asked
        self.asks = asks
        self.park_ms = park_ms

    def answer(self, found: bytes) -> None:
        """The leader is here, and answers."""
        self.on_items([found])

    def refuse(self, why: str) -> None:
        """This node does not lead the group any more."""
        self.on_refused(why)

    def finish(self, outcome: ReadOutcome) -> None:
        """Without a time for the statistics: it is no measure of anything how long others hold a
        lock."""
        if not self.finished:
            self.finished = True
            done, self.done = self.done, _ignore
            done(outcome)
