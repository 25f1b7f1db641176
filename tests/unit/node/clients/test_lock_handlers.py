"""The words of `cluster lock` on a connection; the coordinator is scripted."""

import pytest

from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.lock_answers import LOCK_SHOW, WAITS, pack_lock, pack_standing
from quorumcache.node.store.commands import (
    OP_LOCK_ACQUIRE,
    OP_LOCK_RELEASE,
    OP_LOCK_RENEW,
    OP_SET,
)
from quorumcache.node.store.locks import LEAVES_QUEUE, LockTable
from quorumcache.node.store.results import (
    LOCK_BUSY,
    LOCK_NOT_HELD,
    LOCK_QUEUED,
    LOCK_RELEASED,
    LOCKED,
    STORED,
)
from tests.support.fake_server import Client, set_line

ACQUIRE = b"cluster lock acquire l o 5000\r\n"
RENEW = b"cluster lock renew l o 4 5000\r\n"
RELEASE = b"cluster lock release l o"
WAIT = b"cluster lock acquire l o 5000 9000 shared\r\n"


@pytest.fixture
def client() -> Client:
    client = Client()
    client.coordinator.clock = client.coordinator  # type: ignore[attr-defined]
    client.coordinator.monotonic_ns = lambda: client.server.now_ns  # type: ignore[attr-defined]
    client.coordinator.timeout_ms = 5000  # type: ignore[attr-defined]
    return client


def queue(client: Client) -> None:
    """The acquire that waits has its place."""
    client.coordinator.take().end((LOCK_QUEUED, 2))
    assert len(client.coordinator.meta_reads) == 1


def test_each_word_becomes_its_command(client: Client) -> None:
    for line, op, args, result, reply in (
        (ACQUIRE, OP_LOCK_ACQUIRE, (b"o", 5000, 0, 0, 0), (LOCKED, 4), b"LOCKED 4\r\n"),
        (ACQUIRE, OP_LOCK_ACQUIRE, (b"o", 5000, 0, 0, 0), LOCK_BUSY, b"BUSY\r\n"),
        (WAIT, OP_LOCK_ACQUIRE, (b"o", 5000, 1, 0, 1), (LOCKED, 5), b"LOCKED 5\r\n"),
        (RENEW, OP_LOCK_RENEW, (b"o", 4, 5000), (LOCKED, 4), b"LOCKED 4\r\n"),
        (
            b"cluster lock release l o\r\n",
            OP_LOCK_RELEASE,
            (b"o", 0),
            LOCK_RELEASED,
            b"RELEASED\r\n",
        ),
        (
            b"cluster lock release l o 4\r\n",
            OP_LOCK_RELEASE,
            (b"o", 4),
            LOCK_NOT_HELD,
            b"NOT_HELD\r\n",
        ),
    ):
        client.send(line)
        write = client.coordinator.take()
        assert (write.op, write.args, write.keys) == (op, args, (b"l",))
        write.end(result)
        client.turn()
        assert client.read() == reply
    counters = client.server.counters
    assert (counters.locks_acquired, counters.locks_released, counters.cmd_other) == (2, 1, 6)


@pytest.mark.parametrize("line", [ACQUIRE, WAIT, b"cluster lock release l o\r\n"])
def test_it_begins_when_all_before_it_has_ended(client: Client, line: bytes) -> None:
    client.send(set_line(b"k") + set_line(b"k2", noreply=True) + line)
    first, second = client.coordinator.started
    client.coordinator.started.clear()
    first.end(STORED)
    client.turn()
    assert not client.coordinator.started
    second.end(STORED)
    client.turn()
    assert client.coordinator.take().op in (OP_LOCK_ACQUIRE, OP_LOCK_RELEASE)


@pytest.mark.parametrize(("line", "is_alone"), [(ACQUIRE, True), (WAIT, True), (RENEW, False)])
def test_what_comes_behind_an_acquire_begins_when_it_is_answered(
    client: Client, line: bytes, is_alone: bool
) -> None:
    client.lead_all()
    client.send(line + set_line(b"k"))
    write = client.coordinator.started.pop(0)
    assert bool(client.coordinator.started) != is_alone
    write.end((LOCKED, 4))
    client.turn()
    assert client.coordinator.take().op == OP_SET
    assert client.read() == b"LOCKED 4\r\n"


