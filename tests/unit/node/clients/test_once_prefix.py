"""`cluster once` and `cluster session open` on a connection: what the prefix binds to, and what it
does not; the coordinator is scripted.
"""

from typing import Any

import pytest

from quorumcache.node.operations.failure import Failure, SessionGone, StaleSequence
from quorumcache.node.store.commands import (
    OP_ADD,
    OP_APPEND,
    OP_CAS,
    OP_DELETE,
    OP_INCR,
    OP_SET,
    OP_TOUCH,
)
from quorumcache.node.store.item import pack_header
from quorumcache.node.store.results import (
    DELETED,
    EXISTS,
    META_STORED,
    NOT_FOUND,
    NOT_STORED,
    OUT_OF_MEMORY,
    STORED,
)
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN
from tests.support.fake_server import SHARDS, Client

SESSION = CLIENT_SESSION_MIN + 77
ONCE = b"cluster once %d 5 3\r\n" % SESSION
IDENTITY = (SESSION, 5, 3)
TOO_LARGE = b"SERVER_ERROR object too large for cache\r\n"
KIND_LINE = (
    b"CLIENT_ERROR once: it may go before set, add, replace, append, prepend, cas, delete, incr, "
    b"decr, touch, mg, ms, md, ma and cluster lock acquire, renew or release only; not done\r\n"
)

WRITES = [
    (b"set k 0 0 1\r\nx\r\n", OP_SET),
    (b"add k 0 0 1\r\nx\r\n", OP_ADD),
    (b"append k 0 0 1\r\nx\r\n", OP_APPEND),
    (b"cas k 0 0 1 9\r\nx\r\n", OP_CAS),
    (b"delete k\r\n", OP_DELETE),
    (b"incr k 1\r\n", OP_INCR),
    (b"touch k 0\r\n", OP_TOUCH),
]


@pytest.mark.parametrize(("line", "op"), WRITES)
@pytest.mark.parametrize("leads", [True, False])
def test_the_next_write_carries_the_identity_and_the_one_after_it_does_not(
    line: bytes, op: int, leads: bool
) -> None:
    client = Client()
    if leads:
        client.lead_all()
    client.send(ONCE + line + line)
    first = client.coordinator.started.pop(0)
    assert (first.op, first.identity) == (op, IDENTITY)
    first.end(STORED)
    client.turn()
    assert client.coordinator.take().identity is None


def test_the_prefix_may_come_in_a_read_of_its_own() -> None:
    client = Client()
    client.send(b"version\r\n" + ONCE[:9])
    client.send(ONCE[9:])
    client.send(b"incr k 1\r\n")
    assert client.coordinator.take().identity == IDENTITY
    assert client.read() == b"VERSION 1\r\n", "the prefix has no reply of its own"


def test_pipelined_writes_keep_their_identities_and_their_order() -> None:
    client = Client()
    client.lead_all()
    lines = [b"cluster once %d %d 1\r\nincr k 1\r\n" % (SESSION, n) for n in range(1, 200)]
    client.send(b"".join(lines))
    started = client.coordinator.started
    assert [s.identity for s in started] == [(SESSION, n, 1) for n in range(1, 200)]
    assert all(later.after is not None for later in started[1:])


def test_a_prefix_waits_with_its_command_while_something_runs_alone() -> None:
    client = Client()
    client.send(b"set k 0 0 1\r\nx\r\nflush_all\r\n" + ONCE + b"incr k 1\r\n")
    client.coordinator.take().end(STORED)
    client.turn()
    assert len(client.coordinator.started) == SHARDS, "the flush"
    client.coordinator.end_all()
    client.turn()
    assert client.coordinator.take().identity == IDENTITY


@pytest.mark.parametrize(
    "line",
    [
        *(b"get k\r\n", b"gets k j\r\n", b"gat 0 k\r\n", b"flush_all\r\n", b"version\r\n"),
        *(b"verbosity 1\r\n", b"stats\r\n", b"cluster nodes\r\n", b"cluster session open 1\r\n"),
    ],
)
@pytest.mark.parametrize("apart", [True, False])
def test_anything_but_a_write_of_one_key_is_refused(line: bytes, apart: bool) -> None:
    client = Client()
    client.lead_all()
    client.send(b"version\r\n")
    client.read()
    if apart:
        client.send(ONCE)
        client.send(line)
    else:
        client.send(ONCE + line)
    assert client.read() == KIND_LINE
    assert not client.coordinator.started
    client.send(b"incr k 1\r\n")
    assert client.coordinator.take().identity is None, "the refusal has used the prefix up"


def test_a_refusal_is_silent_where_the_command_is() -> None:
    client = Client()
    client.send(ONCE + b"flush_all noreply\r\n" + b"incr k 1\r\n")
    assert client.coordinator.take().identity is None
    assert client.read() == b""


