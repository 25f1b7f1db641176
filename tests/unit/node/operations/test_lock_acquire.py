"""A client that waits for a lock: what its node asks, what it is told, and what is left behind."""

from typing import Any

import pytest

from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.lock_acquire import (
    RENEW_NS,
    TOO_MANY_WAIT,
    WAIT_NS_MAX,
    WaitingAcquire,
)
from quorumcache.node.operations.lock_answers import (
    GONE,
    GRANTED,
    TOO_MANY,
    WAITS,
    pack_standing,
)
from quorumcache.node.store.commands import OP_LOCK_ACQUIRE, OP_LOCK_RELEASE
from quorumcache.node.store.locks import LEAVES_QUEUE, QUEUE_LEASE_MS
from quorumcache.node.store.results import LOCK_BUSY, LOCK_KIND, LOCK_QUEUED, LOCKED

MS = 1_000_000
ARGS = (b"owner", 5000, 0, 0)
QUEUED = (LOCK_QUEUED, 3)
IDENTITY = (9, 5, 1)


class World:
    """A coordinator that the test plays, and one acquire."""

    def __init__(self, wait_ms: int = 10_000, identity: Any = None) -> None:
        self.ns = 0
        self.clock: Any = self
        self.timeout_ms = 5000
        self.writes: list[tuple[int, tuple[object, ...], Any, Any]] = []
        self.reads: list[Any] = []
        self.outcomes: list[Any] = []
        coordinator: Any = self
        done = self.outcomes.append
        self.acquire = WaitingAcquire(coordinator, 1, b"lock", ARGS, wait_ms, done, identity)
        self.acquire.start()

    def monotonic_ns(self) -> int:
        return self.ns

    def deadline_ns(self) -> int:
        return self.ns + 5000 * MS

    def write(
        self, group_id: int, op: int, key: bytes, args: Any, size: int, done: Any, *more: Any
    ) -> None:
        assert (group_id, key) == (1, b"lock")
        self.writes.append((op, args, done, more[1] if more else None))

    def begin(self, read: Any, is_late: bool) -> None:
        assert read.asked == (b"lock", b"owner")
        self.reads.append(read)

    def acquired(self, outcome: Any) -> Any:
        """The answer to the acquire under way. Its identity is returned."""
        op, args, done, identity = self.writes.pop(0)
        assert (op, args) == (OP_LOCK_ACQUIRE, (*ARGS, 1))
        done(outcome)
        return identity

    def looked(self, code: int, number: int = 0) -> int:
        """The leader's answer. For how long it may have kept the read is returned."""
        read = self.reads.pop(0)
        read.answer(pack_standing((code, number)))
        park_ms: int = read.park_ms
        return park_ms

    def left_queue(self) -> bool:
        """Whether the place in the queue is given up."""
        return [write[:2] for write in self.writes] == [(OP_LOCK_RELEASE, (b"owner", LEAVES_QUEUE))]


@pytest.mark.parametrize("outcome", [(LOCKED, 7), LOCK_KIND, Failure("why", outcome_known=True)])
def test_what_needs_no_wait_is_told_at_once(outcome: Any) -> None:
    world = World()
    world.acquired(outcome)
    assert world.outcomes == [outcome]
    assert not world.reads


def test_the_leader_is_asked_until_it_is_the_owners_turn() -> None:
    world = World()
    world.acquired(QUEUED)
    assert world.looked(WAITS, 2) == 500
    assert world.looked(WAITS, 1) == 500
    assert not world.outcomes
    world.looked(GRANTED, 8)
    assert world.outcomes == [(LOCKED, 8)]
    assert not world.writes


def test_a_very_short_wait_asks_nobody() -> None:
    """The leader answers a question that it keeps with a sweep: 50 ms for a wait of one."""
    for wait_ms, asks in ((1, False), (4, False), (5, True)):
        world = World(wait_ms)
        world.acquired(QUEUED)
        assert world.outcomes == ([] if asks else [QUEUED])
        assert len(world.reads) == asks


def test_a_wait_ends_in_time_with_its_newest_place() -> None:
    world = World(wait_ms=600)
    world.acquired(QUEUED)
    world.ns = 500 * MS
    assert world.looked(WAITS, 2) == 500
    assert world.reads[0].park_ms == 100
    world.ns = 600 * MS
    world.looked(WAITS, 1)
    assert world.outcomes == [(LOCK_QUEUED, 1)]


