"""Goal: every value that a key may hold is taken, and no other."""

from __future__ import annotations

from quorumcache.bench.expected import Expected


def test_the_last_acknowledged_value_and_no_older_one() -> None:
    expected = Expected()
    assert expected.may_read(b"k", None)
    for value in (b"1", b"2"):
        expected.sending(b"k", value)
        expected.stored(b"k", value)
    assert expected.may_read(b"k", b"2")
    assert not expected.may_read(b"k", b"1")
    assert not expected.may_read(b"k", None)
    assert expected.acknowledged == (b"k",)


def test_an_unknown_outcome_is_either_and_then_what_was_read() -> None:
    expected = Expected()
    expected.sending(b"k", b"1")
    expected.stored(b"k", b"1")
    expected.sending(b"k", b"2")
    assert expected.may_read(b"k", b"1")
    assert expected.may_read(b"k", b"2")
    assert not expected.may_read(b"k", b"1"), "what was read once does not go back"


def test_a_write_that_was_not_done_is_never_read() -> None:
    expected = Expected()
    expected.sending(b"k", b"1")
    expected.stored(b"k", b"1")
    expected.sending(b"k", b"2")
    expected.not_done(b"k", b"2")
    assert not expected.may_read(b"k", b"2")
    assert expected.may_read(b"k", b"1")