@pytest.mark.parametrize(
    "line",
    [
        *(b"incr k x noreply\r\n", b"nonsense noreply\r\n", b"set k x 0 1 noreply\r\nx\r\n"),
        *(b"incr k x\r\n", b"incr k\r\n", b"nonsense\r\n", b"set k 0 0 1\r\nxyz", b"\r\n"),
        b"set k 0 0 1 noreply\r\nxyz",
    ],
)
def test_a_wrong_line_uses_the_prefix_up(line: bytes) -> None:
    """Otherwise the write after it would run under an identity that was meant for another one."""
    client = Client()
    client.send(ONCE + line + b"incr j 1\r\n")
    assert client.coordinator.take().identity is None
    replies = client.read()
    assert replies.count(b"\r\n") == (0 if b"noreply" in line else 1)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (b"", b"usage"),
        (b" %d 1" % SESSION, b"usage"),
        (b" %d 1 1 1" % SESSION, b"usage"),
        (b" x 1 1", b"this is not a session number"),
        (b" 7 1 1", b"this is not a session number"),
        (b" %d 1 1" % (1 << 63), b"this is not a session number"),
        (b" %d 1 1" % -SESSION, b"this is not a session number"),
        (b" %d 0 0" % SESSION, b"sequence"),
        (b" %d %d 1" % (SESSION, 1 << 63), b"sequence"),
        (b" %d %b 1" % (SESSION, b"9" * 30), b"sequence"),
        (b" %d 5 6" % SESSION, b"floor"),
        (b" %d 5 -1" % SESSION, b"floor"),
        (b" %d 5 x" % SESSION, b"floor"),
    ],
)
def test_a_wrong_prefix_is_the_reply_of_its_command(words: bytes, why: bytes) -> None:
    """One reply for both, and nothing is executed: nobody gets out of step, nothing unprotected."""
    client = Client()
    client.lead_all()
    client.send(b"cluster once" + words + b"\r\nincr k 1\r\nversion\r\n")
    assert not client.coordinator.started
    error, version, rest = client.read().split(b"\r\n")
    assert error.startswith(b"CLIENT_ERROR once: ")
    assert why in error
    assert (version, rest) == (b"VERSION 1", b"")


def test_two_prefixes_are_one_error() -> None:
    client = Client()
    client.send(ONCE + ONCE + b"incr k 1\r\nversion\r\n")
    assert not client.coordinator.started
    assert client.read().startswith(b"CLIENT_ERROR once: only one may go before a command")
    client.send(ONCE + b"incr k 1\r\n")
    assert client.coordinator.take().identity == IDENTITY


def test_too_large_a_set_deletes_under_the_identity() -> None:
    client = Client()
    client.send(ONCE + b"set k 0 0 1100000\r\n" + b"x" * 1_100_000 + b"\r\nincr k 1\r\n")
    delete = client.coordinator.started.pop(0)
    assert (delete.op, delete.identity) == (OP_DELETE, IDENTITY)
    delete.end(DELETED)
    client.turn()
    assert client.coordinator.take().identity is None
    assert client.read() == b"SERVER_ERROR object too large for cache\r\n"


def test_too_large_an_add_asks_the_session_and_uses_the_prefix_up() -> None:
    client = Client()
    client.send(ONCE + b"add k 0 0 1100000\r\n" + b"x" * 1_100_000 + b"\r\nincr k 1\r\n")
    asked = client.coordinator.started.pop(0)
    assert (asked.op, asked.identity) == (OP_CAS, IDENTITY)
    asked.end(NOT_FOUND)
    client.turn()
    assert client.coordinator.take().identity is None
    assert client.read() == TOO_LARGE


def test_noreply_carries_the_identity_too() -> None:
    client = Client()
    client.send(ONCE + b"incr k 1 noreply\r\n")
    write = client.coordinator.take()
    assert write.identity == IDENTITY
    write.end(STORED)
    client.turn()
    assert client.read() == b""


def test_moved_uses_the_prefix_up() -> None:
    client = Client()
    client.send(b"cluster redirect on\r\n" + ONCE + b"incr k 1\r\n")
    assert client.read().startswith(b"OK\r\nMOVED 1 ")
    assert not client.coordinator.started
    client.lead_all()
    client.send(b"incr k 1\r\n")
    assert client.coordinator.take().identity is None


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        (
            SessionGone("x", outcome_known=True),
            b"SERVER_ERROR session gone: this command was not done\r\n",
        ),
        (
            SessionGone("x", outcome_known=False),
            b"SERVER_ERROR session gone: outcome unknown\r\n",
        ),
        (
            StaleSequence("x", outcome_known=True),
            b"SERVER_ERROR stale sequence: this command was not done\r\n",
        ),
        (
            StaleSequence("x", outcome_known=False),
            b"SERVER_ERROR stale sequence: outcome unknown\r\n",
        ),
    ],
)
def test_what_a_client_of_a_lost_session_reads(failure: Failure, line: bytes) -> None:
    client = Client()
    client.send(ONCE + b"set k 0 0 1100000\r\n" + b"x" * 1_100_000 + b"\r\n")
    client.coordinator.take().end(failure)
    client.turn()
    assert client.read() == line, "also where the reply to the command stood fast"


