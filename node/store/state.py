"""The state of one shard: its items, and the few steps by which they change.

The steps keep what hangs together: the items, the values of large ones, and the index of when they
end. What a command does with them is `effects.py`, when that happens
`store.py`.
"""

from struct import Struct
from typing import Final

from quorumcache.node.state_machine import KEY, OP, Command, Eviction, StateMachine
from quorumcache.node.store.commands import (
    COMMIT_WRITES,
    EVICT_PAIRS,
    GROWING_OPS,
    META_SET_MODE,
    OP_APPEND,
    OP_COUNT,
    OP_EVICT,
    OP_FENCED,
    OP_META_SET,
    OP_PIECE,
    OP_PREPEND,
    OP_SET,
    OP_TXN_COMMIT,
    OP_TXN_PREPARE,
    PREPARE_WRITES,
    grows,
    own_command,
    unfenced,
)
from quorumcache.node.store.eviction_queue import EvictionQueue
from quorumcache.node.store.expiry import ExpiryIndex
from quorumcache.node.store.fences import FenceTable
from quorumcache.node.store.item import ENDS, ITEM_DATA, PIECES, expires_at_ms, value_id
from quorumcache.node.store.item_table import ItemTable, new_item_table
from quorumcache.node.store.locks import LockTable
from quorumcache.node.store.read_gate import new_read_gate
from quorumcache.node.store.results import STORED
from quorumcache.node.store.sessions import SessionTable
from quorumcache.node.store.staging import PIECE_OVERHEAD, Staging
from quorumcache.node.store.transactions import TransactionTable, Write, writes_cost

NO_EXPIRY: Final = bytes(9)
"""How an ordinary packed item without an expiry begins."""

pack_unique: Final = Struct(">Q").pack
"""`pack_unique(cas_unique)`: what follows it."""


EXTENDED_EXTRA_BYTES: Final = 32
"""What append takes at most beside what it adds: rounding, and a length of more digits."""

PIECES_PER_TIDY: Final = 128
"""Pieces of values that have gone which one `tidy` frees: 16 MiB, about a millisecond."""

ITEM_EXTRA_BYTES: Final = 48 + 56 + ITEM_DATA + 26
"""What an item takes at most beside its key and its value, tables not counted: two bytes objects
(`block_bytes`), the header, and the flags, the length and the line ends of the wire form."""


