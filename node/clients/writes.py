"""Writes of a client that are under way, from their lane to their reply.

Each takes its place in the order of replies when it is made, starts its operation at the
coordinator, and fills its place when that has ended. `gat`, which answers with items, is in
`retrievals.py`.
"""

from __future__ import annotations

from typing import Any, Final

from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.order import GroupLane
from quorumcache.node.clients.slots import Slot
from quorumcache.node.clients.write_room import TOO_MANY_WRITES, WRITE_OVERHEAD_BYTES
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.numbering import WriteId
from quorumcache.node.operations.operation import Write, WriteOutcome
from quorumcache.node.protocol.lock_requests import Fence
from quorumcache.node.protocol.requests import FlushAll
from quorumcache.node.protocol.responses import (
    OK_LINE,
    OUT_OF_MEMORY_LINE,
    STORED_LINE,
    TOO_LARGE_LINE,
    render,
    session_line,
)
from quorumcache.node.state_machine import ARGS
from quorumcache.node.store.commands import (
    BLOCK_OPS,
    FENCED_INNER,
    OP_CAS,
    OP_DELETE,
    OP_FENCED,
    OP_FLUSH,
    OP_INCR,
    OP_SET,
    OP_TOUCH,
)
from quorumcache.node.store.results import (
    DELETED,
    EXISTS,
    FENCE_OTHER_LOCK,
    FENCE_STALE,
    NOT_FOUND,
    OUT_OF_MEMORY,
    STORED,
    TOUCHED,
)

_NOTHING_STORED: Final = (DELETED, EXISTS, NOT_FOUND, OUT_OF_MEMORY)
"""Results of the write that stands for a refused one, when it was not executed before. A leader of
the release before executes the cas that stands for others than set: EXISTS or NOT_FOUND.
"""


class PendingWrite(Write):
    """A write of one key, from its lane to its reply."""

    __slots__ = ("asked", "carrier", "conversation", "fence", "lane", "reply", "slot")

    def __init__(
        self,
        conversation: Conversation,
        slot: Slot | None,
        lane: GroupLane,
        op: int,
        key: bytes,
        args: tuple[object, ...],
        size: int,
        reply: bytes | None,
        identity: WriteId | None = None,
    ) -> None:
        # As Write does; written out, since every set passes here.
        self.owner = conversation.coordinator
        self.group_id = lane.group_id
        self.deadline_ns = 0  # Its time runs from its start on.
        self.finished = False
        self.is_unsettled = False
        self.after = None
        self.then = None
        self.request_id = 0
        self.target = 0
        self.repeats = 0
        self.repeat_ns = 0
        self.why = ""
        self.refusal = ""
        self.in_flight = False
        self.uncertain = False
        self.op = op
        self.key = key
        self.args = args
        self.size = size
        self.identity = identity
        self.session = None
        self.sequence = 0 if identity is None else identity[1]
        self.is_followed = False
        self.conversation = conversation
        self.slot = slot
        self.lane = lane
        self.asked = op
        """What the client has asked for: `op` is OP_FENCED in its place if it is fenced."""
        self.reply = reply
        """What to answer once it is done, unless it was done before under its identity; None = the
        result."""
        self.fence = conversation.fence
        """The lock and the token under which it is to run; None = it is not fenced."""
        self.carrier: Write | None = None
        """Another write that is sent in its place (`LargeWrite`)."""
        if slot is None:
            conversation.silent_writes += 1
        conversation.inflight_bytes += size + WRITE_OVERHEAD_BYTES
        conversation.context.write_room.taken_bytes += size + WRITE_OVERHEAD_BYTES

    def start(self, deadline_ns: int) -> None:
        """Write it, in its lane."""
        if self.fence is not None:
            self.args = fenced_args(self.fence, self.op, self.args)
            self.op = OP_FENCED
        self.start_until(
            deadline_ns or self.conversation.coordinator.deadline_ns(), deadline_ns != 0
        )

    def start_until(self, deadline_ns: int, is_late: bool) -> None:
        """Write it as it is. `is_late`: it had to wait in its lane."""
        lane = self.lane
        self.deadline_ns = deadline_ns
        self.after = lane.last_write
        self.conversation.coordinator.begin(self, is_late)
        if not self.finished:
            lane.last_write = self

    @property
    def source(self) -> int:
        """The node that has answered it; 0 = this one."""
        return self.target if self.carrier is None else self.carrier.target

    def expire(self) -> None:
        if self.lane.until_ns > self.deadline_ns:
            self.deadline_ns = self.lane.until_ns  # It had to wait, also once it was begun.
        else:
            super().expire()

    def done(self, outcome: WriteOutcome) -> None:
        """The outcome of the write."""
        conversation = self.conversation
        if self.slot is None:
            conversation.silent_writes -= 1
        conversation.inflight_bytes -= self.size + WRITE_OVERHEAD_BYTES
        conversation.context.write_room.taken_bytes -= self.size + WRITE_OVERHEAD_BYTES
        is_stopped = self.fence is not None and is_stopped_by_fence(outcome)
        if conversation.context.events.is_on and not is_stopped:
            self._tell(outcome)
        self.args = ()
        self.lane.ended_write(self if self.carrier is None else self.carrier)
        if isinstance(outcome, Failure):
            data = conversation.context.failed(outcome)
        else:
            if is_stopped:
                conversation.counters.fences_refused += 1
                data = render(outcome)
            else:
                data = self._render(outcome)
            if self.lane.waiting or self.then is not None:
                conversation.order.answered(self.lane)
        conversation.order.ended(self.lane, True)
        self._fill(data)

    def _fill(self, data: bytes) -> None:
        self.conversation.replies.fill(self.slot, data)

    def _tell(self, outcome: WriteOutcome) -> None:
        """Somebody watches: tell of what was executed. What stands for a refused store is not told:
        the refusal was."""
        conversation = self.conversation
        if self.reply is None and not isinstance(outcome, Failure):
            args = self.args
            if self.op != self.asked:
                inner = args[FENCED_INNER - ARGS]
                assert isinstance(inner, tuple)
                args = inner[1:]
            events = conversation.context.events
            events.wrote(conversation.number, self.asked, self.key, args, outcome)

    def _render(self, result: Any) -> bytes:
        if self.reply is not None:
            if self.identity is None or result in _NOTHING_STORED:
                return self.reply
            return render(result)  # A repetition hears what the first attempt did.
        op = self.asked
        counters = self.conversation.counters
        if op == OP_SET and isinstance(result, int) and result == STORED:
            counters.total_items += 1
            return STORED_LINE
        if op in BLOCK_OPS:
            if result == STORED:
                counters.total_items += 1
                if op == OP_CAS:
                    counters.cas_hits += 1
            elif result in (OUT_OF_MEMORY, DELETED) or (op == OP_SET and result == NOT_FOUND):
                # A set refused for memory runs as a delete (see Serving.submit).
                return OUT_OF_MEMORY_LINE
            elif op != OP_CAS and result in (EXISTS, NOT_FOUND):
                # Another node refused it for its size, and the leader was one of the release before
                # (see `_refused_store`).
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


