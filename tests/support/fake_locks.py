"""Locks and fences of the scripted cluster, as docs/protocol.md tells them.

Written apart from the real ones, on the time of the event loop. `give_away` ends a holder's lease
at once, as if its time were over.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

QUEUE_LEASE_S = 10.0


@dataclass
class Holder:
    owner: bytes
    token: int
    shared: bool
    ends_at: float


@dataclass
class Waiter:
    owner: bytes
    shared: bool
    ttl_s: float
    ends_at: float


@dataclass
class Record:
    kind: bytes  # lock, semaphore, barrier
    limit: int
    holders: list[Holder] = field(default_factory=list)
    queue: list[Waiter] = field(default_factory=list)


class FakeLocks:
    """All locks of a cluster."""

    def __init__(self) -> None:
        self.records: dict[bytes, Record] = {}
        self.tokens = 0
        self.seen: dict[tuple[int, bytes], int] = {}  # by shard and lock: the highest token
        self.guards: dict[bytes, bytes] = {}  # by key: its lock
        self.changed = asyncio.Event()
        """Set, and replaced, with every command."""

    def give_away(self, name: bytes) -> None:
        """End the leases of all holders."""
        for holder in self.records[name].holders:
            holder.ends_at = 0.0
        self._purge(name)

    def holders(self, name: bytes) -> list[Holder]:
        self._purge(name)
        record = self.records.get(name)
        return record.holders if record is not None else []

    def waiters(self, name: bytes) -> list[Waiter]:
        self._purge(name)
        record = self.records.get(name)
        return record.queue if record is not None else []

    def command(self, words: list[bytes]) -> bytes:
        """`cluster lock <words>`, without any waiting."""
        verb, name = words[0], words[1]
        self._purge(name)
        if verb == b"acquire":
            answer = self._acquire(name, words[2:])
        elif verb == b"renew":
            answer = self._renew(name, words[2], int(words[3]), int(words[4]))
        elif verb == b"release":
            answer = self._release(name, words[2], int(words[3]) if len(words) > 3 else 0)
        else:
            return self._show(name)
        self._purge(name)
        self._tell()
        return answer + b"\r\n"

    def fence(self, shard: int, key: bytes, lock: bytes, token: int) -> bytes:
        """What a command behind a fence is answered in place of being executed; b"": execute it."""
        seen = self.seen.get((shard, lock), 0)
        if token < seen:
            return b"CLIENT_ERROR stale fence: the newest token seen here is %d\r\n" % seen
        if self.guards.setdefault(key, lock) != lock:
            return b"CLIENT_ERROR fence of another lock: this key is guarded by another one\r\n"
        self.seen[shard, lock] = token
        return b""

    async def wait(self, name: bytes, owner: bytes, wait_ms: int) -> bytes:
        """As a node waits for one that is queued: the answer when it holds, or its time is over."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_ms / 1000
        while True:
            self._purge(name)
            record = self.records.get(name)
            if record is not None:
                for holder in record.holders:
                    if holder.owner == owner:
                        return b"LOCKED %d\r\n" % holder.token
            queue = record.queue if record is not None else []
            places = [waiter.owner for waiter in queue]
            left = until - loop.time()
            if owner not in places or left <= 0:
                place = places.index(owner) + 1 if owner in places else 1
                return b"WAITING %d\r\n" % place
            try:
                await asyncio.wait_for(self.changed.wait(), min(left, 0.02))
            except TimeoutError:
                continue

    def _tell(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def _acquire(self, name: bytes, words: list[bytes]) -> bytes:
        now = asyncio.get_running_loop().time()
        owner, ttl_s, wait_ms = words[0], int(words[1]) / 1000, int(words[2])
        kind = words[3] if words[3] in (b"semaphore", b"barrier") else b"lock"
        limit = int(words[4]) if kind != b"lock" else 0
        shared = words[3] == b"shared"
        record = self.records.setdefault(name, Record(kind, limit))
        if (record.kind, record.limit) != (kind, limit):
            return b"CLIENT_ERROR lock of another kind: it is a %b" % record.kind
        for holder in record.holders:
            if holder.owner == owner:
                holder.ends_at = now + ttl_s
                return b"LOCKED %d" % holder.token
        for place, waiter in enumerate(record.queue, 1):
            if waiter.owner == owner:
                waiter.ends_at = now + QUEUE_LEASE_S
                return b"WAITING %d" % place
        record.queue.append(Waiter(owner, shared, ttl_s, now + QUEUE_LEASE_S))
        self._grant(record)
        for holder in record.holders:
            if holder.owner == owner:
                return b"LOCKED %d" % holder.token
        if not wait_ms:
            record.queue.pop()
            return b"BUSY"
        return b"WAITING %d" % len(record.queue)

    def _renew(self, name: bytes, owner: bytes, token: int, ttl_ms: int) -> bytes:
        for holder in self.holders(name):
            if (holder.owner, holder.token) == (owner, token):
                holder.ends_at = asyncio.get_running_loop().time() + ttl_ms / 1000
                return b"LOCKED %d" % token
        return b"NOT_HELD"

    def _release(self, name: bytes, owner: bytes, token: int) -> bytes:
        record = self.records.get(name)
        if record is not None:
            for holder in record.holders:
                if holder.owner == owner and token in (0, holder.token):
                    record.holders.remove(holder)
                    return b"RELEASED"
            for waiter in record.queue:
                if waiter.owner == owner and not token:
                    record.queue.remove(waiter)
                    return b"RELEASED"
        return b"NOT_HELD"

    def _show(self, name: bytes) -> bytes:
        record = self.records.get(name)
        if record is None:
            return b"END\r\n"
        now = asyncio.get_running_loop().time()
        lines = []
        for holder in record.holders:
            left_ms = round(1000 * (holder.ends_at - now))
            mode = self._mode(record, holder.shared)
            lines.append(b"HOLDER %b %d %b %d" % (holder.owner, holder.token, mode, left_ms))
        for place, waiter in enumerate(record.queue, 1):
            lines.append(
                b"WAITER %d %b %b" % (place, waiter.owner, self._mode(record, waiter.shared))
            )
        return b"".join(line + b"\r\n" for line in (*lines, b"END"))

    def _mode(self, record: Record, shared: bool) -> bytes:
        if record.kind != b"lock":
            return record.kind
        return b"shared" if shared else b"exclusive"

    def _purge(self, name: bytes) -> None:
        record = self.records.get(name)
        if record is None:
            return
        now = asyncio.get_running_loop().time()
        record.holders = [holder for holder in record.holders if holder.ends_at > now]
        record.queue = [waiter for waiter in record.queue if waiter.ends_at > now]
        self._grant(record)
        if not record.holders and not record.queue:
            del self.records[name]

    def _grant(self, record: Record) -> None:
        if record.kind == b"barrier":
            while len(record.queue) >= record.limit:
                for waiter in record.queue[: record.limit]:
                    self._give(record, waiter)
            return
        while record.queue and self._fits(record, record.queue[0]):
            self._give(record, record.queue[0])

    def _fits(self, record: Record, waiter: Waiter) -> bool:
        if record.kind == b"semaphore":
            return len(record.holders) < record.limit
        return not record.holders or (
            waiter.shared and all(holder.shared for holder in record.holders)
        )

    def _give(self, record: Record, waiter: Waiter) -> None:
        record.queue.remove(waiter)
        self.tokens += 1
        ends_at = asyncio.get_running_loop().time() + waiter.ttl_s
        record.holders.append(Holder(waiter.owner, self.tokens, waiter.shared, ends_at))
