"""One client connection against a scripted coordinator and a transport moved by hand."""

from random import Random

import pytest

from quorumcache.node.clients.connection import (
    FIRST_READ_BYTES,
    INFLIGHT_BYTES_MAX,
    SLOTS_MAX,
    WRITE_CHUNK_BYTES,
)
from quorumcache.node.clients.retrievals import WINDOW_KEYS
from quorumcache.node.clients.server import REPLY_BYTES_MAX
from quorumcache.node.clients.writes import (
    WRITE_BYTES_LIMIT,
    WRITE_BYTES_MAX,
    WRITE_BYTES_MIN,
    WRITE_OVERHEAD_BYTES,
)
from quorumcache.node.operations.failure import Failure
from quorumcache.node.protocol.responses import TOO_MANY_CONNECTIONS_LINE
from quorumcache.node.store.commands import OP_DELETE, OP_FLUSH, OP_GAT, OP_SET
from quorumcache.node.store.item import pack_header
from quorumcache.node.store.results import DELETED, ITEM, NOT_FOUND, OK, OUT_OF_MEMORY, STORED
from tests.support.fake_server import LEASE_NS, SHARDS, Client, Started, keys_of


def item(value: bytes = b"x") -> bytes:
    return pack_header(0, 0, 7) + b" 0 %d\r\n%b\r\n" % (len(value), value)


def value_lines(key: bytes, value: bytes = b"x") -> bytes:
    return b"VALUE %b 0 %d\r\n%b\r\n" % (key, len(value), value)


def set_line(key: bytes, value: bytes = b"x", noreply: bool = False) -> bytes:
    tail = b" noreply" if noreply else b""
    return b"set %b 0 0 %d%b\r\n%b\r\n" % (key, len(value), tail, value)


def greet(client: Client) -> None:
    """The short cut for plain gets is not taken by the very first request of a connection."""
    client.send(b"version\r\n")
    assert client.read() == b"VERSION 1\r\n"


# -- the order of replies ----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_replies_leave_in_request_order_whatever_the_order_of_outcomes(seed: int) -> None:
    random = Random(seed)
    client = Client()
    if random.random() < 0.5:
        client.lead_all()
    expected = b""
    data = b""
    for number in range(60):
        key = b"k%d" % number
        kind = random.randrange(5)
        if kind == 0:
            data += b"gets %b\r\n" % key
            expected += b"VALUE %b 0 1 7\r\nx\r\nEND\r\n" % key
        elif kind == 1:
            data += set_line(key)
            expected += b"STORED\r\n"
        elif kind == 2:
            data += b"get %b %b2\r\n" % (key, key)
            expected += value_lines(key) + value_lines(key + b"2") + b"END\r\n"
        elif kind == 3:
            data += b"version\r\n"
            expected += b"VERSION 1\r\n"
        else:
            data += set_line(key, noreply=True)
    while data:
        cut = random.randrange(1, 200)
        client.send(data[:cut])
        data = data[cut:]
        _end_some(client, random, random.randrange(3))
    while client.coordinator.started:
        _end_some(client, random, 1)
    assert client.read() == expected


def _end_some(client: Client, random: Random, count: int) -> None:
    started = client.coordinator.started
    for _ in range(min(count, len(started))):
        operation = started.pop(random.randrange(len(started)))
        operation.end(STORED if operation.is_write else [item()] * len(operation.keys))
        if random.random() < 0.5:
            client.turn()
    client.turn()


def test_a_get_waits_for_the_write_before_it() -> None:
    client = Client()
    client.send(set_line(b"k") + b"get k\r\n")
    write = client.coordinator.take()
    assert write.op == OP_SET
    write.end(STORED)
    client.coordinator.take().end([item()])
    client.turn()
    assert client.read() == b"STORED\r\n" + value_lines(b"k") + b"END\r\n"


def test_a_get_waits_for_a_noreply_write_that_came_in_an_earlier_read() -> None:
    client = Client()
    client.lead_all()
    client.put(b"k", b"old")
    client.send(set_line(b"k", b"new", noreply=True))
    write = client.coordinator.take()
    client.send(b"get k\r\n")
    assert client.read() == b""
    client.put(b"k", b"new")
    write.end(STORED)
    client.coordinator.take().end([item(b"new")])
    client.turn()
    assert client.read() == value_lines(b"k", b"new") + b"END\r\n"


