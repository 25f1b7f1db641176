"""Operations of another node on their way through this one.

A node that does not reach a group's leader, or has no answer from it, asks one that does. What is
passed on is a plain forward, so it goes no further than to the leader, and in no circle.
"""

from __future__ import annotations

from typing import Any, Final

from quorumcache.node.operations.deadlines import Deadlines
from quorumcache.node.operations.failure import NO_LEADER, RELAY_WITHOUT_ANSWER
from quorumcache.node.operations.forwards import TOO_MANY_BYTES, Forwards
from quorumcache.node.operations.leaders import Leaders
from quorumcache.node.operations.meta_read import Hint
from quorumcache.node.operations.operation import Operation
from quorumcache.node.operations.serving import Serving
from quorumcache.node.peers.items import (
    FORWARD_ITEMS,
    FORWARD_LOST,
    FORWARD_READ,
    FORWARD_REFUSED,
    FORWARD_RESULT,
)

RELAYS_MAX: Final = 4096
"""Operations that this node passes on for nodes that do not reach the leader themselves. Each is
bounded by what its client may have under way there; beyond the number they are refused, and held
at the node they came from."""

TOO_MANY_RELAYS: Final = "the relaying node has too many operations under way; retry more slowly"


class Relays:
    """See the module docstring."""

    def __init__(
        self, serving: Serving, leaders: Leaders, forwards: Forwards, deadlines: Deadlines
    ) -> None:
        self._serving = serving
        self._leaders = leaders
        self._forwards = forwards
        self._deadlines = deadlines
        self.count = 0
        """Operations that were passed on and have no answer yet."""

    def take(self, node_id: int, item: tuple[Any, ...]) -> None:
        """A FORWARD_READ or FORWARD_WRITE of a node that does not reach the group's leader: serve
        it, or pass it on to the leader."""
        serving = self._serving
        is_read = item[0] == FORWARD_READ
        _, request_id, group_id, *_ = item
        leader, relayed = self._leaders.way_to(group_id)
        group = serving.host.groups.get(group_id)
        if group is None or group.is_leader or not leader or relayed or leader == node_id:
            if is_read:
                serving.forwarded_read(node_id, item)
            else:
                serving.forwarded_write(node_id, item)
            return
        forwards = self._forwards
        if self.count >= RELAYS_MAX:
            serving.refuse(node_id, request_id, group_id, TOO_MANY_RELAYS)
            return
        if not forwards.has_room(leader):
            serving.refuse(node_id, request_id, group_id, TOO_MANY_BYTES)
            return
        operation = Relayed(self, node_id, item, self._deadlines.from_now())
        own = (item[0], forwards.next_id, *item[2:])
        if not forwards.send_item(operation, leader, own):
            serving.refuse(node_id, request_id, group_id, NO_LEADER)
            return
        self.count += 1
        self._deadlines.watch(operation)

    def ended(self) -> None:
        """One that was passed on has its answer, or will get none."""
        self.count -= 1

    def reply(self, node_id: int, item: tuple[Any, ...]) -> None:
        """Answer the node that asked."""
        self._serving.reply(node_id, item)

    def reply_items(
        self, node_id: int, request_id: int, items: tuple[bytes | None, ...], hint: Hint | None
    ) -> None:
        """Likewise, with the items of a read."""
        self._serving.reply_items(node_id, request_id, items, hint)


class Relayed(Operation):
    """An operation of another node, on its way through this one to a leader that only this one
    reaches. It is passed on once; what becomes of it is told to the node that sent it."""

    __slots__ = ("from_id", "is_read", "node_id", "relays")

    def __init__(
        self, relays: Relays, node_id: int, item: tuple[Any, ...], deadline_ns: int
    ) -> None:
        """`item`: as `node_id` sent it."""
        super().__init__(item[2], deadline_ns)
        self.relays = relays
        self.node_id = node_id
        self.from_id: int = item[1]
        """Its request id at that node."""
        self.is_read = item[0] == FORWARD_READ
        self.size = 0 if self.is_read else item[3]

    def on_answer(self, item: tuple[Any, ...]) -> None:
        """The leader's answer."""
        if self.finished:
            return
        kind = item[0]
        if kind == FORWARD_ITEMS and self.is_read:
            self._end()
            hint = item[3] if len(item) > 3 else None
            self.relays.reply_items(self.node_id, self.from_id, item[2], hint)
        elif kind == FORWARD_RESULT and not self.is_read:
            self._end()
            self.relays.reply(self.node_id, (FORWARD_RESULT, self.from_id, item[2]))
        elif kind == FORWARD_REFUSED:
            self._end()
            self.relays.reply(self.node_id, (FORWARD_REFUSED, self.from_id, 0, item[3]))
        else:
            self.on_lost()

    def _end(self) -> None:
        self.finished = True
        self.relays.ended()

    def on_lost(self) -> None:
        """It is not known whether it was executed. A read can be asked again in any case."""
        if self.finished:
            return
        self._end()
        if self.is_read:
            self.relays.reply(
                self.node_id, (FORWARD_REFUSED, self.from_id, 0, RELAY_WITHOUT_ANSWER)
            )
        else:
            self.relays.reply(self.node_id, (FORWARD_LOST, self.from_id))

    def on_refused(self, why: str) -> None:
        self.on_lost()

    def expire(self) -> None:
        self.on_lost()
