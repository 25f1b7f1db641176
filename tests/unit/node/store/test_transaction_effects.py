"""The steps of transactions in one shard: in their order, late, twice, and at the deadline."""

from typing import Any

import pytest

from quorumcache.node.store import transaction_effects, transactions
from quorumcache.node.store.commands import (
    OP_DELETE,
    OP_META_DELETE,
    OP_SET,
    OP_TICK,
    OP_TOUCH,
    OP_TXN_ABORT,
    OP_TXN_COMMIT,
    OP_TXN_FORGET,
    OP_TXN_PREPARE,
    OP_TXN_RESOLVE,
)
from quorumcache.node.store.effects import EFFECTS
from quorumcache.node.store.item import (
    cas_unique,
    expires_at_ms,
    fingerprint,
    item_value,
    wire_data,
)
from quorumcache.node.store.results import (
    HELD,
    OK,
    STORED,
    TXN_ABORTED,
    TXN_COMMITTED,
    TXN_CONFLICT,
    TXN_FULL,
    TXN_PREPARED,
    TXN_RELEASED,
    TXN_TOO_LATE,
)
from quorumcache.node.store.store import ShardStore
from quorumcache.node.store.transaction_effects import (
    txn_abort,
    txn_commit,
    txn_forget,
    txn_prepare,
    txn_resolve,
)
from quorumcache.node.store.transactions import ABSENT, ANY, PRESENT
from tests.support.get_forms import read_at_once
from tests.support.item_tables import item_of

NOW, DEADLINE = 1000, 5000
T1, T2, T3 = b"1" * 16, b"2" * 16, b"3" * 16


class Shard:
    """A store and its steps, one a batch."""

    def __init__(self, *keys: bytes) -> None:
        self.store = ShardStore()
        self.now_ms = NOW
        for key in keys:
            assert self.set(key, b"first") == STORED

    def run(self, *commands: tuple[Any, ...]) -> list[Any]:
        return self.store.apply(1, self.now_ms, [(0, 0, 0, *command) for command in commands])

    def set(self, key: bytes, value: bytes, exptime: int = 0) -> Any:
        return self.run((OP_SET, key, wire_data(0, value), exptime))[0]

    def prepare(self, txn: bytes, checks: Any = (), writes: Any = ()) -> Any:
        return self.run(prepare(txn, checks, writes))[0]

    def commit(self, txn: bytes, checks: Any = (), writes: Any = (), groups: Any = ()) -> Any:
        return self.run((OP_TXN_COMMIT, b"", txn, DEADLINE, groups, checks, writes))[0]

    def abort(self, txn: bytes) -> Any:
        return self.run((OP_TXN_ABORT, b"", txn, DEADLINE))[0]

    def resolve(self, txn: bytes, committed: int) -> Any:
        return self.run((OP_TXN_RESOLVE, b"", txn, DEADLINE, committed))[0]

    def resolve_all(self) -> None:
        for txn in list(self.store.transactions.prepared):
            self.resolve(txn, 0)

    def forget(self, txn: bytes) -> Any:
        return self.run((OP_TXN_FORGET, b"", txn))[0]

    def check(self, key: bytes) -> tuple[bytes, int]:
        return key, fingerprint(item_of(self.store.items, key))

    def value(self, key: bytes) -> bytes | None:
        item = self.store.items.get(key)
        return None if item is None else item_value(item)


def prepare(txn: bytes, checks: Any = (), writes: Any = ()) -> tuple[Any, ...]:
    return (OP_TXN_PREPARE, b"", txn, 7, DEADLINE, checks, writes)


def write(key: bytes, value: bytes = b"new", exptime: int = 0) -> tuple[Any, ...]:
    return (key, OP_SET, wire_data(0, value), exptime)


def test_each_step_has_its_effect() -> None:
    assert EFFECTS[OP_TXN_PREPARE] is txn_prepare
    assert EFFECTS[OP_TXN_COMMIT] is txn_commit
    assert EFFECTS[OP_TXN_ABORT] is txn_abort
    assert EFFECTS[OP_TXN_RESOLVE] is txn_resolve
    assert EFFECTS[OP_TXN_FORGET] is txn_forget


