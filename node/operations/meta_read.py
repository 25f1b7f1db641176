"""The read of a meta command: `mg`, or `me`.

Most of them are reads and no more. But what an `mg` finds may have to be changed: a missing item is
to be made (N), one that is stale or ends soon is to have a winner. Then the read becomes a write of
the same client, which decides again in the log: between the two another client may have been first.

Until that write has ended the read has not. So the order of the connection holds without more: a
later write of its lane waits for it, and the answer of a later read is dropped and asked for again
(`order.py`), as if the attempt of this one had been repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.operation import (
    OperationOwner,
    Read,
    ReadOutcome,
    WriteOutcome,
)
from quorumcache.node.state_machine import Result

ASKS_HINT: Final = 1
"""The answer has to tell what is known of the item's use."""
NO_BUMP: Final = 2
"""The read is no use of the item."""

Hint = tuple[int, int]
"""Whether the item was hit since it was stored, 0 or 1, and seconds since its last use: by the
replica that answered, before it did."""


class MetaRead(Read):
    """See the module docstring."""

    __slots__ = ("asks", "change", "hint", "is_changing", "needs_change", "result")

    def __init__(
        self,
        owner: OperationOwner,
        group_id: int,
        deadline_ns: int,
        key: bytes,
        done: Callable[[ReadOutcome], None],
        staleness_ns: int,
        asks: int,
        needs_change: Callable[[bytes | None], bool],
        change: Callable[[], None],
    ) -> None:
        """`asks`: ASKS_HINT and NO_BUMP, or neither. `needs_change`: asked with the packed item
        that was found, or None; if it says yes, `change` is called, and `changed` has to be, with
        the outcome of the write.
        """
        super().__init__(owner, group_id, deadline_ns, (key,), done, staleness_ns)
        self.asks = asks
        self.needs_change = needs_change
        self.change = change
        self.is_changing = False
        """The write is under way."""
        self.result: Result | None = None
        """Of the write, if there was one."""
        self.hint: Hint | None = None
        """If it was asked for, and told."""

    def finish(self, outcome: ReadOutcome) -> None:
        if self.finished or self.is_changing:
            return
        if not isinstance(outcome, Failure) and self.needs_change(outcome[0]):
            self.is_changing = True
            self.room = None  # The answer to a write cannot be dropped.
            self.change()
        else:
            super().finish(outcome)

    def changed(self, outcome: WriteOutcome) -> None:
        """The outcome of the write."""
        self.is_changing = False
        # Answers to later reads that came meanwhile may be older than this one.
        self.is_unordered = True
        self.after = None
        if isinstance(outcome, Failure):
            super().finish(outcome)
        else:
            self.result = outcome
            super().finish([None])

    def expire(self) -> None:
        if self.is_changing:
            # The write has the same deadline, and says what is known of it.
            self.deadline_ns = self.owner.deadline_ns()
        else:
            super().expire()