def refuse_write(conversation: Conversation, slot: Slot | None) -> None:
    """Too many writes are under way to begin another one."""
    conversation.counters.writes_refused += 1
    refusal = Failure(TOO_MANY_WRITES, outcome_known=True)
    conversation.replies.fill(slot, conversation.context.failed(refusal))


def fenced_args(fence: Fence, op: int, args: tuple[object, ...]) -> tuple[object, ...]:
    """The arguments of the OP_FENCED that runs a command."""
    return (fence.lock, fence.token, (op, *args))


def is_stopped_by_fence(outcome: WriteOutcome) -> bool:
    """Whether a fenced command was not executed because of its fence."""
    if type(outcome) is tuple:
        return outcome[0] == FENCE_STALE
    return outcome == FENCE_OTHER_LOCK


class OpenSession:
    """`cluster session open`: a session of the client's own in one shard."""

    def __init__(self, conversation: Conversation, group_id: int) -> None:
        self.conversation = conversation
        self.group_id = group_id
        slot = conversation.replies.take_slot()
        assert slot is not None
        self.slot = slot

    def start(self) -> None:
        self.conversation.coordinator.open_client_session(self.group_id, self.done)

    def done(self, outcome: int | Failure) -> None:
        conversation = self.conversation
        if isinstance(outcome, Failure):
            conversation.replies.fill(self.slot, conversation.context.failed(outcome))
        else:
            conversation.replies.fill(self.slot, session_line(self.group_id - 1, outcome))


class FlushAllShards:
    """flush_all: one command to every shard; OK when all have it. Each shard is flushed as a whole.
    Those that took the flush keep it when others did not.
    """

    def __init__(self, conversation: Conversation, request: FlushAll) -> None:
        self.conversation = conversation
        self.delay = request.delay
        self.slot = conversation.replies.take_slot(request.noreply)
        self.pending = 0
        self.refused = 0
        self.in_doubt = 0
        self.why = ""
        """Of the first shard that is in doubt, or else of the first that did not take it."""

    def start(self) -> None:
        shards = self.conversation.context.shard_count
        self.pending = shards
        for shard in range(shards):
            self.conversation.coordinator.write(
                shard + 1, OP_FLUSH, b"", (self.delay,), 0, self._done
            )

    def _done(self, outcome: WriteOutcome) -> None:
        if isinstance(outcome, Failure):
            if not outcome.outcome_known:
                if not self.in_doubt:
                    self.why = outcome.why
                self.in_doubt += 1
            else:
                if not (self.in_doubt or self.refused):
                    self.why = outcome.why
                self.refused += 1
        self.pending -= 1
        if self.pending == 0:
            conversation = self.conversation
            conversation.ended_alone()
            if self.refused or self.in_doubt:
                conversation.replies.fill(self.slot, conversation.context.failed(self._failure()))
            else:
                conversation.replies.fill(self.slot, OK_LINE)

    def _failure(self) -> Failure:
        """How far it came."""
        shards = self.conversation.context.shard_count
        flushed = shards - self.refused - self.in_doubt
        if not flushed and not self.in_doubt:
            return Failure(f"no shard was flushed: {self.why}", outcome_known=True)
        others = []
        if self.refused:
            others.append(f"{self.refused} {'was' if self.refused == 1 else 'were'} not")
        if self.in_doubt:
            others.append(f"{self.in_doubt} {'is' if self.in_doubt == 1 else 'are'} in doubt")
        text = f"{flushed} of {shards} shards {'was' if flushed == 1 else 'were'} flushed"
        return Failure(f"{text}, {' and '.join(others)}: {self.why}", outcome_known=False)