def test_a_participant_prepares_and_writes_when_it_is_committed() -> None:
    shard = Shard(b"a", b"b", b"gone")
    steps = (
        (shard.check(b"a"), shard.check(b"b"), (b"c", ABSENT)),
        (*(write(b"b"), write(b"c", exptime=9), (b"gone", OP_DELETE)),),
    )
    assert shard.prepare(T1, *steps) == TXN_PREPARED
    assert shard.prepare(T1, *steps) == TXN_PREPARED
    waits = shard.store.transactions.prepared[T1]
    assert (waits.record_group, waits.deadline_ms, waits.since_ms) == (7, DEADLINE, NOW)
    assert waits.checked == (b"a",)
    assert shard.value(b"b") == b"first"
    shard.now_ms = DEADLINE + 999
    shard.store.cas_counter = 50
    assert shard.resolve(T1, 1) == OK
    assert [shard.value(key) for key in (b"a", b"b", b"c", b"gone")] == [
        *(b"first", b"new", b"new", None),
    ]
    assert cas_unique(item_of(shard.store.items, b"b")) == 51
    assert cas_unique(item_of(shard.store.items, b"c")) == 52
    assert expires_at_ms(item_of(shard.store.items, b"c")) == shard.now_ms + 9000
    assert not shard.store.holds


@pytest.mark.parametrize("committed", [0, 1])
def test_nothing_is_read_at_once_while_a_transaction_holds_keys(committed: int) -> None:
    shard = Shard(b"a", b"b")
    shard.store.lend(1)
    assert read_at_once(shard.store.gate, b"a") is not None
    assert shard.prepare(T1, (), (write(b"b"),)) == TXN_PREPARED
    assert read_at_once(shard.store.gate, b"a") is None
    restored = ShardStore()
    restored.restore(b"".join(shard.store.encode_view(shard.store.view())))
    restored.lend(1)
    assert read_at_once(restored.gate, b"a") is None
    shard.resolve(T1, committed)
    value = b"new" if committed else b"first"
    assert read_at_once(shard.store.gate, b"b") == b"VALUE b 0 %d\r\n%b\r\nEND\r\n" % (
        len(value),
        value,
    )


def test_a_snapshot_holds_whatever_is_there() -> None:
    shard = Shard(b"a", b"w")
    shard.set(b"ends", b"soon", exptime=1)
    shard.now_ms += 1000
    seen = tuple((key, ANY) for key in (b"a", b"gone", b"ends"))
    assert shard.prepare(T1, seen) == TXN_PREPARED
    assert shard.store.transactions.keys_of(T1) == (b"a", b"gone", b"ends")
    assert b"ends" not in shard.store.items, "it can be read at once that it is not there"
    assert shard.prepare(T2, seen) == TXN_PREPARED, "shared"
    for key in (b"a", b"gone", b"ends"):
        assert shard.set(key, b"later") == HELD
        assert shard.prepare(T3, (), (write(key),)) == (TXN_CONFLICT, key)
        assert shard.commit(key.ljust(16), (), (write(key),)) == (TXN_CONFLICT, key)
    assert shard.resolve(T1, 0) == TXN_RELEASED
    assert shard.resolve(T1, 0) == OK, "it was not held any more"
    assert shard.prepare(T1, seen) == TXN_TOO_LATE
    assert shard.resolve(T2, 0) == TXN_RELEASED
    assert shard.set(b"a", b"later") == STORED
    assert shard.prepare(T3, (), (write(b"w"),)) == TXN_PREPARED
    assert shard.prepare(b"4" * 16, ((b"w", ANY),)) == (TXN_CONFLICT, b"w")


def test_nothing_is_written_when_it_is_aborted() -> None:
    shard = Shard(b"a")
    used = shard.store.bytes_used
    assert shard.prepare(T1, (shard.check(b"a"),), (write(b"a"), write(b"b"))) == TXN_PREPARED
    assert shard.store.bytes_used > used
    assert shard.resolve(T1, 0) == TXN_RELEASED
    assert (shard.value(b"a"), shard.value(b"b")) == (b"first", None)
    assert shard.store.bytes_used == used
    assert not shard.store.holds


