"""The locks of a shard: who holds each, who waits for it, and until when. Replicated state.

A lock is no item: it is not evicted, it does not expire as items do, and a flush leaves it alone.
Holders and waiters have *leases*, which end by the time of the log, so all replicas agree when. A
lease that has ended goes with the next command for its lock, which is an OP_LOCK_EXPIRE of the
leader if nobody else sends one (`due`).

Whoever waits stands in one queue, in the order of arrival, and nobody is granted before its head.
So a reader that comes behind a waiting writer waits, too, and writers do not starve. Each grant
hands out a *fencing token*, a number that only grows (`fences.py`).

A lock of any kind is gone once nobody holds it or waits for it.

All of it moves only with the log, and lies in snapshots and digests, so the bounds here and in
`lock_records.py` are part of the log's format: a change of one raises `BATCH_VERSION`.
"""

from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Any, Final

from quorumcache.node.state_machine import Result
from quorumcache.node.store.item import block_bytes
from quorumcache.node.store.lock_records import (
    HOLDERS_MAX,
    KIND_BARRIER,
    NEVER,
    TTL_MAX_MS,
    TTL_MIN_MS,
    WAITERS_MAX,
    Holder,
    LockImage,
    LockRecord,
    Waiter,
    check_lease,
    is_possible,
)
from quorumcache.node.store.results import (
    LOCK_BUSY,
    LOCK_KIND,
    LOCK_NOT_HELD,
    LOCK_QUEUED,
    LOCK_RELEASED,
    LOCKED,
    LOCKS_FULL,
)

LOCKS_MAX: Final = 1 << 14
"""Locks of a shard that are held or waited for."""
LEASES_MAX: Final = 1 << 16
"""Holders and waiters of all locks of a shard."""
LEAVES_QUEUE: Final = -1
"""In place of the token of a release: it gives up a place in the queue, and no hold. A client that
is gone may have come back through another node, and hold the lock by then."""
QUEUE_LEASE_MS: Final = 10_000
"""How long a waiter keeps its place without asking again."""

LOCK_BYTES: Final = 640
LEASE_BYTES: Final = 200
"""About what the process takes for a lock and for each holder or waiter, without their names:
places in tables, numbers, a small record, a place in the heap."""

_ENDS_SLACK: Final = 64
"""Places of the heap that are never worth making it anew."""


