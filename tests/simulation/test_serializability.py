"""Goal: the checker of transactions calls right histories right and wrong ones wrong.

Method: each known anomaly by hand; then small random histories, where all orders can be tried; then
long ones, made by executing transactions one by one, and with a read replaced by an older value.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import permutations
from random import Random

import pytest

from tests.simulation.history import FAIL, INFO, OK
from tests.simulation.serializability import (
    ILLEGAL,
    LEGAL,
    NEVER,
    PRESENT,
    UNKNOWN,
    Transaction,
    Transactions,
    Value,
    check_transactions,
)

A, B, C = b"a", b"b", b"c"
ABSENT = None
Items = dict[bytes, Value]


class Script:
    """A history by hand: `at(0, 3, ...)` is a transaction from moment 0 to moment 3."""

    def __init__(self) -> None:
        self.all: list[Transaction] = []

    def at(
        self,
        begin: int,
        end: int,
        reads: Items | None = None,
        writes: Items | None = None,
        outcome: str = OK,
    ) -> Script:
        number = len(self.all) + 1
        end = NEVER if outcome == INFO else end
        self.all.append(
            Transaction(
                number,
                f"c{number}",
                reads=reads or {},
                writes=writes or {},
                outcome=outcome,
                invoked=2 * begin,
                returned=min(2 * end + 1, NEVER),
            )
        )
        return self

    def verdict(self, initial: Items | None = None) -> str:
        return check_transactions(self.all, initial).kind


BOTH_OLD = {A: b"a0", B: b"b0"}


# -- wrong histories -------------------------------------------------------------------------------


def test_a_lost_update() -> None:
    script = Script()
    script.at(0, 9, {A: b"a0"}, {A: b"a1"}).at(0, 9, {A: b"a0"}, {A: b"a2"})
    assert script.verdict(BOTH_OLD) == ILLEGAL


def test_a_write_skew() -> None:
    """Each reads what the other one replaces."""
    script = Script()
    script.at(0, 9, {A: b"a0", B: b"b0"}, {A: b"a1"})
    script.at(0, 9, {A: b"a0", B: b"b0"}, {B: b"b1"})
    assert script.verdict(BOTH_OLD) == ILLEGAL


def test_a_write_skew_by_absence() -> None:
    """Each makes sure that the other key is not there."""
    script = Script().at(0, 9, {A: ABSENT}, {B: b"b1"}).at(0, 9, {B: ABSENT}, {A: b"a1"})
    assert script.verdict() == ILLEGAL


def test_a_torn_read() -> None:
    script = Script().at(0, 9, BOTH_OLD, {A: b"a1", B: b"b1"}).at(1, 8, {A: b"a1", B: b"b0"})
    assert script.verdict(BOTH_OLD) == ILLEGAL


def test_a_torn_read_by_two_plain_reads() -> None:
    """Each of them alone may be what it is; the second began when the first had ended."""
    script = Script().at(0, 9, {}, {A: b"a1", B: b"b1"}).at(1, 2, {A: b"a1"}).at(3, 4, {B: b"b0"})
    assert script.verdict(BOTH_OLD) == ILLEGAL


def test_a_read_that_saw_one_write_of_an_unknown_transaction() -> None:
    """One that ended without an answer has taken effect as a whole or not at all."""
    script = Script().at(0, 1, {}, {A: b"a1", B: b"b1"}, INFO).at(2, 3, {A: b"a1", B: b"b0"})
    assert script.verdict(BOTH_OLD) == ILLEGAL


def test_a_stale_read_after_a_commit() -> None:
    script = Script().at(0, 1, {}, {A: b"a1", B: b"b1"}).at(2, 3, {A: b"a0", B: b"b0"})
    assert script.verdict(BOTH_OLD) == ILLEGAL


def test_an_order_against_real_time() -> None:
    """Serializable, and not strictly: the second reads nothing of the first, which had ended."""
    script = Script().at(0, 1, {A: b"a0"}, {A: b"a1"}).at(2, 3, {B: b"b0"}, {B: b"b1"})
    script.at(0, 9, {A: b"a0", B: b"b1"})
    assert script.verdict(BOTH_OLD) == ILLEGAL


def test_a_dirty_read_of_an_aborted_one() -> None:
    script = Script().at(0, 3, {}, {A: b"a1"}, FAIL).at(1, 2, {A: b"a1"})
    verdict = check_transactions(script.all, BOTH_OLD)
    assert verdict.kind == ILLEGAL
    assert "a value was read of one that changed nothing: a=a1" in verdict.describe()


def test_an_aborted_one_that_was_never_undone() -> None:
    """It was refused, and its delete took effect."""
    script = Script().at(0, 3, {}, {A: ABSENT}, FAIL).at(4, 5, {A: ABSENT})
    assert script.verdict(BOTH_OLD) == ILLEGAL


def test_a_value_that_nobody_wrote() -> None:
    verdict = check_transactions(Script().at(0, 1, {A: b"a7"}).all, BOTH_OLD)
    assert "which nobody wrote" in verdict.describe()


def test_a_value_of_one_that_began_later() -> None:
    script = Script().at(0, 1, {A: b"a1"}).at(2, 3, {}, {A: b"a1"})
    assert "of one that began later" in check_transactions(script.all, BOTH_OLD).describe()


def test_two_that_read_what_the_other_one_wrote() -> None:
    script = Script().at(0, 9, {A: b"a1"}, {B: b"b1"}).at(0, 9, {B: b"b1"}, {A: b"a1"})
    assert script.verdict(BOTH_OLD) == ILLEGAL


def test_a_commit_that_was_executed_twice() -> None:
    """The second time over a newer value."""
    script = Script().at(0, 1, {}, {A: b"a1"}).at(2, 3, {A: b"a1"}, {A: b"a2"}).at(4, 5, {A: b"a1"})
    assert script.verdict(BOTH_OLD) == ILLEGAL


def test_snapshots_that_see_two_writes_in_different_orders() -> None:
    script = Script().at(0, 9, {}, {A: b"a1"}).at(0, 9, {}, {B: b"b1"})
    script.at(1, 8, {A: b"a1", B: b"b0"}).at(1, 8, {A: b"a0", B: b"b1"})
    assert script.verdict(BOTH_OLD) == ILLEGAL


def test_a_plain_write_in_the_middle_of_a_transaction() -> None:
    """It was acknowledged after the transaction had read the key, and nobody ever sees it."""
    script = (
        Script().at(0, 9, {A: b"a0"}, {A: b"a1"}).at(3, 4, {}, {A: b"a2"}).at(10, 11, {A: b"a1"})
    )
    assert script.verdict(BOTH_OLD) == ILLEGAL


def test_a_condition_that_did_not_hold() -> None:
    assert Script().at(0, 1, {A: PRESENT}, {B: b"b1"}).verdict() == ILLEGAL


# -- right histories -------------------------------------------------------------------------------


def test_one_after_the_other() -> None:
    script = Script().at(0, 1, BOTH_OLD, {A: b"a1"}).at(2, 3, {A: b"a1", B: b"b0"}, {B: ABSENT})
    script.at(4, 5, {A: PRESENT, B: ABSENT})
    assert script.verdict(BOTH_OLD) == LEGAL


def test_at_the_same_time_in_either_order() -> None:
    script = Script().at(0, 9, {A: b"a2"}, {A: b"a1"}).at(0, 9, {A: b"a0"}, {A: b"a2"})
    assert script.verdict(BOTH_OLD) == LEGAL


def test_an_unknown_one_that_took_effect_late() -> None:
    script = Script().at(0, 1, {}, {A: b"a1", B: b"b1"}, INFO).at(5, 6, BOTH_OLD)
    script.at(7, 8, {A: b"a1", B: b"b1"})
    assert script.verdict(BOTH_OLD) == LEGAL


def test_an_unknown_delete_may_explain_an_absence_or_not() -> None:
    script = Script().at(0, 1, {}, {A: ABSENT}, INFO).at(5, 6, {A: b"a0"}).at(7, 8, {A: ABSENT})
    assert script.verdict(BOTH_OLD) == LEGAL
    assert Script().at(0, 1, {}, {A: ABSENT}, INFO).at(5, 6, {A: b"a0"}).verdict(BOTH_OLD) == LEGAL


def test_an_absence_tells_nothing_of_an_unknown_delete() -> None:
    """The key was absent before it was written; the only delete never took effect."""
    script = Script().at(0, 1, {A: ABSENT}).at(2, 3, {}, {A: b"a1"})
    script.at(4, 5, {A: b"a1"}, {A: ABSENT, B: b"b1"}, INFO).at(6, 7, {A: b"a1"}, {A: b"a2"})
    assert script.at(8, 9, {A: b"a2", B: ABSENT}).verdict() == LEGAL


def test_an_unknown_one_that_only_another_unknown_one_tells_of() -> None:
    script = Script().at(0, 1, {}, {A: b"a1"}, INFO).at(0, 1, {A: b"a1"}, {B: ABSENT}, INFO)
    assert script.at(2, 3, {B: ABSENT}).verdict(BOTH_OLD) == LEGAL


def test_what_an_aborted_one_read_does_not_have_to_fit() -> None:
    script = Script().at(0, 9, {}, {A: b"a1", B: b"b1"}).at(0, 9, {A: b"a1", B: b"b0"}, {}, FAIL)
    assert script.verdict(BOTH_OLD) == LEGAL


# -- against all orders ----------------------------------------------------------------------------


def explained(transactions: Sequence[Transaction], initial: Items) -> bool:
    """By trying every order of every choice of the unknown ones."""
    kept = [t for t in transactions if t.outcome != FAIL]
    certain = {t.number for t in kept if t.outcome == OK}
    return any(
        _runs(order, initial)
        for count in range(len(certain), len(kept) + 1)
        for order in permutations(kept, count)
        if certain <= {t.number for t in order}
    )


def _runs(order: Sequence[Transaction], initial: Items) -> bool:
    store = dict(initial)
    latest = 0
    for transaction in order:
        if transaction.returned < latest:
            return False
        latest = max(latest, transaction.invoked)
        for key, value in transaction.reads.items():
            there = store.get(key)
            if there is None if value == PRESENT else there != value:
                return False
        store.update(transaction.writes)
    return True


def small(random: Random) -> list[Transaction]:
    """Five transactions of any reads and writes; few values, so that some histories are right."""
    script = Script()
    for number in range(5):
        begin = random.randrange(10)
        reads = {key: random.choice(VALUES) for key in random.sample((A, B), random.randrange(3))}
        own = (b"v%d" % number, b"same", ABSENT)
        writes = {key: random.choice(own) for key in random.sample((A, B), random.randrange(3))}
        outcome = random.choice((OK, OK, OK, INFO, FAIL))
        script.at(begin, begin + random.randrange(10), reads, writes, outcome)
    return script.all


VALUES = (b"v0", b"v1", b"v2", b"same", ABSENT, ABSENT, PRESENT, b"a0")


def test_it_says_what_trying_all_orders_says() -> None:
    verdicts = []
    for seed in range(3000):
        transactions = small(Random(seed))
        initial = BOTH_OLD if seed % 2 else {}
        expected = explained(transactions, initial)
        verdict = check_transactions(transactions, initial)
        assert (verdict.kind == LEGAL) is expected, (seed, verdict.describe())
        verdicts.append(expected)
    assert 300 < sum(verdicts) < 2700


# -- long ones -------------------------------------------------------------------------------------


def executed(seed: int, *, count: int, clients: int, unknown: float = 0.1) -> list[Transaction]:
    """Transactions that took effect one by one, each between its beginning and its end."""
    random = Random(seed)
    keys = [b"k%d" % number for number in range(5)]
    store: Items = {}
    history = Transactions()
    running: dict[int, Transaction] = {}
    late: list[Transaction] = []
    """Of unknown outcome; they may still take effect."""
    while len(history.all) < count or running:
        client = random.randrange(clients)
        if client in running:
            history.ok(running.pop(client))
            continue
        if len(history.all) >= count:
            continue
        transaction = history.invoke(f"c{client}")
        transaction.reads = {key: store.get(key) for key in random.sample(keys, 2)}
        for key in random.sample(keys, random.randrange(3)):
            transaction.writes[key] = random.choice((b"v%d" % transaction.number,) * 9 + (ABSENT,))
        fate = random.random()
        if fate < unknown:
            late.append(transaction)
        elif fate < 2 * unknown:
            history.fail(transaction)
        else:
            store.update(transaction.writes)
            running[client] = transaction
        if late and random.random() < 0.1:
            other = late.pop()
            if all(store.get(key) == value for key, value in other.reads.items()):
                store.update(other.writes)
    return history.all


@pytest.mark.parametrize("seed", range(10))
def test_long_histories_are_decided_soon(seed: int) -> None:
    """Steps are counted, not seconds: each transaction once, and some again."""
    transactions = executed(seed, count=600, clients=10)
    verdict = check_transactions(transactions)
    assert verdict.kind == LEGAL, verdict.describe()
    assert verdict.steps < 3000
    wrong = with_an_old_read(transactions, Random(seed))
    verdict = check_transactions(wrong)
    assert verdict.kind == ILLEGAL
    assert verdict.steps < 30_000
    assert "and none of these can come next:" in verdict.describe()


def with_an_old_read(transactions: list[Transaction], random: Random) -> list[Transaction]:
    """The same, but late in it one reads a value that was replaced long before."""
    transactions = copy.deepcopy(transactions)
    late = [t for t in transactions[400:] if t.outcome == OK and t.reads]
    chosen = random.choice(late)
    key = random.choice([*chosen.reads])
    early = [t for t in transactions[:200] if t.outcome == OK and t.writes.get(key)]
    chosen.reads[key] = random.choice(early).writes[key]
    return transactions


def test_a_search_that_grows_too_large_says_so() -> None:
    transactions = executed(1, count=100, clients=10)
    assert check_transactions(transactions, steps_max=50).kind == UNKNOWN


def test_the_recorder_counts_and_describes() -> None:
    history = Transactions()
    transaction = history.invoke("c1", "bank", now_ns=1_000_250_000_000)
    transaction.reads, transaction.writes = {A: ABSENT}, {B: b"7"}
    assert history.counts() == {OK: 0, FAIL: 0, INFO: 1}
    assert transaction.describe().endswith("never] #1     c1   bank a=none b:=7 -> unknown")
    history.ok(transaction, "COMMITTED", now_ns=1_000_500_000_000)
    assert history.counts() == {OK: 1, FAIL: 0, INFO: 0}
    assert transaction.describe().endswith("#1     c1   bank a=none b:=7 -> COMMITTED")
    with pytest.raises(AssertionError, match="finished twice"):
        history.ok(transaction)
