"""The state machine of one shard: apply what the log says, look up what it left.

Rules that make it a state machine:

1. State moves only in `apply` and `restore`. `lookup` and the two `due`/`expired` queries never
   change it.
2. Everything that the effect of a batch depends on comes with it (`commands.py`): no setting, clock
   or environment is asked. Its time is *cluster time* (`cluster_time.py`) and never runs backwards:
   an entry of an earlier time counts as of the latest one seen. A store has no parameters.
3. An item that has ended is absent for every command, whether or not an OP_EXPIRE removed it yet.
   Whoever meets one in `apply` removes it. `lookup`, which may not, answers EXPIRED, and the leader
   logs the removal before it tells the miss; so no later leader with a slower clock brings the item
   back.
4. A delayed flush runs at the start of the first batch whose time has reached it.
"""

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from struct import Struct
from typing import Final

from quorumcache.node.errors import CommandError
from quorumcache.node.state_machine import ITEM_BYTES_MAX, Command, Result, StateMachine
from quorumcache.node.store.arithmetic import add_delta, padded, parse_number
from quorumcache.node.store.commands import (
    OP_ADD,
    OP_APPEND,
    OP_CAS,
    OP_COUNT,
    OP_DECR,
    OP_DELETE,
    OP_EXPIRE,
    OP_FLUSH,
    OP_GAT,
    OP_INCR,
    OP_PREPEND,
    OP_REFUSE,
    OP_REPLACE,
    OP_SESSION_EXPIRE,
    OP_SESSION_OPEN,
    OP_SET,
    OP_TICK,
    OP_TOUCH,
)
from quorumcache.node.store.expiry import ExpiryHeap
from quorumcache.node.store.exptime import ALREADY_EXPIRED, resolve_exptime, resolve_flush
from quorumcache.node.store.item import (
    ITEM_DATA,
    ITEM_OVERHEAD,
    item_fits,
    pack_header,
    unpack_header,
)
from quorumcache.node.store.results import (
    DELETED,
    EXISTS,
    ITEM,
    NON_NUMERIC,
    NOT_FOUND,
    NOT_STORED,
    NUMBER,
    OK,
    OUT_OF_MEMORY,
    SESSION_GONE,
    STALE_SEQUENCE,
    STORED,
    TOUCHED,
)
from quorumcache.node.store.sessions import SessionTable
from quorumcache.node.store.snapshot import StoreView, decode_view, encode_view, view_digest


class _Expired(Enum):
    EXPIRED = "expired"


EXPIRED: Final = _Expired.EXPIRED
"""Answer of `lookup`: the key holds an item that has ended (or a flush is due), and the log does
not say so yet.
"""

_pack_unique = Struct(">Q").pack
_NO_EXPIRY: Final = bytes(9)


