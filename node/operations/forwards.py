"""Operations that were sent to another node and have no answer yet.

Each has a request id. What is in flight to one node is bounded in bytes; a forward without an
answer is repeated, less often each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from quorumcache.node.operations.operation import Operation

REPEAT_NS: Final = 1_000_000_000
"""A forward without an answer for this long is repeated; each further time it takes twice as long.
The leader may have had no connection to answer on: each node answers on the one it dialed."""

SILENT_NS: Final = 250_000_000
"""After this long without an answer other replicas are asked whether there is another leader."""

WRITE_BYTES_MAX: Final = 64 << 20
"""Bytes of keys and values of the unanswered writes to one node. Beyond it writes are held here.
One client has at most 8 MiB of them under way (`clients/connection.py`), and held writes go in the
order in which they came, so nobody can take all of it for long."""

TOO_MANY_BYTES: Final = "too many writes wait for an answer of the leader's node; retry more slowly"


class Forwards:
    """See the module docstring."""

    def __init__(self, first_id: int, timeout_ns: int) -> None:
        """`first_id`: anywhere, so that answers to an earlier life of this node match nothing."""
        self.under_way: dict[int, Operation] = {}
        """By request id, the oldest first."""
        self.next_id = first_id
        self._timeout_ns = timeout_ns
        self._bytes: dict[int, int] = {}
        """Sizes of the writes under way, by the node they went to."""

    def has_room(self, node_id: int) -> bool:
        """May another write go to this node?"""
        return self._bytes.get(node_id, 0) < WRITE_BYTES_MAX

    def add(self, operation: Operation, node_id: int) -> None:
        """It was sent to this node, as request `next_id`."""
        request_id = self.next_id
        self.next_id = request_id + 1
        self.under_way[request_id] = operation
        operation.request_id = request_id
        operation.target = node_id
        if operation.size:
            self._bytes[node_id] = self._bytes.get(node_id, 0) + operation.size

    def forget(self, request_id: int) -> None:
        """It has its answer, or needs none any more."""
        operation = self.under_way.pop(request_id, None)
        if operation is not None and operation.size:
            self._bytes[operation.target] -= operation.size

    def take(self, concerns: Callable[[Operation], bool]) -> list[Operation]:
        """Forget those that `concerns` picks, and return them."""
        picked = [(r, o) for r, o in self.under_way.items() if concerns(o)]
        for request_id, _ in picked:
            self.forget(request_id)
        return [operation for _, operation in picked]

    def sent_ns(self, operation: Operation) -> int:
        """About when it was sent."""
        if operation.repeat_ns:
            return operation.repeat_ns - (REPEAT_NS << operation.repeats)
        return operation.deadline_ns - self._timeout_ns

    def silent_groups(self, now_ns: int) -> dict[int, None]:
        """Groups with a forward that has no answer for SILENT_NS. The oldest forwards are looked at
        first, so this costs nothing while answers come."""
        groups: dict[int, None] = {}
        for operation in self.under_way.values():
            if operation.finished:
                continue
            if now_ns - self.sent_ns(operation) < SILENT_NS:
                break
            groups[operation.group_id] = None
        return groups

    def due(self, now_ns: int) -> list[Operation]:
        """Forget those that have to be repeated now, and return them."""
        return self.take(
            lambda o: now_ns - self.sent_ns(o) >= (REPEAT_NS << o.repeats) and not o.finished
        )