class ShardState(StateMachine):
    """Items, time, CAS counter and sessions of one shard."""

    __slots__ = (
        "applied_index",
        "batch_item_bytes_max",
        "batch_wall_ms",
        "cas_counter",
        "evicted_bytes",
        "expiry",
        "fences",
        "gate",
        "gone",
        "holds",
        "incoming",
        "items",
        "last_now_ms",
        "last_wall_ms",
        "locks",
        "op_count",
        "pending_flush_ms",
        "queue",
        "sessions",
        "shown",
        "staging",
        "table_bytes",
        "transactions",
        "usual_result",
        "value_counter",
        "values",
    )

    def __init__(self) -> None:
        self.items: ItemTable = new_item_table()
        """Key -> packed item (see item.py). Holds ended items until somebody removes them."""
        self.op_count = OP_COUNT
        self.usual_result = STORED
        self.last_now_ms = 0
        """Latest cluster time seen in a batch, milliseconds. Never decreases."""
        self.last_wall_ms = 0
        """What wall clocks showed at `last_now_ms`, by the same batch; Unix milliseconds."""
        self.pending_flush_ms = 0
        """When the one delayed flush_all takes effect; 0 = none is pending."""
        self.cas_counter = 0
        """The CAS unique handed out last. Never decreases, a flush does not reset it."""
        self.applied_index = 0
        """Index of the last batch applied; part of snapshots, not of digests."""
        self.values: dict[int, tuple[bytes, ...]] = {}
        """The values of large items, in pieces. Invariant between commands: its keys are the value
        ids of the items with the bit PIECES, and no two items have the same."""
        self.gone: list[bytes] = []
        """Pieces of values that went all at the same time: `tidy` frees them, and as many as a new
        value has. A gigabyte at once is a tenth of a second. No part of the state."""
        self.value_counter = 1
        """The value id handed out last. Always odd, never decreases."""
        self.staging = Staging()
        self.shown: dict[int, tuple[bytes, ...]] = {}
        """Values of large items that results of the last batch carry. A later command of the batch
        may have replaced the item before the waiters hear of it. No part of the state."""
        self.incoming: tuple[bytes, ...] = ()
        """The value of the OP_STORE_PIECES that is being applied."""
        self.sessions = SessionTable()
        self.locks = LockTable()
        self.fences = FenceTable()
        self.transactions = TransactionTable()
        self.holds = self.transactions.holds
        """Keys that transactions hold: each command and each read looks whether there are any."""
        self.batch_item_bytes_max = 0
        self.batch_wall_ms = 0
        """Both of the batch that is being applied."""
        self.expiry = ExpiryIndex(self.items)
        self.queue = EvictionQueue(self.items)
        """Who leaves next; hints of this replica."""
        self.gate = new_read_gate()
        """Through it the items are read at once. Nobody else changes it."""
        self.gate.table = self.items
        self.look_at_gate()

        self.table_bytes = 0
        """What all tables but that of the items took at the last `tidy`. Those of equal states
        differ: their size depends on what was in them before."""
        self.evicted_bytes = 0

    @property
    def bytes_used(self) -> int:
        """Sum of `item_cost` of all items, which counts the values of large ones, and what
        `staging` and the writes of prepared transactions take; the same on all replicas.
        """
        return self.items.bytes_used + self.staging.bytes_used + self.transactions.bytes_used

    @property
    def memory_bytes(self) -> int:
        """See `StateMachine.memory_bytes`. That of the items is as of now."""
        return self.bytes_used + self.items.memory_bytes + self.table_bytes

    @property
    def retired_bytes(self) -> int:
        """What items and values take that have gone and are not freed yet."""
        return self.items.retired_bytes + sum(map(len, self.gone))

    @property
    def fence_counter(self) -> int:
        """The fencing token that this shard has handed out last."""
        return self.locks.last_token

    @property
    def uploading_bytes(self) -> int:
        """See `StateMachine.uploading_bytes`."""
        return self.staging.reserved_bytes

    @property
    def promised_bytes(self) -> int:
        """See `StateMachine.promised_bytes`."""
        return max(0, self.staging.reserved_bytes - self.staging.bytes_used)

    def tidy(self) -> int:
        """See `StateMachine.tidy`."""
        moved = self.items.tidy()
        gone = len(self.gone)
        if gone:
            del self.gone[-PIECES_PER_TIDY:]
            moved += gone - len(self.gone)
        self.table_bytes = (
            self.queue.memory_bytes
            + self.expiry.memory_bytes
            + self.sessions.memory_bytes
            + self.locks.memory_bytes
            + self.fences.memory_bytes
            + self.transactions.memory_bytes
        )
        return moved

    def become(self, other: "ShardState") -> None:
        """Take over all of another state, which nobody may use any more."""
        self.applied_index = other.applied_index
        self.last_now_ms = other.last_now_ms
        self.last_wall_ms = other.last_wall_ms
        self.pending_flush_ms = other.pending_flush_ms
        self.cas_counter = other.cas_counter
        other.items.inherit(self.items)
        self.items = other.items
        self._drop_values()
        self.values = other.values
        self.value_counter = other.value_counter
        self.staging = other.staging
        self.sessions = other.sessions
        self.locks = other.locks
        self.fences = other.fences
        self.transactions = other.transactions
        self.holds = other.holds
        self.expiry = other.expiry
        other.queue.succeed(self.queue)
        self.queue = other.queue
        self.gate.table = self.items
        self.look_at_gate()
        self.tidy()

    def look_at_gate(self) -> None:
        """Something was applied, or time has passed: keep items from being read at once while a
        transaction holds any, or a delayed flush waits.
        """
        is_plain = not (self.pending_flush_ms or self.holds)
        self.gate.applied(self.last_now_ms, self.queue.now_s, is_plain)

    def lend(self, until_ns: int) -> None:
        """See `StateMachine.lend`."""
        self.gate.lease_until_ns = until_ns

    def retire(self) -> None:
        """See `StateMachine.retire`."""
        self.gate.table = None

    def let_go(self) -> bool:
        """See `StateMachine.let_go`. What an image has stays until it is closed."""
        self.drop_all()
        self.tidy()
        return self.retired_bytes > 0

    def live(self, key: bytes, now_ms: int) -> bytes | None:
        """The item under `key`, unless it has ended; then it is removed."""
        item = self.items.get(key)
        if item is not None and item[0] & ENDS and expires_at_ms(item) <= now_ms:
            self.remove(key)
            return None
        return item

    def lives(self, key: bytes, now_ms: int) -> bool:
        """Whether there is an item under `key`. One that has ended is removed."""
        bits = self.items.peek_bits(key)
        if bits <= 0 or not bits & ENDS:
            return bits >= 0
        return self.live(key, now_ms) is not None

    def remove(self, key: bytes) -> None:
        """Remove the item under `key`, if there is one."""
        old = self.items.remove(key)
        if old:
            del self.values[value_id(old)]

    def evict(self, key: bytes, cost: int) -> None:
        """Remove the item under `key`, which a leader has chosen as a victim, and which takes
        `cost`.
        """
        queue, stamp = self.items.queue_of(key), self.items.stamp(key)
        self.remove(key)
        self.evicted_bytes += cost
        self.queue.evicted(key, queue, stamp)

    def drop_all(self) -> None:
        """Remove all items."""
        self.items.clear()
        self.expiry.clear()
        self.queue.clear()
        self._drop_values()

    def _drop_values(self) -> None:
        """All values are gone."""
        for value in self.values.values():
            self.gone += value
        self.values.clear()

    def put(self, key: bytes, item: bytes) -> None:
        """Place a packed item without an expiry, or with the expiry that the item of that key has
        now.
        """
        queue = self.queue
        old = self.items.put(key, item, queue.now_s)
        if old is None:
            if queue.has_ghosts:
                queue.added(key, item)
        elif old:
            self._replaced(old, item)

    def put_ending(self, key: bytes, item: bytes, ends_ms: int) -> None:
        """Place a packed item that ends at `ends_ms`."""
        self.put(key, item)
        self.expiry.push(ends_ms, key, self.items.expiring, self.last_now_ms)

    # -- values in pieces ----------------------------------------------------------------------

    def _replaced(self, old: bytes, item: bytes) -> None:
        """A large item is replaced: its value goes, unless the new one has the same."""
        number = value_id(old)
        if not (item[0] & PIECES and value_id(item) == number):
            del self.values[number]

    def show(self, item: bytes) -> None:
        """A result carries a large item."""
        number = value_id(item)
        self.shown[number] = self.values[number]

    def new_value(self, value: tuple[bytes, ...]) -> bytes:
        """Keep a value for an item that is placed next; what that has to end with.

        The number is odd, so no item without the bit PIECES, which ends with a line feed, looks as
        if it ended with one.
        """
        if self.gone:
            del self.gone[max(0, len(self.gone) - len(value)) :]
        self.value_counter += 2
        self.values[self.value_counter] = value
        return pack_unique(self.value_counter)

    # -- hints of this replica -----------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """See `StateMachine.tick`."""
        self.queue.tick(now_ms)
        self.look_at_gate()

    def lead(self, leads: bool, now_ms: int) -> None:
        """See `StateMachine.lead`."""
        self.queue.lead(leads, now_ms)
        self.look_at_gate()

    def note_hit(self, key: bytes) -> None:
        """See `StateMachine.note_hit`."""
        self.items.note_hit(key, self.queue.now_s)

    def hint(self, key: bytes) -> tuple[bool, int]:
        """Whether the item under `key` was hit since it was stored, and the second, in cluster
        time, of the last access; `(False, 0)` if there is none.
        """
        return self.queue.hint(key)

    # -- eviction, at the leader ---------------------------------------------------------------

    @property
    def planned_bytes(self) -> int:
        """See `StateMachine.planned_bytes`."""
        return self.items.planned_bytes

    def plan_eviction(self, bytes_wanted: int) -> Eviction | None:
        """See `StateMachine.plan_eviction`."""
        eviction = self.queue.victims(bytes_wanted)
        if eviction is None or not self.holds:
            return eviction
        return self._without_held(eviction)

    def _without_held(self, eviction: Eviction) -> Eviction | None:
        """An eviction without the items that transactions hold: those would stay anyway."""
        held = [key for key in eviction.keys if key in self.holds]
        if not held:
            return eviction
        self.queue.spare(held)
        cost = eviction.cost_bytes
        for key in held:
            cost -= self._cost(key)
        pairs = tuple([pair for pair in eviction.command[EVICT_PAIRS] if pair[0] not in self.holds])
        if not pairs:
            return None
        return Eviction(own_command(OP_EVICT, pairs), [key for key, _ in pairs], cost)

    def take_eviction_tallies(self) -> tuple[int, int]:
        """See `StateMachine.take_eviction_tallies`."""
        return self.queue.take_tallies()

    def spare(self, eviction: Eviction) -> None:
        """See `StateMachine.spare`."""
        self.queue.spare(eviction.keys)

    def growth(self, command: Command, size: int) -> int:
        """See `StateMachine.growth`. A store of a key that has an item takes its place. Writes that
        are prepared are kept beside the items.
        """
        op = command[OP]
        if op == OP_PIECE:  # What stores the pieces then takes no more.
            return size + PIECE_OVERHEAD
        if op not in GROWING_OPS or not grows(command):
            return 0
        if op == OP_FENCED:
            return self.growth(unfenced(command), size)
        if op == OP_TXN_PREPARE:
            return writes_cost(command[PREPARE_WRITES])
        if op == OP_TXN_COMMIT:
            return self._written(command[COMMIT_WRITES])
        old_cost = self._cost(command[KEY])
        mode = command[META_SET_MODE] if op == OP_META_SET else op
        if old_cost and mode in (OP_APPEND, OP_PREPEND):
            return size + EXTENDED_EXTRA_BYTES
        cost = size + ITEM_EXTRA_BYTES - old_cost
        return cost if cost > 0 else 0

    def _cost(self, key: bytes) -> int:
        """What the item under a key takes; 0 if there is none."""
        facts = self.items.facts(key)
        return 0 if facts is None else facts[3]

    def _written(self, writes: tuple[Write, ...]) -> int:
        """By how much writes of a transaction make the items grow, at most."""
        growth = 0
        for write in writes:
            if write[1] == OP_SET:
                growth += max(0, writes_cost((write,)) - self._cost(write[0]))
        return growth