class ShardStore(StateMachine):
    """Items, time, CAS counter and sessions of one shard."""

    __slots__ = (
        "_expiring",
        "_expiry",
        "_item_bytes_max",
        "_wall_ms",
        "applied_index",
        "bytes_used",
        "cas_counter",
        "items",
        "last_now_ms",
        "last_wall_ms",
        "op_count",
        "pending_flush_ms",
        "sessions",
    )

    def __init__(self) -> None:
        self.items: dict[bytes, bytes] = {}
        """Key -> packed item (see item.py). Holds ended items until somebody removes them."""
        self.op_count = OP_COUNT
        self.bytes_used = 0
        """Sum of `item_cost` over `items`; the same on all replicas."""
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
        self.sessions = SessionTable()
        self._item_bytes_max = 0
        self._wall_ms = 0
        """Both of the batch that is being applied."""
        self._expiring = 0
        """How many of `items` have an expiry."""
        self._expiry = ExpiryHeap(self.items)

    # Reading --------------------------------------------------------------------------------------

    def lookup(self, key: bytes, now_ms: int) -> bytes | _Expired | None:
        """The packed item under `key` at `now_ms`, None when there is none, or EXPIRED (rule 3
        above).
        """
        item = self.items.get(key)
        if item is None:
            return None
        if item[0] or self.pending_flush_ms:
            return self._lookup_timed(item, now_ms)
        return item

    def _lookup_timed(self, item: bytes, now_ms: int) -> bytes | _Expired:
        now_ms = max(now_ms, self.last_now_ms)
        if self.flush_due(now_ms):
            return EXPIRED
        if item[0] and unpack_header(item)[1] <= now_ms:
            return EXPIRED
        return item

    def flush_due(self, now_ms: int) -> bool:
        """Whether a delayed flush_all waits for a batch (an OP_TICK will do) to carry it out."""
        return 0 < self.pending_flush_ms <= now_ms

    def due_expirations(self, now_ms: int, limit: int) -> list[tuple[bytes, int]]:
        """Up to `limit` pairs `(key, cas_unique)` of items that ended by `now_ms`: the arguments of
        an OP_EXPIRE.

        Asked again before that command was applied, it names the same items again.
        """
        return self._expiry.due(now_ms, limit)

    def expired_sessions(self, now_ms: int, idle_ms: int) -> list[int]:
        """Sessions idle for `idle_ms` or more: the arguments of an OP_SESSION_EXPIRE."""
        return self.sessions.idle(now_ms, idle_ms)

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
        if wall_ms is None:
            wall_ms = now_ms
        if now_ms > self.last_now_ms:
            self.last_now_ms = now_ms
            self.last_wall_ms = wall_ms
        else:
            wall_ms += self.last_now_ms - now_ms  # What it showed, or shows, at that later time.
            now_ms = self.last_now_ms
        self._wall_ms = wall_ms
        self._item_bytes_max = item_bytes_max
        self.applied_index = index
        if self.pending_flush_ms and self.pending_flush_ms <= now_ms:
            self.pending_flush_ms = 0
            self._drop_all()
        handlers = _HANDLERS
        return [
            self._apply_once(command, now_ms)
            if command[0]
            else handlers[command[3]](self, command, now_ms)
            for command in commands
        ]

    def _apply_once(self, command: Command, now_ms: int) -> Result:
        """Run a command of a session unless it was answered before (Raft thesis 6.3)."""
        session, sequence, floor, op = command[:4]
        if op == OP_SESSION_OPEN:
            return self.sessions.open(session, now_ms)
        state = self.sessions.touch(session, now_ms)
        if state is None:
            return SESSION_GONE
        if floor > state.floor:
            self.sessions.raise_floor(session, state, floor)
        if sequence < state.floor:
            return STALE_SEQUENCE
        first = state.results.get(sequence)
        if first is not None:
            return first
        result = _HANDLERS[op](self, command, now_ms)
        self.sessions.remember(session, state, sequence, result)
        return result

    def _live(self, key: bytes, now_ms: int) -> bytes | None:
        """The item under `key`, unless it has ended; then it is removed."""
        item = self.items.get(key)
        if item is not None and item[0] and unpack_header(item)[1] <= now_ms:
            self._remove(key)
            return None
        return item

    def _remove(self, key: bytes) -> None:
        item = self.items.pop(key, None)
        if item is not None:
            self.bytes_used -= len(key) + len(item) + ITEM_OVERHEAD
            if item[0]:
                self._expiring -= 1

    def _drop_all(self) -> None:
        self.items.clear()
        self._expiry.clear()
        self._expiring = 0
        self.bytes_used = 0

    def _put(self, key: bytes, item: bytes) -> None:
        """Place a packed item without an expiry, or with the expiry that the item of that key has
        now.
        """
        old = self.items.get(key)
        if old is None:
            self.bytes_used += len(key) + len(item) + ITEM_OVERHEAD
        else:
            self.bytes_used += len(item) - len(old)
            if old[0] and not item[0]:
                self._expiring -= 1
        self.items[key] = item

    def _put_ending(self, key: bytes, item: bytes, expires_at_ms: int) -> None:
        """Place a packed item that ends at `expires_at_ms`."""
        self._remove(key)
        self.items[key] = item
        self.bytes_used += len(key) + len(item) + ITEM_OVERHEAD
        self._expiring += 1
        self._expiry.push(expires_at_ms, key, self._expiring)

    def _store(self, key: bytes, data: bytes, exptime: int, now_ms: int) -> Result:
        self.cas_counter = unique = self.cas_counter + 1
        if not exptime:
            self._put(key, _NO_EXPIRY + _pack_unique(unique) + data)
            return STORED
        expires_at_ms = resolve_exptime(exptime, now_ms, self._wall_ms)
        if expires_at_ms == ALREADY_EXPIRED:
            self._remove(key)
        else:
            self._put_ending(key, pack_header(1, expires_at_ms, unique) + data, expires_at_ms)
        return STORED

    def _set(self, command: Command, now_ms: int) -> Result:
        return self._store(command[4], command[5], command[6], now_ms)

    def _add(self, command: Command, now_ms: int) -> Result:
        if self._live(command[4], now_ms) is not None:
            return NOT_STORED
        return self._store(command[4], command[5], command[6], now_ms)

    def _replace(self, command: Command, now_ms: int) -> Result:
        if self._live(command[4], now_ms) is None:
            return NOT_STORED
        return self._store(command[4], command[5], command[6], now_ms)

    def _cas(self, command: Command, now_ms: int) -> Result:
        item = self._live(command[4], now_ms)
        if item is None:
            return NOT_FOUND
        # A unique of 0 never matches: the counter starts at 1.
        if unpack_header(item)[2] != command[7]:
            return EXISTS
        return self._store(command[4], command[5], command[6], now_ms)

    def _append(self, command: Command, now_ms: int) -> Result:
        return self._extend(command, now_ms, before=False)

    def _prepend(self, command: Command, now_ms: int) -> Result:
        return self._extend(command, now_ms, before=True)

    def _extend(self, command: Command, now_ms: int, *, before: bool) -> Result:
        key, added = command[4], command[5]
        item = self._live(key, now_ms)
        if item is None:
            return NOT_STORED
        space = item.index(b" ", ITEM_DATA + 1)
        line_end = item.index(b"\r\n", space)
        length = len(item) - line_end - 4 + len(added)
        if not item_fits(len(key), int(item[ITEM_DATA + 1 : space]), length, self._item_bytes_max):
            return NOT_STORED
        value = item[line_end + 2 : -2]
        value = added + value if before else value + added
        self._rewrite(key, item, space, value)
        return STORED

    def _rewrite(self, key: bytes, item: bytes, space: int, value: bytes) -> None:
        """Give an item a new value and CAS; it keeps its expiry and its flags, which end at
        `space`.
        """
        self.cas_counter = unique = self.cas_counter + 1
        self._put(
            key,
            b"%b%b%b %d\r\n%b\r\n"
            % (item[:9], _pack_unique(unique), item[ITEM_DATA:space], len(value), value),
        )

    def _delete(self, command: Command, now_ms: int) -> Result:
        if self._live(command[4], now_ms) is None:
            return NOT_FOUND
        self._remove(command[4])
        return DELETED

    def _incr(self, command: Command, now_ms: int) -> Result:
        return self._arithmetic(command, now_ms, increment=True)

    def _decr(self, command: Command, now_ms: int) -> Result:
        return self._arithmetic(command, now_ms, increment=False)

    def _arithmetic(self, command: Command, now_ms: int, *, increment: bool) -> Result:
        key = command[4]
        item = self._live(key, now_ms)
        if item is None:
            return NOT_FOUND
        space = item.index(b" ", ITEM_DATA + 1)
        text = item[item.index(b"\r\n", space) + 2 : -2]
        number = parse_number(text)
        if number is None:
            return NON_NUMERIC
        number = add_delta(number, command[5], increment=increment)
        self._rewrite(key, item, space, padded(number, len(text)))
        return NUMBER, number

    def _touch(self, command: Command, now_ms: int) -> Result:
        return NOT_FOUND if self._retime(command, now_ms) is None else TOUCHED

    def _gat(self, command: Command, now_ms: int) -> Result:
        item = self._retime(command, now_ms)
        return NOT_FOUND if item is None else (ITEM, item)

    def _retime(self, command: Command, now_ms: int) -> bytes | None:
        """Give the live item under a key a new expiry, and answer it. Its CAS stays."""
        key = command[4]
        item = self._live(key, now_ms)
        if item is None:
            return None
        expires_at_ms = resolve_exptime(command[5], now_ms, self._wall_ms)
        if expires_at_ms == ALREADY_EXPIRED:
            self._remove(key)
            return item
        if expires_at_ms:
            item = pack_header(1, expires_at_ms, 0)[:9] + item[9:]
            self._put_ending(key, item, expires_at_ms)
        elif item[0]:
            item = _NO_EXPIRY + item[9:]
            self._put(key, item)
        return item

    def _flush(self, command: Command, now_ms: int) -> Result:
        at_ms = resolve_flush(command[5], now_ms, self._wall_ms)
        # One pending time only: a new flush of any kind replaces it.
        self.pending_flush_ms = at_ms if at_ms > now_ms else 0
        # A time in the past hides only what was stored before it, and items do not remember that:
        # nothing goes.
        if at_ms == now_ms:
            self._drop_all()
        return OK

    def _expire(self, command: Command, now_ms: int) -> Result:
        """Answers how many of the items it removed."""
        removed = 0
        for key, unique in command[5]:
            item = self.items.get(key)
            if item is None or not item[0]:
                continue
            _, expires_at_ms, present = unpack_header(item)
            # A touch keeps the CAS and may have come between the leader's look and this entry.
            if present == unique and expires_at_ms <= now_ms:
                self._remove(key)
                removed += 1
        return NUMBER, removed

    def _tick(self, command: Command, now_ms: int) -> Result:
        return OK

    def _refuse(self, command: Command, now_ms: int) -> Result:
        return OUT_OF_MEMORY

    def _session_open(self, command: Command, now_ms: int) -> Result:
        # Reached for session 0 only, which is no session.
        return SESSION_GONE

    def _session_expire(self, command: Command, now_ms: int) -> Result:
        self.sessions.expire(command[5], now_ms, command[6] if len(command) > 6 else 0)
        return OK

    def _unknown(self, command: Command, now_ms: int) -> Result:
        raise CommandError(f"op {command[3]} is unknown to this version")

    # Snapshots ------------------------------------------------------------------------------------

    def view(self) -> StoreView:
        """An immutable image of the present state; costs a copy of the dict, not of the items."""
        return StoreView(
            applied_index=self.applied_index,
            last_now_ms=self.last_now_ms,
            last_wall_ms=self.last_wall_ms,
            pending_flush_ms=self.pending_flush_ms,
            cas_counter=self.cas_counter,
            items=self.items.copy(),
            sessions=self.sessions.images(),
        )

    def encode_view(self, view: StoreView) -> Iterator[bytes]:
        """The bytes of a snapshot of `view`, in chunks."""
        return encode_view(view)

    def restore(self, data: bytes) -> None:
        """Become the state that `encode_view` wrote. Raises SnapshotInvalid, and then nothing has
        changed.
        """
        view = decode_view(data)
        self.applied_index = view.applied_index
        self.last_now_ms = view.last_now_ms
        self.last_wall_ms = view.last_wall_ms
        self.pending_flush_ms = view.pending_flush_ms
        self.cas_counter = view.cas_counter
        self.items = view.items
        self.bytes_used = sum(map(len, view.items)) + sum(map(len, view.items.values()))
        self.bytes_used += ITEM_OVERHEAD * len(view.items)
        self.sessions.restore(view.sessions)
        self._expiring = sum(item[0] for item in view.items.values())
        self._expiry = ExpiryHeap(self.items)

    def digest(self) -> bytes:
        """32 bytes that are equal on two replicas if and only if their states are (but for the
        applied index).
        """
        return view_digest(self.view())


def _handlers() -> tuple[Callable[[ShardStore, Command, int], Result], ...]:
    handlers = [ShardStore._unknown] * OP_COUNT
    handlers[OP_SET] = ShardStore._set
    handlers[OP_ADD] = ShardStore._add
    handlers[OP_REPLACE] = ShardStore._replace
    handlers[OP_CAS] = ShardStore._cas
    handlers[OP_APPEND] = ShardStore._append
    handlers[OP_PREPEND] = ShardStore._prepend
    handlers[OP_DELETE] = ShardStore._delete
    handlers[OP_INCR] = ShardStore._incr
    handlers[OP_DECR] = ShardStore._decr
    handlers[OP_TOUCH] = ShardStore._touch
    handlers[OP_GAT] = ShardStore._gat
    handlers[OP_FLUSH] = ShardStore._flush
    handlers[OP_EXPIRE] = ShardStore._expire
    handlers[OP_TICK] = ShardStore._tick
    handlers[OP_REFUSE] = ShardStore._refuse
    handlers[OP_SESSION_OPEN] = ShardStore._session_open
    handlers[OP_SESSION_EXPIRE] = ShardStore._session_expire
    return tuple(handlers)


_HANDLERS: Final = _handlers()
