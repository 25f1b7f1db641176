"""Goal: `cluster txn` as a client sees it: its answers, its order, its bounds."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.clients.transaction_handlers import NO_TIME
from quorumcache.node.clients.write_room import (
    TOO_MANY_WRITES,
    WRITE_BYTES_LIMIT,
    WRITE_OVERHEAD_BYTES,
)
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.new_ops import NEEDS_UPGRADE
from quorumcache.node.protocol.transaction_lines import ID_LINE, LARGE_VALUE_LINE
from quorumcache.node.store.commands import OP_TXN_COMMIT, OP_TXN_PREPARE, OP_TXN_RESOLVE
from quorumcache.node.store.item import PIECES, fingerprint, pack_header
from quorumcache.node.store.results import (
    OUT_OF_MEMORY,
    STORED,
    TXN_ABORTED,
    TXN_COMMITTED,
    TXN_CONFLICT,
    TXN_PREPARED,
    TXN_RELEASED,
    TXN_TOO_LATE,
)
from tests.support.fake_server import Client, Started, item, keys_of, set_line

TXN = b"0123456789abcdef" * 2
NOT_DONE = Failure("no leader", outcome_known=True)
UNKNOWN = Failure("no answer", outcome_known=False)


def commit_line(*lines: bytes, deadline_ms: int = 1_005_000) -> bytes:
    block = b"".join(line + b"\r\n" for line in lines)
    return b"cluster txn commit %b %d %d\r\n%b\r\n" % (TXN, deadline_ms, len(block), block)


@pytest.fixture
def client() -> Client:
    return Client()


def only(client: Client) -> Started:
    (started,) = client.coordinator.started
    client.coordinator.started.clear()
    return started


# -- begin -------------------------------------------------------------------------------------


def test_begin(client: Client) -> None:
    client.send(b"cluster txn begin\r\ncluster txn begin 200\r\n")
    first, second = client.read().splitlines()
    word, txn, deadline_ms = first.split()
    assert (word, len(txn), int(deadline_ms)) == (b"TXN", 32, 1_005_000)
    assert second.split()[2] == b"1000200"
    assert second.split()[1] != txn


def test_begin_while_the_cluster_is_upgraded(client: Client) -> None:
    client.coordinator.host.may_use_new_ops = False
    client.send(b"cluster txn begin\r\n")
    assert client.read() == b"SERVER_ERROR not done: %b\r\n" % NEEDS_UPGRADE.encode()


def test_begin_where_the_time_is_not_known(client: Client) -> None:
    client.coordinator.time.is_settled = False
    client.send(b"cluster txn begin\r\n")
    assert client.read() == b"SERVER_ERROR not done: %b\r\n" % NO_TIME.encode()


# -- get ---------------------------------------------------------------------------------------


def test_a_get_of_several_shards_tells_versions_and_leaves_misses_out(client: Client) -> None:
    server = client.server
    one, two = keys_of(server, 1, 1)[0], keys_of(server, 2, 1)[0]
    missing = keys_of(server, 2, 2)[1]
    client.send(b"cluster txn get %b %b %b\r\n" % (two, one, missing))
    reads = {read.group_id: read for read in client.coordinator.started}
    assert reads[1].keys == (one,)
    assert reads[2].keys == (two, missing)
    assert {read.staleness_ns for read in reads.values()} == {0}
    reads[1].end([item(b"first")])
    assert client.read() == b""
    reads[2].end([item(b"second"), None])
    client.turn()
    expected = b"VALUE %b 0 6 %d\r\nsecond\r\n" % (two, fingerprint(item(b"second")))
    expected += b"VALUE %b 0 5 %d\r\nfirst\r\nEND\r\n" % (one, fingerprint(item(b"first")))
    assert client.read() == expected
    counters = server.counters
    assert (counters.cmd_get, counters.get_hits, counters.get_misses) == (3, 2, 1)


def test_a_get_asks_the_leader_whatever_level_its_client_has_chosen(client: Client) -> None:
    client.send(b"cluster read local\r\ncluster txn get a\r\n")
    assert only(client).staleness_ns == 0


def test_a_get_that_fails(client: Client) -> None:
    server = client.server
    one, two = keys_of(server, 1, 1)[0], keys_of(server, 2, 1)[0]
    client.send(b"cluster txn get %b %b\r\n" % (one, two))
    first, second = client.coordinator.started
    first.end(NOT_DONE)
    second.end([None])
    client.turn()
    assert client.read() == b"SERVER_ERROR not done: no leader\r\n"
    assert not client.connection.conversation.order.lanes


def test_a_large_value_is_refused(client: Client) -> None:
    client.send(b"cluster txn get a\r\n")
    only(client).end([pack_header(PIECES, 0, 7) + b" 0 2000000\r\n12345678"])
    client.turn()
    assert client.read() == LARGE_VALUE_LINE


def test_in_redirect_mode_a_get_is_sent_to_the_leader(client: Client) -> None:
    client.send(b"cluster redirect on\r\ncluster txn get a\r\n")
    assert b"MOVED" in client.read()
    client.lead_all()
    client.send(b"cluster txn get a\r\n")
    assert only(client).keys == (b"a",)


def test_a_get_waits_for_the_writes_before_it(client: Client) -> None:
    client.send(set_line(b"a") + b"cluster txn get a\r\n")
    only(client).end(STORED)
    client.turn()
    only(client).end([item()])
    client.turn()
    assert client.read().startswith(b"STORED\r\nVALUE a 0 1 ")


# -- snapshot ----------------------------------------------------------------------------------


def end_all(client: Client, op: int, outcome: Any) -> None:
    """All steps of this kind end so."""
    started, client.coordinator.started[:] = list(client.coordinator.started), []
    for step in started:
        assert step.op == op
        step.end(outcome)


def test_a_snapshot_waits_for_what_was_sent_before_and_holds_up_what_comes_behind(
    client: Client,
) -> None:
    server = client.server
    one, two = keys_of(server, 1, 1)[0], keys_of(server, 2, 1)[0]
    missing = keys_of(server, 2, 2)[1]
    client.send(
        set_line(b"k") + b"cluster txn snapshot 2000 %b %b %b\r\nget k\r\n" % (two, one, missing)
    )
    only(client).end(STORED)
    client.turn()
    end_all(client, OP_TXN_PREPARE, TXN_PREPARED)
    reads = list(client.coordinator.started)
    client.coordinator.started.clear()
    for read in reads:
        read.end([item(b"first")] if read.group_id == 1 else [item(b"second"), None])
    end_all(client, OP_TXN_RESOLVE, TXN_RELEASED)
    client.turn()
    expected = b"STORED\r\nVALUE %b 0 6 %d\r\nsecond\r\n" % (two, fingerprint(item(b"second")))
    expected += b"VALUE %b 0 5 %d\r\nfirst\r\nEND\r\n" % (one, fingerprint(item(b"first")))
    assert client.read() == expected
    only(client).end([item(b"x")])
    client.turn()
    assert client.read().startswith(b"VALUE k ")
    assert (server.counters.get_hits, server.counters.get_misses) == (3, 1)


def test_a_snapshot_that_fails(client: Client) -> None:
    client.send(b"cluster txn snapshot 100 a\r\n")
    only(client).end((TXN_CONFLICT, b"a"))
    snapshots = client.connection.conversation.context.transactions.snapshots
    (run,) = snapshots.runs
    run.tick(run.until_ns)
    client.turn()
    assert client.read().startswith(b"SERVER_ERROR not done: no snapshot of the keys within ")
    client.send(b"cluster txn\r\n")
    assert client.read() == b"OK\r\n"


def test_a_snapshot_while_the_cluster_is_upgraded_or_its_time_is_not_known(client: Client) -> None:
    client.coordinator.time.is_settled = False
    client.send(b"cluster txn snapshot 100 a\r\n")
    assert client.read() == b"SERVER_ERROR not done: %b\r\n" % NO_TIME.encode()
    client.coordinator.host.may_use_new_ops = False
    client.send(b"cluster txn snapshot 100 a\r\n")
    assert client.read() == b"SERVER_ERROR not done: %b\r\n" % NEEDS_UPGRADE.encode()


# -- commit ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "reply"),
    [
        (TXN_COMMITTED, b"COMMITTED\r\n"),
        ((TXN_CONFLICT, b"k"), b"CONFLICT k\r\n"),
        (TXN_ABORTED, b"ABORTED\r\n"),
        (TXN_TOO_LATE, b"TOO_LATE\r\n"),
    ],
)
def test_what_a_commit_of_one_shard_is_answered(client: Client, outcome: Any, reply: bytes) -> None:
    client.send(commit_line(b"check k 5", b"set k 0 0 1\r\nx"))
    started = only(client)
    assert started.op == OP_TXN_COMMIT
    assert len(started.args[0]) == 16
    started.end(outcome)
    client.turn()
    assert client.read() == reply


def test_a_commit_without_memory(client: Client) -> None:
    client.send(commit_line(b"set k 0 0 1\r\nx"))
    only(client).end(OUT_OF_MEMORY)
    only(client).end(TXN_ABORTED)
    client.turn()
    assert client.read() == b"SERVER_ERROR out of memory storing object\r\n"


@pytest.mark.parametrize(("failure", "word"), [(NOT_DONE, b"not done"), (UNKNOWN, b"unknown")])
def test_a_commit_without_a_decision(client: Client, failure: Failure, word: bytes) -> None:
    client.send(commit_line(b"delete k"))
    only(client).end(failure)
    only(client).end(failure)
    client.turn()
    assert word in client.read()
    counters = client.server.counters
    assert counters.requests_failed == failure.outcome_known
    assert counters.requests_unknown == (not failure.outcome_known)


def test_a_commit_runs_alone_between_what_came_before_and_behind_it(client: Client) -> None:
    one, two = keys_of(client.server, 1, 1)[0], keys_of(client.server, 2, 1)[0]
    commit = commit_line(b"set %b 0 0 1\r\nx" % one, b"delete %b" % two)
    client.send(set_line(one) + commit + b"get %b\r\n" % two)
    only(client).end(STORED)
    client.turn()
    prepare = only(client)
    assert (prepare.op, prepare.group_id) == (OP_TXN_PREPARE, 2)
    prepare.end(TXN_PREPARED)
    client.turn()
    decide = only(client)
    assert (decide.op, decide.group_id) == (OP_TXN_COMMIT, 1)
    decide.end(TXN_COMMITTED)
    client.turn()
    _, read = client.coordinator.started
    assert read.keys == (two,), "it begins when all is decided"
    assert client.read() == b"STORED\r\nCOMMITTED\r\n"


def test_what_a_commit_counts_for_while_it_is_under_way(client: Client) -> None:
    client.send(commit_line(b"set k 0 0 3\r\nxyz"))
    conversation = client.connection.conversation
    size = 1 + 3 + WRITE_OVERHEAD_BYTES
    assert conversation.inflight_bytes == size
    assert client.server.write_room.taken_bytes == size
    only(client).end(TXN_COMMITTED)
    assert conversation.inflight_bytes == client.server.write_room.taken_bytes == 0


def test_a_commit_for_which_there_is_no_room(client: Client) -> None:
    client.server.write_room.taken_bytes = 2 * WRITE_BYTES_LIMIT
    client.send(commit_line(b"delete k") + b"version\r\n")
    refused = b"SERVER_ERROR not done: %b\r\n" % TOO_MANY_WRITES.encode()
    assert client.read() == refused + b"VERSION 1\r\n"
    assert client.coordinator.started == []
    assert client.server.counters.writes_refused == 1


def test_a_client_that_goes_in_the_middle_leaves_nothing(client: Client) -> None:
    client.send(commit_line(b"delete k"))
    client.connection.connection_lost(None)
    only(client).end(TXN_COMMITTED)
    client.turn()
    assert client.server.write_room.taken_bytes == 0
    assert client.server.transactions.under_way == 0


def test_a_deadline_that_nobody_gave_is_refused(client: Client) -> None:
    client.send(commit_line(b"delete k", deadline_ms=9_000_000))
    assert client.read() == ID_LINE
    assert client.coordinator.started == []
    assert client.server.counters.protocol_errors == 1


def test_a_commit_takes_no_identity_of_its_client(client: Client) -> None:
    once = b"cluster once %d 1 1\r\n" % (1 << 62)
    client.send(once + commit_line(b"delete k") + b"version\r\n")
    reply, version = client.read().splitlines()
    assert reply.startswith(b"CLIENT_ERROR once: ")
    assert version == b"VERSION 1"
    assert client.coordinator.started == []
