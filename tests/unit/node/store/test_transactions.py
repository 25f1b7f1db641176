"""The table of transactions: who holds what, what is remembered and how long, and its images."""

from typing import Any

import pytest

from quorumcache.node.store import transactions
from quorumcache.node.store.commands import OP_DELETE, OP_SET
from quorumcache.node.store.item import item_cost, pack_header, wire_data
from quorumcache.node.store.results import TXN_ABORTED, TXN_COMMITTED
from quorumcache.node.store.transactions import (
    FINISHED_IMAGE,
    PREPARED_IMAGE,
    PREPARED_MAX,
    PURGED_MAX,
    RECORD_IMAGE,
    Prepared,
    TransactionTable,
    writes_cost,
)

T1, T2, T3 = b"1" * 16, b"2" * 16, b"3" * 16
DATA = wire_data(0, b"value")
WRITE = (b"k", OP_SET, DATA, 0)


def prepared(*checked: bytes, writes: tuple[Any, ...] = (), since_ms: int = 10) -> Prepared:
    return Prepared(7, 100, since_ms, checked, writes)


def copied(table: TransactionTable) -> TransactionTable:
    copy = TransactionTable()
    for image in table.images():
        copy.add(image)
    return copy


def test_checked_keys_are_shared_and_written_ones_are_not() -> None:
    table = TransactionTable()
    table.hold(T1, prepared(b"a", b"b"))
    table.hold(T2, prepared(b"a", writes=(WRITE, (b"gone", OP_DELETE))))
    assert table.holds.keys() == {b"a", b"b", b"k", b"gone"}
    assert table.holds[b"a"].readers == {T1, T2}
    assert [key for key in table.holds if table.is_written(key)] == [b"k", b"gone"]
    assert not table.is_written(b"nobody's")
    assert table.keys_of(T2) == (b"a", b"k", b"gone")
    assert table.keys_of(T3) == ()
    holds = table.holds
    assert table.release(T1) is not None
    assert table.holds.keys() == {b"a", b"k", b"gone"}
    assert table.holds[b"a"].readers == {T2}
    assert table.release(T1) is None
    assert table.release(T2) is not None
    assert table.holds is holds
    assert (holds, len(table), table.bytes_used) == ({}, 0, 0)


def test_writes_cost_no_less_than_their_items() -> None:
    for length in (0, 1, 440, 500, 70_000):
        data = wire_data(3, b"x" * length)
        cost = item_cost(b"key", pack_header(1, 5, 9) + data)
        assert cost <= writes_cost(((b"key", OP_SET, data, 5),)) <= cost + 64
    assert writes_cost(((b"key", OP_DELETE),)) > 0
    table = TransactionTable()
    table.hold(T1, prepared(writes=(WRITE,)))
    table.hold(T2, prepared(writes=((b"l", OP_SET, DATA, 0),)))
    assert table.bytes_used == 2 * writes_cost((WRITE,))


def test_there_is_room_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    table = TransactionTable()
    assert table.has_room(transactions.PREPARED_BYTES_MAX)
    assert not table.has_room(transactions.PREPARED_BYTES_MAX + 1)
    table.hold(T1, prepared(writes=(WRITE,)))
    assert not table.has_room(transactions.PREPARED_BYTES_MAX)
    for number in range(PREPARED_MAX - 1):
        assert table.has_room(0)
        table.hold(b"%d" % number, prepared(b"r"))
    assert not table.has_room(0)
    monkeypatch.setattr(transactions, "RECORDS_MAX", 3)
    table = TransactionTable()
    table.hold(T1, prepared(b"a"))
    table.decide(T2, TXN_ABORTED, 100, 10)
    assert table.has_room(0)
    table.finish(T3, 100, 10)
    assert not table.has_room(0)


def test_records_and_finished_ones_are_kept_until_their_deadline() -> None:
    table = TransactionTable()
    table.decide(T1, TXN_ABORTED, 100, 10)
    table.finish(T2, 100, 10)
    table.finish(T3, 100, 100)
    assert len(table) == 2
    table.finish(T2, 100, 20)
    for copy in (copied(table), table):
        copy.purge(99)
        assert copy.images() == table.images()
        copy.purge(100)
        assert len(copy) == 0
        assert copy.images() == ()


def test_a_commit_is_kept_until_all_participants_have_heard_of_it() -> None:
    table = TransactionTable()
    table.decide(T1, TXN_COMMITTED, 100, 10, (3, 4))
    table.decide(T2, TXN_COMMITTED, 100, 10)
    table.decide(T3, TXN_COMMITTED, 300, 10, (3,))
    assert table.unresolved.keys() == {T1, T3}
    for copy in (copied(table), table):
        copy.purge(200)
        assert copy.records.keys() == {T1, T3}
        again = copied(copy)
        for either in (again, copy):
            either.forget(T1, 200)
            either.forget(T3, 200)
            either.forget(T2, 200)
            assert either.records.keys() == {T3}
            assert either.records[T3].participants == ()
            assert not either.unresolved
            either.purge(300)
            assert len(either) == 0


