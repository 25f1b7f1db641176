"""Operations of another node on their way through this one.

A node that does not reach a group's leader, or has no answer from it, asks one that does. What is
passed on is a plain forward, so it goes no further than to the leader, and in no circle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from quorumcache.node.operations.forwards import TOO_MANY_BYTES
from quorumcache.node.operations.operation import Operation
from quorumcache.node.operations.serving import Serving
from quorumcache.node.peers.items import (
    FORWARD_ITEMS,
    FORWARD_LOST,
    FORWARD_READ,
    FORWARD_REFUSED,
    FORWARD_RESULT,
)

if TYPE_CHECKING:
    from quorumcache.node.operations.coordinator import Coordinator

RELAYS_MAX: Final = 4096
"""Operations that this node passes on for nodes that do not reach the leader themselves. Each is
bounded by what its client may have under way there; beyond the number they are refused, and held
at the node they came from."""


def relay(coordinator: Coordinator, node_id: int, item: tuple[Any, ...]) -> None:
    """A FORWARD_READ or FORWARD_WRITE of a node that does not reach the group's leader: serve it,
    or pass it on to the leader."""
    serving = coordinator.serving
    is_read = item[0] == FORWARD_READ
    _, request_id, group_id, *_ = item
    leader, relayed = coordinator.leaders.way_to(group_id)
    group = coordinator.host.groups.get(group_id)
    if group is None or group.is_leader or not leader or relayed or leader == node_id:
        if is_read:
            serving.forwarded_read(node_id, item)
        else:
            serving.forwarded_write(node_id, item)
        return
    forwards = coordinator.forwards
    own = (item[0], forwards.next_id, *item[2:])
    if coordinator.relays >= RELAYS_MAX or not forwards.has_room(leader):
        serving.refuse(node_id, request_id, group_id, TOO_MANY_BYTES)
    elif not coordinator.peers.send(leader, own):
        serving.refuse(node_id, request_id, group_id, "no leader")
    else:
        operation = Relayed(coordinator, group_id, coordinator.deadline_ns())
        operation.serving = serving
        operation.node_id = node_id
        operation.from_id = request_id
        operation.is_read = is_read
        operation.size = 0 if is_read else item[3]
        coordinator.relays += 1
        coordinator.sent(operation, leader)
        coordinator.deadlines.queue.append(operation)


class Relayed(Operation):
    """An operation of another node, on its way through this one to a leader that only this one
    reaches. It is passed on once; what becomes of it is told to the node that sent it."""

    __slots__ = ("from_id", "is_read", "node_id", "serving")

    serving: Serving
    node_id: int
    from_id: int
    is_read: bool

    def on_answer(self, item: tuple[Any, ...]) -> None:
        """The leader's answer."""
        if self.finished:
            return
        kind = item[0]
        if kind == FORWARD_ITEMS and self.is_read:
            self._end()
            self.serving.reply_items(self.node_id, self.from_id, item[2])
        elif kind == FORWARD_RESULT and not self.is_read:
            self._end()
            self.serving.reply(self.node_id, (FORWARD_RESULT, self.from_id, item[2]))
        elif kind == FORWARD_REFUSED:
            self._end()
            self.serving.reply(self.node_id, (FORWARD_REFUSED, self.from_id, 0, item[3]))
        else:
            self.on_lost()

    def _end(self) -> None:
        self.finished = True
        self.coordinator.relays -= 1

    def on_lost(self) -> None:
        """Nobody knows whether it was executed. A read can be asked again in any case."""
        if self.finished:
            return
        self._end()
        if self.is_read:
            why = "the leader did not answer the node in between"
            self.serving.reply(self.node_id, (FORWARD_REFUSED, self.from_id, 0, why))
        else:
            self.serving.reply(self.node_id, (FORWARD_LOST, self.from_id))

    def on_refused(self, why: str) -> None:
        self.on_lost()

    def expire(self) -> None:
        self.on_lost()