@pytest.mark.parametrize("step", ["prepare", "commit"])
def test_what_is_checked(step: str) -> None:
    shard = Shard(b"a", b"b")
    old, kept = shard.check(b"a"), shard.check(b"b")
    shard.set(b"a", b"second")
    run = getattr(shard, step)
    done = TXN_PREPARED if step == "prepare" else TXN_COMMITTED
    numbers = iter(range(99))

    def answers(*checks: tuple[bytes, int]) -> Any:
        return run(b"%016d" % next(numbers), checks)

    assert answers(kept, (b"a", PRESENT), (b"no", ABSENT)) == done
    assert answers(kept, old) == (TXN_CONFLICT, b"a")
    assert answers((b"a", ABSENT)) == (TXN_CONFLICT, b"a")
    assert answers((b"no", PRESENT)) == (TXN_CONFLICT, b"no")
    assert answers((b"no", kept[1])) == (TXN_CONFLICT, b"no")
    # The expiry may change, the marks of meta commands may not.
    assert shard.store.holds.keys() == ({b"a", b"b", b"no"} if step == "prepare" else set())
    shard.resolve_all()
    shard.run((OP_TOUCH, b"b", 60))
    assert answers(kept) == done
    shard.resolve_all()
    shard.run((OP_META_DELETE, b"b", b"IE", 0, cas_unique(item_of(shard.store.items, b"b")), 0, 0))
    assert answers(kept) == (TXN_CONFLICT, b"b")


@pytest.mark.parametrize("step", ["prepare", "commit"])
def test_who_finds_a_key_held_is_refused(step: str) -> None:
    shard = Shard(b"a", b"b")
    a, b = shard.check(b"a"), shard.check(b"b")
    assert shard.prepare(T1, (a,), (write(b"b"), write(b"c"))) == TXN_PREPARED
    run = getattr(shard, step)
    done = TXN_PREPARED if step == "prepare" else TXN_COMMITTED
    assert run(b"x" * 16, (a,)) == done
    assert run(b"1" * 15, (), (write(b"a"),)) == (TXN_CONFLICT, b"a")
    assert run(b"2" * 15, (), ((b"a", OP_DELETE),)) == (TXN_CONFLICT, b"a")
    assert run(b"3" * 15, (b,)) == (TXN_CONFLICT, b"b")
    assert run(b"4" * 15, ((b"c", ABSENT),)) == (TXN_CONFLICT, b"c")
    assert run(b"5" * 15, (), (write(b"b"),)) == (TXN_CONFLICT, b"b")
    assert [shard.value(key) for key in (b"a", b"b", b"c")] == [b"first", b"first", None]
    assert shard.resolve(T1, 0) == TXN_RELEASED
    assert shard.resolve(b"x" * 16, 0) == (TXN_RELEASED if step == "prepare" else OK)
    assert run(T2, (a,), (write(b"a"), write(b"c"))) == done


def test_an_item_that_has_ended_is_absent_unless_somebody_relies_on_it() -> None:
    shard = Shard(b"b")
    shard.set(b"a", b"first", 1)
    shard.set(b"c", b"first", 1)
    a, c = shard.check(b"a"), shard.check(b"c")
    assert shard.prepare(T1, (a, shard.check(b"b"))) == TXN_PREPARED
    shard.now_ms = NOW + 999
    assert shard.prepare(T3, (a,)) == TXN_PREPARED
    shard.now_ms = NOW + 1000
    for run, txn in ((shard.prepare, T2), (shard.commit, b"4" * 16)):
        assert run(txn, ((b"a", ABSENT),)) == (TXN_CONFLICT, b"a")
        assert run(txn[:15], (a,)) == (TXN_CONFLICT, b"a")
        assert run(txn[:14], ((b"a", PRESENT),)) == (TXN_CONFLICT, b"a")
    assert b"a" in shard.store.items
    assert shard.prepare(T2, (c,)) == (TXN_CONFLICT, b"c")
    assert shard.prepare(T2, ((b"c", ABSENT),)) == TXN_PREPARED
    assert b"c" not in shard.store.items
    shard.resolve(T1, 0)
    assert shard.prepare(b"5" * 16, ((b"a", ABSENT),)) == (TXN_CONFLICT, b"a")
    shard.resolve(T3, 0)
    assert shard.prepare(b"5" * 16, ((b"a", ABSENT),)) == TXN_PREPARED


