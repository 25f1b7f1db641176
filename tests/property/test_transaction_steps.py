"""Goal: whatever happens to the steps of transactions between two shards, late, twice and out of
order, no client can tell the shards from a single one that does each transaction at once.

Method: a search over all that can happen. Two stores, x in one and y in the other, with
transactions that are decided in either. At each state every step may be delivered that somebody
can have sent by then, be it for the first time or again: prepares and aborts always (a coordinator
that was given up, and one that takes its place), a commit once all participants have answered that
they are prepared, a resolution once the record's group has answered so, the end of the record once
all participants have answered. Plain writes, a delete, a flush, the removal of what has ended and
an eviction come in between, and time passes the deadlines in one shard before the other.

Beside it stands a *model*: one dict. A plain write takes effect there when it is acknowledged, a
transaction as a whole when its record says that it is committed. At each state:

1. A reader of any key gets what the model has, or has to wait.
2. All that a transaction has checked is so in the model when it commits.
3. No answer contradicts one before: who hears that it is committed, or aborted, hears so for ever.
4. A replica that starts from a snapshot is the same (each state is kept as its snapshots).
5. Recovery alone, without the coordinators, ends all holds; then everybody reads what the model
   has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from quorumcache.node.store.commands import (
    OP_DELETE,
    OP_EVICT,
    OP_EXPIRE,
    OP_FLUSH,
    OP_SET,
    OP_TICK,
    OP_TXN_ABORT,
    OP_TXN_COMMIT,
    OP_TXN_FORGET,
    OP_TXN_PREPARE,
    OP_TXN_RESOLVE,
)
from quorumcache.node.store.item import cas_unique, fingerprint, item_value, wire_data
from quorumcache.node.store.results import (
    DELETED,
    HELD,
    NOT_FOUND,
    OK,
    RESOLVED,
    STORED,
    TXN_ABORTED,
    TXN_COMMITTED,
    TXN_CONFLICT,
    TXN_PREPARED,
    TXN_RELEASED,
    TXN_TOO_LATE,
)
from quorumcache.node.store.store import EXPIRED, HELD_KEY, ShardStore
from quorumcache.node.store.transactions import ABSENT, ANY, PRESENT
from tests.support.item_tables import items_of

START_MS: Final = 1000
DEADLINE_MS: Final = 2500

STATES_MAX: Final = 20_000
"""More than any of the searches finds. A step that does nothing the second time leads to no new
state, however often it comes, so their number is finite."""

Step = tuple[Any, ...]


@dataclass(frozen=True)
class Part:
    """What a transaction checks and writes in one shard. `checks`: keys as they are at first."""

    checks: tuple[bytes, ...] = ()
    present: tuple[bytes, ...] = ()
    absent: tuple[bytes, ...] = ()
    writes: tuple[tuple[bytes, bytes | None], ...] = ()


@dataclass(frozen=True)
class Plan:
    """A transaction: its parts by shard, and where its record is."""

    parts: tuple[tuple[int, Part], ...]
    record: int = 0
    is_snapshot: bool = False
    """It holds its `checks`, whatever they are, in all shards; its node resolves when it likes."""

    def participants(self) -> tuple[int, ...]:
        """Who prepares."""
        return tuple(shard for shard, _ in self.parts if self.is_snapshot or shard != self.record)


@dataclass(frozen=True)
class Heard:
    """What anybody may have heard of a transaction so far."""

    prepared: frozenset[int] = frozenset()
    decision: int = 0
    """TXN_COMMITTED or TXN_ABORTED, as the record's group has answered."""
    too_late: bool = False
    """It has answered that there is no record, and that no commit can come."""
    resolved: frozenset[int] = frozenset()


@dataclass(frozen=True)
class World:
    """A state of the search, by value."""

    shards: tuple[bytes, ...]
    times: tuple[int, ...]
    heard: tuple[Heard, ...]
    model: tuple[tuple[bytes, bytes], ...]
    committed: frozenset[int]
    writes_left: tuple[int, ...]
    """Which of the plain steps may still happen, by their number."""


@dataclass(frozen=True)
class Scene:
    """What a search is about."""

    plans: tuple[Plan, ...]
    items: tuple[tuple[int, bytes, bytes, int], ...]
    """Shard, key, value and exptime of what is there at first."""
    plain: tuple[tuple[int, Step], ...] = ()
    """Plain steps: shard and `(op, key, ...)`. Each may happen once, at any time, or never."""
    times: tuple[int, ...] = (START_MS, DEADLINE_MS)


