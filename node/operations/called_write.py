"""A write whose outcome a function hears, for those that make no class of their own of it."""

from __future__ import annotations

from collections.abc import Callable

from quorumcache.node.operations.numbering import WriteId
from quorumcache.node.operations.operation import OperationOwner, Write, WriteOutcome


def _ignore(outcome: WriteOutcome) -> None:
    """Stands in for the function of a finished write."""


class CalledWrite(Write):
    """One whose outcome a function hears."""

    __slots__ = ("_call",)

    def __init__(
        self,
        owner: OperationOwner,
        group_id: int,
        deadline_ns: int,
        op: int,
        key: bytes,
        args: tuple[object, ...],
        size: int,
        call: Callable[[WriteOutcome], None],
        identity: WriteId | None = None,
    ) -> None:
        super().__init__(owner, group_id, deadline_ns, op, key, args, size, identity)
        self._call = call

    def done(self, outcome: WriteOutcome) -> None:
        """The outcome of the write."""
        call, self._call = self._call, _ignore
        call(outcome)
