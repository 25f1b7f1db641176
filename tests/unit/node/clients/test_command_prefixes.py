"""`cluster fence`, alone and together with `cluster once`, on a connection whose coordinator is
scripted; `test_once_prefix.py` has `cluster once` alone.
"""

import pytest

from quorumcache.node.clients.command_prefixes import (
    FENCE_KIND_LINE,
    FENCE_TWICE_LINE,
    ONCE_KIND_LINE,
    ONCE_TWICE_LINE,
)
from quorumcache.node.protocol.lock_lines import FENCE_TOKEN_ERROR, FENCE_WORDS_ERROR
from quorumcache.node.store.commands import (
    OP_ADD,
    OP_DELETE,
    OP_FENCED,
    OP_INCR,
    OP_LOCK_ACQUIRE,
    OP_LOCK_RELEASE,
    OP_META_DELETE,
    OP_META_GET,
    OP_META_SET,
    OP_REFUSE,
    OP_SET,
    OP_TOUCH,
)
from quorumcache.node.store.results import (
    DELETED,
    FENCE_OTHER_LOCK,
    FENCE_STALE,
    LOCK_RELEASED,
    LOCKED,
    NUMBER,
    STORED,
)
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN
from tests.support.fake_server import Client, set_line

SESSION = CLIENT_SESSION_MIN + 77
IDENTITY = (SESSION, 5, 3)
ONCE = b"cluster once %d 5 3\r\n" % SESSION
FENCE = b"cluster fence lock 8\r\n"
STALE_LINE = b"CLIENT_ERROR stale fence: the newest token seen here is 9\r\n"
OTHER_LINE = b"CLIENT_ERROR fence of another lock: this key is guarded by another one\r\n"
SET_ARGS = (b" 0 1\r\nx\r\n", 0)


@pytest.mark.parametrize(
    ("line", "inner"),
    [
        (b"set k 0 0 1\r\nx\r\n", (OP_SET, *SET_ARGS)),
        (b"add k 0 0 1\r\nx\r\n", (OP_ADD, *SET_ARGS)),
        (b"delete k\r\n", (OP_DELETE,)),
        (b"incr k 1\r\n", (OP_INCR, 1)),
        (b"touch k 5\r\n", (OP_TOUCH, 5)),
        (b"get k\r\n", (OP_META_GET, b"vg", 0, 0, 0, 0)),
        (b"gets k\r\n", (OP_META_GET, b"vg", 0, 0, 0, 0)),
        (b"mg k v\r\n", (OP_META_GET, b"v", 0, 0, 0, 0)),
        (b"md k\r\n", (OP_META_DELETE, b"", 0, 0, 0, 0)),
    ],
)
@pytest.mark.parametrize("leads", [True, False])
def test_the_next_command_runs_under_the_fence_and_the_one_after_it_does_not(
    line: bytes, inner: tuple[object, ...], leads: bool
) -> None:
    client = Client()
    if leads:
        client.lead_all()
    client.send(FENCE + line + b"delete k\r\n")
    first = client.coordinator.started.pop(0)
    assert (first.op, first.args) == (OP_FENCED, (b"lock", 8, inner))
    assert first.identity is None
    first.end((FENCE_STALE, 9))
    client.turn()
    assert client.coordinator.take().op == OP_DELETE
    assert client.read() == STALE_LINE
    assert client.server.counters.fences_refused == 1


@pytest.mark.parametrize("prefixes", [ONCE + FENCE, FENCE + ONCE])
def test_both_prefixes_in_either_order(prefixes: bytes) -> None:
    client = Client()
    client.send(prefixes + b"incr k 1\r\n" + b"incr k 1\r\n")
    first = client.coordinator.started.pop(0)
    assert (first.op, first.identity) == (OP_FENCED, IDENTITY)
    first.end((NUMBER, 7))
    client.turn()
    assert client.read() == b"7\r\n"
    assert client.coordinator.take().identity is None


def test_a_fence_that_lets_it_through_changes_neither_the_reply_nor_the_counting() -> None:
    client = Client()
    client.send(FENCE + set_line(b"k"))
    client.coordinator.take().end(STORED)
    client.turn()
    assert client.read() == b"STORED\r\n"
    assert client.server.counters.total_items == 1
    client.send(FENCE + b"delete k\r\n")
    client.coordinator.take().end(FENCE_OTHER_LOCK)
    client.turn()
    assert client.read() == OTHER_LINE
    assert client.server.counters.delete_misses == 0
    assert client.server.counters.fences_refused == 1


