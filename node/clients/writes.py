"""Writes of a client connection that are under way, from their lane to their reply.

Each takes its place in the order of replies when it is made, starts its operation at the
coordinator, and fills its place when that has ended. `gat`, which answers with items, is in
`retrievals.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.numbering import WriteId
from quorumcache.node.operations.operation import Write, WriteOutcome
from quorumcache.node.protocol.requests import FlushAll
from quorumcache.node.protocol.responses import (
    OK_LINE,
    OUT_OF_MEMORY_LINE,
    TOO_LARGE_LINE,
    render,
    session_line,
)
from quorumcache.node.store.commands import (
    OP_CAS,
    OP_DELETE,
    OP_FLUSH,
    OP_INCR,
    OP_PREPEND,
    OP_SET,
    OP_TOUCH,
)
from quorumcache.node.store.results import (
    DELETED,
    EXISTS,
    NOT_FOUND,
    OUT_OF_MEMORY,
    STORED,
    TOUCHED,
)

if TYPE_CHECKING:
    from quorumcache.node.clients.connection import MemcachedConnection, Slot

WRITE_OVERHEAD_BYTES: Final = 512
"""Charged per unfinished write: noreply writes take no slot, so this alone bounds their number."""

WRITE_BYTES_MAX: Final = 32 << 20
"""Keys and values of the unfinished writes of all clients together, those of clients that have gone
included. A connection that has as many under way as are left waits for its own first: so one that
has few of them is not behind seconds of others' large values."""

WRITE_BYTES_MIN: Final = 64 << 10
"""What of them a connection may have under way however many there are."""

WRITE_BYTES_LIMIT: Final = 512 << 20
"""Here further ones are refused: one large value of each client, while a shard has no leader. Those
of less than WRITE_BYTES_MIN are refused at twice as much, so that a few clients that come and go
with large values do not shut out the small ones of all others."""


class WriteRoom:
    """Room for the unfinished writes of all clients of a node."""

    __slots__ = ("taken_bytes",)

    def __init__(self) -> None:
        self.taken_bytes: int = 0
        """As the connections count them, with their overhead."""

    def is_short(self, inflight_bytes: int) -> bool:
        """Has a connection with so many bytes under way to wait for them before it goes on?"""
        return inflight_bytes >= WRITE_BYTES_MAX - self.taken_bytes

    def has_room(self, size: int) -> bool:
        """May one more write begin, of so many bytes?"""
        taken_bytes = self.taken_bytes
        return taken_bytes < WRITE_BYTES_LIMIT or (
            size < WRITE_BYTES_MIN and taken_bytes < 2 * WRITE_BYTES_LIMIT
        )


_NOTHING_STORED: Final = (DELETED, EXISTS, NOT_FOUND, OUT_OF_MEMORY)
"""Results of the write that stands for a refused one, when it was not executed before. A leader
whose memory is full refuses that one as well.
"""