def test_gets_of_one_shard_know_the_one_before_them() -> None:
    client = Client()
    client.send(b"get k\r\nget k k2\r\nget k\r\n")
    group = client.server.group_of(b"k")
    first, second, third = (s for s in client.coordinator.started if s.group_id == group)
    assert first.after is None
    assert second.after is first
    assert third.after is second
    client.coordinator.end_all()
    client.turn()
    client.send(b"get k\r\n")
    assert client.coordinator.take().after is None


def test_a_get_waits_for_flush_all_noreply() -> None:
    client = Client()
    client.lead_all()
    client.put(b"k", b"old")
    client.send(b"flush_all noreply\r\n")
    assert [o.op for o in client.coordinator.started] == [OP_FLUSH] * SHARDS
    client.send(b"get k\r\n")
    assert client.read() == b""
    client.coordinator.end_all(OK)
    client.turn()
    client.coordinator.end_all()
    client.turn()
    assert client.read() == b"END\r\n"


def test_a_plain_get_is_answered_on_the_spot_while_the_lease_lasts_and_not_after() -> None:
    """The clock is read after the request came, and a leader without a lease asks first."""
    client = Client()
    client.lead_all()
    client.put(b"k", b"x")
    greet(client)
    client.server.now_ns = LEASE_NS - 1
    client.send(b"get k\r\n")
    assert client.coordinator.started == []
    assert client.read() == value_lines(b"k") + b"END\r\n"
    client.server.now_ns = LEASE_NS
    client.send(b"get k\r\n")
    assert client.read() == b""
    assert client.coordinator.take().keys == (b"k",)


@pytest.mark.parametrize("trouble", ["may have ended", "a flush is due"])
def test_a_plain_get_of_what_may_be_gone_is_left_to_the_coordinator(trouble: str) -> None:
    """It removes what has ended through the log before it tells the miss."""
    client = Client()
    client.lead_all()
    client.put(b"k", b"x")
    store = client.server.groups[client.server.group_of(b"k")].machine
    if trouble == "a flush is due":
        store.pending_flush_ms = 1000
    else:
        store.items[b"k"] = pack_header(1, 1000, 7) + b" 0 1\r\nx\r\n"
    greet(client)
    client.send(b"get k\r\n")
    assert client.read() == b""
    client.coordinator.take().end([None])
    client.turn()
    assert client.read() == b"END\r\n"


def test_writes_follow_each_other_at_once_only_where_this_node_leads() -> None:
    client = Client()
    client.send(set_line(b"k") + set_line(b"k"))
    assert len(client.coordinator.started) == 1
    leader = Client()
    leader.lead_all()
    leader.send(set_line(b"k") + set_line(b"k"))
    first, second = leader.coordinator.started
    assert second.after is first


def test_a_gat_stands_in_the_order_of_writes() -> None:
    client = Client()
    client.lead_all()
    client.send(set_line(b"k") + b"gat 0 k\r\n" + set_line(b"k", b"y"))
    first, gat, last = client.coordinator.started
    assert gat.op == OP_GAT
    assert gat.after is first
    assert last.after is gat
    for operation in (last, gat, first):
        operation.end((ITEM, item()) if operation is gat else STORED)
    client.send(set_line(b"k"))
    assert client.coordinator.started[-1].after is None


# -- flush_all -----------------------------------------------------------------------------


def test_flush_all_runs_alone() -> None:
    client = Client()
    client.send(set_line(b"a") + b"flush_all\r\n" + set_line(b"b"))
    client.coordinator.take().end(STORED)
    client.turn()
    flushes = list(client.coordinator.started)
    assert [o.op for o in flushes] == [OP_FLUSH] * SHARDS
    client.coordinator.started.clear()
    for flush in flushes[:-1]:
        flush.end(OK)
    client.turn()
    assert not client.coordinator.started
    assert client.read() == b"STORED\r\n"
    flushes[-1].end(OK)
    client.turn()
    client.coordinator.take().end(STORED)
    client.turn()
    assert client.read() == b"OK\r\nSTORED\r\n"
    assert client.transport.is_reading


def test_a_flush_all_that_one_shard_did_not_do_is_in_doubt() -> None:
    client = Client()
    client.send(b"flush_all\r\n")
    first, *others = client.coordinator.started
    client.coordinator.started.clear()
    first.end(Failure("no leader", outcome_known=True))
    for flush in others:
        flush.end(OK)
    client.turn()
    assert client.read() == b"SERVER_ERROR outcome unknown: no leader\r\n"


