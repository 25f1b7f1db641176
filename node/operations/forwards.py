"""Operations that were sent to another node and have no answer yet.

Each has a request id. What is in flight to one node is bounded in bytes; a forward without an
answer is repeated, less often each time. Only the node that was asked may answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.operations.failure import BEHIND_WAITING, NO_CONNECTION
from quorumcache.node.operations.lock_reads import LockRead
from quorumcache.node.operations.meta_read import MetaRead
from quorumcache.node.operations.operation import Operation, Proposal, Read, Write
from quorumcache.node.operations.read_values import PieceRead
from quorumcache.node.operations.write_bundles import WriteBundles
from quorumcache.node.peers.items import (
    FORWARD_ITEMS,
    FORWARD_READ,
    FORWARD_REFUSED,
    FORWARD_RELAY,
    FORWARD_WRITE,
    WRITES_FORM,
)

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock
    from quorumcache.node.peers.sender import PeerSender
    from quorumcache.node.telemetry.counters import Counters

REPEAT_NS: Final = 1_000_000_000
"""A forward without an answer for this long is repeated; each further time it takes twice as long.
The leader may have had no connection to answer on: each node answers on the one it dialed."""

SILENT_NS: Final = 250_000_000
"""After this long without an answer other replicas are asked whether there is another leader."""

WRITE_BYTES_MAX: Final = 64 << 20
"""Bytes of keys and values of the unanswered writes to one node. Beyond it writes are held here.
One client has at most 8 MiB of them under way (`clients/write_room.py`), and held writes go in the
order in which they came, so no client can take all of it for long."""

TOO_MANY_BYTES: Final = "too many unanswered writes to the leader's node; retry more slowly"


class Forwards:
    """See the module docstring."""

    def __init__(
        self,
        *,
        peers: PeerSender,
        clock: Clock,
        counters: Counters,
        flush_soon: Callable[[], None],
        first_id: int,
        timeout_ns: int,
    ) -> None:
        """`flush_soon` is called after each item that was given to `peers`.

        `first_id`: anywhere, so that answers to an earlier life of this node match nothing.
        `timeout_ns`: from the beginning of an operation to its deadline.
        """
        self.peers = peers
        self.under_way: dict[int, Operation] = {}
        """By request id, the oldest first."""
        self.next_id = first_id
        self._clock = clock
        self._counters = counters
        self._flush_soon = flush_soon
        self._timeout_ns = timeout_ns
        self.writes = WriteBundles(peers)
        """What leaves at the end of this turn."""
        self._bytes: dict[int, int] = {}
        """Sizes of the writes under way, by the node they went to."""

    # -- sending -------------------------------------------------------------------------

    def has_room(self, node_id: int) -> bool:
        """May another write go to this node?"""
        return self._bytes.get(node_id, 0) < WRITE_BYTES_MAX

    def send(self, operation: Operation, node_id: int, relayed: bool) -> str:
        """Send it to a node, which is asked to relay it if need be. Why it was not sent, or ""."""
        request_id = self.next_id
        item: tuple[Any, ...]
        if isinstance(operation, Read):
            item = _read_item(operation, request_id)
        else:
            assert isinstance(operation, Proposal)
            if isinstance(operation, Write):
                if not self.has_room(node_id):
                    return TOO_MANY_BYTES
                # What was behind a write of another client that waits might be so again: of many
                # for one key that a transaction holds, each bundle would bring one further. Unless
                # an earlier one of its own client is gathered, it goes by itself.
                if (
                    not relayed
                    and (operation.why != BEHIND_WAITING or operation.after is not None)
                    and self.peers.form_of(node_id) >= WRITES_FORM
                ):
                    self._gather(operation, node_id)
                    return ""
            item = (
                FORWARD_WRITE,
                request_id,
                operation.group_id,
                operation.size,
                operation.uncertain,
                operation.command(),
            )
        if relayed:
            item = (FORWARD_RELAY, request_id, item)
        if not self.send_item(operation, node_id, item):
            return NO_CONNECTION
        if isinstance(operation, Read):
            operation.asked_replica = False
            operation.is_unordered = relayed
        elif isinstance(operation, Proposal):
            operation.in_flight = True
        return ""

    def send_item(self, operation: Operation, node_id: int, item: tuple[Any, ...]) -> bool:
        """Send the item of an operation, as request `next_id`. False: there is no connection."""
        if not self.peers.send(node_id, item):
            return False
        self._sent(operation, node_id)
        return True

    def _sent(self, operation: Operation, node_id: int) -> None:
        operation.why = ""
        operation.repeat_ns = self._clock.monotonic_ns() + (REPEAT_NS << operation.repeats)
        self.add(operation, node_id)
        self._counters.forwarded_out += 1
        self._flush_soon()

    def _gather(self, write: Write, node_id: int) -> None:
        """Have it leave with the others of this turn."""
        bundle = self.writes.add(node_id, self.next_id, write)
        self._sent(write, node_id)
        write.in_flight = True
        if bundle.is_full:
            self._send_writes(node_id)

    def is_gathered(self, write: Operation) -> bool:
        """Has it not left yet? What is gathered for the same node stays behind it."""
        return self.writes.holds(write.target, write.request_id)

    def send_writes(self) -> None:
        """The turn ends: let what was gathered go."""
        if self.writes.open:  # In most turns nothing was, and to list that takes time, too.
            for node_id in list(self.writes.open):
                self._send_writes(node_id)

    def _send_writes(self, node_id: int) -> None:
        for write in self.writes.send(node_id):
            self.forget(write.request_id)
            write.on_refused(NO_CONNECTION)

    def send_first_read(self, read: Read, node_id: int) -> bool:
        """What most reads are: the first attempt, without the detours of `send`."""
        request_id = self.next_id
        if not self.peers.send(node_id, _read_item(read, request_id)):
            return False
        self.next_id = request_id + 1
        self.under_way[request_id] = read
        read.request_id = request_id
        read.target = node_id
        read.asked_replica = False
        self._counters.forwarded_out += 1
        self._flush_soon()
        return True

    def add(self, operation: Operation, node_id: int) -> None:
        """It was sent to this node, as request `next_id`."""
        request_id = self.next_id
        self.next_id = request_id + 1
        self.under_way[request_id] = operation
        operation.request_id = request_id
        operation.target = node_id
        if operation.size:
            self._bytes[node_id] = self._bytes.get(node_id, 0) + operation.size

    # -- answers -------------------------------------------------------------------------

    def answer_at_once(self, node_id: int, item: tuple[Any, ...]) -> bool:
        """What most answers are: the one item of a read of one key.

        False, and nothing has happened, if it is anything else. The form was not checked before.
        """
        if len(item) != 3 or type(item[1]) is not int or type(item[2]) is not tuple:
            return False
        _, request_id, items = item
        read = self.under_way.get(request_id)
        if type(read) is not Read or read.target != node_id or read.finished:
            return False
        if len(items) != 1 or len(read.keys) != 1:
            return False
        found = items[0]
        if found is not None and type(found) is not bytes:
            return False
        del self.under_way[request_id]
        read.on_item(found)
        return True

    def answered(self, node_id: int, item: tuple[Any, ...]) -> Operation | None:
        """The unfinished operation that a node's answer is for; it is under way no more.

        None: it was given up, or tried elsewhere meanwhile, and that attempt decides. Raises
        `PeerFrameError` if the answer is of a kind that does not fit the operation.
        """
        operation = self.under_way.get(item[1])
        if operation is None or operation.target != node_id:
            return None
        kind = item[0]
        if isinstance(operation, Read):
            fits = kind == FORWARD_REFUSED or (
                kind == FORWARD_ITEMS and 0 < len(item[2]) <= len(operation.keys_left)
            )
        elif isinstance(operation, Proposal):
            fits = kind != FORWARD_ITEMS
        else:
            fits = True  # It is passed on to the node that asked.
        if not fits:
            raise PeerFrameError(f"an answer of kind {kind} that matches no request of this node")
        self.forget(item[1])
        return None if operation.finished else operation

    def forget(self, request_id: int) -> None:
        """It has its answer, or needs none any more."""
        operation = self.under_way.pop(request_id, None)
        if operation is not None and operation.size:
            self._bytes[operation.target] -= operation.size
        if operation is not None and self.writes.open:
            self.writes.drop(operation.target, request_id)

    def give_up(self, concerns: Callable[[Operation], bool]) -> None:
        """End the attempts that `concerns` picks, in their order. They are made again."""
        unsent = {o.request_id for o in self.under_way.values() if self.is_gathered(o)}
        for operation in self.take(concerns):
            if operation.request_id in unsent:
                operation.on_refused(NO_CONNECTION)
            else:
                operation.on_lost()

    def take(self, concerns: Callable[[Operation], bool]) -> list[Operation]:
        """Forget those that `concerns` picks, and return them."""
        picked = [(r, o) for r, o in self.under_way.items() if concerns(o)]
        for request_id, _ in picked:
            self.forget(request_id)
        return [operation for _, operation in picked]

    # -- those without an answer ---------------------------------------------------------

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


def _read_item(read: Read, request_id: int) -> tuple[Any, ...]:
    if isinstance(read, PieceRead):
        place = (read.value_id, read.position)
        return (FORWARD_READ, request_id, read.group_id, read.keys, read.staleness_ns, *place)
    if isinstance(read, MetaRead) and read.asks:
        level = (read.staleness_ns, read.asks)
        return (FORWARD_READ, request_id, read.group_id, read.keys_left, *level)
    if isinstance(read, LockRead):
        return (FORWARD_READ, request_id, read.group_id, read.asked, read.park_ms, read.asks)
    if read.staleness_ns:
        return (FORWARD_READ, request_id, read.group_id, read.keys_left, read.staleness_ns)
    return (FORWARD_READ, request_id, read.group_id, read.keys_left)
