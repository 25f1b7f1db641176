"""The state of one shard: its items, and the few steps by which they change.

The steps keep what hangs together: the items, the bytes they take, how many of them have an expiry,
and the index of when they end. What a command does with them is `effects.py`, when that happens
`store.py`.
"""

from struct import Struct
from sys import getsizeof
from typing import Final

from quorumcache.node.state_machine import StateMachine
from quorumcache.node.store.commands import OP_COUNT
from quorumcache.node.store.expiry import ExpiryHeap
from quorumcache.node.store.item import ENDS, ITEM_OVERHEAD, PIECES, unpack_header, value_id
from quorumcache.node.store.sessions import SessionTable
from quorumcache.node.store.staging import PIECE_OVERHEAD, Staging

NO_EXPIRY: Final = bytes(9)
"""How an ordinary packed item without an expiry begins."""

pack_unique = Struct(">Q").pack
"""`pack_unique(cas_unique)`: what follows it."""


class ShardState(StateMachine):
    """Items, time, CAS counter and sessions of one shard."""

    __slots__ = (
        "applied_index",
        "batch_item_bytes_max",
        "batch_wall_ms",
        "bytes_used",
        "cas_counter",
        "expiring",
        "expiry",
        "incoming",
        "items",
        "last_now_ms",
        "last_wall_ms",
        "op_count",
        "pending_flush_ms",
        "sessions",
        "staging",
        "value_counter",
        "values",
    )

    def __init__(self) -> None:
        self.items: dict[bytes, bytes] = {}
        """Key -> packed item (see item.py). Holds ended items until somebody removes them."""
        self.op_count = OP_COUNT
        self.bytes_used = 0
        """Sum of `item_cost` over `items`, and what `values` and `staging` take; the same on all
        replicas."""
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
        """The values of large items, in pieces. Invariant: its keys are the value ids of the items
        with the bit PIECES, and no two items have the same."""
        self.value_counter = 1
        """The value id handed out last. Always odd, never decreases."""
        self.staging = Staging()
        self.incoming: tuple[bytes, ...] = ()
        """The value of the OP_STORE_PIECES that is being applied."""
        self.sessions = SessionTable()
        self.batch_item_bytes_max = 0
        self.batch_wall_ms = 0
        """Both of the batch that is being applied."""
        self.expiring = 0
        """How many of `items` have an expiry."""
        self.expiry = ExpiryHeap(self.items)

    @property
    def memory_bytes(self) -> int:
        """What the state takes in this process: the items, and the tables at their real size."""
        return self.bytes_used + getsizeof(self.items)

    def become(self, other: "ShardState") -> None:
        """Take over all of another state, which nobody may use any more."""
        self.applied_index = other.applied_index
        self.last_now_ms = other.last_now_ms
        self.last_wall_ms = other.last_wall_ms
        self.pending_flush_ms = other.pending_flush_ms
        self.cas_counter = other.cas_counter
        self.items = other.items
        self.bytes_used = other.bytes_used
        self.values = other.values
        self.value_counter = other.value_counter
        self.staging = other.staging
        self.sessions = other.sessions
        self.expiring = other.expiring
        self.expiry = other.expiry

    def live(self, key: bytes, now_ms: int) -> bytes | None:
        """The item under `key`, unless it has ended; then it is removed."""
        item = self.items.get(key)
        if item is not None and item[0] & ENDS and unpack_header(item)[1] <= now_ms:
            self.remove(key)
            return None
        return item

    def remove(self, key: bytes) -> None:
        item = self.items.pop(key, None)
        if item is not None:
            self.bytes_used -= len(key) + len(item) + ITEM_OVERHEAD
            if item[0] & ENDS:
                self.expiring -= 1
            if item[0] & PIECES:
                self._drop_value(item)

    def drop_all(self) -> None:
        self.items.clear()
        self.expiry.clear()
        self.expiring = 0
        self.values.clear()
        self.bytes_used = self.staging.bytes_used

    def put(self, key: bytes, item: bytes) -> None:
        """Place a packed item without an expiry, or with the expiry that the item of that key has
        now.
        """
        old = self.items.get(key)
        if old is None:
            self.bytes_used += len(key) + len(item) + ITEM_OVERHEAD
        else:
            self.bytes_used += len(item) - len(old)
            if old[0]:
                if old[0] & ENDS and not item[0] & ENDS:
                    self.expiring -= 1
                if old[0] & PIECES and not (item[0] & PIECES and value_id(item) == value_id(old)):
                    self._drop_value(old)
        self.items[key] = item

    def put_ending(self, key: bytes, item: bytes, expires_at_ms: int) -> None:
        """Place a packed item that ends at `expires_at_ms`."""
        if item[0] & PIECES:  # It has been there, with another expiry.
            value = self.values[value_id(item)]
            self.remove(key)
            self.add_value(value_id(item), value)
        else:
            self.remove(key)
        self.items[key] = item
        self.bytes_used += len(key) + len(item) + ITEM_OVERHEAD
        self.expiring += 1
        self.expiry.push(expires_at_ms, key, self.expiring)

    def add_value(self, number: int, value: tuple[bytes, ...]) -> None:
        """Keep the value of a large item under its number."""
        self.values[number] = value
        self.bytes_used += value_cost(value)

    def _drop_value(self, item: bytes) -> None:
        self.bytes_used -= value_cost(self.values.pop(value_id(item)))

    def next_value_id(self) -> int:
        """A number for one more value. It is odd, so no item without the bit PIECES, which ends
        with a line feed, looks as if it ended with one."""
        self.value_counter += 2
        return self.value_counter


def value_cost(value: tuple[bytes, ...]) -> int:
    """What the value of a large item adds to `bytes_used`, beside its item."""
    return sum(map(len, value)) + PIECE_OVERHEAD * len(value)
