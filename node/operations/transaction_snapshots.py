"""Snapshots of many keys, by the node that a client has asked: values of one moment.

A transaction that only reads is refused when one of its keys has changed before its commit. Where
others change them all the time it would never come through. A snapshot holds its keys first:

 1. prepare: each group of the keys holds its part shared, whatever is there. A group where one of
    them is held for writing refuses, and bars further writers (`hold_waits.py`). It is asked again
    every `AGAIN_NS`, while the others go on to hold. Nobody who writes waits while it holds
    something: it is refused and releases. So there is no deadlock;
 2. read: all keys, at their leaders, which show what is held shared;
 3. resolve: each group releases its keys, and says whether they were held until then.

Only if all groups say so are the values given to the client: then there was a moment, before the
reads, at which all was held, and nothing of it has changed until the last read. A leader ends holds
whose run takes too long, as it does with those of a dead node (`recovery.py`). Then the attempt was
for nothing, and the next one begins, under another identity.

Nothing is written, so no record decides anything, and the run resolves on its own account.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

from quorumcache.node.operations.failure import HELD_WHY, Failure
from quorumcache.node.operations.operation import ReadOutcome, WriteOutcome
from quorumcache.node.operations.reply_room import ReplyRoom
from quorumcache.node.store.commands import OP_TXN_PREPARE, OP_TXN_RESOLVE
from quorumcache.node.store.results import (
    TXN_CONFLICT,
    TXN_FULL,
    TXN_PREPARED,
    TXN_RELEASED,
    TXN_TOO_LATE,
)
from quorumcache.node.store.transaction_forms import TXN_ID_BYTES
from quorumcache.node.store.transactions import ANY

if TYPE_CHECKING:
    from quorumcache.node.operations.coordinator import Coordinator

SNAPSHOTS_MAX: Final = 256
"""Snapshots under way through a node."""

AGAIN_NS: Final = 20_000_000
"""Pause after a refusal."""

ATTEMPT_NS: Final = 1_000_000_000
"""An attempt that has not read all keys after so long begins anew: leaders end older holds, and a
read of an item that ends while it is held waits for the release."""

ATTEMPT_MS: Final = 5_000
"""Deadline of an attempt in the cluster's time. A prepare that comes later holds nothing."""

HOLD_BYTES: Final = 64
"""Of a step, besides its keys."""

TOO_MANY_HERE: Final = "too many snapshots are under way at this node; retry more slowly"
TOO_MANY_THERE: Final = "too many transactions are under way in a shard; retry more slowly"
ENDED_WHY: Final = "the keys could not be held for long enough"

SnapshotOutcome = dict[bytes, bytes | None] | Failure
"""The packed item of each key, or None where there is none."""

_NS: Final = 1_000_000


class Snapshots:
    """The snapshots under way at this node. See the module docstring."""

    __slots__ = ("_random", "coordinator", "runs")

    def __init__(self, coordinator: Coordinator, random: Random) -> None:
        self._random = random
        self.coordinator = coordinator
        self.runs: dict[SnapshotRun, None] = {}
        """Whose clients wait."""

    def take(
        self,
        keys: tuple[bytes, ...],
        limit_ms: int,
        group_of: Callable[[bytes], int],
        room: ReplyRoom | None,
        done: Callable[[SnapshotOutcome], None],
    ) -> None:
        """Read `keys` as of one moment; `done` hears the items. `room`: asked by the reads."""
        if len(self.runs) >= SNAPSHOTS_MAX:
            done(Failure(TOO_MANY_HERE, outcome_known=True))
            return
        parts: dict[int, list[bytes]] = {}
        for key in keys:
            parts.setdefault(group_of(key), []).append(key)
        run = SnapshotRun(self, parts, limit_ms, room, done)
        self.runs[run] = None
        run.begin()

    def new_id(self) -> bytes:
        """The identity of an attempt."""
        return self._random.getrandbits(8 * TXN_ID_BYTES).to_bytes(TXN_ID_BYTES, "big")

    def tick(self) -> None:
        """Called in every tick of the node."""
        if self.runs:
            now_ns = self.coordinator.clock.monotonic_ns()
            for run in list(self.runs):
                run.tick(now_ns)


