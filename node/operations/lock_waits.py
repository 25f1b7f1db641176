"""Waits for locks, at the leader of their shard: each is kept until it is its owner's turn, until
that owner waits no more, or for `PARK_MS`. The node that asked then asks again, for as long as its
client waits; so the wait of a client goes on at the next leader, and its place is in the log.

What may end a wait is a command for its lock. `Serving` wraps the waiters of those commands, so a
wait hears of a grant as soon as that is applied. A grant that another leader proposed is found when
the time of the wait is over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from quorumcache.node.operations.failure import NOT_THE_LEADER
from quorumcache.node.operations.lock_answers import (
    LOCK_SHOW,
    TOO_MANY,
    WAITS,
    pack_lock,
    pack_standing,
    standing,
)
from quorumcache.node.operations.lock_reads import LockRead
from quorumcache.node.state_machine import Result, Waiter
from quorumcache.node.store.store import shard_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quorumcache.node.clock import Clock
    from quorumcache.node.replica.group import ReplicaGroup

PARK_MS: Final = 500
"""So much less than the time after which a forward without an answer is sent again that a slow
answer is not taken for a lost one."""

PARKED_MAX: Final = 16_384
"""Waits that a node keeps. One more is told so, and its client hears it."""


class LockAsker(Protocol):
    """Who waits for the answer: a read of this node, or one of another."""

    finished: bool

    def answer(self, found: bytes) -> None: ...
    def refuse(self, why: str) -> None: ...


class Answers(Protocol):
    """What answers other nodes: `Serving`."""

    counters: Any
    lock_waits: LockWaits

    def led_here(self, group_id: int) -> ReplicaGroup | None: ...
    def refuse(self, node_id: int, request_id: int, group_id: int, why: str) -> None: ...
    def reply_items(
        self, node_id: int, request_id: int, items: Sequence[bytes | None], hint: None = None
    ) -> None: ...


class _Parked:
    """A wait that is kept."""

    __slots__ = ("asker", "owner", "term", "until_ns")

    def __init__(self, asker: LockAsker, owner: bytes, term: int, until_ns: int) -> None:
        self.asker = asker
        self.owner = owner
        self.term = term
        """In which this node leads the group."""
        self.until_ns = until_ns


class LockWaits:
    """See the module docstring."""

    __slots__ = ("_clock", "_groups", "_parked", "count")

    def __init__(self, groups: Mapping[int, ReplicaGroup], clock: Clock) -> None:
        self._groups = groups
        self._clock = clock
        self._parked: dict[tuple[int, bytes], list[_Parked]] = {}
        """By group and lock, in the order in which they came."""
        self.count = 0
        """Waits that are kept."""

    def look(
        self,
        group: ReplicaGroup,
        asked: tuple[bytes, ...],
        asks: int,
        park_ms: int,
        asker: LockAsker,
    ) -> bytes | None:
        """The answer to such a read, by the state of a leader that may serve it. None: it is kept,
        and `asker` hears of it later.
        """
        locks = shard_store(group.machine).locks
        now_ms = group.now_ms()
        name = asked[0]
        if asks == LOCK_SHOW:
            return pack_lock(locks, name, now_ms)
        owner = asked[1]
        found = standing(locks, name, owner, now_ms)
        if found[0] != WAITS or park_ms <= 0:
            return pack_standing(found)
        if self.count >= PARKED_MAX:
            return pack_standing((TOO_MANY, found[1]))
        until_ns = self._clock.monotonic_ns() + min(park_ms, PARK_MS) * 1_000_000
        parked = _Parked(asker, owner, group.term, until_ns)
        self._parked.setdefault((group.group_id, name), []).append(parked)
        self.count += 1
        return None

    def read(self, group: ReplicaGroup, read: LockRead) -> list[bytes | None] | None:
        """The answer to such a read of this node, in the form of all reads."""
        found = self.look(group, read.asked, read.asks, read.park_ms, read)
        return None if found is None else [found]

    def forwarded(self, serving: Answers, node_id: int, item: tuple[Any, ...]) -> None:
        """Such a read of another node; its form was checked."""
        _, request_id, group_id, asked, park_ms, asks = item
        group = serving.led_here(group_id)
        if group is None:
            serving.refuse(node_id, request_id, group_id, NOT_THE_LEADER)
            return
        forwarded = ForwardedLockRead(serving, node_id, request_id, group, asked, asks, park_ms)
        if group.has_lease():
            serving.counters.lease_reads += 1
            forwarded.on_readable()
        else:
            serving.counters.index_reads += 1
            group.when_readable(forwarded)

    def wake(self, group_id: int, name: bytes) -> None:
        """A command for a lock was applied: some may wait no more."""
        waiting = self._parked.get((group_id, name))
        group = self._groups.get(group_id)
        if waiting is None or group is None:
            return
        locks = shard_store(group.machine).locks
        now_ms = group.now_ms()
        left: list[_Parked] = []
        ended: list[tuple[LockAsker, bytes]] = []
        for parked in waiting:
            if locks.waits(name, parked.owner, now_ms):
                left.append(parked)
            else:
                found = standing(locks, name, parked.owner, now_ms)
                ended.append((parked.asker, pack_standing(found)))
        if not ended:
            return
        self._keep((group_id, name), left)
        for asker, answer in ended:
            if not asker.finished:
                asker.answer(answer)

    def sweep(self, now_ns: int) -> None:
        """End what has been kept for long enough, or was given up, or belongs to a leader that this
        node is no more. Called every few ticks.
        """
        for place, waiting in list(self._parked.items()):
            group_id, name = place
            group = self._groups.get(group_id)
            leads = group is not None and group.is_leader
            left: list[_Parked] = []
            ended: list[_Parked] = []
            for parked in waiting:
                if parked.asker.finished:
                    continue
                is_ours = leads and group is not None and group.term == parked.term
                (left if is_ours and now_ns < parked.until_ns else ended).append(parked)
            if len(left) == len(waiting):
                continue
            self._keep(place, left)
            for parked in ended:
                if not leads or group is None or group.term != parked.term:
                    parked.asker.refuse(NOT_THE_LEADER)
                else:
                    locks = shard_store(group.machine).locks
                    found = standing(locks, name, parked.owner, group.now_ms())
                    parked.asker.answer(pack_standing(found))

    def _keep(self, place: tuple[int, bytes], left: list[_Parked]) -> None:
        """Of those that wait there only these are left."""
        self.count += len(left) - len(self._parked[place])
        if left:
            self._parked[place] = left
        else:
            del self._parked[place]


class ForwardedLockRead:
    """Answers the node that forwarded such a read to us."""

    __slots__ = (
        "asked",
        "asks",
        "finished",
        "group",
        "node_id",
        "park_ms",
        "request_id",
        "serving",
    )

    def __init__(
        self,
        serving: Answers,
        node_id: int,
        request_id: int,
        group: ReplicaGroup,
        asked: tuple[bytes, ...],
        asks: int,
        park_ms: int,
    ) -> None:
        self.serving = serving
        self.node_id = node_id
        self.request_id = request_id
        self.group = group
        self.asked = asked
        self.asks = asks
        self.park_ms = park_ms
        self.finished = False
        """Never: the node that asked cannot say that nobody waits for the answer any more."""

    def on_readable(self) -> None:
        waits = self.serving.lock_waits
        found = waits.look(self.group, self.asked, self.asks, self.park_ms, self)
        if found is not None:
            self.answer(found)

    def on_refused(self, why: str) -> None:
        self.refuse(why)

    def answer(self, found: bytes) -> None:
        self.serving.reply_items(self.node_id, self.request_id, (found,))

    def refuse(self, why: str) -> None:
        self.serving.refuse(self.node_id, self.request_id, self.group.group_id, why)


class Waking:
    """The waiter of a command for a lock, at the leader: whatever comes of it, those who wait for
    the lock look whether it is their turn."""

    __slots__ = ("_group_id", "_name", "_waiter", "_waits")

    def __init__(self, waits: LockWaits, group_id: int, name: bytes, waiter: Waiter) -> None:
        self._waits = waits
        self._group_id = group_id
        self._name = name
        self._waiter = waiter

    def on_result(self, result: Result) -> None:
        self._waiter.on_result(result)
        self._waits.wake(self._group_id, self._name)

    def on_refused(self, why: str) -> None:
        self._waiter.on_refused(why)

    def on_lost(self) -> None:
        self._waiter.on_lost()