NOT_DONE = Failure("no leader", outcome_known=True)
LOST = Failure("no answer", outcome_known=False)


@pytest.mark.parametrize(
    ("outcomes", "reply"),
    [
        ((NOT_DONE, NOT_DONE), b"SERVER_ERROR not done: no leader\r\n"),
        (((ITEM, item()), NOT_DONE), b"SERVER_ERROR outcome unknown: no leader\r\n"),
        ((NOT_DONE, (ITEM, item())), b"SERVER_ERROR outcome unknown: no leader\r\n"),
        ((NOT_FOUND, NOT_DONE), b"SERVER_ERROR outcome unknown: no leader\r\n"),
        ((LOST, NOT_DONE), b"SERVER_ERROR outcome unknown: no answer\r\n"),
        ((NOT_DONE, LOST), b"SERVER_ERROR outcome unknown: no answer\r\n"),
    ],
)
def test_a_gat_of_several_keys_is_not_done_only_if_none_is(
    outcomes: tuple[object, object], reply: bytes
) -> None:
    client = Client()
    keys = [keys_of(client.server, shard, 1)[0] for shard in (1, 2)]
    client.send(b"gat 10 %b %b\r\n" % tuple(keys))
    started = list(client.coordinator.started)
    client.coordinator.started.clear()
    for operation, outcome in zip(started, outcomes, strict=True):
        operation.end(outcome)
    client.turn()
    assert client.read() == reply


# -- multi-get -------------------------------------------------------------------------------


def test_two_long_multi_gets_run_one_after_the_other() -> None:
    client = Client()
    for shard in (1, 2):
        client.send(b"get " + b" ".join(keys_of(client.server, shard, 2 * WINDOW_KEYS)) + b"\r\n")
    for _ in range(4):
        client.coordinator.take().end([None] * WINDOW_KEYS)
        client.turn()
    assert client.read() == b"END\r\nEND\r\n"
    assert client.server.counters.cmd_get == 4 * WINDOW_KEYS


def test_a_long_multi_get_never_sees_what_was_sent_behind_it() -> None:
    client = Client()
    keys = keys_of(client.server, 1, WINDOW_KEYS + 1)
    client.send(b"get " + b" ".join(keys) + b"\r\n" + set_line(keys[-1]))
    for count in (WINDOW_KEYS, 1):
        read = client.coordinator.take()
        assert len(read.keys) == count
        assert not client.coordinator.started
        read.end([None] * count)
        client.turn()
    client.coordinator.take().end(STORED)
    client.turn()
    assert client.read() == b"END\r\nSTORED\r\n"


def test_a_long_gat_touches_a_window_at_a_time_and_before_what_was_sent_behind_it() -> None:
    client = Client()
    keys = keys_of(client.server, 1, 2 * WINDOW_KEYS)
    client.send(b"gat 10 " + b" ".join(keys) + b"\r\ndelete " + keys[-1] + b"\r\n")
    touched: list[bytes] = []
    while len(touched) < len(keys):
        started = list(client.coordinator.started)
        client.coordinator.started.clear()
        assert 0 < len(started) <= WINDOW_KEYS
        for operation in started:
            touched += operation.keys
            operation.end((ITEM, item()))
        client.turn()
    assert touched == keys
    assert client.read() == b"".join(map(value_lines, keys)) + b"END\r\n"
    assert client.coordinator.take().keys == (keys[-1],)
    assert client.server.counters.touch_hits == len(keys)


def test_a_long_gat_that_fails_late_is_of_unknown_outcome() -> None:
    client = Client()
    keys = keys_of(client.server, 1, WINDOW_KEYS + 1)
    client.send(b"gat 10 " + b" ".join(keys) + b"\r\nversion\r\n")
    while client.coordinator.started:
        operation = client.coordinator.started.pop(0)
        if operation.keys == (keys[-1],):
            operation.end(Failure("no leader", outcome_known=True))
        else:
            operation.end(NOT_FOUND)
        client.turn()
    assert client.read() == b"SERVER_ERROR outcome unknown: no leader\r\nVERSION 1\r\n"