class SnapshotRun:
    """One snapshot, until its client has it."""

    __slots__ = (
        "_attempt",
        "_begin_ns",
        "_done",
        "_limit_ms",
        "_why",
        "coordinator",
        "parts",
        "room",
        "snapshots",
        "until_ns",
    )

    def __init__(
        self,
        snapshots: Snapshots,
        parts: dict[int, list[bytes]],
        limit_ms: int,
        room: ReplyRoom | None,
        done: Callable[[SnapshotOutcome], None],
    ) -> None:
        self.snapshots = snapshots
        self.coordinator = coordinator = snapshots.coordinator
        self.parts = parts
        """The keys of each group."""
        self.room = room
        self._done = done
        now_ns = coordinator.clock.monotonic_ns()
        self.until_ns = min(now_ns + limit_ms * _NS, coordinator.deadline_ns())
        """Until when the client waits."""
        self._limit_ms = (self.until_ns - now_ns) // _NS
        self._attempt: SnapshotAttempt | None = None
        self._begin_ns = now_ns
        """When the next attempt begins."""
        self._why = HELD_WHY

    def begin(self) -> None:
        """Make an attempt."""
        self._attempt = SnapshotAttempt(self)
        self._attempt.start()

    def tick(self, now_ns: int) -> None:
        attempt = self._attempt
        if now_ns >= self.until_ns:
            if attempt is not None:
                attempt.give_up()
            why = f"no snapshot of the keys within {self._limit_ms} ms: {self._why}"
            self._ended(Failure(why, outcome_known=True))
        elif attempt is not None:
            attempt.tick(now_ns)
        elif now_ns >= self._begin_ns:
            self.begin()

    def failed(self, attempt: SnapshotAttempt, why: str) -> None:
        """An attempt has come to nothing; the next one begins after a pause."""
        self._why = why
        if attempt is self._attempt:
            self._attempt = None
            self._begin_ns = self.coordinator.clock.monotonic_ns() + AGAIN_NS

    def refused(self, why: str) -> None:
        """Why an attempt has to wait."""
        self._why = why

    def succeeded(self, found: dict[bytes, bytes | None]) -> None:
        """All keys were held together, and this is what they have held."""
        self._ended(found)

    def _ended(self, outcome: SnapshotOutcome) -> None:
        if self in self.snapshots.runs:
            del self.snapshots.runs[self]
            self._done(outcome)