def test_a_client_that_leaves_after_a_prefix() -> None:
    client = Client()
    client.send(ONCE + b"quit\r\n")
    assert client.transport.closed
    assert client.read() == b""


# -- sessions ----------------------------------------------------------------------------


def test_opening_a_session() -> None:
    client = Client()
    client.send(b"cluster session open 2\r\nversion\r\n")
    opening = client.coordinator.take()
    assert opening.group_id == 3
    opening.end(SESSION)
    client.turn()
    assert client.read() == b"SESSION 2 %d\r\nVERSION 1\r\n" % SESSION


def test_a_session_that_cannot_be_opened() -> None:
    client = Client()
    client.send(b"cluster session open 0\r\n")
    client.coordinator.take().end(Failure("shard 0 had no leader", outcome_known=True))
    client.turn()
    assert client.read() == b"SERVER_ERROR not done: shard 0 had no leader\r\n"


def test_opening_is_redirected_like_a_write() -> None:
    client = Client()
    client.send(b"cluster redirect on\r\ncluster session open 2\r\n")
    assert client.read() == b"OK\r\nMOVED 1 2 2 host:1\r\n"
    client.lead_all()
    client.send(b"cluster session open 2\r\n")
    assert client.coordinator.take().group_id == 3


@pytest.mark.parametrize("shard", [b"4", b"-1", b"x", b"99999999999999"])
def test_other_shards_are_left_to_the_words_of_cluster(shard: bytes) -> None:
    client = Client()
    client.send(b"cluster session open " + shard + b"\r\n")
    assert not client.coordinator.started


LARGE = 2 << 20


def answer_of_refused(line: bytes, op: int, result: Any) -> bytes:
    """What a client hears of a value that is too large for this node. `op`: what is asked of the
    leader instead, whose answer is `result`."""
    client = Client()
    client.send(ONCE + line + b"\r\n" + b"x" * LARGE + b"\r\n")
    asked = client.coordinator.take()
    assert (asked.op, asked.identity) == (op, IDENTITY)
    asked.end(result)
    client.turn()
    return client.read()


@pytest.mark.parametrize("word", [b"add", b"append", b"cas"])
def test_a_refused_value_may_be_a_repetition_of_one_that_was_taken(word: bytes) -> None:
    """The first attempt went to a node with a larger limit; its answer was lost. This node refuses
    the value, but the session knows that it was stored. Or it was not, as the leader's memory is
    full, or was at the first attempt."""
    for result, answer in (
        (STORED, b"STORED\r\n"),
        *((nothing_stored, TOO_LARGE) for nothing_stored in (NOT_FOUND, EXISTS, OUT_OF_MEMORY)),
    ):
        unique = b" 9" if word == b"cas" else b""
        line = b"%b k 0 0 %d%b" % (word, LARGE, unique)
        assert answer_of_refused(line, OP_CAS, result) == answer


@pytest.mark.parametrize(("result", "answer"), [(STORED, b"STORED\r\n"), (DELETED, b"")])
def test_a_refused_set_may_be_a_repetition_of_one_that_was_taken(
    result: int, answer: bytes
) -> None:
    line = b"set k 0 0 %d" % LARGE
    assert answer_of_refused(line, OP_DELETE, result) == (answer or TOO_LARGE)


@pytest.mark.parametrize("word", [b"add", b"replace", b"append", b"prepend"])
def test_a_repetition_of_what_another_node_refused_for_its_size_hears_that(word: bytes) -> None:
    """What the session remembers is the cas that stood for it."""
    for result in (NOT_FOUND, EXISTS):
        client = Client()
        client.send(ONCE + b"%b k 0 0 1\r\nx\r\n" % word)
        client.coordinator.take().end(result)
        client.turn()
        assert client.read() == TOO_LARGE


@pytest.mark.parametrize(
    ("result", "answer"),
    [
        (STORED, b"HD Oq s2097152\r\n"),
        ((META_STORED, pack_header(0, 0, 9) + b" 0 12\r\n"), b"HD Oq s12\r\n"),
        (NOT_STORED, b"NS Oq s2097152\r\n"),
        *((nothing, TOO_LARGE) for nothing in (DELETED, NOT_FOUND, EXISTS, OUT_OF_MEMORY)),
    ],
)
def test_a_refused_ms_may_be_a_repetition_of_one_that_was_taken(result: Any, answer: bytes) -> None:
    """It is answered as an `ms`, with the flags that it asked for."""
    assert answer_of_refused(b"ms k %d Oq s" % LARGE, OP_DELETE, result) == answer