class PendingWrite:
    """A write of this connection, from its lane to its reply."""

    __slots__ = (
        "args",
        "connection",
        "group_id",
        "identity",
        "key",
        "op",
        "reply",
        "size",
        "slot",
        "write",
    )

    def __init__(
        self,
        connection: MemcachedConnection,
        slot: Slot | None,
        group_id: int,
        op: int,
        key: bytes,
        args: tuple[object, ...],
        size: int,
        reply: bytes | None,
        identity: WriteId | None = None,
    ) -> None:
        self.connection = connection
        self.slot = slot
        self.group_id = group_id
        self.op = op
        self.key = key
        self.args = args
        self.size = size
        self.reply = reply
        """What to answer once it is done, unless it was done before under its identity; None = the
        result."""
        self.identity = identity
        """The client's own (session, sequence, floor)."""
        self.write: Write | None = None
        connection.inflight_bytes += size + WRITE_OVERHEAD_BYTES
        connection.write_room.taken_bytes += size + WRITE_OVERHEAD_BYTES

    def start(self, deadline_ns: int) -> None:
        connection = self.connection
        last = connection.last_write
        write = connection.server.coordinator.write(
            self.group_id,
            self.op,
            self.key,
            self.args,
            self.size,
            self.done,
            last.get(self.group_id),
            self.identity,
            deadline_ns,
        )
        if not write.finished:
            self.write = last[self.group_id] = write

    def done(self, outcome: WriteOutcome) -> None:
        connection = self.connection
        connection.inflight_bytes -= self.size + WRITE_OVERHEAD_BYTES
        connection.write_room.taken_bytes -= self.size + WRITE_OVERHEAD_BYTES
        self.args = ()
        if self.write is not None and connection.last_write.get(self.group_id) is self.write:
            del connection.last_write[self.group_id]
        if isinstance(outcome, Failure):
            data = connection.server.failed(outcome)
        else:
            data = self._render(outcome)
        connection.lane_ended(self.group_id, True)
        connection.fill(self.slot, data)

    def _render(self, result: Any) -> bytes:
        if self.reply is not None:
            if self.identity is None or result in _NOTHING_STORED:
                return self.reply
            return render(result)  # A repetition hears what the first attempt did.
        op = self.op
        counters = self.connection.server.counters
        if op <= OP_PREPEND:
            if result == STORED:
                counters.total_items += 1
                if op == OP_CAS:
                    counters.cas_hits += 1
            elif result in (OUT_OF_MEMORY, DELETED) or (op == OP_SET and result == NOT_FOUND):
                # A set refused for memory runs as a delete (see Serving.submit).
                return OUT_OF_MEMORY_LINE
            elif op != OP_CAS and result in (EXISTS, NOT_FOUND):
                # Another node refused it for its size (see `_refused_store`).
                return TOO_LARGE_LINE
            elif op == OP_CAS:
                if result == EXISTS:
                    counters.cas_badval += 1
                else:
                    counters.cas_misses += 1
        elif op == OP_DELETE:
            if result == DELETED:
                counters.delete_hits += 1
            else:
                counters.delete_misses += 1
        elif op == OP_TOUCH:
            if result == TOUCHED:
                counters.touch_hits += 1
            else:
                counters.touch_misses += 1
        elif result == NOT_FOUND:
            if op == OP_INCR:
                counters.incr_misses += 1
            else:
                counters.decr_misses += 1
        elif type(result) is tuple:
            if op == OP_INCR:
                counters.incr_hits += 1
            else:
                counters.decr_hits += 1
        return render(result)


class OpenSession:
    """`cluster session open`: a session of the client's own in one shard."""

    def __init__(self, connection: MemcachedConnection, group_id: int) -> None:
        self.connection = connection
        self.group_id = group_id
        slot = connection.take_slot()
        assert slot is not None
        self.slot = slot

    def start(self) -> None:
        self.connection.server.coordinator.open_client_session(self.group_id, self.done)

    def done(self, outcome: int | Failure) -> None:
        connection = self.connection
        if isinstance(outcome, Failure):
            connection.fill(self.slot, connection.server.failed(outcome))
        else:
            connection.fill(self.slot, session_line(self.group_id - 1, outcome))


class FlushAllShards:
    """flush_all: one command to every shard; OK when all have it."""

    def __init__(self, connection: MemcachedConnection, request: FlushAll) -> None:
        self.connection = connection
        self.delay = request.delay
        self.slot = connection.take_slot(request.noreply)
        self.pending = 0
        self.failure: Failure | None = None

    def start(self) -> None:
        shards = self.connection.server.shard_count
        self.pending = shards
        for shard in range(shards):
            self.connection.server.coordinator.write(
                shard + 1, OP_FLUSH, b"", (self.delay,), 0, self._done
            )

    def _done(self, outcome: WriteOutcome) -> None:
        if isinstance(outcome, Failure) and (self.failure is None or outcome.outcome_known):
            # Shards that were flushed stay so: the whole is in doubt, not undone.
            self.failure = Failure(outcome.why, outcome_known=False)
        self.pending -= 1
        if self.pending == 0:
            connection = self.connection
            connection.barrier = False
            if self.failure is not None:
                connection.fill(self.slot, connection.server.failed(self.failure))
            else:
                connection.fill(self.slot, OK_LINE)