def test_one_entry_commits_a_transaction_of_one_shard() -> None:
    shard = Shard(b"a")
    check = shard.check(b"a")
    assert shard.commit(T1, (check,), (write(b"a"), write(b"b"))) == TXN_COMMITTED
    assert (shard.value(b"a"), shard.value(b"b")) == (b"new", b"new")
    assert not shard.store.holds
    shard.set(b"a", b"newer")
    assert shard.commit(T1, (check,), (write(b"a"), write(b"b"))) == TXN_COMMITTED
    assert shard.abort(T1) == TXN_COMMITTED
    assert shard.value(b"a") == b"newer"
    assert shard.commit(T2, (check,), (write(b"b", b"2"),)) == (TXN_CONFLICT, b"a")
    # What was refused is decided: the others have to hear the same.
    assert shard.commit(T2, (), (write(b"b", b"2"),)) == TXN_ABORTED
    assert shard.abort(T2) == TXN_ABORTED
    assert shard.value(b"b") == b"new"


def test_the_first_decision_stands_until_no_other_can_come() -> None:
    shard = Shard()
    assert shard.abort(T1) == TXN_ABORTED
    assert shard.commit(T1, (), (write(b"a"),)) == TXN_ABORTED
    assert shard.commit(T2, (), (write(b"b"),), (3, 4)) == TXN_COMMITTED
    assert shard.abort(T2) == TXN_COMMITTED
    shard.now_ms = DEADLINE - 1
    assert shard.commit(T1, (), (write(b"a"),)) == TXN_ABORTED
    assert shard.commit(T3, (), (write(b"c"),)) == TXN_COMMITTED
    shard.now_ms = DEADLINE
    assert shard.commit(T1, (), (write(b"a"),)) == TXN_TOO_LATE
    assert shard.abort(T1) == TXN_TOO_LATE
    assert shard.commit(T3, (), (write(b"c"),)) == TXN_TOO_LATE
    assert shard.abort(b"4" * 16) == TXN_TOO_LATE
    assert shard.store.transactions.records.keys() == {T2}
    assert shard.abort(T2) == TXN_COMMITTED
    assert shard.commit(T2, (), (write(b"b", b"twice"),), (3, 4)) == TXN_COMMITTED
    assert shard.forget(T1) == OK
    assert shard.forget(T2) == OK
    assert shard.abort(T2) == TXN_TOO_LATE
    assert shard.commit(T2, (), (write(b"b", b"twice"),), (3, 4)) == TXN_TOO_LATE
    assert shard.value(b"b") == b"new"
    assert len(shard.store.transactions) == 0


def test_a_commit_that_is_forgotten_early_answers_until_its_deadline() -> None:
    shard = Shard()
    assert shard.commit(T1, (), (write(b"b"),), (3, 4)) == TXN_COMMITTED
    assert shard.forget(T1) == OK
    assert shard.abort(T1) == TXN_COMMITTED
    assert shard.commit(T1, (), (write(b"b"),), (3, 4)) == TXN_COMMITTED
    shard.now_ms = DEADLINE
    assert shard.abort(T1) == TXN_TOO_LATE


@pytest.mark.parametrize("committed", [0, 1])
def test_a_prepare_after_its_resolution_holds_nothing(committed: int) -> None:
    shard = Shard()
    if committed:
        assert shard.prepare(T1, (), (write(b"a"),)) == TXN_PREPARED
    assert shard.resolve(T1, committed) == OK
    if committed:
        assert shard.set(b"a", b"newer") == STORED
    shard.now_ms = DEADLINE - 1
    assert shard.prepare(T1, (), (write(b"a"),)) == TXN_TOO_LATE
    shard.now_ms = DEADLINE
    assert shard.prepare(T1, (), (write(b"a"),)) == TXN_TOO_LATE
    assert not shard.store.holds
    assert shard.resolve(T1, committed) == OK
    assert shard.value(b"a") == (b"newer" if committed else None)
    assert len(shard.store.transactions) == 0


