"""The state machine of one shard: apply what the log says, look up what it left.

Rules that make it a state machine:

1. State moves only in `apply` and `restore`. `peek`, `lookup` and the two `due`/`expired` queries
   never change it.
2. Everything that the effect of a batch depends on comes with it (`commands.py`): no setting, clock
   or environment is asked. Its time is *cluster time* (`cluster_time.py`) and never runs backwards:
   an entry of an earlier time counts as of the latest one seen. A store has no parameters.
3. An item that has ended is absent for every command, whether or not an OP_EXPIRE removed it yet.
   A command that meets one in `apply` removes it. `lookup`, which may not, answers EXPIRED, and the
   leader logs the removal before it reports the miss; so no later leader with a slower clock brings
   the item back.
4. A delayed flush runs at the start of the first batch whose time has reached it. While a
   transaction holds keys it waits, and runs when the last of them is released.
5. What a transaction holds does not change but by that transaction. A command that would change it,
   or read it through the log, is answered HELD, and no session remembers that: who sent it sends it
   again. `lookup` answers HELD_KEY for a key that a transaction is to write, since nobody here
   knows whether it was committed; and for an item that has ended under the eyes of one that relies
   on it. Everything else reads and passes.
"""

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Final

from quorumcache.node.state_machine import (
    FLOOR,
    ITEM_BYTES_MAX,
    NOT_USUAL,
    OP,
    SEQUENCE,
    SESSION,
    TIMED,
    Command,
    Peeked,
    Result,
    StateMachine,
)
from quorumcache.node.store.commands import (
    OP_EXPIRE,
    OP_SESSION_OPEN,
    OP_SET,
    OP_STORE_PIECES,
    OP_TICK,
    own_command,
)
from quorumcache.node.store.effects import EFFECTS, set_item
from quorumcache.node.store.item import ENDS, PIECES, expires_at_ms, value_id
from quorumcache.node.store.large import drop_repeated
from quorumcache.node.store.reading import STEP_BYTES, StoreReader
from quorumcache.node.store.results import HELD, SESSION_GONE, STALE_SEQUENCE, STORED, UNDONE
from quorumcache.node.store.set_batches import new_set_batches
from quorumcache.node.store.snapshot import StoreView, encode_view, view_digest
from quorumcache.node.store.state import ShardState
from quorumcache.node.store.transaction_effects import is_held

_SETS: Final = new_set_batches()


class _Unread(Enum):
    EXPIRED = "expired"
    HELD_KEY = "held"


EXPIRED: Final = _Unread.EXPIRED
"""Answer of `lookup`: the key holds an item that has ended (or a flush is due), and the log does
not say so yet.
"""

HELD_KEY: Final = _Unread.HELD_KEY
"""Answer of `lookup`: a transaction holds the key, and what a reader gets depends on it."""


