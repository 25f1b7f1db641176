"""The wire of transactions: what is sent, and what each reply means."""

from __future__ import annotations

import pytest

from quorumcache.router import (
    BadReply,
    Conflict,
    InvalidArgument,
    Moved,
    NotDone,
    OutcomeUnknown,
    Refused,
    RouterError,
    TransactionTooLarge,
    TransactionTooLong,
)
from quorumcache.router.codec import Line, Reply, ReplyParser, Value, Values
from quorumcache.router.transaction_requests import (
    MISSING,
    TOO_LARGE,
    Begun,
    Read,
    begin,
    check_line,
    commit,
    delete_line,
    knows_transactions,
    look,
    present_line,
    read,
    set_lines,
)

ID = b"0123456789abcdef0123456789abcdef"
BEGUN = Begun(ID, 7_000)


def test_bytes() -> None:
    assert knows_transactions().data == b"cluster txn\r\n"
    assert begin(5_000).data == b"cluster txn begin 5000\r\n"
    assert read((b"a", b"b")).data == b"cluster txn get a b\r\n"
    assert look(b"a").data == b"cluster txn get a\r\n"
    block = check_line(b"a", 12) + present_line(b"b") + set_lines(b"c", b"v\r\n", 3, -1)
    block += delete_line(b"d")
    assert block == b"check a 12\r\npresent b\r\nset c 3 -1 3\r\nv\r\n\r\ndelete d\r\n"
    sent = commit(BEGUN, block).data
    assert sent == b"cluster txn commit %b 7000 %d\r\n%b\r\n" % (ID, len(block), block)


@pytest.mark.parametrize(
    ("value", "flags", "exptime", "text"),
    [
        ("text", 0, 0, "a value is bytes, not str: encode it first"),
        (bytearray(b"x"), 0, 0, "a value is bytes, not bytearray"),
        (None, 0, 0, "a value is bytes, not NoneType"),
        (b"", 1 << 32, 0, "flags must be from 0"),
        (b"", 0, 0.5, "exptime must be a whole number"),
    ],
)
def test_what_can_not_be_stored(value: bytes, flags: int, exptime: int, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        set_lines(b"k", value, flags, exptime)


def test_the_parser_knows_the_words() -> None:
    stream = (
        b"TXN %b 7000\r\nCOMMITTED\r\nCONFLICT k\r\nABORTED\r\nTOO_LATE\r\n"
        b"VALUE k 0 1 18446744073709551615\r\nx\r\nEND\r\n" % ID
    )
    for step in (1, len(stream)):
        parser = ReplyParser()
        replies = [
            reply
            for at in range(0, len(stream), step)
            for reply in parser.feed(stream[at : at + step])
        ]
        assert parser.broken is None
        assert [type(reply) for reply in replies] == [Line] * 5 + [Values]
        assert read((b"k",)).decode(replies[-1]) == {b"k": Read((1 << 64) - 1, 0, b"x")}


def test_begin() -> None:
    assert begin(100).decode(Line(b"TXN %b 7000" % ID)) == BEGUN
    for bad in (b"TXN", b"TXN 12 7000", b"TXN %b" % ID, b"TXN %b x" % ID, b"TXN %b 1 2" % ID):
        with pytest.raises(BadReply):
            begin(100).decode(Line(bad))
    with pytest.raises(BadReply):
        begin(100).decode(Line(b"TXN %b 7000" % ID.upper()))
    with pytest.raises(Refused, match="usage"):
        begin(100).decode(Line(b"CLIENT_ERROR usage: cluster map [known_epoch]"))


def test_knows_transactions() -> None:
    assert knows_transactions().decode(Line(b"OK")) is True
    assert knows_transactions().decode(Line(b"CLIENT_ERROR usage: cluster map")) is False


def test_read() -> None:
    two = read((b"a", b"b"))
    assert two.decode(Values(())) == {b"a": MISSING, b"b": MISSING}
    assert two.decode(Values((Value(b"b", 3, b"x", 9),))) == {b"a": MISSING, b"b": Read(9, 3, b"x")}
    with pytest.raises(BadReply, match="without a version"):
        two.decode(Values((Value(b"b", 3, b"x", 0),)))
    with pytest.raises(BadReply, match="not asked for"):
        two.decode(Values((Value(b"c", 3, b"x", 9),)))
    with pytest.raises(TransactionTooLarge, match="large value"):
        two.decode(Line(b"CLIENT_ERROR large value: no part of a transaction"))
    with pytest.raises(Moved):
        two.decode(Line(b"MOVED 1 2 3 127.0.0.1:5"))


def test_a_look_finds_a_large_value_too() -> None:
    large = Line(b"CLIENT_ERROR large value: no part of a transaction")
    assert look(b"a").decode(large) == {b"a": TOO_LARGE}
    assert look(b"a").decode(Values(())) == {b"a": MISSING}
    with pytest.raises(NotDone):
        look(b"a").decode(Line(b"SERVER_ERROR not done: no leader"))


def test_commit() -> None:
    done = commit(BEGUN, b"delete k\r\n").decode
    assert done(Line(b"COMMITTED")) is None
    with pytest.raises(Conflict, match="another write of k came between") as met:
        done(Line(b"CONFLICT k"))
    assert met.value.key == b"k"
    with pytest.raises(Conflict, match="another write came between") as met:
        done(Line(b"ABORTED"))
    assert met.value.key is None


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Line(b"TOO_LATE"), TransactionTooLong),
        (Line(b"SERVER_ERROR not done: shard 3 had no leader for 5000 ms"), NotDone),
        (Line(b"SERVER_ERROR outcome unknown: no answer"), OutcomeUnknown),
        (Line(b"SERVER_ERROR object too large for cache"), TransactionTooLarge),
        (Line(b"CLIENT_ERROR transaction too large: at most 128 keys"), TransactionTooLarge),
        (Line(b"SERVER_ERROR out of memory storing object"), Refused),
        (Line(b"CLIENT_ERROR bad block"), Refused),
        (Line(b"CONFLICT"), BadReply),
        (Line(b"CONFLICT a b"), BadReply),
        (Line(b"COMMITTED k"), BadReply),
        (Line(b"STORED"), BadReply),
        (Values(()), BadReply),
    ],
)
def test_how_a_commit_fails(reply: Reply, kind: type[RouterError]) -> None:
    with pytest.raises(RouterError) as met:
        commit(BEGUN, b"").decode(reply)
    assert type(met.value) is kind


def test_nothing_is_repeated_that_was_decided() -> None:
    """The dispatcher sends a commit again unless the error says that this is of no use."""
    for error in (Conflict(b"k"), TransactionTooLong("late"), TransactionTooLarge("large")):
        assert not error.retriable
        assert error.outcome_known