def test_a_resolution_that_comes_twice_writes_once() -> None:
    shard = Shard()
    assert shard.prepare(T1, (), (write(b"a"), (b"b", OP_DELETE))) == TXN_PREPARED
    assert shard.resolve(T1, 1) == OK
    shard.set(b"a", b"newer")
    shard.set(b"b", b"newer")
    for committed in (1, 0, 1):
        assert shard.resolve(T1, committed) == OK
    assert (shard.value(b"a"), shard.value(b"b")) == (b"newer", b"newer")


def test_a_prepare_is_too_late_from_the_deadline_on() -> None:
    shard = Shard()
    shard.now_ms = DEADLINE - 1
    assert shard.prepare(T1, (), (write(b"a"),)) == TXN_PREPARED
    shard.now_ms = DEADLINE
    assert shard.prepare(T1, (), (write(b"a"),)) == TXN_TOO_LATE
    assert shard.prepare(T2, (), (write(b"b"),)) == TXN_TOO_LATE
    assert shard.store.holds.keys() == {b"a"}
    shard.now_ms = DEADLINE * 100
    shard.run((OP_TICK, b""))
    assert shard.store.holds.keys() == {b"a"}, "only the decision ends it"
    assert shard.resolve(T1, 1) == OK
    assert shard.value(b"a") == b"new"
    assert len(shard.store.transactions) == 0


def test_where_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "RECORDS_MAX", 2)
    monkeypatch.setattr(transaction_effects, "ABORTS_MAX", 3)
    shard = Shard()
    assert shard.prepare(T1, (), (write(b"a"),)) == TXN_PREPARED
    assert shard.commit(T2, (), (write(b"b"),)) == TXN_COMMITTED
    used = shard.store.bytes_used
    assert shard.prepare(T3, (), (write(b"c"),)) == TXN_FULL
    assert shard.commit(T3, (), (write(b"c"),)) == TXN_FULL
    assert (shard.store.bytes_used, shard.value(b"c")) == (used, None)
    assert shard.store.holds.keys() == {b"a"}
    # Full or not: who is there is answered, and what is prepared is resolved.
    assert shard.prepare(T1, (), (write(b"a"),)) == TXN_PREPARED
    assert shard.commit(T2, (), (write(b"b"),)) == TXN_COMMITTED
    assert shard.abort(T3) == TXN_ABORTED
    assert shard.abort(b"4" * 16) == TXN_FULL
    assert shard.resolve(b"4" * 16, 0) == OK
    assert shard.resolve(T1, 1) == OK
    assert shard.value(b"a") == b"new"
    assert shard.store.transactions.finished.keys() == {T1}
    shard.now_ms = DEADLINE
    assert shard.abort(b"4" * 16) == TXN_TOO_LATE
    assert len(shard.store.transactions) == 0


def test_many_transactions_in_one_batch() -> None:
    shard = Shard(b"a", b"b")
    a = shard.check(b"a")
    assert shard.run(
        prepare(T1, (a,), (write(b"b", b"1"),)),
        prepare(T2, (a,), (write(b"b", b"2"),)),
        (OP_TXN_RESOLVE, b"", T1, DEADLINE, 1),
        prepare(T2, (a,), (write(b"b", b"2"),)),
        prepare(T1, (a,), (write(b"b", b"1"),)),
        (OP_TXN_COMMIT, b"", T3, DEADLINE, (), (a,), (write(b"c", b"3"),)),
        (OP_TXN_COMMIT, b"", b"4" * 16, DEADLINE, (), (), (write(b"a", b"4"),)),
        (OP_TXN_RESOLVE, b"", T2, DEADLINE, 1),
        (OP_TXN_COMMIT, b"", b"5" * 16, DEADLINE, (), (a,), (write(b"a", b"5"),)),
    ) == [
        *(TXN_PREPARED, (TXN_CONFLICT, b"b"), OK, TXN_PREPARED, TXN_TOO_LATE),
        *(TXN_COMMITTED, (TXN_CONFLICT, b"a"), OK, TXN_COMMITTED),
    ]
    assert [shard.value(key) for key in (b"a", b"b", b"c")] == [b"5", b"2", b"3"]


def test_a_write_with_an_exptime_below_zero_removes() -> None:
    shard = Shard(b"a")
    assert shard.commit(T1, (), (write(b"a", exptime=-1), write(b"b", exptime=-1))) == TXN_COMMITTED
    assert (shard.value(b"a"), shard.value(b"b")) == (None, None)
