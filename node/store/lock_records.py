"""One lock: who holds it, who waits for it, and who is next.

Rules of a single lock without times and tokens; those are the table's (`locks.py`).
"""

from typing import Any, Final, NamedTuple

from quorumcache.node.store.item import KEY_BYTES_MAX

KIND_LOCK: Final = 0
"""One holder, or any number of sharing ones (readers). Its limit is 0."""
KIND_SEMAPHORE: Final = 1
"""As many holders as its limit says."""
KIND_BARRIER: Final = 2
"""Those who wait are granted together, as soon as they are as many as its limit says. The holders
of a round count no more when the next one gathers."""

HOLDERS_MAX: Final = 1 << 10
"""Holders of a lock. So a command never looks at more leases than this and WAITERS_MAX."""
WAITERS_MAX: Final = 1 << 10
"""Waiters of a lock."""

OWNER_BYTES_MAX: Final = 100
TTL_MIN_MS: Final = 100
"""Shorter leases would end while their renewal is on its way."""
TTL_MAX_MS: Final = 86_400_000
"""A day: what a dead owner holds up at most."""
NEVER: Final = 1 << 62
"""Later than any time of the log."""


class Holder(NamedTuple):
    """Who holds a lock."""

    owner: bytes
    token: int
    shared: int
    """1 = a reader: other readers may hold the lock, too."""
    ends_ms: int
    """Cluster time from which it holds the lock no more."""
    ttl_ms: int


class Waiter(NamedTuple):
    """Who waits for a lock."""

    owner: bytes
    shared: int
    ttl_ms: int
    """Length of its lease once it is granted."""
    ends_ms: int
    """Cluster time from which it waits no more."""


LockImage = tuple[bytes, int, int, tuple[Holder, ...], tuple[Waiter, ...]]
"""A lock as snapshots hold it: name, kind, limit, holders, waiters; both in their order."""

LEASE_IMAGE_BYTES: Final = 130
"""About what a holder or a waiter takes in a snapshot at most."""


class LockRecord:
    """One lock. Nobody has two leases of it."""

    __slots__ = ("holders", "kind", "limit", "soonest_ms", "waiters")

    def __init__(self, kind: int, limit: int) -> None:
        self.kind = kind
        self.limit = limit
        self.holders: dict[bytes, Holder] = {}
        """By owner, in the order of their tokens."""
        self.waiters: dict[bytes, Waiter] = {}
        """By owner, the next one first."""
        self.soonest_ms = NEVER
        """No lease ends before it. No part of the state: a renewal leaves it as it is."""

    def admits(self, shared: int) -> bool:
        """Whether one more holder would be let in, if it were its turn. Not for a barrier."""
        holders = self.holders
        if self.kind == KIND_SEMAPHORE:
            return len(holders) < self.limit
        for holder in holders.values():
            return bool(shared and holder.shared) and len(holders) < HOLDERS_MAX
        return True

    def round_is_full(self, waiters: int) -> bool:
        """Whether so many waiters of a barrier are enough for a round."""
        return waiters >= self.limit and len(self.holders) + self.limit <= HOLDERS_MAX

    def is_next(self, shared: int) -> bool:
        """Whether a newcomer is granted at once."""
        if self.kind == KIND_BARRIER:
            return self.round_is_full(len(self.waiters) + 1)
        return not self.waiters and self.admits(shared)

    def next_grants(self) -> int:
        """How many at the head of the queue are granted together now."""
        if self.kind == KIND_BARRIER:
            return self.limit if self.round_is_full(len(self.waiters)) else 0
        for head in self.waiters.values():
            return 1 if self.admits(head.shared) else 0
        return 0

    def soonest_end_ms(self) -> int:
        """When the first of the leases ends."""
        ends = [holder.ends_ms for holder in self.holders.values()]
        ends += [waiter.ends_ms for waiter in self.waiters.values()]
        return min(ends, default=NEVER)

    def place_of(self, owner: bytes) -> int:
        """The place of a waiter, from 1; 0 for anybody else."""
        if owner not in self.waiters:
            return 0
        return list(self.waiters).index(owner) + 1  # A loop in Python takes ten times as long.


def is_owner(owner: bytes) -> bool:
    """Whether something may be the owner of a lock: 1 to OWNER_BYTES_MAX bytes, none of them a
    space or a control character.
    """
    return 0 < len(owner) <= OWNER_BYTES_MAX and min(owner) > 32 and 127 not in owner


def is_possible(name: bytes, owner: bytes, kind: int, shared: int, limit: int) -> bool:
    """Whether there may be such a lock with such an owner."""
    if not 0 < len(name) <= KEY_BYTES_MAX or not is_owner(owner):
        return False
    if kind == KIND_LOCK:
        return limit == 0
    if kind == KIND_SEMAPHORE:
        return not shared and 0 < limit <= HOLDERS_MAX
    return kind == KIND_BARRIER and not shared and 0 < limit <= WAITERS_MAX


def check_lease(
    name: Any, record: LockRecord, owner: Any, shared: Any, numbers: tuple[Any, ...]
) -> None:
    """Raise ValueError unless this may be one more lease of a lock of a snapshot."""
    if (
        type(name) is not bytes
        or type(owner) is not bytes
        or not all(type(n) is int for n in (record.kind, record.limit, shared, *numbers))
        or shared not in (0, 1)
        or not is_possible(name, owner, record.kind, shared, record.limit)
        or owner in record.holders
        or owner in record.waiters
    ):
        raise ValueError(f"a lock with an invalid lease: {name!r:.100}")