class Walk:
    """The search."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        count = 1 + max(shard for plan in scene.plans for shard, _ in plan.parts)
        stores = [ShardStore() for _ in range(count)]
        self.home: dict[bytes, int] = {}
        self.checks: dict[tuple[int, int], tuple[tuple[bytes, int], ...]] = {}
        model = {}
        for shard, key, value, exptime in scene.items:
            command = (0, 0, 0, OP_SET, key, wire_data(0, value), exptime)
            assert stores[shard].apply(0, START_MS, [command]) == [STORED]
            model[key] = value
        for number, plan in enumerate(scene.plans):
            for shard, part in plan.parts:
                written = [key for key, _ in part.writes]
                for key in (*part.checks, *part.present, *part.absent, *written):
                    self.home[key] = shard
                self.checks[number, shard] = (
                    *(
                        (key, ANY if plan.is_snapshot else version(stores[shard], key))
                        for key in part.checks
                    ),
                    *((key, PRESENT) for key in part.present),
                    *((key, ABSENT) for key in part.absent),
                )
        for shard, step in scene.plain:
            if step[1]:
                self.home[step[1]] = shard
        self.first = dict(model)
        self.begin = World(
            tuple(image(store) for store in stores),
            (scene.times[0],) * count,
            (Heard(),) * len(scene.plans),
            tuple(sorted(model.items())),
            frozenset(),
            tuple(range(len(scene.plain))),
        )
        self.seen = 0
        self.stores: dict[bytes, ShardStore] = {}
        self.done: dict[tuple[bytes, int, Step], tuple[bytes, Any]] = {}
        """What was found out already, since many states have a shard in common."""

    def run(self) -> None:
        """All states that can be reached, those first that take the fewest steps."""
        seen = {self.begin}
        todo: deque[tuple[World, Any]] = deque([(self.begin, ())])
        while todo:
            world, path = todo.popleft()
            try:
                assert len(seen) < STATES_MAX, "what is repeated has an effect each time"
                self.check(world)
                for name, after in self.after(world):
                    self.check_snapshots(world, after)
                    if after not in seen:
                        seen.add(after)
                        todo.append((after, (path, name)))
            except AssertionError as error:
                raise AssertionError(f"{error}\nafter {flat(path)}") from error
        self.seen = len(seen)

    # -- what may happen -----------------------------------------------------------------------

    def after(self, world: World) -> Iterator[tuple[Step, World]]:
        for shard, now_ms in enumerate(world.times):
            later = [time for time in self.scene.times if time > now_ms]
            if later:
                times = (*world.times[:shard], later[0], *world.times[shard + 1 :])
                yield self.apply(replace(world, times=times), shard, (OP_TICK, b""))
        for number, heard in enumerate(world.heard):
            yield from self.transaction_steps(world, number, heard)
        for place in world.writes_left:
            shard, step = self.scene.plain[place]
            left = tuple(other for other in world.writes_left if other != place)
            yield self.apply(replace(world, writes_left=left), shard, step, place=place)

    def transaction_steps(
        self, world: World, number: int, heard: Heard
    ) -> Iterator[tuple[Step, World]]:
        plan = self.scene.plans[number]
        txn = bytes((number,)) * 16
        for shard, part in plan.parts:
            if shard in plan.participants():
                checks = self.checks[number, shard]
                args = (txn, plan.record, DEADLINE_MS, checks, writes_of(part))
                yield self.apply(world, shard, (OP_TXN_PREPARE, b"", *args), number)
        if plan.is_snapshot:
            for shard in plan.participants():
                step = (OP_TXN_RESOLVE, b"", txn, DEADLINE_MS, 0)
                yield self.apply(world, shard, step, number)
            return
        if heard.prepared.issuperset(plan.participants()):
            checks = self.checks.get((number, plan.record), ())
            part = dict(plan.parts).get(plan.record, Part())
            args = (txn, DEADLINE_MS, plan.participants(), checks, writes_of(part))
            yield self.apply(world, plan.record, (OP_TXN_COMMIT, b"", *args), number)
        yield self.apply(world, plan.record, (OP_TXN_ABORT, b"", txn, DEADLINE_MS), number)
        decisions = {TXN_COMMITTED: {1}, TXN_ABORTED: {0}}.get(heard.decision, set())
        if heard.too_late:  # Who is still prepared is aborted.
            decisions = decisions | {0}
        for committed in sorted(decisions):
            args = (txn, DEADLINE_MS, committed)
            for shard in plan.participants():
                yield self.apply(world, shard, (OP_TXN_RESOLVE, b"", *args), number)
        if heard.resolved.issuperset(plan.participants()):
            yield self.apply(world, plan.record, (OP_TXN_FORGET, b"", txn), number)

    def apply(
        self, world: World, shard: int, step: Step, number: int = -1, place: int = -1
    ) -> tuple[Step, World]:
        """Deliver one step, note what it answers, and bring the model up to date."""
        now_ms = world.times[shard]
        before = self.store(world.shards[shard])
        data, result = self.delivered(world.shards[shard], now_ms, step)
        store = self.store(data)
        if step[0] == OP_TXN_RESOLVE and not step[-1]:
            assert (result == TXN_RELEASED) == (step[2] in before.transactions.prepared)
        if before.flush_due(now_ms):
            world = self.flushed(world, shard)
        op = step[0]
        model = dict(world.model)
        if op == OP_TXN_COMMIT and result == TXN_COMMITTED and number not in world.committed:
            world = self.commit(world, number)
        elif op == OP_SET and result == STORED:
            world = replace(world, model=sorted_model(model | {step[1]: step[2].split(b"\r\n")[1]}))
        elif op == OP_DELETE and result in (DELETED, NOT_FOUND):
            model.pop(step[1], None)
            world = replace(world, model=sorted_model(model))
        elif op == OP_FLUSH and result == OK and not step[2]:
            world = self.flushed(world, shard)
        elif op == OP_EVICT:
            gone = [key for key, home in self.home.items() if home == shard and key in model]
            for key in gone:
                if key not in store.items:
                    del model[key]
            world = replace(world, model=sorted_model(model))
        elif op == OP_TXN_RESOLVE and before.pending_flush_ms and not store.pending_flush_ms:
            world = self.flushed(world, shard)
        if result == HELD and place >= 0:  # Sent again later.
            world = replace(world, writes_left=tuple(sorted((*world.writes_left, place))))
        shards = (*world.shards[:shard], data, *world.shards[shard + 1 :])
        world = replace(world, shards=shards)
        if number >= 0:
            world = self.hear(world, number, shard, op, result)
        return (shard, now_ms, op, number, result), world

    def store(self, data: bytes) -> ShardStore:
        """The store of a snapshot, to look at."""
        store = self.stores.get(data)
        if store is None:
            store = self.stores[data] = restored(data)
        return store

    def delivered(self, data: bytes, now_ms: int, step: Step) -> tuple[bytes, Any]:
        """What one shard answers to a step, and its snapshot after that."""
        done = self.done.get((data, now_ms, step))
        if done is None:
            store = restored(data)
            command = (0, 0, 0, *self.filled(store, step))
            result = store.apply(0, now_ms, [command])[0]
            done = self.done[data, now_ms, step] = image(store), result
        return done

    def filled(self, store: ShardStore, step: Step) -> Step:
        """A step of the leader names what there is at that moment."""
        if step[0] == OP_EVICT:
            items = items_of(store.items).items()
            return (OP_EVICT, b"", tuple((key, cas_unique(item)) for key, item in items))
        if step[0] == OP_EXPIRE:
            items = items_of(store.items).items()
            return (OP_EXPIRE, b"", tuple((key, cas_unique(item)) for key, item in items))
        return step

    def flushed(self, world: World, shard: int) -> World:
        model = {key: value for key, value in world.model if self.home[key] != shard}
        return replace(world, model=sorted_model(model))

    def commit(self, world: World, number: int) -> World:
        """A transaction takes effect as a whole. All that it relies on is so."""
        model = dict(world.model)
        plan = self.scene.plans[number]
        for _, part in plan.parts:
            for key in part.checks:
                assert model.get(key) == self.first.get(key), f"{number} commits on an old {key!r}"
            for key in part.present:
                assert key in model, f"{number} commits without {key!r}"
            for key in part.absent:
                if key in model:  # It ends in the model when somebody finds that it has ended.
                    assert self.may_end(key), f"{number} commits with {key!r}"
                    del model[key]
        for _, part in plan.parts:
            for key, value in part.writes:
                if value is None:
                    model.pop(key, None)
                else:
                    model[key] = value
        return replace(world, model=sorted_model(model), committed=world.committed | {number})

    def hear(self, world: World, number: int, shard: int, op: int, result: Any) -> World:
        """What an answer tells, and that it contradicts none before."""
        heard = world.heard[number]
        code = result[0] if type(result) is tuple else result
        if op == OP_TXN_PREPARE and code == TXN_PREPARED:
            heard = replace(heard, prepared=heard.prepared | {shard})
        elif op in (OP_TXN_COMMIT, OP_TXN_ABORT) and code == TXN_TOO_LATE:
            heard = replace(heard, too_late=True)
        elif op in (OP_TXN_COMMIT, OP_TXN_ABORT):
            told = TXN_ABORTED if code == TXN_CONFLICT else code
            assert told in (TXN_COMMITTED, TXN_ABORTED), told
            assert heard.decision in (0, told), f"{number} was {heard.decision}, is {told}"
            assert (number in world.committed) == (told == TXN_COMMITTED)
            heard = replace(heard, decision=told)
        elif op == OP_TXN_RESOLVE:
            assert code in RESOLVED
            heard = replace(heard, resolved=heard.resolved | {shard})
        return replace(world, heard=(*world.heard[:number], heard, *world.heard[number + 1 :]))

    # -- what is so at each state ----------------------------------------------------------------

    def check(self, world: World) -> None:
        self.check_reads(world, may_wait=True)
        self.check_reads(self.recovered(world), may_wait=False)

    def check_snapshots(self, world: World, after: World) -> None:
        """While all keys of a snapshot are held, none of them changes."""
        for number, plan in enumerate(self.scene.plans):
            txn = bytes((number,)) * 16
            if plan.is_snapshot and all(
                txn in self.store(state.shards[shard]).transactions.prepared
                for state in (world, after)
                for shard in plan.participants()
            ):
                for _, part in plan.parts:
                    for key in part.checks:
                        assert dict(world.model).get(key) == dict(after.model).get(key)

    def check_reads(self, world: World, *, may_wait: bool) -> None:
        model = dict(world.model)
        for shard, data in enumerate(world.shards):
            store = self.store(data)
            assert may_wait or not store.holds, "a hold stays"
            used = sum(cost for cost in [p.cost for p in store.transactions.prepared.values()])
            assert store.transactions.bytes_used == used
            for key, home in self.home.items():
                if home != shard:
                    continue
                found = store.lookup(key, world.times[shard])
                if found is HELD_KEY:
                    assert may_wait
                elif found is EXPIRED and store.flush_due(world.times[shard]):
                    assert not store.holds
                elif found is None or found is EXPIRED:
                    # Nobody may rely on it who has not committed yet.
                    is_gone = self.may_end(key) and not self.relied_on(store, shard, key)
                    assert key not in model or is_gone, f"{key!r} is gone"
                else:
                    assert item_value(found) == model.get(key), f"{key!r} is {found!r}"

    def relied_on(self, store: ShardStore, shard: int, key: bytes) -> bool:
        """Whether a transaction that is prepared has found an item under a key."""
        for number, plan in enumerate(self.scene.plans):
            part = dict(plan.parts).get(shard, Part())
            is_prepared = bytes((number,)) * 16 in store.transactions.prepared
            if is_prepared and not plan.is_snapshot and key in (*part.checks, *part.present):
                return True
        return False

    def may_end(self, key: bytes) -> bool:
        """Whether a key may be gone because its time is over."""
        return any(key == other and exptime for _, other, _, exptime in self.scene.items)

    def recovered(self, world: World) -> World:
        """What the leaders' recovery makes of a world in which nobody else does anything."""
        for number, plan in enumerate(self.scene.plans):
            txn = bytes((number,)) * 16
            for shard in plan.participants():
                if txn not in self.store(world.shards[shard]).transactions.prepared:
                    continue
                abort = (OP_TXN_ABORT, b"", txn, DEADLINE_MS)
                (*_, answer), world = self.apply(world, plan.record, abort, number)
                args = (txn, DEADLINE_MS, int(answer == TXN_COMMITTED))
                _, world = self.apply(world, shard, (OP_TXN_RESOLVE, b"", *args), number)
        return world