def test_the_next_window_waits_until_the_client_reads() -> None:
    client = Client(high=1000)
    keys = keys_of(client.server, 1, 3 * WINDOW_KEYS)
    client.send(b"get " + b" ".join(keys) + b"\r\n")
    for _ in range(2):
        read = client.coordinator.take()
        assert len(read.keys) == WINDOW_KEYS
        read.end([item(b"y" * 100)] * WINDOW_KEYS)
        client.turn()
        assert not client.coordinator.started
        assert client.read().count(b"VALUE") == WINDOW_KEYS
    client.coordinator.take().end([None] * WINDOW_KEYS)
    client.turn()
    assert client.read() == b"END\r\n"


def test_a_key_named_twice_is_answered_twice_and_read_once() -> None:
    client = Client()
    client.send(b"get k k\r\n")
    read = client.coordinator.take()
    assert read.keys == (b"k",)
    read.end([item()])
    client.turn()
    assert client.read() == value_lines(b"k") * 2 + b"END\r\n"


def test_a_multi_get_whose_shard_fails_is_one_error() -> None:
    client = Client()
    client.send(b"get a b c d e f g\r\nversion\r\n")
    first, *others = client.coordinator.started
    client.coordinator.started.clear()
    first.end(Failure("no leader", outcome_known=True))
    for read in others:
        read.end([item()] * len(read.keys))
    client.turn()
    assert client.read() == b"SERVER_ERROR not done: no leader\r\nVERSION 1\r\n"


# -- bounds -----------------------------------------------------------------------------------


def test_a_client_that_does_not_read_is_not_read_either() -> None:
    client = Client(high=10_000)
    client.lead_all()
    client.put(b"k", b"v" * 1000)
    client.send(b"version\r\n")  # The short cut for gets is not taken by the very first request.
    assert client.read() == b"VERSION 1\r\n"
    sent = 0
    while client.transport.is_reading:
        client.send(b"get k\r\n")
        sent += 1
        assert sent < 100, "replies pile up without a bound"
    assert len(client.transport.unread) < 20_000
    answer = value_lines(b"k", b"v" * 1000) + b"END\r\n"
    client.coordinator.answer = lambda read: [item(b"v" * 1000)]
    assert client.read() == answer * sent
    assert client.transport.is_reading


def test_gets_of_big_values_in_one_read_do_not_pile_up_in_memory() -> None:
    client = Client()
    big = b"v" * (1 << 20)
    held = 0

    def answer(read: Started) -> list[bytes]:
        nonlocal held
        held += 1
        return [item(big)]

    client.coordinator.answer = answer
    client.send(b"gets k\r\n" * 100)
    assert held <= REPLY_BYTES_MAX // len(big) + 1
    assert not client.transport.is_reading
    while held < 100:
        before = held
        client.transport.drain()
        client.turn()
        assert before < held <= before + REPLY_BYTES_MAX // len(big) + 1
    client.read()
    assert client.transport.is_reading


def test_answers_behind_a_slow_one_count() -> None:
    client = Client()
    slow, *others = keys_of(client.server, 1, 1) + keys_of(client.server, 2, 1)
    big = b"v" * (1 << 20)
    client.coordinator.answer = lambda o: None if o.is_write else [item(big)]
    client.send(set_line(slow) + b"gets %b\r\n" % others[0] * 20)
    pieces = sum(len(p) for slot in client.connection._slots for p in slot.pieces)
    assert pieces <= REPLY_BYTES_MAX + 2 * len(big)
    client.coordinator.take().end(STORED)
    client.turn()
    assert client.read().count(b"VALUE") == 20
    assert client.transport.is_reading


def packed(value: bytes) -> bytes:
    return pack_header(0, 0, 1) + b" 0 %d\r\n%b\r\n" % (len(value), value)


def test_large_values_are_read_few_at_a_time() -> None:
    """What reads under way may bring counts as replies, by the size of the latest ones."""
    client = Client()
    client.send(b"get k\r\n" * SLOTS_MAX)
    first = len(client.coordinator.started)
    assert first == REPLY_BYTES_MAX // FIRST_READ_BYTES
    assert not client.transport.is_reading
    most = answered = 0
    while client.coordinator.started:
        for read in list(client.coordinator.started):
            client.coordinator.started.remove(read)
            read.end([packed(bytes(1 << 20))])
            answered += 1
        client.turn()
        client.read()
        most = max(most, len(client.coordinator.started))
    assert answered == SLOTS_MAX
    assert most <= REPLY_BYTES_MAX // (1 << 20) + 1
    assert client.transport.is_reading


