"""Operations that were sent to another node and have no answer yet.

Each has a request id. What is in flight to one node is bounded in bytes; a forward without an
answer is repeated, less often each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from node.operations import Operation, Write
from node.peer_items import FORWARD_ITEMS, FORWARD_LOST, FORWARD_REFUSED, FORWARD_RESULT
from node.serving import Serving

REPEAT_NS: Final = 1_000_000_000
"""A forward without an answer for this long is repeated; each further time it takes twice as long.
The leader may have had no connection to answer on: each node answers on the one it dialed."""

SILENT_NS: Final = 250_000_000
"""After this long without an answer other replicas are asked whether there is another leader."""

WRITE_BYTES_MAX: Final = 64 << 20
"""Bytes of keys and values of the unanswered writes to one node. Beyond it writes are held here.
One client has at most 8 MiB of them under way (`connection.py`), and held writes go in the order in
which they came, so nobody can take all of it for long."""

RELAYS_MAX: Final = 4096
"""Operations that this node passes on for nodes that do not reach the leader themselves. Each is
bounded by what its client may have under way there; beyond the number they are refused, and held
at the node they came from."""

TOO_MANY_BYTES: Final = "too many writes wait for an answer of the leader's node; retry more slowly"


class Forwards:
    """See the module docstring."""

    def __init__(self, first_id: int, timeout_ns: int) -> None:
        """`first_id`: anywhere, so that answers to an earlier life of this node match nothing."""
        self.under_way: dict[int, Operation] = {}
        """By request id, the oldest first."""
        self.next_id = first_id
        self.relays = 0
        """Of those under way: operations of other nodes."""
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
        if isinstance(operation, Write):
            self._bytes[node_id] = self._bytes.get(node_id, 0) + operation.size
        elif isinstance(operation, Relayed):
            self._bytes[node_id] = self._bytes.get(node_id, 0) + operation.size
            self.relays += 1

    def forget(self, request_id: int) -> None:
        """It has its answer, or needs none any more."""
        operation = self.under_way.pop(request_id, None)
        if isinstance(operation, Write):
            self._bytes[operation.target] -= operation.size
        elif isinstance(operation, Relayed):
            self._bytes[operation.target] -= operation.size
            self.relays -= 1

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


class Relayed(Operation):
    """An operation of another node, on its way through this one to a leader that only this one
    reaches. It is passed on once; what becomes of it is told to the node that sent it."""

    __slots__ = ("from_id", "is_read", "node_id", "serving", "size")

    serving: Serving
    node_id: int
    from_id: int
    is_read: bool
    size: int

    def on_answer(self, item: tuple[Any, ...]) -> None:
        """The leader's answer."""
        if self.finished:
            return
        self.finished = True
        kind = item[0]
        if kind == FORWARD_ITEMS and self.is_read:
            self.serving.reply_items(self.node_id, self.from_id, item[2])
        elif kind == FORWARD_RESULT and not self.is_read:
            self.serving.reply(self.node_id, (FORWARD_RESULT, self.from_id, item[2]))
        elif kind == FORWARD_REFUSED:
            self.serving.reply(self.node_id, (FORWARD_REFUSED, self.from_id, 0, item[3]))
        else:
            self.finished = False
            self.on_lost()

    def on_lost(self) -> None:
        """Nobody knows whether it was executed. A read can be asked again in any case."""
        if self.finished:
            return
        self.finished = True
        if self.is_read:
            why = "the leader did not answer the node in between"
            self.serving.reply(self.node_id, (FORWARD_REFUSED, self.from_id, 0, why))
        else:
            self.serving.reply(self.node_id, (FORWARD_LOST, self.from_id))

    def on_refused(self, why: str) -> None:
        self.on_lost()

    def expire(self) -> None:
        self.on_lost()
