"""What `cluster txn` does for a client: begin, get, snapshot, commit.

The words are in docs/protocol.md.
"""

from __future__ import annotations

from typing import Final

from quorumcache.node.clients.conversation import Conversation, Handlers
from quorumcache.node.clients.order import GroupLane
from quorumcache.node.clients.windows import Retrieval
from quorumcache.node.clients.write_room import TOO_MANY_WRITES, WRITE_OVERHEAD_BYTES
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.new_ops import NEEDS_UPGRADE
from quorumcache.node.operations.operation import Read, ReadOutcome
from quorumcache.node.operations.transactions import TransactionOutcome
from quorumcache.node.protocol.requests import (
    TransactionBegin,
    TransactionCommit,
    TransactionGet,
    TransactionSnapshot,
)
from quorumcache.node.protocol.responses import END_LINE, OUT_OF_MEMORY_LINE, not_done
from quorumcache.node.protocol.transaction_lines import ID_LINE, LARGE_VALUE_LINE, version_line
from quorumcache.node.store.item import PIECES
from quorumcache.node.store.results import (
    OUT_OF_MEMORY,
    TXN_ABORTED,
    TXN_COMMITTED,
    TXN_TOO_LATE,
)

_LINES: Final = {
    TXN_COMMITTED: b"COMMITTED\r\n",
    TXN_ABORTED: b"ABORTED\r\n",
    TXN_TOO_LATE: b"TOO_LATE\r\n",
    OUT_OF_MEMORY: OUT_OF_MEMORY_LINE,
}

NO_TIME: Final = "this node has not heard yet which time the cluster has"


def transaction_begin(conversation: Conversation, request: TransactionBegin) -> None:
    """`cluster txn begin`: a number and a deadline. Nothing of it is kept."""
    conversation.counters.cmd_other += 1
    transactions = conversation.context.transactions
    if not conversation.coordinator.new_ops.may_begin():
        conversation.replies.reply(not_done(NEEDS_UPGRADE))
    elif not transactions.knows_time():
        conversation.replies.reply(not_done(NO_TIME))
    else:
        txn, deadline_ms = transactions.begin(request.limit_ms)
        conversation.replies.reply(b"TXN %b %d\r\n" % (txn.hex().encode(), deadline_ms))


def transaction_get(conversation: Conversation, request: TransactionGet) -> None:
    """`cluster txn get`: items with their versions, as of now."""
    if conversation.settings.redirect and conversation.redirected(request.keys, False):
        return
    conversation.counters.cmd_get += len(request.keys)
    TransactionRead(conversation, request.keys).start()


def transaction_snapshot(conversation: Conversation, request: TransactionSnapshot) -> None:
    """`cluster txn snapshot`: items with their versions, all of one moment. Alone on its connection
    as a commit is.
    """
    if not conversation.coordinator.new_ops.may_begin():
        conversation.replies.reply(not_done(NEEDS_UPGRADE))
    elif not conversation.context.transactions.knows_time():
        conversation.replies.reply(not_done(NO_TIME))
    elif conversation.alone(request):
        conversation.counters.cmd_get += len(request.keys)
        PendingSnapshot(conversation, request.keys).take(request.limit_ms)


def transaction_commit(conversation: Conversation, request: TransactionCommit) -> None:
    """`cluster txn commit`: alone among the requests of its connection, since it concerns any
    number of shards.
    """
    if conversation.context.transactions.is_far(request.deadline_ms):
        conversation.counters.protocol_errors += 1
        conversation.replies.reply(ID_LINE)
        return
    if not conversation.alone(request):
        return
    if conversation.context.write_room.has_room(request.size):
        PendingCommit(conversation, request).start()
        return
    conversation.counters.writes_refused += 1
    conversation.ended_alone()
    refusal = Failure(TOO_MANY_WRITES, outcome_known=True)
    conversation.replies.reply(conversation.context.failed(refusal))


