"""A large value on its way from a client into its shard: its pieces, then the command that stores.

Each piece is a write of its own (OP_PIECE) under the node's session, sent as soon as it is here and
there is room; they need no order among each other or with other requests, since nothing sees them.
When the block has ended, the command that stores (OP_STORE_PIECES) takes its place among the
writes of the connection, and runs once all pieces are there.

A value that was not stored, for whatever reason, is dropped: by OP_DROP_PIECES from here, or by the
shard's leader if this node could not say so.
"""

from __future__ import annotations

from typing import Any, Final

from quorumcache.node.clients.conversation import Conversation, UploadRoom
from quorumcache.node.clients.order import GroupLane
from quorumcache.node.clients.replies import Slot
from quorumcache.node.clients.write_room import WRITE_OVERHEAD_BYTES
from quorumcache.node.clients.writes import PendingWrite
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.numbering import WriteId
from quorumcache.node.operations.operation import Write, WriteOutcome
from quorumcache.node.store.commands import OP_DROP_PIECES, OP_PIECE, OP_STORE_PIECES
from quorumcache.node.store.results import (
    OUT_OF_MEMORY,
    PIECE_STAGED,
    PIECES_MISSING,
    STAGING_FULL,
)

PIECES_UNDER_WAY_MAX: Final = 4
"""Pieces of one client that have no outcome yet: enough to keep disk and followers busy, and little
for others to wait behind."""

FULL_RETRY_SECONDS: Final = 0.05
"""Pause before a shard that takes in as many values as it can is asked again."""

DROPPED: Final = "pieces of the value were dropped, since no more came for too long; send it again"


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
        "_total_bytes",
        "_under_way",
        "failure",
        "identity",
        "is_out_of_memory",
        "request",
        "upload_id",
        "waiting",
    )

    def __init__(
        self, conversation: Conversation, request: Any, total_bytes: int, identity: WriteId | None
    ) -> None:
        """`request`: the storage command, without its value."""
        super().__init__()
        self._conversation = conversation
        self.request = request
        self.identity = identity
        self._key: bytes = request.key
        self._group_id = conversation.context.group_of(self._key)
        self._total_bytes = total_bytes
        self.upload_id = conversation.coordinator.sessions.new_id()
        self._next = 0
        """Position of the next piece."""
        self._under_way = 0
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
        self.waiting: LargeWrite | None = None
        """Goes on once all pieces have their outcome."""

    @property
    def is_settled(self) -> bool:
        """No piece is under way."""
        return self._under_way == 0

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
        def done(outcome: WriteOutcome) -> None:
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
        if not self._under_way and self.waiting is not None:
            self.waiting.go_on()
        self._conversation.replies.schedule_pump()

    def _count(self, pieces: int, size: int) -> None:
        self._under_way += pieces
        self.is_full = self._under_way >= (PIECES_UNDER_WAY_MAX if self._is_begun else 1)
        self._conversation.inflight_bytes += size
        self._conversation.context.write_room.taken_bytes += size

    def fail(self, why: str) -> None:
        """The value cannot be stored. Its block is still received, and thrown away."""
        self._is_over = True
        if self.failure is None:  # Nothing was stored, whatever became of a piece.
            self.failure = Failure(why, outcome_known=True)

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


class LargeWrite(PendingWrite):
    """The command that stores an uploaded value, from its lane to its reply."""

    __slots__ = ("_deadline_ns", "_instead", "_upload")

    def __init__(
        self,
        conversation: Conversation,
        slot: Slot | None,
        lane: GroupLane,
        upload: Upload,
        op: int,
        args: tuple[object, ...],
        instead: tuple[int, bytes] | None,
    ) -> None:
        """`op`, `args`: the storage command. `instead`: what is written if the leader has no memory
        for the value, and what is answered then; None = a refusal without a write.
        """
        key: bytes = upload.request.key
        identity = upload.identity
        super().__init__(conversation, slot, lane, op, key, args, len(key), None, identity)
        self._upload = upload
        self._instead = instead
        self._deadline_ns = 0

    def start(self, deadline_ns: int) -> None:
        """Store it, in its lane, when all its pieces are there."""
        self._deadline_ns = deadline_ns
        if self._upload.is_settled:
            self.go_on()
        else:
            self._upload.waiting = self

    def go_on(self) -> None:
        """All pieces have their outcome."""
        upload = self._upload
        if upload.failure is not None:
            self.done(upload.failure)
        elif upload.is_out_of_memory:
            upload.drop()
            if self._instead is None:
                self.done(OUT_OF_MEMORY)
            else:
                self.op, self.reply = self._instead
                self._write(self.op, ())
        else:
            self._write(OP_STORE_PIECES, (upload.upload_id, (self.op, *self.args)))

    def _write(self, op: int, args: tuple[object, ...]) -> None:
        lane = self.lane
        write: Write = self.conversation.coordinator.write(
            *(lane.group_id, op, self.key, args, self.size, self.done),
            *(lane.last_write, self.identity, self._deadline_ns),
        )
        if not write.finished:
            self.write = lane.last_write = write

    def done(self, outcome: WriteOutcome) -> None:
        """The outcome."""
        if isinstance(outcome, Failure):
            self._upload.drop()
        elif outcome == PIECES_MISSING:
            outcome = Failure(DROPPED, outcome_known=True)
        super().done(outcome)