def version(store: ShardStore, key: bytes) -> int:
    item = store.items.get(key)
    return ABSENT if item is None else fingerprint(item)


def writes_of(part: Part) -> tuple[Any, ...]:
    return tuple(
        (key, OP_DELETE) if value is None else (key, OP_SET, wire_data(0, value), 0)
        for key, value in part.writes
    )


def image(store: ShardStore) -> bytes:
    return b"".join(store.encode_view(store.view()))


def restored(data: bytes) -> ShardStore:
    store = ShardStore()
    store.restore(data)
    return store


def sorted_model(model: dict[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(sorted(model.items()))


def flat(path: Any) -> list[Step]:
    steps = []
    while path:
        path, step = path
        steps.append(step)
    return steps[::-1]


def search(scene: Scene) -> int:
    walk = Walk(scene)
    walk.run()
    return walk.seen


X, Y = b"x", b"y"
ITEMS = ((0, X, b"x0", 0), (1, Y, b"y0", 0))
SET_X: Step = (OP_SET, X, wire_data(0, b"x9"), 0)
SET_Y: Step = (OP_SET, Y, wire_data(0, b"y9"), 0)
DELETE_Y: Step = (OP_DELETE, Y)

BLIND = Plan(((0, Part(writes=((X, b"x1"),))), (1, Part(writes=((Y, b"y1"),)))))
TRANSFER = Plan(
    ((0, Part(checks=(X,), writes=((X, b"x1"),))), (1, Part(checks=(Y,), writes=((Y, b"y1"),))))
)
REMOVAL = Plan(
    ((0, Part(writes=((X, b"x2"),))), (1, Part(checks=(Y,), writes=((Y, None),)))), record=1
)
READS_X_WRITES_Y = Plan(((0, Part(checks=(X,))), (1, Part(writes=((Y, b"y1"),)))), record=1)
READS_Y_WRITES_X = Plan(((0, Part(writes=((X, b"x2"),))), (1, Part(checks=(Y,)))), record=0)
READS_BOTH = Plan(((0, Part(checks=(X,))), (1, Part(checks=(Y,)))), record=0)
SNAPSHOT = Plan(((0, Part(checks=(X,))), (1, Part(checks=(Y,)))), is_snapshot=True)
NEEDS_Y = Plan(((0, Part(writes=((X, b"x1"),))), (1, Part(present=(Y,)))))


@pytest.mark.parametrize("plan", [TRANSFER, BLIND])
def test_one_transaction_among_plain_writes(plan: Plan) -> None:
    plain = ((1, SET_Y), (1, DELETE_Y), (0, SET_X), (1, SET_Y))
    assert search(Scene((plan,), ITEMS, plain)) > 1000


@pytest.mark.parametrize(
    "plans",
    [
        pytest.param((BLIND, TRANSFER), id="the same keys, the same record"),
        pytest.param((TRANSFER, REMOVAL), id="the same keys, records apart"),
        pytest.param((READS_X_WRITES_Y, READS_Y_WRITES_X), id="each writes what the other reads"),
        pytest.param((READS_BOTH, TRANSFER), id="one reads what the other writes"),
        pytest.param((NEEDS_Y, REMOVAL), id="one needs what the other removes"),
        pytest.param((SNAPSHOT, TRANSFER), id="a snapshot of what the other changes"),
        pytest.param((SNAPSHOT, REMOVAL), id="a snapshot of what the other removes"),
    ],
)
def test_two_transactions(plans: tuple[Plan, ...]) -> None:
    seen = search(Scene(plans, ITEMS, ((1, SET_Y),)))
    assert seen > 1000


def test_what_ends_meanwhile() -> None:
    items = ((0, X, b"x0", 0), (1, Y, b"y0", 1))
    plans = (NEEDS_Y, Plan(((0, Part(checks=(X,))), (1, Part(absent=(Y,))))))
    times = (START_MS, START_MS + 1000, DEADLINE_MS)
    assert search(Scene(plans, items, ((1, (OP_EXPIRE, b"")),), times)) > 1000


FLUSH: Step = (OP_FLUSH, b"", 0)
LATER_FLUSH: Step = (OP_FLUSH, b"", 1)
TIMES = (START_MS, START_MS + 1000, DEADLINE_MS)


@pytest.mark.parametrize(
    ("plans", "plain", "times"),
    [
        pytest.param((TRANSFER, REMOVAL), FLUSH, TIMES[::2], id="a flush"),
        pytest.param((TRANSFER,), LATER_FLUSH, TIMES, id="a delayed flush"),
        pytest.param((BLIND, READS_BOTH), LATER_FLUSH, TIMES[:2], id="a flush that finds holds"),
        pytest.param((TRANSFER, REMOVAL), (OP_EVICT, b""), TIMES[::2], id="an eviction"),
    ],
)
def test_what_takes_many_keys(plans: tuple[Plan, ...], plain: Step, times: tuple[int, ...]) -> None:
    assert search(Scene(plans, ITEMS, ((1, plain), (1, SET_Y)), times)) > 1000


def test_three_shards() -> None:
    three = Plan(
        (
            (0, Part(writes=((X, b"x1"),))),
            (1, Part(checks=(Y,), writes=((Y, b"y1"),))),
            (2, Part(checks=(b"z",))),
        )
    )
    other = Plan(((0, Part(checks=(X,))), (2, Part(writes=((b"z", b"z2"),)))), record=2)
    items = (*ITEMS, (2, b"z", b"z0", 0))
    assert search(Scene((three, other), items)) > 1000


def test_three_transactions() -> None:
    plans = (REMOVAL, READS_X_WRITES_Y, READS_Y_WRITES_X)
    assert search(Scene(plans, ITEMS, ((1, SET_Y),), (START_MS,))) > 1000
