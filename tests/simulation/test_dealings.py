"""Goal: what is said of a run's transactions and locks would find what it is meant to find.

Method: wrong tokens, sums and histories by hand. That whole runs find a broken product is tested in
`test_detection_transactions.py`.
"""

from __future__ import annotations

from random import Random

import pytest

from tests.simulation.dealings import (
    BrokenLock,
    Dealings,
    Fenced,
    NotSerializable,
    balance,
    fence_fault,
)
from tests.simulation.lock_watch import Asked

L = b"lock-0"


def done(token: int, invoked: int, returned: int, key: bytes = b"k") -> Fenced:
    return Fenced(L, key, token, invoked, returned)


def test_an_old_holder_that_is_let_through() -> None:
    assert "an old holder" in fence_fault([done(2, 1, 2), done(1, 3, 4)])
    assert not fence_fault([done(2, 1, 2), done(2, 3, 4), done(3, 5, 6)])
    assert not fence_fault([done(2, 1, 5), done(1, 3, 4)])  # It may have come before.
    assert not fence_fault([done(2, 1, 2), done(1, 3, 4, b"other key, maybe in another shard")])


def test_the_bank_has_all_its_money_or_is_not_open() -> None:
    dealings = Dealings(Random(1))
    first, second, *others = dealings.accounts
    rest = dict.fromkeys(others, b"100 x")
    assert not dealings.wrong_sum(dict.fromkeys(dealings.accounts))
    assert not dealings.wrong_sum({first: b"90 x", second: b"110 y", **rest})
    assert "the accounts hold" in dealings.wrong_sum({first: b"90 x", second: b"100 y", **rest})
    assert "the accounts hold" in dealings.wrong_sum({first: b"200 x", second: None, **rest})
    assert dealings.snapshots == 4
    assert balance(b"-7 t1.3") == -7


class Stopped:
    """A clock that does not go."""

    def earliest_ms(self, begin_ns: int, end_ns: int | None) -> int:
        return 0

    def latest_ms(self, end_ns: int | None) -> int:
        return 0


def test_a_history_is_judged() -> None:
    """By its tokens, then by its reads; parts of a section are no transactions of their own."""
    dealings = Dealings(Random(1))
    history = dealings.history
    section, write = history.invoke("k1", "section"), history.invoke("k1", "fenced")
    section.writes = {b"k": b"1"}
    history.ok(write)
    history.ok(section)
    assert dealings.judge()
    assert dealings.totals()["section_done"] == 1
    read = history.invoke("k1", "read")
    read.reads = {b"k": None}
    history.ok(read)
    with pytest.raises(NotSerializable):
        dealings.judge()
    dealings.asked += [Asked("acquire", L, b"a", section, 100, False, 2)]
    dealings.asked += [Asked("acquire", L, b"b", read, 100, False, 1)]
    with pytest.raises(BrokenLock, match="does not grow"):
        dealings.judge()
    dealings.asked[-1].token = 3
    with pytest.raises(BrokenLock, match="two hold"):
        dealings.judge(Stopped())
    dealings.asked.clear()
    dealings.executed(L, b"k", 2, section)
    dealings.executed(L, b"k", 1, read)
    with pytest.raises(BrokenLock, match="an old holder"):
        dealings.judge()
