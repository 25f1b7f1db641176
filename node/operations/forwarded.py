"""Operations that other nodes forwarded to a leader here, while they wait for their answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from quorumcache.node.operations.failure import HELD_WHY
from quorumcache.node.operations.meta_read import Hint
from quorumcache.node.operations.read_values import ReadValues
from quorumcache.node.peers.items import FORWARD_LOST, FORWARD_RESULT
from quorumcache.node.state_machine import Command, ReadWaiter, Result
from quorumcache.node.store.results import HELD, shown_item

if TYPE_CHECKING:
    from quorumcache.node.replica.group import ReplicaGroup


class Answering:
    """What answers other nodes: `Serving`.

    A class and no `Protocol`: each forwarded operation asks it, and mypyc calls the methods of a
    class directly.
    """

    read_values: ReadValues

    def submit(
        self, group: ReplicaGroup, command: Command, size: int, waiter: Any, *, retry: bool
    ) -> bool:
        """Propose a command of a client at this leader. False: it was refused, or waits, and must
        not be overtaken."""
        raise NotImplementedError

    def reply(self, node_id: int, item: tuple[Any, ...]) -> None:
        """Send an answer to another node."""
        raise NotImplementedError

    def refuse(self, node_id: int, request_id: int, group_id: int, why: str) -> None:
        """Answer that it was certainly not executed here."""
        raise NotImplementedError

    def hint(self, group: ReplicaGroup, key: bytes, asks: int) -> Hint | None:
        """What this replica knows of the use of a key's item."""
        raise NotImplementedError

    def lookup(
        self, group: ReplicaGroup, keys: tuple[bytes, ...], waiter: ReadWaiter, asks: int = 0
    ) -> list[bytes | None] | None:
        """Packed items, or None: then the waiter hears once they can be looked up again."""
        raise NotImplementedError

    def reply_first_items(
        self,
        node_id: int,
        request_id: int,
        group_id: int,
        items: Sequence[bytes | None],
        hint: Hint | None = None,
    ) -> None:
        """Answer a read with as many of its items as one answer may hold."""
        raise NotImplementedError


class ForwardedWrite:
    """Answers the node that forwarded a write to us."""

    __slots__ = ("group_id", "node_id", "request_id", "serving")

    def __init__(self, serving: Answering, node_id: int, request_id: int, group_id: int) -> None:
        self.serving = serving
        self.node_id = node_id
        self.request_id = request_id
        self.group_id = group_id

    def on_result(self, result: Result) -> None:
        if result == HELD:  # It was not executed, and that node tries it again.
            self.on_refused(HELD_WHY)
            return
        item = shown_item(result)
        if item is not None:
            self.serving.read_values.keep(self.group_id, item)
        self.serving.reply(self.node_id, (FORWARD_RESULT, self.request_id, result))

    def on_refused(self, why: str) -> None:
        self.serving.refuse(self.node_id, self.request_id, self.group_id, why)

    def on_lost(self) -> None:
        self.serving.reply(self.node_id, (FORWARD_LOST, self.request_id))


class ForwardedRead:
    """Answers the node that forwarded a read to us."""

    __slots__ = ("asks", "group", "keys", "node_id", "request_id", "serving")

    def __init__(
        self,
        serving: Answering,
        node_id: int,
        request_id: int,
        group: ReplicaGroup,
        keys: tuple[bytes, ...],
        asks: int,
    ) -> None:
        self.serving = serving
        self.node_id = node_id
        self.request_id = request_id
        self.group = group
        self.keys = keys
        self.asks = asks

    def on_readable(self) -> None:
        serving = self.serving
        hint = serving.hint(self.group, self.keys[0], self.asks)
        items = serving.lookup(self.group, self.keys, self, self.asks)
        if items is not None:
            group_id = self.group.group_id
            serving.reply_first_items(self.node_id, self.request_id, group_id, items, hint)

    def on_refused(self, why: str) -> None:
        self.serving.refuse(self.node_id, self.request_id, self.group.group_id, why)
