"""A large value on its way from a client into its shard: its pieces, then the command that stores.

Each piece is a write of its own (OP_PIECE) under the node's session, sent as soon as it is here and
there is room; they need no order among each other or with other requests, since nothing sees them.
When the block has ended and all pieces are there, the command that stores (OP_STORE_PIECES) takes
its place among the writes of the connection. Until then no later request begins.

A value that was not stored, for whatever reason, is dropped: by OP_DROP_PIECES from here, or by the
shard's leader if this node could not say so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from quorumcache.node.clients.conversation import Conversation, UploadRoom
from quorumcache.node.clients.write_room import WRITE_OVERHEAD_BYTES
from quorumcache.node.clients.writes import PendingWrite, fenced_args
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.numbering import WriteId
from quorumcache.node.operations.operation import WriteOutcome
from quorumcache.node.protocol.requests import MetaSet, Store
from quorumcache.node.store.commands import (
    OP_CAS,
    OP_DELETE,
    OP_DROP_PIECES,
    OP_FENCED,
    OP_META_SET,
    OP_PIECE,
    OP_SET,
    OP_STORE_PIECES,
)
from quorumcache.node.store.results import (
    DELETED,
    EXISTS,
    NOT_FOUND,
    OUT_OF_MEMORY,
    PIECE_STAGED,
    PIECES_MISSING,
    STAGING_FULL,
)

PIECES_UNDER_WAY_MAX: Final = 4
"""Pieces of one client that have no outcome yet: enough to keep disk and followers busy, and little
for others to wait behind."""

PIECE_NS: Final = 20_000_000
"""For each such time that the last piece took, one more goes at once: a client gets through some 6
MB/s where the disk is slow or replicas are far apart. Elsewhere one piece at a time fills as much
of the disk as several do, and small requests wait less behind it."""

FULL_RETRY_SECONDS: Final = 0.05
"""Pause before a shard that takes in as many values as it can is asked again."""

DROPPED: Final = "pieces of the value were dropped, since no more came for too long; send it again"


_NOTHING_STORED: Final = (DELETED, EXISTS, NOT_FOUND, OUT_OF_MEMORY)
"""Results of the write in place of one that was refused, unless it was executed before."""


class Upload(UploadRoom):
    """See the module. From the storage line to the end of its block."""

    __slots__ = (
        "_conversation",
        "_deadline_ns",
        "_group_id",
        "_is_begun",
        "_is_over",
        "_key",
        "_next",
        "_piece_ns",
        "_settled",
        "_total_bytes",
        "_under_way",
        "failure",
        "fence",
        "identity",
        "is_out_of_memory",
        "noreply",
        "request",
        "upload_id",
    )

    def __init__(
        self,
        conversation: Conversation,
        request: Store | MetaSet,
        total_bytes: int,
        noreply: bool,
        identity: WriteId | None,
    ) -> None:
        """`request`: the storage command, without its value."""
        super().__init__()
        self._conversation = conversation
        self.request = request
        self.noreply = noreply
        self.identity = identity
        self.fence = conversation.fence
        """Of the storage command, if it has one. The pieces need none: nobody sees them."""
        self._key: bytes = request.key
        self._group_id = conversation.context.group_of(self._key)
        self._total_bytes = total_bytes
        self.upload_id = conversation.coordinator.sessions.new_id()
        self._next = 0
        """Position of the next piece."""
        self._under_way = 0
        self._piece_ns = 0
        """How long the last piece took."""
        self._is_begun = False
        """The shard has taken the first piece in, and so has room for all."""
        self._is_over = False
        """Nothing more is sent."""
        self._deadline_ns = 0
        """Until when a shard that is full is asked again."""
        self.failure: Failure | None = None
        """Why the value cannot be stored."""
        self.is_out_of_memory = False
        """The leader has no memory for it."""
        self._settled: Callable[[], None] | None = None
        """Goes on once all pieces have their outcome."""

    def piece(self, piece: bytes) -> None:
        """For `UploadRoom`. The first piece has to be taken in before others are sent."""
        if not self._is_over:
            position = self._next
            self._next += 1
            self._count(1, len(piece) + WRITE_OVERHEAD_BYTES)
            if not position:
                self._deadline_ns = self._conversation.coordinator.deadline_ns()
            self._send(position, piece)

    def _send(self, position: int, piece: bytes) -> None:
        sent_ns = self._conversation.context.monotonic_ns()

        def done(outcome: WriteOutcome) -> None:
            self._piece_ns = self._conversation.context.monotonic_ns() - sent_ns
            if outcome == STAGING_FULL and self._may_ask_again():
                loop = self._conversation.context.loop
                loop.call_later(FULL_RETRY_SECONDS, lambda: self._send(position, piece))
            else:
                self._ended(outcome, len(piece))

        self._conversation.coordinator.write(
            self._group_id,
            OP_PIECE,
            self._key,
            (self.upload_id, position, self._total_bytes, piece),
            len(piece),
            done,
        )

    def _may_ask_again(self) -> bool:
        now_ns = self._conversation.context.monotonic_ns()
        return not self._is_over and now_ns < self._deadline_ns

    def _ended(self, outcome: WriteOutcome, size: int) -> None:
        if outcome == PIECE_STAGED:
            self._is_begun = True
        elif outcome == OUT_OF_MEMORY:
            self.is_out_of_memory = True
            self._is_over = True
        elif isinstance(outcome, Failure):
            self.fail(outcome.why)
        elif outcome == STAGING_FULL:
            self.fail("the shard takes in as many large values as it can; retry more slowly")
        else:
            self.fail(DROPPED)
        self._count(-1, -size - WRITE_OVERHEAD_BYTES)
        if not self._under_way and self._settled is not None:
            self._settled()
        self._conversation.replies.schedule_pump()

    def _count(self, pieces: int, size: int) -> None:
        self._under_way += pieces
        self.is_full = self.is_ended or self._under_way >= self._under_way_max()
        self._conversation.inflight_bytes += size
        self._conversation.context.write_room.taken_bytes += size

    def _under_way_max(self) -> int:
        """How many pieces may be without an outcome now. The first one of a value goes alone."""
        if not self._is_begun:
            return 1
        return min(PIECES_UNDER_WAY_MAX, 1 + self._piece_ns // PIECE_NS)

    def fail(self, why: str) -> None:
        """The value cannot be stored. Its block is still received, and thrown away."""
        self._is_over = True
        if self.failure is None:  # Nothing was stored, whatever became of a piece.
            self.failure = Failure(why, outcome_known=True)

    def when_settled(self, call: Callable[[], None]) -> None:
        """All of it is here: call back when all pieces have their outcome. Until then no later
        request of the connection begins, since it could come before what stores the value.
        """
        self.is_ended = True
        if self._under_way:
            self.is_full = True
            self._settled = call
        else:
            call()

    def drop(self) -> None:
        """For `UploadRoom`: have what the shard holds of the value dropped."""
        self._is_over = True
        self.is_full = False
        if self._next:
            self._next = 0
            self._conversation.coordinator.write(
                self._group_id, OP_DROP_PIECES, self._key, (self.upload_id, 0), 0, _ignore
            )


def _ignore(outcome: WriteOutcome) -> None:
    """If the shard does not hear of it, its leader drops the pieces later."""


class LargeWrite:
    """The command that stores an uploaded value, from its lane to its reply."""

    __slots__ = ("_deadline_ns", "_pending", "_upload")

    def __init__(self, upload: Upload, pending: PendingWrite) -> None:
        """`pending`: the storage command without its value. It renders the reply."""
        self._upload = upload
        self._pending = pending
        self._deadline_ns = 0

    def start(self, deadline_ns: int) -> None:
        """Store it, in its lane. All pieces have their outcome."""
        self._deadline_ns = deadline_ns
        upload, pending = self._upload, self._pending
        if upload.failure is not None:
            self._done(upload.failure)
        elif upload.is_out_of_memory:
            upload.drop()
            self._write_instead()
        else:
            args = (upload.upload_id, (pending.op, *pending.args))
            self._write(OP_STORE_PIECES, args, self._done)

    def _write_instead(self) -> None:
        """The leader has no memory for the value."""
        pending = self._pending
        if pending.op in (OP_SET, OP_META_SET):
            # As in memcached, for ms in every mode: nobody may read what was to be replaced.
            self._write(OP_DELETE, (), self._refused)
        elif pending.identity is not None:
            # It may be a repetition of what was done before: the session tells. If not, the leader
            # takes a cas without data for a refusal, which the session remembers.
            self._write(OP_CAS, (b"", 0, 0), self._refused)
        else:
            pending.done(OUT_OF_MEMORY)

    def _write(
        self, op: int, args: tuple[object, ...], done: Callable[[WriteOutcome], None]
    ) -> None:
        pending = self._pending
        lane = pending.lane
        if pending.fence is not None and op != OP_CAS:  # That one stores nothing.
            op, args = OP_FENCED, fenced_args(pending.fence, op, args)
        write = pending.conversation.coordinator.write(
            lane.group_id,
            op,
            pending.key,
            args,
            pending.size,
            done,
            lane.last_write,
            pending.identity,
            self._deadline_ns,
        )
        if not write.finished:
            pending.carrier = lane.last_write = write

    def _refused(self, outcome: WriteOutcome) -> None:
        """The outcome of what was written instead."""
        self._pending.done(OUT_OF_MEMORY if outcome in _NOTHING_STORED else outcome)

    def _done(self, outcome: WriteOutcome) -> None:
        if isinstance(outcome, Failure):
            self._upload.drop()
        elif outcome == PIECES_MISSING:
            outcome = Failure(DROPPED, outcome_known=True)
        self._pending.done(outcome)