class TransactionRead(Retrieval):
    """A `cluster txn get`: one linearizable read per group, each in its lane."""

    __slots__ = ("failure", "found", "keys", "pending", "reserved")

    def __init__(self, conversation: Conversation, keys: tuple[bytes, ...]) -> None:
        super().__init__(conversation)
        self.keys = keys
        self.found: dict[bytes, bytes | None] = {}
        self.failure: Failure | None = None
        self.pending = 0
        """Reads that have no outcome."""
        self.reserved = self.replies.reserve(len(keys))

    def start(self) -> None:
        """Read all keys."""
        by_group: dict[int, list[bytes]] = {}
        for key in self.keys:
            by_group.setdefault(self.conversation.context.group_of(key), []).append(key)
        self.pending = len(by_group)
        for group_id, keys in by_group.items():
            self._read(self.conversation.order.lane_of(group_id), tuple(keys))

    def _read(self, lane: GroupLane, keys: tuple[bytes, ...]) -> None:
        self.conversation.order.begin(lane, False, _GroupRead(self, lane, keys).start)

    def group_read(self, lane: GroupLane, keys: tuple[bytes, ...], outcome: ReadOutcome) -> None:
        """The keys of a group are read, or cannot be."""
        if isinstance(outcome, Failure):
            self.failure = outcome
        else:
            self.found.update(zip(keys, outcome, strict=True))
        self.conversation.order.ended(lane, False)
        self.pending -= 1
        if not self.pending:
            self.finish()

    def finish(self) -> None:
        """All keys are read, or one cannot be."""
        conversation = self.conversation
        data = self.reply()
        self.replies.came(self.reserved, len(self.keys), len(data))
        self.replies.fill(self.slot, data)
        if conversation.context.events.is_on:
            for key, item in self.found.items():
                conversation.context.events.fetched(conversation.number, key, item)

    def reply(self) -> bytes:
        """What the client hears."""
        conversation = self.conversation
        if self.failure is not None:
            return conversation.context.failed(self.failure)
        lines = []
        for key in self.keys:
            item = self.found[key]
            if item is None:
                continue
            if item[0] & PIECES:
                return LARGE_VALUE_LINE
            lines.append(version_line(key, item))
        conversation.counters.get_hits += len(lines)
        conversation.counters.get_misses += len(self.keys) - len(lines)
        lines.append(END_LINE)
        return b"".join(lines)


class _GroupRead:
    """The keys of one group; an object for the reason of `_GroupRead` in `retrievals.py`."""

    __slots__ = ("keys", "lane", "of", "read")

    def __init__(self, of: TransactionRead, lane: GroupLane, keys: tuple[bytes, ...]) -> None:
        self.of = of
        self.lane = lane
        self.keys = keys
        self.read: Read | None = None

    def start(self, deadline_ns: int) -> None:
        """Read them, in their lane."""
        lane = self.lane
        started = self.of.conversation.coordinator.read(
            lane.group_id, self.keys, self.done, lane.last_read, 0, self.of, deadline_ns
        )
        if not started.finished:
            self.read = lane.last_read = started

    def done(self, outcome: ReadOutcome) -> None:
        """The outcome."""
        read, self.read = self.read, None
        self.lane.ended_read(read)
        self.of.group_read(self.lane, self.keys, outcome)


class PendingSnapshot(TransactionRead):
    """A `cluster txn snapshot`: all keys are held while they are read."""

    __slots__ = ()

    def take(self, limit_ms: int) -> None:
        """Take it within that time. Nothing else of the connection is under way."""
        context = self.conversation.context
        context.transactions.snapshots.take(
            self.keys, limit_ms, context.group_of, self, self._taken
        )

    def _taken(self, outcome: dict[bytes, bytes | None] | Failure) -> None:
        if isinstance(outcome, Failure):
            self.failure = outcome
        else:
            self.found = outcome
        self.conversation.ended_alone()
        self.finish()


class PendingCommit:
    """A commit that is under way, from its begin to its reply."""

    __slots__ = ("_conversation", "_request", "_size", "_slot")

    def __init__(self, conversation: Conversation, request: TransactionCommit) -> None:
        self._conversation = conversation
        self._request = request
        self._slot = conversation.replies.take_slot()
        self._size = request.size + WRITE_OVERHEAD_BYTES
        conversation.inflight_bytes += self._size
        conversation.context.write_room.taken_bytes += self._size

    def start(self) -> None:
        """Commit it. Nothing else of the connection is under way."""
        request, context = self._request, self._conversation.context
        context.transactions.commit(
            request.txn,
            request.deadline_ms,
            request.checks,
            request.writes,
            context.group_of,
            self._ended,
        )

    def _ended(self, outcome: TransactionOutcome) -> None:
        conversation = self._conversation
        conversation.inflight_bytes -= self._size
        conversation.context.write_room.taken_bytes -= self._size
        conversation.ended_alone()
        if isinstance(outcome, Failure):
            line = conversation.context.failed(outcome)
        elif isinstance(outcome, tuple):
            key = outcome[1]
            assert isinstance(key, bytes)
            line = b"CONFLICT %b\r\n" % key
        else:
            line = _LINES[outcome]
        conversation.replies.fill(self._slot, line)


TRANSACTION_HANDLERS: Handlers = {
    TransactionBegin: transaction_begin,
    TransactionGet: transaction_get,
    TransactionSnapshot: transaction_snapshot,
    TransactionCommit: transaction_commit,
}