def test_a_large_answer_is_dropped_while_others_wait_and_read_again_when_they_are_taken() -> None:
    """Small answers have taught the connection to ask for many at a time, and all are large."""
    client = Client()
    for _ in range(20):
        client.send(b"gets k\r\n")
        client.coordinator.end_all()
        client.turn()
        client.read()
    client.send(b"gets k\r\n" * 200)
    reads = list(client.coordinator.started)
    client.coordinator.started.clear()
    assert len(reads) == 200
    big = packed(bytes(1 << 20))
    for read in reversed(reads):  # The one whose turn it is comes last: all others wait for it.
        read.answered([big])
        client.turn()
    assert client.connection.unread_bytes <= REPLY_BYTES_MAX + 2 * len(big)
    assert client.server.counters.answers_dropped > 150
    replies = client.read().count(b"VALUE")
    while waiting := [read for read in reads if not read.finished]:
        again = [read for read in waiting if not read.parked]
        assert again, "nothing is read again"
        assert len(again) <= REPLY_BYTES_MAX // len(big) + 1, "more than there is room for"
        for read in again:
            read.answered([big])
        client.turn()
        replies += client.read().count(b"VALUE")
    assert replies == 200
    assert client.connection.reply_bytes == 0


def test_a_client_that_leaves_while_answers_are_dropped_leaves_nothing_waiting() -> None:
    client = Client()
    client.send(b"gets k\r\n" * 3)
    client.server.reply_bytes_max = 1000
    first, second, third = client.coordinator.started
    third.answered([packed(bytes(5000))])
    second.answered([packed(bytes(5000))])
    assert second.parked
    client.connection.connection_lost(None)
    assert not second.parked, "its deadline would be put off for ever"
    first.answered([None])
    assert not second.finished


def test_no_more_replies_are_under_way_than_the_bound() -> None:
    client = Client()
    for _ in range(20):  # Until the connection knows that answers are small.
        client.send(b"gets k\r\n")
        client.coordinator.end_all()
        client.turn()
        client.read()
    client.send(b"gets k\r\n" * (3 * SLOTS_MAX))
    assert len(client.coordinator.started) == SLOTS_MAX
    assert not client.transport.is_reading
    replies = b""
    for _ in range(100):
        client.coordinator.end_all()
        client.turn()
        replies += client.read()
    assert replies == b"END\r\n" * (3 * SLOTS_MAX)
    assert client.transport.is_reading


def test_noreply_writes_are_bounded_by_count_too() -> None:
    client = Client()
    client.lead_all()
    count = INFLIGHT_BYTES_MAX // WRITE_OVERHEAD_BYTES + 1000
    client.send(set_line(b"k", b"", noreply=True) * count)
    assert len(client.coordinator.started) < count
    assert not client.transport.is_reading
    for _ in range(3):
        client.coordinator.end_all()
        client.turn()
    assert client.transport.is_reading
    assert client.connection.inflight_bytes == 0