def test_a_wait_that_is_over(client: Client) -> None:
    client.send(WAIT)
    queue(client)
    assert client.read() == b""
    client.server.now_ns = 9_000_000_000
    client.coordinator.meta_reads.pop().answer(pack_standing((WAITS, 2)))
    client.coordinator.take().end((LOCK_QUEUED, 1))
    client.turn()
    assert client.read() == b"WAITING 1\r\n"
    assert client.server.counters.lock_waits_over == 1


def test_a_failure(client: Client) -> None:
    for line in (WAIT, ACQUIRE):
        client.send(line)
        client.coordinator.take().end(Failure("why", outcome_known=True))
        client.turn()
        assert client.read() == b"SERVER_ERROR not done: why\r\n"


def left_queue(client: Client) -> bool:
    write = client.coordinator.take()
    return (write.op, write.args) == (OP_LOCK_RELEASE, (b"o", LEAVES_QUEUE))


def test_a_client_that_is_lost_while_it_waits_leaves_the_queue(client: Client) -> None:
    client.send(WAIT)
    queue(client)
    client.connection.connection_lost(None)
    assert left_queue(client)


def test_so_does_one_that_closes_its_side_and_it_hears_that(client: Client) -> None:
    client.send(WAIT)
    queue(client)
    client.connection.eof_received()
    client.turn()
    assert left_queue(client)
    assert client.read() == b"BUSY\r\n"
    assert client.transport.closed


def test_one_that_waits_is_listened_to_also_if_it_had_to_wait_for_its_turn(client: Client) -> None:
    """Otherwise nobody notices for the whole wait that it has gone."""
    client.lead_all()
    client.send(set_line(b"k") + WAIT)
    assert not client.transport.is_reading
    client.coordinator.take().end(STORED)
    client.turn()
    queue(client)
    assert client.transport.is_reading
    client.connection.eof_received()
    client.turn()
    assert left_queue(client)
    assert client.read() == b"STORED\r\nBUSY\r\n"


def test_so_does_one_that_closes_its_side_before_the_acquire_begins(client: Client) -> None:
    client.lead_all()
    client.send(set_line(b"k") + WAIT)
    client.connection.eof_received()
    client.coordinator.take().end(STORED)
    client.turn()
    client.coordinator.take().end((LOCK_QUEUED, 2))
    client.turn()
    assert left_queue(client)
    assert client.read() == b"STORED\r\nBUSY\r\n"
    assert client.transport.closed


def test_a_node_that_stops_leaves_the_place_and_tells_it(client: Client) -> None:
    client.send(WAIT)
    queue(client)
    client.connection.finish()
    client.turn()
    assert not client.coordinator.started
    assert client.read() == b"WAITING 2\r\n"
    assert client.transport.closed


def test_who_has_its_lock_is_not_waited_for_any_more(client: Client) -> None:
    client.send(WAIT)
    client.coordinator.take().end((LOCKED, 4))
    client.connection.connection_lost(None)
    assert not client.coordinator.started


def test_a_lock_is_shown(client: Client) -> None:
    table = LockTable()
    table.acquire(b"l", b"o", 5000, 0, 0, True, 1000)
    client.send(b"cluster lock show l\r\nversion\r\n")
    read = client.coordinator.meta_reads.pop()
    assert (read.asked, read.asks) == ((b"l",), LOCK_SHOW)
    read.answer(pack_lock(table, b"l", 1000))
    client.turn()
    assert client.read() == b"HOLDER o 1 exclusive 5000\r\nEND\r\nVERSION 1\r\n"
    client.send(b"cluster lock show l\r\n")
    client.coordinator.meta_reads.pop().finish(Failure("why", outcome_known=True))
    client.turn()
    assert client.read() == b"SERVER_ERROR not done: why\r\n"


def test_no_node_is_asked_what_it_may_not_know(client: Client) -> None:
    client.coordinator.host.may_use_new_ops = False
    client.send(b"cluster lock show l\r\n")
    assert not client.coordinator.meta_reads
    assert client.read() == (
        b"SERVER_ERROR not done: some nodes do not know this command yet: finish the upgrade\r\n"
    )


def test_redirect(client: Client) -> None:
    client.send(b"cluster redirect on\r\n" + ACQUIRE + WAIT + b"cluster lock show l\r\n")
    assert client.read().count(b"MOVED ") == 3
    assert not client.coordinator.started
    client.lead_all()
    client.send(ACQUIRE)
    assert client.coordinator.take().op == OP_LOCK_ACQUIRE