def test_what_a_quiet_or_silent_command_shows_of_a_stale_fence() -> None:
    client = Client()
    client.send(FENCE + set_line(b"k", noreply=True))
    client.coordinator.take().end((FENCE_STALE, 9))
    client.send(FENCE + b"md k q\r\n")
    client.coordinator.take().end((FENCE_STALE, 9))
    client.turn()
    assert client.read() == STALE_LINE, "q hides no errors, noreply does"


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        (FENCE * 2 + b"delete k\r\n", FENCE_TWICE_LINE),
        (FENCE + ONCE * 2 + b"delete k\r\n", ONCE_TWICE_LINE),
        (b"cluster fence lock 0\r\ndelete k\r\n", FENCE_TOKEN_ERROR),
        (b"cluster fence lock\r\nget k\r\n", FENCE_WORDS_ERROR),
        (FENCE + b"get k l\r\n", FENCE_KIND_LINE),
        (FENCE + b"gat 0 k\r\n", FENCE_KIND_LINE),
        (FENCE + b"flush_all\r\n", FENCE_KIND_LINE),
        (FENCE + b"version\r\n", FENCE_KIND_LINE),
        (FENCE + b"cluster lock release l o\r\n", FENCE_KIND_LINE),
        (FENCE + ONCE + b"cluster lock release l o\r\n", FENCE_KIND_LINE),
        (FENCE + ONCE + b"get k\r\n", ONCE_KIND_LINE),
        (FENCE + ONCE + b"flush_all\r\n", ONCE_KIND_LINE),
        (FENCE + ONCE + b"cluster lock show l\r\n", ONCE_KIND_LINE),
    ],
)
def test_what_can_not_run_under_its_prefixes_does_not_run(lines: bytes, reply: bytes) -> None:
    client = Client()
    client.send(lines + b"version\r\n")
    assert not client.coordinator.started
    assert client.read() == reply + b"VERSION 1\r\n"
    assert client.server.counters.protocol_errors == 1


def test_noreply_hides_what_is_wrong_with_a_fence() -> None:
    client = Client()
    client.send(b"cluster fence lock 0\r\ndelete k noreply\r\nversion\r\n")
    assert not client.coordinator.started
    assert client.read() == b"VERSION 1\r\n"


def test_a_wrong_line_uses_the_fence_up() -> None:
    client = Client()
    client.send(FENCE + b"nonsense\r\ndelete k\r\n")
    assert client.coordinator.take().op == OP_DELETE
    assert client.read() == b"ERROR\r\n"


def test_a_get_behind_a_fence_takes_no_short_cut() -> None:
    client = Client()
    client.lead_all()
    client.greet()
    client.send(FENCE)
    client.send(b"get k\r\n")
    assert client.coordinator.take().op == OP_FENCED
    client.send(FENCE)
    client.send(b"mg k v\r\n")
    assert client.coordinator.take().op == OP_FENCED


def test_a_refused_set_deletes_under_the_fence_and_another_store_touches_nothing() -> None:
    client = Client()
    large = b" 0 0 2000000\r\n" + b"v" * 2_000_000 + b"\r\n"
    client.send(FENCE + b"set k" + large)
    delete = client.coordinator.take()
    assert (delete.op, delete.args) == (OP_FENCED, (b"lock", 8, (OP_DELETE,)))
    delete.end((FENCE_STALE, 9))
    client.turn()
    assert client.read() == STALE_LINE
    client.send(FENCE + b"set k" + large)
    client.coordinator.take().end(DELETED)
    client.send(FENCE + b"ms k 2000000 \r\n" + b"v" * 2_000_000 + b"\r\n")
    assert client.coordinator.take().args == (b"lock", 8, (OP_DELETE,))
    client = Client()
    client.send(FENCE + ONCE + b"add k" + large)
    asked = client.coordinator.take()
    assert (asked.op, asked.identity) != (OP_FENCED, None)
    assert asked.op not in (OP_FENCED, OP_REFUSE), "the leader makes a refusal of it"


def test_a_command_of_a_lock_may_have_a_number() -> None:
    client = Client()
    client.send(ONCE + b"cluster lock acquire l o 100\r\n")
    write = client.coordinator.take()
    assert (write.op, write.identity) == (OP_LOCK_ACQUIRE, IDENTITY)
    write.end((LOCKED, 4))
    client.turn()
    assert client.read() == b"LOCKED 4\r\n"
    client.send(set_line(b"k") + ONCE + b"cluster lock release l o 4\r\n" + ONCE)
    client.coordinator.take().end(STORED)
    client.turn()
    write = client.coordinator.take()
    assert (write.op, write.identity) == (OP_LOCK_RELEASE, IDENTITY), "it has waited for the set"
    write.end(LOCK_RELEASED)
    client.turn()
    assert client.read() == b"STORED\r\nRELEASED\r\n"
    client.send(b"ms k 1\r\nx\r\n")
    write = client.coordinator.take()
    assert (write.op, write.identity) == (OP_META_SET, IDENTITY)