class SnapshotAttempt:
    """One attempt, under an identity of its own."""

    __slots__ = (
        "_deadline_ms",
        "_found",
        "_holding",
        "_is_over",
        "_reading",
        "_record_group",
        "_refused",
        "_releasing",
        "_run",
        "_since_ns",
        "_txn",
        "_until_ns",
        "_was_held",
    )

    def __init__(self, run: SnapshotRun) -> None:
        coordinator = run.coordinator
        self._run = run
        self._txn = run.snapshots.new_id()
        self._deadline_ms = coordinator.host.time.now_ms() + ATTEMPT_MS
        self._record_group = next(iter(run.parts))
        """Whom a leader asks that finds what this node has left."""
        self._since_ns = coordinator.clock.monotonic_ns()
        self._until_ns = run.until_ns
        self._holding: set[int] = set()
        """Groups that hold their keys, as far as they have said."""
        self._refused: dict[int, int] = {}
        """Groups that have refused, and when each is asked again."""
        self._found: dict[bytes, bytes | None] = {}
        self._reading = 0
        """Reads without an outcome."""
        self._releasing = 0
        """Resolutions without an outcome, after the reads."""
        self._was_held = True
        """All groups that were resolved have said that they held the keys until then."""
        self._is_over = False

    def start(self) -> None:
        """Hold all keys."""
        for group_id in self._run.parts:
            if self._is_over:
                return
            self._prepare(group_id)

    def tick(self, now_ns: int) -> None:
        if self._is_over:
            return
        if now_ns >= self._since_ns + ATTEMPT_NS:
            self._fail(HELD_WHY)
            return
        for group_id in [group for group, when_ns in self._refused.items() if when_ns <= now_ns]:
            if not self._is_over and self._refused.pop(group_id, None) is not None:
                self._prepare(group_id)

    # -- hold --------------------------------------------------------------------------------

    def _prepare(self, group_id: int) -> None:
        keys = self._run.parts[group_id]
        checks = tuple([(key, ANY) for key in keys])
        args = (self._txn, self._record_group, self._deadline_ms, checks, ())
        self._run.coordinator.write(
            group_id,
            OP_TXN_PREPARE,
            b"",
            args,
            HOLD_BYTES + sum(map(len, keys)),
            partial(self._prepared, group_id),
            None,
            None,
            self._until_ns,
        )

    def _prepared(self, group_id: int, outcome: WriteOutcome) -> None:
        is_refused = isinstance(outcome, tuple) and outcome[0] == TXN_CONFLICT
        if self._is_over:
            if not is_refused and outcome not in (TXN_TOO_LATE, TXN_FULL):
                self._release(group_id, _ignore)  # Those that held before were told already.
        elif outcome == TXN_PREPARED:
            self._holding.add(group_id)
            if len(self._holding) == len(self._run.parts):
                self._read()
        elif is_refused:
            self._run.refused(HELD_WHY)
            self._refused[group_id] = self._run.coordinator.clock.monotonic_ns() + AGAIN_NS
        else:
            if isinstance(outcome, Failure) and not outcome.outcome_known:
                self._holding.add(group_id)
            self._fail(_why(outcome))

    # -- read --------------------------------------------------------------------------------

    def _read(self) -> None:
        run = self._run
        self._reading = len(run.parts)
        for group_id, keys in run.parts.items():
            found = partial(self._read_done, tuple(keys))
            run.coordinator.read(group_id, tuple(keys), found, None, 0, run.room, self._until_ns)

    def _read_done(self, keys: tuple[bytes, ...], outcome: ReadOutcome) -> None:
        if self._is_over:
            return
        if isinstance(outcome, Failure):
            self._fail(outcome.why)
            return
        self._found.update(zip(keys, outcome, strict=True))
        self._reading -= 1
        if not self._reading:
            self._is_over = True
            self._releasing = len(self._run.parts)
            for group_id in self._run.parts:
                self._release(group_id, self._released)

    # -- release -----------------------------------------------------------------------------

    def _released(self, outcome: WriteOutcome) -> None:
        """After the reads: was all held until now?"""
        if outcome != TXN_RELEASED:
            self._was_held = False
        self._releasing -= 1
        if self._releasing:
            return
        if self._was_held:
            self._run.succeeded(self._found)
        else:
            self._run.failed(self, ENDED_WHY)

    def give_up(self) -> None:
        """Release all; nobody waits for it any more."""
        if not self._is_over:
            self._is_over = True
            for group_id in self._holding:
                self._release(group_id, _ignore)

    def _fail(self, why: str) -> None:
        self.give_up()
        self._run.failed(self, why)

    def _release(self, group_id: int, done: Callable[[WriteOutcome], None]) -> None:
        args = (self._txn, self._deadline_ms, 0)
        self._run.coordinator.write(group_id, OP_TXN_RESOLVE, b"", args, HOLD_BYTES, done)


def _why(outcome: WriteOutcome) -> str:
    if isinstance(outcome, Failure):
        return outcome.why
    if outcome == TXN_FULL:
        return TOO_MANY_THERE
    if outcome == TXN_TOO_LATE:
        return ENDED_WHY
    return f"a shard has answered {outcome!r:.40} to a step"


def _ignore(outcome: WriteOutcome) -> None:
    """What could not be released is ended by its leader."""