class LockTable:
    """All locks of a shard. Each command for one first ends what is over of it."""

    __slots__ = ("_ends", "_name_bytes", "holders", "last_token", "locks", "waiters")

    def __init__(self) -> None:
        self.locks: dict[bytes, LockRecord] = {}
        """By name. Invariant between commands: each has a holder or a waiter, and nobody waits who
        would be granted."""
        self.last_token = 0
        """The fencing token handed out last. Never decreases."""
        self.holders = 0
        self.waiters = 0
        """Both of all locks together."""
        self._name_bytes = 0
        """What the names of locks and owners take."""
        self._ends: list[tuple[int, bytes]] = []
        """A heap of `soonest_ms` and name, no part of the state. Each lock has its pair; the pairs
        of before stay until they come up, or are the majority."""

    def __len__(self) -> int:
        return len(self.locks)

    @property
    def memory_bytes(self) -> int:
        """About what the table takes in this process."""
        leases = self.holders + self.waiters
        return len(self.locks) * LOCK_BYTES + leases * LEASE_BYTES + self._name_bytes

    # -- commands ------------------------------------------------------------------------------

    def acquire(
        self,
        name: bytes,
        owner: bytes,
        ttl_ms: int,
        kind: int,
        limit: int,
        queues: bool,
        now_ms: int,
    ) -> Result:
        """Let `owner` hold a lock, or wait for it if it `queues`; a repetition renews what it has.

        `kind`: twice the kind of the lock, and 1 more for a reader. `ttl_ms` counts as the nearest
        one that is allowed. Answers LOCK_KIND also to what no lock can be.
        """
        shared = kind & 1
        kind >>= 1
        if not is_possible(name, owner, kind, shared, limit):
            return LOCK_KIND
        ttl_ms = min(max(ttl_ms, TTL_MIN_MS), TTL_MAX_MS)
        self.expire(name, now_ms)
        record = self.locks.get(name)
        if record is None:
            record = LockRecord(kind, limit)
        elif record.kind != kind or record.limit != limit:
            return LOCK_KIND
        holder = record.holders.get(owner)
        if holder is not None:
            if holder.shared != shared:
                return LOCK_KIND  # A reader must not believe that it writes.
            self._renew(name, record, holder, ttl_ms, now_ms)
            return LOCKED, holder.token
        ends_ms = now_ms + QUEUE_LEASE_MS
        waiter = record.waiters.get(owner)
        if waiter is not None:
            if waiter.shared != shared:
                return LOCK_KIND
            record.waiters[owner] = Waiter(owner, shared, ttl_ms, ends_ms)
            return LOCK_QUEUED, record.place_of(owner)
        is_next = record.is_next(shared)
        if not is_next and not queues:
            return LOCK_BUSY
        if (
            self.holders + self.waiters >= LEASES_MAX
            or (not is_next and len(record.waiters) >= WAITERS_MAX)
            or (name not in self.locks and len(self.locks) >= LOCKS_MAX)
        ):
            return LOCKS_FULL
        if name not in self.locks:
            self.locks[name] = record
            self._name_bytes += block_bytes(len(name))
        if is_next and kind != KIND_BARRIER:
            return LOCKED, self._let_in(name, record, owner, shared, ttl_ms, now_ms)
        self._enqueue(record, Waiter(owner, shared, ttl_ms, ends_ms))
        if is_next:
            self._grant(name, record, now_ms)
            return LOCKED, record.holders[owner].token
        self._note_end(name, record, ends_ms)
        return LOCK_QUEUED, len(record.waiters)

    def renew(self, name: bytes, owner: bytes, token: int, ttl_ms: int, now_ms: int) -> Result:
        """Let the holder with this token hold the lock for `ttl_ms` from now on."""
        self.expire(name, now_ms)
        record = self.locks.get(name)
        holder = record.holders.get(owner) if record is not None else None
        if record is None or holder is None or holder.token != token:
            return LOCK_NOT_HELD
        ttl_ms = min(max(ttl_ms, TTL_MIN_MS), TTL_MAX_MS)
        self._renew(name, record, holder, ttl_ms, now_ms)
        return LOCKED, token

    def release(self, name: bytes, owner: bytes, token: int, now_ms: int) -> Result:
        """End what `owner` has of a lock: if it holds it with this token, or with token 0 whatever
        it holds, or waits for. Token LEAVES_QUEUE: only if it waits for it.
        """
        self.expire(name, now_ms)
        record = self.locks.get(name)
        if record is None:
            return LOCK_NOT_HELD
        holder = record.holders.get(owner)
        if holder is not None and token in (0, holder.token):
            self._end_holder(record, holder.owner)
        elif token in (0, LEAVES_QUEUE) and owner in record.waiters:
            self._end_waiter(record, owner)
        else:
            return LOCK_NOT_HELD
        self._grant(name, record, now_ms)
        self._drop_if_empty(name, record)
        return LOCK_RELEASED

    def expire(self, name: bytes, now_ms: int) -> int:
        """End the leases of a lock that are over, and grant what that makes free. How many ended.

        All that are over go before anybody is granted: a waiter that is over is not.
        """
        record = self.locks.get(name)
        if record is None or record.soonest_ms > now_ms:
            return 0
        holders = [holder.owner for holder in record.holders.values() if holder.ends_ms <= now_ms]
        waiters = [waiter.owner for waiter in record.waiters.values() if waiter.ends_ms <= now_ms]
        for owner in holders:
            self._end_holder(record, owner)
        for owner in waiters:
            self._end_waiter(record, owner)
        record.soonest_ms = NEVER
        self._grant(name, record, now_ms)
        self._drop_if_empty(name, record)
        self._note_end(name, record, record.soonest_end_ms())
        return len(holders) + len(waiters)

    # -- readers -------------------------------------------------------------------------------

    def due(self, now_ms: int, limit: int) -> list[bytes]:
        """Names of up to `limit` locks of which a lease has ended by `now_ms`: the argument of an
        OP_LOCK_EXPIRE.

        Asked again before that command was applied, it names the same locks again.
        """
        ends = self._ends
        found: dict[bytes, int] = {}
        while ends and ends[0][0] <= now_ms and len(found) < limit:
            soonest_ms, name = heappop(ends)
            record = self.locks.get(name)
            if record is None or record.soonest_ms != soonest_ms or name in found:
                continue
            record.soonest_ms = record.soonest_end_ms()
            if record.soonest_ms <= now_ms:
                found[name] = record.soonest_ms
            else:
                heappush(ends, (record.soonest_ms, name))
        for name, soonest_ms in found.items():
            heappush(ends, (soonest_ms, name))
        return list(found)

    def holder(self, name: bytes, owner: bytes, now_ms: int) -> int:
        """The token with which `owner` holds a lock; 0 if it does not, or not any more."""
        record = self.locks.get(name)
        holder = record.holders.get(owner) if record is not None else None
        return holder.token if holder is not None and holder.ends_ms > now_ms else 0

    def place(self, name: bytes, owner: bytes, now_ms: int) -> int:
        """The place at which `owner` waits for a lock, from 1; 0 if it waits no more, or never."""
        record = self.locks.get(name)
        waiter = record.waiters.get(owner) if record is not None else None
        if record is None or waiter is None or waiter.ends_ms <= now_ms:
            return 0
        return record.place_of(owner)

    def waits(self, name: bytes, owner: bytes, now_ms: int) -> bool:
        """Whether `owner` waits for a lock. To find its place takes longer."""
        record = self.locks.get(name)
        waiter = record.waiters.get(owner) if record is not None else None
        return waiter is not None and waiter.ends_ms > now_ms

    def show(self, name: bytes, now_ms: int = 0) -> LockImage | None:
        """A lock, without the leases that have ended by `now_ms`; None if there is none."""
        record = self.locks.get(name)
        if record is None:
            return None
        holders = tuple([one for one in record.holders.values() if one.ends_ms > now_ms])
        waiters = tuple([one for one in record.waiters.values() if one.ends_ms > now_ms])
        return (name, record.kind, record.limit, holders, waiters) if holders or waiters else None

    # -- steps ---------------------------------------------------------------------------------

    def _renew(
        self, name: bytes, record: LockRecord, holder: Holder, ttl_ms: int, now_ms: int
    ) -> None:
        ends_ms = now_ms + ttl_ms
        renewed = Holder(holder.owner, holder.token, holder.shared, ends_ms, ttl_ms)
        record.holders[holder.owner] = renewed
        self._note_end(name, record, ends_ms)

    def _grant(self, name: bytes, record: LockRecord, now_ms: int) -> None:
        """Let in whoever is next, in the order of the queue."""
        while True:
            count = record.next_grants()
            if not count:
                return
            for waiter in list(islice(record.waiters.values(), count)):
                self._end_waiter(record, waiter.owner)
                owner, shared, ttl_ms, _ = waiter
                self._let_in(name, record, owner, shared, ttl_ms, now_ms)

    def _let_in(
        self, name: bytes, record: LockRecord, owner: bytes, shared: int, ttl_ms: int, now_ms: int
    ) -> int:
        """Let somebody hold a lock. Answers the token."""
        self.last_token = token = self.last_token + 1
        ends_ms = now_ms + ttl_ms
        self._hold(record, Holder(owner, token, shared, ends_ms, ttl_ms))
        self._note_end(name, record, ends_ms)
        return token

    def _hold(self, record: LockRecord, holder: Holder) -> None:
        record.holders[holder.owner] = holder
        self.holders += 1
        self._name_bytes += block_bytes(len(holder.owner))

    def _enqueue(self, record: LockRecord, waiter: Waiter) -> None:
        record.waiters[waiter.owner] = waiter
        self.waiters += 1
        self._name_bytes += block_bytes(len(waiter.owner))

    def _end_holder(self, record: LockRecord, owner: bytes) -> None:
        del record.holders[owner]
        self.holders -= 1
        self._name_bytes -= block_bytes(len(owner))

    def _end_waiter(self, record: LockRecord, owner: bytes) -> None:
        del record.waiters[owner]
        self.waiters -= 1
        self._name_bytes -= block_bytes(len(owner))

    def _drop_if_empty(self, name: bytes, record: LockRecord) -> None:
        if not record.holders and not record.waiters:
            del self.locks[name]
            self._name_bytes -= block_bytes(len(name))

    def _note_end(self, name: bytes, record: LockRecord, ends_ms: int) -> None:
        """A lease of this lock ends then."""
        if ends_ms >= record.soonest_ms:
            return
        record.soonest_ms = ends_ms
        ends = self._ends
        heappush(ends, (ends_ms, name))
        if len(ends) > 2 * len(self.locks) + _ENDS_SLACK:
            self._ends = [(record.soonest_ms, name) for name, record in self.locks.items()]
            heapify(self._ends)

    # -- snapshots -----------------------------------------------------------------------------

    def images(self) -> tuple[LockImage, ...]:
        """The whole table as plain values, in its order."""
        images: list[LockImage] = []
        for name, record in self.locks.items():
            holders, waiters = tuple(record.holders.values()), tuple(record.waiters.values())
            images.append((name, record.kind, record.limit, holders, waiters))
        return tuple(images)

    def add(self, image: Any) -> None:
        """Take in a lock of a snapshot, behind those that are there. `last_token` is known before.

        Raises ValueError for what is no lock, or breaks a rule of this file.
        """
        name, kind, limit, holders, waiters = image
        record = LockRecord(kind, limit)
        if name in self.locks or not (holders or waiters):
            raise ValueError(f"no lock, or one that is there twice: {name!r:.100}")
        for owner, token, shared, ends_ms, ttl_ms in holders:
            check_lease(name, record, owner, shared, (token, ends_ms, ttl_ms))
            if not 0 < token <= self.last_token:
                raise ValueError(f"a lock with a token of nobody: {name!r:.100}")
            if kind != KIND_BARRIER and not record.admits(shared):
                raise ValueError(f"a lock with too many holders: {name!r:.100}")
            self._hold(record, Holder(owner, token, shared, ends_ms, ttl_ms))
        for owner, shared, ttl_ms, ends_ms in waiters:
            check_lease(name, record, owner, shared, (ttl_ms, ends_ms))
            self._enqueue(record, Waiter(owner, shared, ttl_ms, ends_ms))
        if len(record.holders) > HOLDERS_MAX or len(record.waiters) > WAITERS_MAX:
            raise ValueError(f"a lock with too many leases: {name!r:.100}")
        self.locks[name] = record
        self._name_bytes += block_bytes(len(name))
        self._note_end(name, record, record.soonest_end_ms())