def test_the_place_is_renewed_while_the_client_waits_and_at_the_end() -> None:
    world = World(wait_ms=5000)
    world.acquired(QUEUED)
    world.ns = RENEW_NS - 1
    world.looked(WAITS, 3)
    world.ns = RENEW_NS
    world.looked(WAITS, 3)
    world.acquired(QUEUED)
    world.ns = 5000 * MS
    world.looked(WAITS, 2)
    assert not world.outcomes, "so that the client has all the time to ask again"
    world.acquired((LOCK_QUEUED, 2))
    assert world.outcomes == [(LOCK_QUEUED, 2)]


def test_no_wait_is_longer_than_a_minute() -> None:
    world = World(wait_ms=1_000_000)
    world.ns = WAIT_NS_MAX - MS
    world.acquired(QUEUED)
    world.ns = WAIT_NS_MAX
    world.looked(WAITS, 1)
    world.acquired((LOCK_QUEUED, 1))
    assert world.outcomes == [(LOCK_QUEUED, 1)]


def test_a_place_that_was_given_up_elsewhere_is_not_asked_for_again() -> None:
    """As by a client that was cut off, and has released its owner word over another connection."""
    world = World()
    world.acquired(QUEUED)
    world.ns = QUEUE_LEASE_MS * 1_000_000 - 1
    world.looked(GONE)
    assert world.outcomes == [LOCK_BUSY]
    assert not world.writes


def test_a_place_that_was_lost_is_asked_for_anew() -> None:
    world = World(wait_ms=20_000)
    world.acquired(QUEUED)
    world.ns = QUEUE_LEASE_MS * 1_000_000
    world.looked(GONE)
    world.acquired((LOCKED, 9))
    assert world.outcomes == [(LOCKED, 9)]


def test_only_the_first_acquire_has_the_clients_number() -> None:
    world = World(identity=IDENTITY)
    assert world.acquired(QUEUED) == IDENTITY
    world.ns = RENEW_NS
    world.looked(WAITS, 1)
    assert world.acquired(QUEUED) is None, "the shard would answer it from memory"
    world.looked(GONE)
    assert world.outcomes == [LOCK_BUSY], "it may be a late repetition: it takes no lock"


@pytest.mark.parametrize("known", [True, False])
def test_a_shard_that_does_not_answer_is_asked_as_long_as_the_client_waits(known: bool) -> None:
    world = World()
    world.acquired(QUEUED)
    world.ns = 5000 * MS
    world.reads.pop().finish(Failure("no leader", outcome_known=True))
    assert not world.outcomes
    world.ns = 10_000 * MS
    world.acquired(Failure("no leader", outcome_known=known))
    (failure,) = world.outcomes
    assert failure.why == "no leader"
    assert not failure.outcome_known, "it may have its place"


def test_a_leader_that_keeps_too_many_waits() -> None:
    world = World()
    world.acquired(QUEUED)
    world.looked(TOO_MANY)
    (failure,) = world.outcomes
    assert (failure.why, failure.outcome_known) == (TOO_MANY_WAIT, True)
    assert world.left_queue()


@pytest.mark.parametrize("is_looking", [True, False])
def test_a_client_that_is_gone_gives_up_its_place(is_looking: bool) -> None:
    world = World()
    if is_looking:
        world.acquired(QUEUED)
        world.acquire.leave(is_gone=True)
    else:
        world.acquire.leave(is_gone=True)
        world.acquired(QUEUED)
    assert world.outcomes == [LOCK_BUSY]
    assert world.left_queue()
    if is_looking:
        world.looked(GRANTED, 5)
        assert len(world.outcomes) == 1


def test_a_client_that_is_gone_keeps_what_it_holds() -> None:
    world = World()
    world.acquire.leave(is_gone=True)
    world.acquired((LOCKED, 5))
    assert not world.writes


def test_an_acquire_of_unknown_fate_is_given_up_with_its_client() -> None:
    world = World()
    world.acquire.leave(is_gone=True)
    world.acquired(Failure("timeout", outcome_known=False))
    assert world.left_queue()


@pytest.mark.parametrize("is_looking", [True, False])
def test_a_node_that_stops_tells_the_place_and_leaves_it(is_looking: bool) -> None:
    world = World()
    if is_looking:
        world.acquired(QUEUED)
    world.acquire.leave(is_gone=False)
    if not is_looking:
        world.acquired(QUEUED)
    assert world.outcomes == [QUEUED]
    assert not world.writes
