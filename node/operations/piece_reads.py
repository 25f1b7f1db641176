"""Carries out reads of pieces of large values (`read_values.py`): here, or at the node that has
them.
"""

from __future__ import annotations

from collections.abc import Callable

from quorumcache.node.operations.deadlines import Deadlines
from quorumcache.node.operations.forwards import Forwards
from quorumcache.node.operations.operation import OperationOwner, ReadOutcome
from quorumcache.node.operations.read_values import PieceRead
from quorumcache.node.operations.serving import Serving


class PieceReads:
    """See the module."""

    __slots__ = ("_deadlines", "_forwards", "_serving")

    def __init__(self, serving: Serving, forwards: Forwards, deadlines: Deadlines) -> None:
        self._serving = serving
        self._forwards = forwards
        self._deadlines = deadlines

    def begin(
        self,
        owner: OperationOwner,
        group_id: int,
        key: bytes,
        value_id: int,
        position: int,
        source: int,
        done: Callable[[ReadOutcome], None],
    ) -> None:
        """Read one piece; see `PieceRead`. `done` may be called before this returns."""
        deadline_ns = owner.deadline_ns()
        read = PieceRead(owner, group_id, deadline_ns, key, value_id, position, source, done)
        owner.route(read)
        if not read.finished:
            self._deadlines.watch(read)

    def attempt(self, read: PieceRead) -> bool:
        """Answer it here, or ask the node that answered with its item. False: the leader's node has
        to answer it.
        """
        group = self._serving.host.groups.get(read.group_id)
        piece = self._serving.read_values.piece(read.group_id, read.value_id, read.position)
        if piece is not None or (group is not None and group.is_leader):
            read.target = 0
            read.finish([piece])
            return True
        source, read.source = read.source, 0
        if not source or not self._forwards.send_first_read(read, source):
            return False
        read.asked_replica = True
        return True
