"""What a transaction sees of its own reads and writes, and the lines that its commit sends."""

from __future__ import annotations

import pytest

from quorumcache.router import NotANumber, TransactionTooLarge
from quorumcache.router.transaction_draft import Draft, number_of
from quorumcache.router.transaction_requests import MISSING, TOO_LARGE, TXN_BYTES_MAX, Read


def test_checks_are_as_weak_as_what_was_learned() -> None:
    draft = Draft()
    draft.note({b"seen": Read(7, 0, b"v"), b"there": Read(8, 0, b"v")})
    draft.note({b"gone": MISSING, b"large": TOO_LARGE, b"asked-only": Read(9, 0, b"v")})
    assert draft.see(b"seen") == b"v"
    assert draft.see(b"there", exact=False) == b"v"
    assert draft.see(b"gone", exact=False) is None
    assert draft.see(b"large", exact=False) is not None
    assert draft.block().splitlines() == [
        *(b"check seen 7", b"present there", b"check gone 0", b"present large"),
        b"present asked-only",
    ]
    assert draft.see(b"there") == b"v"
    assert b"check there 8" in draft.block()
    with pytest.raises(TransactionTooLarge):
        draft.see(b"large")
    assert b"present large" in draft.block()


def test_what_was_read_first_stays() -> None:
    draft = Draft()
    assert draft.unread([b"k", b"l", b"k"]) == [b"k", b"l"]
    draft.note({b"k": Read(7, 0, b"old")})
    draft.note({b"k": Read(8, 0, b"new"), b"l": MISSING})
    assert draft.see(b"k") == b"old"
    assert draft.unread([b"k", b"l", b"m"]) == [b"m"]
    assert draft.block() == b"check k 7\r\ncheck l 0\r\n"


def test_what_was_seen_at_one_moment_needs_no_commit() -> None:
    seen = {b"k": Read(7, 0, b"1"), b"l": MISSING, b"m": Read(9, 0, b"3")}
    draft = Draft(seen)
    assert draft.unread([b"k", b"l"]) == []
    assert (draft.see(b"k"), draft.see(b"l")) == (b"1", None)
    assert not draft.needs_commit
    assert draft.block() == b"check k 7\r\ncheck l 0\r\n", "what was not asked for has no check"
    assert draft.unread([b"k", b"m", b"other"]) == [b"other"]
    draft.note({b"other": MISSING})
    assert draft.needs_commit
    draft = Draft(seen)
    draft.put(b"k", b"2", 0, 0)
    assert draft.unread([b"k"]) == []
    assert draft.see(b"k") == b"2"
    assert draft.needs_commit
    assert draft.block() == b"set k 0 0 1\r\n2\r\n"


def test_writes_are_seen_and_the_last_one_counts() -> None:
    draft = Draft()
    draft.put(b"k", b"1", 3, 0)
    assert draft.unread([b"k"]) == []
    draft.put(b"l", b"2", 0, 0)
    draft.put(b"k", b"3", 4, 60)
    assert draft.see(b"k") == b"3"
    draft.remove(b"l")
    assert draft.see(b"l") is None
    draft.put(b"m", b"4", 0, -1)
    assert draft.see(b"m") is None  # It expires at once.
    assert draft.block() == b"set k 4 60 1\r\n3\r\ndelete l\r\nset m 0 -1 1\r\n4\r\n"
    draft.drop_writes()
    assert draft.block() == b""


def test_a_write_does_not_undo_a_check() -> None:
    draft = Draft()
    draft.note({b"k": Read(7, 0, b"1")})
    assert draft.see(b"k") == b"1"
    draft.put(b"k", b"2", 0, 0)
    assert draft.see(b"k") == b"2"
    assert draft.block() == b"check k 7\r\nset k 0 0 1\r\n2\r\n"


def test_who_decides_and_what_needs_a_commit() -> None:
    draft = Draft()
    assert not draft.needs_commit
    draft.note({b"a": Read(7, 0, b"1")})
    assert not draft.needs_commit
    draft.note({b"b": MISSING})
    assert draft.needs_commit
    assert draft.first_key == b"a"
    draft.put(b"z", b"", 0, 0)
    draft.put(b"a", b"", 0, 0)
    assert draft.first_key == b"z"


def test_counting() -> None:
    draft = Draft()
    draft.note({b"n": Read(7, 5, b"10"), b"none": MISSING, b"text": Read(8, 0, b"ten")})
    assert draft.count(b"n", -1, 60) == 9
    assert draft.see(b"n") == b"9 "
    assert b"set n 5 60 2\r\n9 \r\n" in draft.block()
    assert b"check n 7\r\n" in draft.block()
    assert draft.count(b"n", -10, 0) == 0
    assert draft.count(b"n", (1 << 64) - 1, 0) == (1 << 64) - 1
    assert draft.count(b"n", 2, 0) == 1
    assert draft.count(b"none", 1, 0) is None
    assert b"check none 0" in draft.block()
    with pytest.raises(NotANumber):
        draft.count(b"text", 1, 0)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"0", 0),
        (b"12 ", 12),
        (b"18446744073709551615", (1 << 64) - 1),
        (b"18446744073709551616", None),
        (b"000000000000000000001", None),
        (b"", None),
        (b" 1", None),
        (b"-1", None),
        (b"1.5", None),
        ("²".encode(), None),
    ],
)
def test_numbers(text: bytes, number: int | None) -> None:
    assert number_of(text) == number


def test_bounds() -> None:
    draft = Draft()
    names = [b"k%d" % number for number in range(128)]
    with pytest.raises(TransactionTooLarge, match="128 keys at most, not 129"):
        draft.unread([*names, b"more"])
    for name in names[:64]:
        draft.put(name, b"", 0, 0)
    draft.note(dict.fromkeys(names[32:], MISSING))
    with pytest.raises(TransactionTooLarge):
        draft.remove(b"more")
    draft.remove(names[100])
    draft = Draft()
    draft.put(b"a", bytes(TXN_BYTES_MAX - 2), 0, 0)
    draft.put(b"a", bytes(TXN_BYTES_MAX - 1), 0, 0)
    with pytest.raises(TransactionTooLarge, match="not 1048577"):
        draft.remove(b"b")
    assert draft.unread([b"b"]) == [b"b"]  # What was refused is not there.
    assert len(draft.block()) > TXN_BYTES_MAX  # Its words do not count.
    draft.note({b"b": MISSING})
    with pytest.raises(TransactionTooLarge):
        draft.block()
    draft.put(b"a", b"", 0, 0)
    draft.remove(b"b")
    assert draft.block() == b"check b 0\r\nset a 0 0 0\r\n\r\ndelete b\r\n"
