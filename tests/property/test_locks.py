"""Locks against a plain model of a fair lock, and fences against a memory without bounds.

Goal: what a lock promises holds over any commands at any times, wherever snapshots cut the log.
Method: commands of few owners for few locks run on a store and on a model that is nothing but a
list in the order of arrival. After each, rules are checked that the model does not know:

1. A writer is alone, a semaphore has no more holders than permits.
2. Tokens grow, and nobody gets one twice.
3. Nobody is let in before somebody who came earlier and still waits.
4. Who holds a lock has it to the end of its lease, unless it gives it back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumcache.node.store.commands import (
    OP_FENCED,
    OP_FLUSH,
    OP_LOCK_ACQUIRE,
    OP_LOCK_EXPIRE,
    OP_LOCK_RELEASE,
    OP_LOCK_RENEW,
    OP_TOUCH,
)
from quorumcache.node.store.lock_records import KIND_BARRIER, KIND_LOCK, KIND_SEMAPHORE
from quorumcache.node.store.locks import QUEUE_LEASE_MS
from quorumcache.node.store.results import (
    FENCE_OTHER_LOCK,
    FENCE_STALE,
    LOCK_BUSY,
    LOCK_KIND,
    LOCK_NOT_HELD,
    LOCK_QUEUED,
    LOCK_RELEASED,
    LOCKED,
    NOT_FOUND,
)
from quorumcache.node.store.store import ShardStore

START_MS = 1_000_000
OWNERS = (b"a", b"b", b"c", b"d", b"e")
FORMS = {
    b"lock": (KIND_LOCK, 0),
    b"semaphore": (KIND_SEMAPHORE, 2),
    b"barrier": (KIND_BARRIER, 3),
}

names = st.sampled_from([b"lock", b"lock", *FORMS])
owners = st.sampled_from(OWNERS)
ttls = st.sampled_from([300, 700, 4000])
tokens = st.sampled_from(["own", "own", "old", 0])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("acquire"), names, owners, ttls, st.booleans(), st.booleans()),
        st.tuples(st.just("acquire"), names, owners, ttls, st.booleans(), st.just(True)),
        st.tuples(st.just("renew"), names, owners, tokens, ttls),
        st.tuples(st.just("release"), names, owners, tokens),
        st.tuples(st.just("time"), st.sampled_from([1, 299, 300, 401, 3000, QUEUE_LEASE_MS])),
        st.tuples(st.just("expire"), st.integers(1, 3)),
        st.tuples(st.sampled_from(["snapshot", "flush"])),
    ),
    max_size=60,
)


@dataclass
class Place:
    """One owner in the list of a lock."""

    owner: bytes
    shared: int
    ttl_ms: int
    ends_ms: int
    token: int = 0
    """0 = it waits."""


@dataclass
class FairLock:
    """Everybody who wants a lock, in the order of arrival. Slow and plain."""

    kind: int
    limit: int
    places: list[Place] = field(default_factory=list)

    def holding(self) -> list[Place]:
        return [place for place in self.places if place.token]

    def waiting(self) -> list[Place]:
        return [place for place in self.places if not place.token]

    def of(self, owner: bytes) -> Place | None:
        return next((place for place in self.places if place.owner == owner), None)

    def next_ones(self) -> list[Place]:
        holding, waiting = self.holding(), self.waiting()
        if self.kind == KIND_BARRIER:
            return waiting[: self.limit] if len(waiting) >= self.limit else []
        if not waiting:
            return []
        if self.kind == KIND_SEMAPHORE:
            return waiting[:1] if len(holding) < self.limit else []
        together = bool(waiting[0].shared) and all(place.shared for place in holding)
        return waiting[:1] if together or not holding else []


class Model:
    """All locks, and the one counter of their tokens."""

    def __init__(self) -> None:
        self.locks = {name: FairLock(*form) for name, form in FORMS.items()}
        self.token = 0
        self.now_ms = START_MS

    def settle(self, name: bytes) -> FairLock:
        lock = self.locks[name]
        lock.places = [place for place in lock.places if place.ends_ms > self.now_ms]
        while chosen := lock.next_ones():
            for place in chosen:
                self.token += 1
                place.token = self.token
                place.ends_ms = self.now_ms + place.ttl_ms
        return lock

    def acquire(self, name: bytes, owner: bytes, ttl_ms: int, shared: int, queues: bool) -> object:
        lock = self.settle(name)
        place = lock.of(owner)
        if place is not None and place.shared != shared:
            return LOCK_KIND
        if place is None:
            place = Place(owner, shared, ttl_ms, self.now_ms + QUEUE_LEASE_MS)
            lock.places.append(place)
            self.settle(name)
            if not place.token and not queues:
                lock.places.remove(place)
                return LOCK_BUSY
        elif place.token:
            place.ends_ms = self.now_ms + ttl_ms
        else:
            place.ttl_ms, place.ends_ms = ttl_ms, self.now_ms + QUEUE_LEASE_MS
        return (LOCKED, place.token) if place.token else (LOCK_QUEUED, self.place(name, owner))

    def renew(self, name: bytes, owner: bytes, token: int, ttl_ms: int) -> object:
        place = self.settle(name).of(owner)
        if place is None or not place.token or place.token != token:
            return LOCK_NOT_HELD
        place.ends_ms = self.now_ms + ttl_ms
        return LOCKED, token

    def release(self, name: bytes, owner: bytes, token: int) -> object:
        lock = self.settle(name)
        place = lock.of(owner)
        if place is None or token not in (0, place.token):
            return LOCK_NOT_HELD
        lock.places.remove(place)
        self.settle(name)
        return LOCK_RELEASED

    def place(self, name: bytes, owner: bytes) -> int:
        return [place.owner for place in self.locks[name].waiting()].index(owner) + 1


class Watch:
    """The rules, as somebody sees them who only looks at what the store shows."""

    def __init__(self) -> None:
        self.arrivals: dict[bytes, list[bytes]] = {name: [] for name in FORMS}
        """Who waits, by lock, in the order in which they were first seen to."""
        self.leases: dict[tuple[bytes, bytes], tuple[int, int]] = {}
        """Token and end of each lease, by lock and owner."""
        self.highest = 0

    def look(self, store: ShardStore, released: tuple[bytes, bytes] | None) -> None:
        now_ms = store.last_now_ms
        granted: list[int] = []
        for name in FORMS:
            shown = store.locks.show(name, now_ms)
            holders, waiters = (shown[3], shown[4]) if shown else ((), ())
            if name == b"lock":
                assert len(holders) < 2 or all(one.shared for one in holders), "rule 1"
            if name == b"semaphore":
                assert len(holders) <= FORMS[name][1], "rule 1"
            held = {one.owner: one for one in holders}
            for owner in OWNERS:
                before = self.leases.pop((name, owner), None)
                if before is not None and before[1] > now_ms and (name, owner) != released:
                    assert owner in held, "rule 4"
                    assert held[owner].token == before[0], "rule 4"
            waiting = [one.owner for one in waiters]
            arrived = self.arrivals[name]
            still = [owner for owner in arrived if owner in waiting]
            for owner in arrived:
                one = held.get(owner)
                if one is not None and one.token > self.highest:
                    earlier = arrived[: arrived.index(owner)]
                    assert not set(earlier) & set(waiting), "rule 3"
            self.arrivals[name] = still + [owner for owner in waiting if owner not in still]
            assert self.arrivals[name] == waiting, "rule 3"
            for one in holders:
                self.leases[name, one.owner] = one.token, one.ends_ms
                if one.token > self.highest:
                    granted.append(one.token)
        assert len(set(granted)) == len(granted), "rule 2"
        live = [token for token, _ in self.leases.values()]
        assert len(set(live)) == len(live), "rule 2"
        self.highest = max([self.highest, *granted])
        assert store.fence_counter >= self.highest, "rule 2"


@settings(max_examples=100, deadline=None)
@given(steps)
def test_locks_against_the_model(steps: list[tuple[Any, ...]]) -> None:
    """Few steps: what fails is easy to read."""
    walk(steps)


@pytest.mark.parametrize("seed", range(12))
def test_long_walks_against_the_model(seed: int) -> None:
    """Many steps: queues are long, and leases of all kinds end beside each other."""
    random = Random(seed)
    walk([random_step(random) for _ in range(600)])


def random_step(random: Random) -> tuple[Any, ...]:
    name, owner = random.choice([b"lock", *FORMS]), random.choice(OWNERS)
    token, ttl_ms = random.choice(["own", "own", "old", 0]), random.choice([300, 700, 4000])
    match random.choice(("acquire",) * 5 + ("renew", "release", "time", "time", "expire", "rare")):
        case "acquire":
            shared, queues = random.random() < 0.5, random.random() < 0.8
            return "acquire", name, owner, ttl_ms, shared, queues
        case "renew":
            return "renew", name, owner, token, ttl_ms
        case "release":
            return "release", name, owner, token
        case "time":
            return "time", random.choice([1, 50, 50, 99, 299, 300, 401, 3000, QUEUE_LEASE_MS])
        case "expire":
            return "expire", random.randint(1, 3)
    return (random.choice(["snapshot", "snapshot", "flush"]),)


def walk(steps: list[tuple[Any, ...]]) -> None:
    store, model, watch = ShardStore(), Model(), Watch()
    replica = ShardStore()
    index = 0
    latest: dict[tuple[bytes, bytes], int] = {}

    def run(op: int, key: bytes, *args: object) -> object:
        nonlocal index
        index += 1
        command = (0, 0, 0, op, key, *args)
        (result,) = store.apply(index, model.now_ms, [command])
        assert replica.apply(index, model.now_ms, [command]) == [result]
        return result

    def number(name: bytes, owner: bytes, token: Any) -> int:
        newest = latest.get((name, owner), 1)
        return {"own": newest, "old": newest - 1}.get(token, 0)

    for step in steps:
        released: tuple[bytes, bytes] | None = None
        match step:
            case "acquire", name, owner, ttl_ms, is_shared, queues:
                kind, limit = FORMS[name]
                shared = int(is_shared and kind == KIND_LOCK)
                args = (owner, ttl_ms, 2 * kind + shared, limit, int(queues))
                result = run(OP_LOCK_ACQUIRE, name, *args)
                assert result == model.acquire(name, owner, ttl_ms, shared, queues)
            case "renew", name, owner, token, ttl_ms:
                token = number(name, owner, token)
                result = run(OP_LOCK_RENEW, name, owner, token, ttl_ms)
                assert result == model.renew(name, owner, token, ttl_ms)
            case "release", name, owner, token:
                token = number(name, owner, token)
                result = run(OP_LOCK_RELEASE, name, owner, token)
                assert result == model.release(name, owner, token)
                if result == LOCK_RELEASED:
                    released = (name, owner)
            case "time", passed_ms:
                model.now_ms += passed_ms
                index += 1
                for one in (store, replica):
                    one.apply(index, model.now_ms, [])
            case "expire", limit:
                due = store.locks.due(model.now_ms, limit)
                ended = [
                    name
                    for name, lock in model.locks.items()
                    if any(place.ends_ms <= model.now_ms for place in lock.places)
                ]
                assert set(due) <= set(ended)
                assert len(due) == min(limit, len(ended))
                run(OP_LOCK_EXPIRE, b"", tuple(due))
                for name in due:
                    model.settle(name)
                assert not set(store.locks.due(model.now_ms, 9)) & set(due)
            case ("flush",):
                run(OP_FLUSH, b"", 0)
            case ("snapshot",):
                view = store.view()
                store = ShardStore()
                store.restore(b"".join(store.encode_view(view)))
                assert store.view() == view
        assert store.digest() == replica.digest()
        assert store.locks.memory_bytes == replica.locks.memory_bytes
        assert store.fence_counter == model.token
        for name, lock in model.locks.items():
            for owner in OWNERS:
                place = lock.of(owner)
                lives = place is not None and place.ends_ms > model.now_ms
                held = store.locks.holder(name, owner, model.now_ms)
                waits = store.locks.place(name, owner, model.now_ms)
                assert held == (place.token if place is not None and lives else 0)
                assert bool(waits) == (place is not None and lives and not place.token)
                if held:
                    latest[name, owner] = held
        watch.look(store, released)


fenced = st.lists(
    st.tuples(
        st.sampled_from([b"lock-%d" % number for number in range(6)]),
        st.integers(0, 12),
        st.sampled_from([b"key-%d" % number for number in range(6)]),
        st.booleans(),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(fenced)
def test_fences_that_forget_nothing(uses: list[tuple[bytes, int, bytes, bool]]) -> None:
    store = ShardStore()
    newest: dict[bytes, int] = {}
    guards: dict[bytes, bytes] = {}
    for index, (lock, token, key, cut) in enumerate(uses, 1):
        (result,) = store.apply(index, 1, [(0, 0, 0, OP_FENCED, key, lock, token, (OP_TOUCH, 9))])
        expected: object = NOT_FOUND
        if token < max(newest.get(lock, 0), 1):
            expected = (FENCE_STALE, newest.get(lock, 0))
        elif guards.setdefault(key, lock) != lock:
            expected = FENCE_OTHER_LOCK
        else:
            newest[lock] = token
        assert result == expected
        if cut:
            other = ShardStore()
            other.restore(b"".join(store.encode_view(store.view())))
            assert other.digest() == store.digest()
            store = other