def test_little_is_forgotten_at_a_time_and_the_same_by_all() -> None:
    table = TransactionTable()
    for number in range(3 * PURGED_MAX):
        txn = b"%016d" % number
        if number % 3:
            table.finish(txn, 100 + number % 7, 10)
        else:
            table.decide(txn, TXN_COMMITTED, 100 + number % 5, 10, (1,) * (number % 2))
    table.purge(103)
    copy = copied(table)
    while table.images():
        before = len(table)
        for either in (table, copy):
            either.purge(120)
            for txn in list(either.unresolved)[:5]:
                either.forget(txn, 120)
        assert copy.images() == table.images()
        assert before - len(table) <= PURGED_MAX + 5
    assert len(table) == 0


def test_the_leader_is_told_of_what_stays() -> None:
    table = TransactionTable()
    table.hold(T1, prepared(b"a", since_ms=10))
    table.hold(T2, prepared(b"a", since_ms=20))
    table.hold(T3, prepared(b"a", since_ms=30))
    assert table.undecided(119, 100, 9) == [(T1, 7, 100)]
    assert table.undecided(120, 100, 9) == [(T1, 7, 100), (T2, 7, 100)]
    assert table.undecided(500, 100, 2) == [(T1, 7, 100), (T2, 7, 100)]
    assert table.overdue(150, 50) == 3
    assert table.overdue(149, 50) == 0
    table.decide(T1, TXN_COMMITTED, 300, 10, (3, 4))
    table.decide(T2, TXN_COMMITTED, 300, 20, (3,))
    table.decide(T3, TXN_COMMITTED, 300, 20)
    assert table.unheard(119, 100, 9) == [(T1, 300, (3, 4))]
    assert table.unheard(500, 100, 9) == [(T1, 300, (3, 4)), (T2, 300, (3,))]
    assert table.unheard(500, 100, 1) == [(T1, 300, (3, 4))]
    table.forget(T1, 120)
    assert table.unheard(500, 100, 9) == [(T2, 300, (3,))]


def test_images_make_the_same_table() -> None:
    table = TransactionTable()
    table.hold(T2, prepared(b"a", b"b", writes=(WRITE, (b"gone", OP_DELETE))))
    table.hold(T1, prepared(b"a"))
    table.decide(T3, TXN_COMMITTED, 100, 10, (3, 4))
    table.decide(T1, TXN_ABORTED, 90, 10)
    table.finish(T3, 100, 10)
    copy = copied(table)
    assert copy.images() == table.images()
    assert len(copy) == len(copy.images()) == 5
    assert copy.bytes_used == table.bytes_used > 0
    assert copy.memory_bytes == table.memory_bytes > TransactionTable().memory_bytes
    assert copy.unresolved.keys() == {T3}
    for key, hold in table.holds.items():
        assert (copy.holds[key].writer, copy.holds[key].readers) == (hold.writer, hold.readers)
    assert copy.holds.keys() == table.holds.keys()


PREPARED = (PREPARED_IMAGE, T1, 7, 100, 10, (b"a",), (WRITE,))
RECORD = (RECORD_IMAGE, T1, TXN_COMMITTED, 100, 10, (3,))
FINISHED = (FINISHED_IMAGE, T1, 100)


@pytest.mark.parametrize("image", [PREPARED, RECORD, FINISHED])
def test_an_image_of_another_form_is_refused(image: tuple[Any, ...]) -> None:
    TransactionTable().add(image)
    wrong = [image[:-1], (*image, 0), ("x", *image[1:]), (9, *image[1:])]
    wrong += [(*image[:place], None, *image[place + 1 :]) for place in range(len(image))]
    for other in wrong:
        with pytest.raises(ValueError, match="invalid"):
            TransactionTable().add(other)
    table = TransactionTable()
    table.add(image)
    with pytest.raises(ValueError, match="transaction"):
        table.add(image)


@pytest.mark.parametrize(
    "image",
    [
        (),
        (*PREPARED[:5], (), ()),
        (*PREPARED[:5], ("a",), ()),
        (*PREPARED[:5], (b"k",), ((b"k", OP_DELETE),)),
        (*PREPARED[:5], (), ((b"l", OP_DELETE, 0),)),
        (*PREPARED[:5], (), ((b"l", OP_SET, DATA),)),
        (*PREPARED[:5], (), ((b"l", "x"),)),
        (*PREPARED[:5], (), ((b"l",),)),
        (*PREPARED[:5], (), (b"l",)),
        (*PREPARED[:5], (), ((b"k", OP_DELETE),)),
        (*PREPARED[:5], (), ((b"a", OP_DELETE),)),
        (RECORD_IMAGE, T2, TXN_ABORTED, 100, 10, (3,)),
        (RECORD_IMAGE, T2, 7, 100, 10, ()),
        (RECORD_IMAGE, T2, TXN_COMMITTED, 100, 10, ("x",)),
    ],
)
def test_an_image_that_no_table_has_is_refused(image: tuple[Any, ...]) -> None:
    table = TransactionTable()
    table.add((PREPARED_IMAGE, T3, 7, 100, 10, (b"a",), (WRITE,)))
    with pytest.raises(ValueError, match="invalid"):
        table.add((image[0], T2, *image[2:]) if image else image)