def test_many_clients_share_the_room_for_unfinished_writes() -> None:
    first = Client()
    room = first.server.write_room
    others = WRITE_BYTES_MAX - (8 << 20)
    room.taken_bytes = others  # Of clients that are not looked at here.
    value = b"v" * (1 << 18)
    data = set_line(b"k", value, noreply=True) * 40
    clients = [Client(server=first.server) for _ in range(20)]
    for client in clients:
        client.lead_all()
        client.send(data)
        assert not client.transport.is_reading
    assert WRITE_BYTES_MAX - (1 << 20) < room.taken_bytes < WRITE_BYTES_MAX + 20 * len(value)
    assert clients[0].connection.inflight_bytes < INFLIGHT_BYTES_MAX * 2 // 3
    # Who has little under way goes on, whatever the others have.
    first.send(set_line(b"k", b"v" * (WRITE_BYTES_MIN // 4)) * 2 + b"version\r\n")
    assert first.transport.is_reading
    # What is under way counts until it has ended, also when its client has gone.
    taken = room.taken_bytes
    for client in clients:
        client.connection.connection_lost(None)
    assert room.taken_bytes == taken
    first.coordinator.end_all()
    first.turn()
    assert room.taken_bytes == others
    assert first.read() == b"STORED\r\n" * 2 + b"VERSION 1\r\n"


def test_a_client_that_waits_for_the_room_of_others_goes_on_when_its_own_writes_end() -> None:
    client = Client()
    client.lead_all()
    room = client.server.write_room
    room.taken_bytes = WRITE_BYTES_MAX  # Others have it all.
    value = b"v" * WRITE_BYTES_MIN
    client.send(set_line(b"k", value, noreply=True) * 3 + b"version\r\n")
    for _ in range(3):
        assert not client.transport.is_reading
        assert client.read() == b""
        client.coordinator.take().end(STORED)
        client.turn()
    assert client.read() == b"VERSION 1\r\n"
    assert client.transport.is_reading
    assert room.taken_bytes == WRITE_BYTES_MAX


def test_writes_beyond_the_limit_are_refused_in_their_place_among_the_replies() -> None:
    client = Client()
    room = client.server.write_room
    client.send(b"gets k\r\n")
    get = client.coordinator.take()
    room.taken_bytes = 2 * WRITE_BYTES_LIMIT
    client.send(set_line(b"k2") + set_line(b"k2", noreply=True) + b"delete k2\r\nversion\r\n")
    assert not client.coordinator.started
    get.end([item()])
    client.turn()
    refused = b"SERVER_ERROR not done: too many writes wait on this node; retry more slowly\r\n"
    assert client.read() == value_lines(b"k").replace(b"1\r\n", b"1 7\r\n", 1) + (
        b"END\r\n" + refused * 2 + b"VERSION 1\r\n"
    )
    assert room.taken_bytes == 2 * WRITE_BYTES_LIMIT
    assert client.server.counters.writes_refused == 3


def test_large_writes_are_refused_before_small_ones() -> None:
    client = Client()
    client.lead_all()
    client.server.write_room.taken_bytes = WRITE_BYTES_LIMIT
    client.send(set_line(b"large", b"v" * WRITE_BYTES_MIN) + set_line(b"small"))
    client.coordinator.take().end(STORED)
    client.turn()
    assert client.read() == (
        b"SERVER_ERROR not done: too many writes wait on this node; retry more slowly\r\nSTORED\r\n"
    )


def test_writes_of_big_values_are_bounded_by_bytes() -> None:
    client = Client()
    client.lead_all()
    value = b"v" * (1 << 19)
    client.send(set_line(b"k", value) * 20)
    assert len(client.coordinator.started) == INFLIGHT_BYTES_MAX // len(value)
    replies = b""
    while client.coordinator.started:
        client.coordinator.started.pop(0).end(STORED)
        client.turn()
        replies += client.read()
    assert replies == b"STORED\r\n" * 20
    assert client.transport.is_reading


@pytest.mark.parametrize("seed", range(10))
def test_however_it_was_paused_everything_is_answered_in_the_end(seed: int) -> None:
    random = Random(seed)
    client = Client(high=random.choice((100, 10_000, 1 << 20)))
    if random.random() < 0.5:
        client.lead_all()
    value = b"v" * random.choice((10, 5000))
    requests = [
        (set_line(b"k%d" % random.randrange(50), value), b"STORED\r\n"),
        (set_line(b"k%d" % random.randrange(50), value, noreply=True), b""),
        (b"get k%d\r\n" % random.randrange(50), b"END\r\n"),
        (b"get " + b" ".join(b"m%d" % n for n in range(150)) + b"\r\n", b"END\r\n"),
        (b"flush_all\r\n", b"OK\r\n"),
        (b"version\r\n", b"VERSION 1\r\n"),
    ]
    data = expected = received = b""
    for _ in range(300):
        request, reply = random.choices(requests, (5, 5, 5, 1, 1, 2))[0]
        data += request
        expected += reply
    for _ in range(100_000):
        if data and client.transport.is_reading:
            cut = random.randrange(1, 5000)
            client.send(data[:cut])
            data = data[cut:]
        if random.random() < 0.5:
            received += client.transport.drain()
        client.turn()
        started = client.coordinator.started
        if started:
            one = started.pop(random.randrange(len(started)))
            done = OK if one.op == OP_FLUSH else STORED
            one.end(done if one.is_write else [None] * len(one.keys))
            client.turn()
        elif not data and not client.transport.unread:
            break
    assert received + client.read() == expected
    assert client.transport.is_reading


def test_a_plain_get_of_much_is_cut_into_pieces() -> None:
    client = Client(high=1 << 30)
    client.lead_all()
    client.put(b"k", b"v" * (WRITE_CHUNK_BYTES // 2))
    client.coordinator.answer = lambda read: [item(b"v" * (WRITE_CHUNK_BYTES // 2))]
    client.send(b"version\r\n")
    client.send(b"get k\r\n" * 10)
    assert client.read().count(b"END\r\n") == 10


# -- the end ------------------------------------------------------------------------------------


def test_quit_answers_what_came_before_and_nothing_after() -> None:
    client = Client()
    client.send(set_line(b"k") + b"quit\r\nversion\r\n")
    assert not client.transport.closed
    client.coordinator.take().end(STORED)
    client.turn()
    assert client.read() == b"STORED\r\n"
    assert client.transport.closed


def test_eof_answers_what_was_asked() -> None:
    client = Client()
    keys = keys_of(client.server, 1, 2 * WINDOW_KEYS)
    client.send(b"get " + b" ".join(keys) + b"\r\n")
    assert client.connection.eof_received()
    client.turn()
    for _ in range(2):
        client.coordinator.take().end([None] * WINDOW_KEYS)
        client.turn()
    assert client.read() == b"END\r\n"
    assert client.transport.closed


def test_eof_does_not_forget_what_waits_for_room() -> None:
    client = Client()
    client.send(b"gets k\r\n" * (SLOTS_MAX + 10))
    assert client.connection.eof_received()
    replies = b""
    for _ in range(5):
        client.coordinator.end_all()
        client.turn()
        replies += client.read()
    assert replies == b"END\r\n" * (SLOTS_MAX + 10)
    assert client.transport.closed


def test_a_lost_connection_sends_nothing_and_its_operations_end() -> None:
    client = Client()
    client.send(set_line(b"k") * 3)
    client.connection.connection_lost(None)
    for _ in range(3):
        client.coordinator.end_all()
        client.turn()
    assert not client.transport.unread
    assert not client.coordinator.started


def test_the_server_can_cut_a_closing_connection_whose_client_does_not_read() -> None:
    client = Client()
    client.send(b"version\r\nquit\r\n")
    assert client.transport.closed
    client.connection.abort()
    assert client.transport.aborted


def test_one_client_too_many_is_told_so() -> None:
    client = Client(full=True)
    assert client.transport.closed
    assert bytes(client.transport.unread) == TOO_MANY_CONNECTIONS_LINE


# -- replies of a kind ---------------------------------------------------------------------------


def test_a_refused_set_deletes_the_old_value_before_the_reply() -> None:
    client = Client()
    client.send(b"set k 0 0 2000000\r\n" + b"v" * 2_000_000 + b"\r\n")
    delete = client.coordinator.take()
    assert delete.op == OP_DELETE
    assert client.read() == b""
    delete.end(DELETED)
    client.turn()
    assert client.read() == b"SERVER_ERROR object too large for cache\r\n"


@pytest.mark.parametrize("result", [OUT_OF_MEMORY, DELETED, NOT_FOUND])
def test_a_set_that_ran_as_a_delete_is_out_of_memory(result: int) -> None:
    client = Client()
    client.send(set_line(b"k"))
    client.coordinator.take().end(result)
    client.turn()
    assert client.read().startswith(b"SERVER_ERROR out of memory")


def test_a_failed_noreply_write_says_nothing() -> None:
    client = Client()
    client.send(set_line(b"k", noreply=True) + b"version\r\n")
    client.coordinator.take().end(Failure("why", outcome_known=True))
    client.turn()
    assert client.read() == b"VERSION 1\r\n"


def test_in_redirect_mode_what_is_led_elsewhere_is_moved_and_not_done() -> None:
    client = Client()
    client.send(b"cluster redirect on\r\n")
    client.server.groups[client.server.group_of(b"k")].lead()
    (other,) = keys_of(client.server, client.server.group_of(b"k") % SHARDS + 1, 1)
    shard = client.server.group_of(other) - 1
    moved = b"MOVED 1 %d 2 host:1\r\n" % shard
    client.send(
        b"get %b\r\n" % other + set_line(other) + set_line(other, noreply=True)
        + b"get k %b\r\n" % other + set_line(b"k")
    )  # fmt: skip
    write = client.coordinator.take()
    assert write.keys == (b"k",)
    write.end(STORED)
    client.turn()
    assert client.read() == b"OK\r\n" + moved * 3 + b"STORED\r\n"