class ShardStore(ShardState):
    """The state of a shard, as its log and its readers see it."""

    __slots__ = ()

    # Reading --------------------------------------------------------------------------------------

    def peek(self, key: bytes) -> Peeked:
        """The packed item under `key` if it lives whatever the time is, None when there is no item.

        TIMED when the time decides: the item has an expiry, or a delayed flush is pending. Then
        `lookup` tells. TIMED also for an item that is stale or whose win was handed out, and for a
        key that a transaction is to write.
        """
        if self.holds and self.transactions.is_written(key):
            return TIMED
        item = self.items.get(key)
        if item is not None and (item[0] or self.pending_flush_ms):
            return TIMED
        return item

    def serve(self, key: bytes) -> Peeked:
        """See `StateMachine.serve`."""
        if self.holds and self.transactions.is_written(key):
            return TIMED
        if self.pending_flush_ms and key in self.items:
            return TIMED
        return self.items.serve(key, self.queue.now_s)

    def lookup(self, key: bytes, now_ms: int) -> bytes | _Unread | None:
        """The packed item under `key` at `now_ms`, None when there is none, EXPIRED (rule 3 above)
        or HELD_KEY (rule 5).
        """
        found = self.peek(key)
        return self._lookup_timed(key, now_ms) if found is TIMED else found

    def _lookup_timed(self, key: bytes, now_ms: int) -> bytes | _Unread:
        hold = self.holds.get(key)
        if hold is not None and hold.writer:
            return HELD_KEY
        item = self.items.get(key)
        assert item is not None
        now_ms = max(now_ms, self.last_now_ms)
        if self.flush_due(now_ms):
            return EXPIRED
        if item[0] & ENDS and expires_at_ms(item) <= now_ms:
            return EXPIRED if hold is None else HELD_KEY
        return item

    def lookup_before(self, key: bytes, now_ms: int) -> bytes | None:
        """`lookup` for readers that take what is old: without what a transaction may have committed
        by now. None also for an item that has ended.
        """
        item = self.items.get(key)
        if item is not None and item[0] & ENDS:
            return item if expires_at_ms(item) > max(now_ms, self.last_now_ms) else None
        return item

    def flush_due(self, now_ms: int) -> bool:
        """Whether a delayed flush_all waits for a batch (an OP_TICK will do) to carry it out. While
        keys are held none would.
        """
        return 0 < self.pending_flush_ms <= now_ms and not self.holds

    def removal_of(self, keys: Sequence[bytes], now_ms: int) -> Command:
        """The command that removes what `lookup` called EXPIRED at `now_ms` under `keys`."""
        if self.flush_due(now_ms):
            return own_command(OP_TICK)
        pairs: list[tuple[bytes, int]] = []
        for key in keys:
            facts = self.items.facts(key)
            assert facts is not None
            pairs.append((key, facts[2]))
        return own_command(OP_EXPIRE, tuple(pairs))

    def due_expirations(self, now_ms: int, limit: int) -> list[tuple[bytes, int]]:
        """Up to `limit` pairs `(key, cas_unique)` of items that ended by `now_ms`: the arguments of
        an OP_EXPIRE.

        Asked again before that command was applied, it names the same items again.
        """
        due = self.expiry.due(now_ms, limit)
        if not self.holds:
            return due
        return [pair for pair in due if pair[0] not in self.holds]

    def expired_sessions(self, now_ms: int, idle_ms: int) -> list[int]:
        """Sessions idle for `idle_ms` or more: the arguments of an OP_SESSION_EXPIRE."""
        return self.sessions.idle(now_ms, idle_ms)

    def idle_uploads(self, now_ms: int, idle_ms: int) -> list[int]:
        """Uploads of which no piece has come for `idle_ms`, each for an OP_DROP_PIECES."""
        return self.staging.idle(now_ms, idle_ms) if self.staging.uploads else []

    def value_of(self, item: bytes) -> tuple[bytes, ...] | None:
        """The value of a large item that a reader of this state, or a waiter of its last batch,
        was just given; None for another item, and once the value is here no more."""
        if not item[0] & PIECES:
            return None
        number = value_id(item)
        value = self.values.get(number)
        return self.shown.get(number) if value is None else value

    # Applying -------------------------------------------------------------------------------------

    def apply(
        self,
        index: int,
        now_ms: int,
        commands: Sequence[Command],
        wall_ms: int | None = None,
        item_bytes_max: int = ITEM_BYTES_MAX,
    ) -> list[Result]:
        """Run one batch of the log and answer its commands, in order.

        `now_ms`, `wall_ms` (None: the same) and `item_bytes_max` are what the leader stamped into
        the batch. Raises CommandError for an op of a newer version, since to go on would make this
        replica differ from the others.
        """
        self._begin(index, now_ms, now_ms if wall_ms is None else wall_ms, item_bytes_max)
        now_ms = self.last_now_ms
        holds = self.holds
        if self.pending_flush_ms and self.pending_flush_ms <= now_ms and not holds:
            self.pending_flush_ms = 0
            self.drop_all()
        effects = EFFECTS
        results = [
            self._apply_once(command, now_ms)
            if command[SESSION]
            else HELD
            if holds and is_held(self, command, now_ms)
            else effects[command[OP]](self, command, now_ms)
            for command in commands
        ]
        self.look_at_gate()
        return results

    def _begin(self, index: int, now_ms: int, wall_ms: int, item_bytes_max: int) -> None:
        """A batch of this index, times and limit. From now on it is `last_now_ms`."""
        if now_ms > self.last_now_ms:
            self.last_now_ms = now_ms
            self.last_wall_ms = wall_ms
        else:  # What it showed, or shows, at that later time.
            wall_ms += self.last_now_ms - now_ms
        self.queue.tick(self.last_now_ms)
        self.batch_wall_ms = wall_ms
        if self.shown:
            self.shown.clear()
        self.batch_item_bytes_max = item_bytes_max
        self.applied_index = index

    def apply_usual(self, index: int, payload: bytes) -> int:
        """See `StateMachine.apply_usual`: what is usual are plain sets (`set_batches.py`), while no
        transaction holds keys, and no delayed flush waits."""
        if self.holds or self.pending_flush_ms:
            return NOT_USUAL
        batch = _SETS.read(payload, self.items)
        if batch is None:
            return NOT_USUAL
        now_ms, wall_ms, item_bytes_max, count, has_ends, runs = batch
        active_ms = now_ms if now_ms > self.last_now_ms else self.last_now_ms
        if not self.sessions.take_runs(runs, STORED, active_ms):
            return NOT_USUAL
        self._begin(index, now_ms, wall_ms, item_bytes_max)
        now_ms = self.last_now_ms
        unique = self.cas_counter
        self.cas_counter = unique + count
        queue, items = self.queue, self.items
        ending: list[tuple[int, bytes]] | None = [] if has_ends else None
        replaced: list[bytes] | None = [] if self.values else None
        added: list[bytes] | None = [] if queue.has_ghosts else None
        growth = _SETS.place(
            payload, items, self.gate, unique, now_ms, queue.now_s, ending, replaced, added
        )
        if replaced is not None:
            for old in replaced:
                del self.values[value_id(old)]
        if added is not None:
            for key in added:
                item = items.get(key)
                assert item is not None
                queue.added(key, item)
        if ending is not None:
            for ends_ms, key in ending:
                self.expiry.push(ends_ms, key, items.expiring, now_ms)
        return growth

    def is_usual(self, command: Command) -> bool:
        """See `StateMachine.is_usual`."""
        return bool(command[OP] == OP_SET)

    def _apply_once(self, command: Command, now_ms: int) -> Result:
        """Run a command of a session unless it was answered before (Raft thesis 6.3)."""
        session: int = command[SESSION]
        sequence: int = command[SEQUENCE]
        floor: int = command[FLOOR]
        op: int = command[OP]
        sessions = self.sessions
        if op == OP_SESSION_OPEN:
            return sessions.open(session, now_ms)
        state = sessions.touch(session, now_ms)
        if state is None:
            return SESSION_GONE
        if floor > state.floor:
            sessions.raise_floor(state, floor)
        if sequence < state.floor:
            return STALE_SEQUENCE
        first = state.answer(sequence)
        if first is not None:
            drop_repeated(self, command, now_ms)
            return first
        if self.holds and is_held(self, command, now_ms):
            return HELD  # Nothing was done, either.
        if op == OP_SET:  # Most are: a call of its function by name takes half the time.
            result = set_item(self, command, now_ms)
        else:
            result = EFFECTS[op](self, command, now_ms)
            if op >= OP_STORE_PIECES and result in UNDONE:
                return result
        sessions.remember(state, sequence, result)
        return result

    # Snapshots ------------------------------------------------------------------------------------

    def view(self) -> StoreView:
        """An immutable image of the present state. That of the items is the table's."""
        return StoreView(
            applied_index=self.applied_index,
            last_now_ms=self.last_now_ms,
            last_wall_ms=self.last_wall_ms,
            pending_flush_ms=self.pending_flush_ms,
            cas_counter=self.cas_counter,
            items=self.items.image(),
            value_counter=self.value_counter,
            values=self.values.copy(),
            uploads=self.staging.images(),
            fence_counter=self.locks.last_token,
            locks=self.locks.images(),
            fences=self.fences.images(),
            transactions=self.transactions.images(),
            sessions=self.sessions.images(),
        )

    def end_view(self, view: StoreView) -> None:
        """See `StateMachine.end_view`."""
        view.items.close()

    def encode_view(self, view: StoreView) -> Iterator[bytes]:
        """The bytes of a snapshot of `view`, in chunks."""
        return encode_view(view)

    def restoring(self, pieces: Sequence[bytes]) -> Iterator[int]:
        """See `StateMachine.restoring`. Raises SnapshotInvalid."""
        reader = StoreReader(sum(map(len, pieces)))
        taken = 0
        for piece in pieces:
            for start in range(0, len(piece), STEP_BYTES):
                part = piece[start : start + STEP_BYTES]
                reader.take(part)
                taken += len(part)
                yield taken
        reader.end()
        self.become(reader.state)

    def digest(self) -> bytes:
        """32 bytes that are equal on two replicas if and only if their states are (but for the
        applied index).
        """
        view = self.view()
        try:
            return view_digest(view)
        finally:
            self.end_view(view)


def shard_store(machine: StateMachine) -> ShardStore:
    """The store that a shard's group drives."""
    assert isinstance(machine, ShardStore)
    return machine
