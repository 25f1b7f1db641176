"""The replies of one connection, in their order and within their bounds."""

from random import Random
from typing import Any

import pytest

from quorumcache.node.clients.context import REPLY_BYTES_MAX
from quorumcache.node.clients.replies import (
    FIRST_READ_BYTES,
    LEAST_READ_BYTES,
    REFER_BYTES,
    SLOTS_MAX,
    WRITE_CHUNK_BYTES,
    Replies,
)
from quorumcache.node.clients.slots import Slot
from quorumcache.node.store.results import STORED
from tests.support.fake_server import (
    Client,
    FakeServer,
    Started,
    item,
    keys_of,
    set_line,
    value_lines,
)


@pytest.mark.parametrize("seed", range(20))
def test_replies_leave_in_request_order_whatever_the_order_of_outcomes(seed: int) -> None:
    random = Random(seed)
    client = Client()
    if random.random() < 0.5:
        client.lead_all()
        for number in range(60):
            for key in (b"k%d" % number, b"k%d2" % number):
                group: Any = client.server.groups[client.server.group_of(key)]
                group.machine.put(key, item())
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
        while not client.transport.is_reading:  # A version waits for writes without reply.
            _end_some(client, random, 1)
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
    pieces = sum(len(p) for slot in client.connection.replies.slots for p in slot.pieces)
    assert pieces <= REPLY_BYTES_MAX + 2 * len(big)
    client.coordinator.take().end(STORED)
    client.turn()
    assert client.read().count(b"VALUE") == 20
    assert client.transport.is_reading


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
            read.end([item(bytes(1 << 20))])
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
    big = item(bytes(1 << 20))
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
    assert client.connection.replies.reply_bytes == 0


def test_parts_of_answers_that_wait_for_the_rest_count_as_well() -> None:
    """Gets of a key in each of two shards, of which one answers all of them before the other."""
    client = Client()
    one, other = keys_of(client.server, 1, 1) + keys_of(client.server, 2, 1)
    client.send(b"get %b %b\r\n" % (one, other) * 40)
    reads = list(client.coordinator.started)
    client.coordinator.started.clear()
    assert len(reads) == 80
    big = item(bytes(1 << 20))
    for read in reversed(reads):
        if read.keys == (one,):
            read.answered([big])
    assert client.connection.unread_bytes <= REPLY_BYTES_MAX + 2 * len(big)
    assert client.server.counters.answers_dropped >= 35
    replies = 0
    while waiting := [read for read in reads if not read.finished]:
        again = [read for read in waiting if not read.parked]
        assert again, "nothing is read again"
        for read in again:
            read.answered([big])
            assert client.connection.unread_bytes <= REPLY_BYTES_MAX + 3 * len(big)
        client.turn()
        replies += client.read().count(b"END\r\n")
    assert replies == 40
    assert client.connection.replies.reply_bytes == 0


def test_a_client_that_leaves_while_answers_are_dropped_leaves_nothing_waiting() -> None:
    client = Client()
    client.send(b"gets k\r\n" * 3)
    client.server.reply_bytes_max = 1000
    first, second, third = client.coordinator.started
    third.answered([item(bytes(5000))])
    second.answered([item(bytes(5000))])
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


# -- the queue alone -------------------------------------------------------------------------


def queue() -> Replies:
    """Replies of a connection with a transport, whose pump does nothing."""
    replies = Replies(FakeServer(), lambda: None)
    replies.is_open = True
    return replies


def places(replies: Replies, count: int) -> list[Slot]:
    slots = [replies.take_slot() for _ in range(count)]
    return [slot for slot in slots if slot is not None]


def test_what_is_filled_leaves_with_all_that_waited_behind_it() -> None:
    replies = queue()
    first, second, third = places(replies, 3)
    replies.reply(b"4")
    replies.fill(third, b"3")
    replies.fill(second, b"2")
    assert list(replies.out) == []
    assert replies.unread_bytes == 3
    replies.fill(first, b"1")
    assert list(replies.out) == [b"1", b"2", b"3", b"4"]
    assert not replies.slots
    assert replies.next_chunk() == b"1234"
    assert replies.unread_bytes == 0


def test_a_request_without_a_reply_takes_no_place() -> None:
    replies = queue()
    assert replies.take_slot(noreply=True) is None
    replies.fill(None, b"never sent")
    assert not replies.slots
    assert not replies.out
    assert replies.pump_scheduled, "what waited for its end has to go on"


def test_pieces_of_an_unfinished_reply_leave_when_it_is_its_turn() -> None:
    replies = queue()
    first, second = places(replies, 2)
    second.pieces.append(b"2a")
    replies.release()
    assert not replies.out
    replies.fill(first, b"1")
    assert list(replies.out) == [b"1", b"2a"]
    assert list(replies.slots) == [second]
    replies.fill(second, b"2b")
    assert list(replies.out) == [b"1", b"2a", b"2b"]


def test_a_chunk_for_the_transport_is_of_about_the_bound() -> None:
    replies = queue()
    piece = bytes(WRITE_CHUNK_BYTES // 8 + 1)
    for _ in range(12):
        replies.reply(piece)
    assert [len(replies.next_chunk()), len(replies.next_chunk())] == [
        8 * len(piece),
        4 * len(piece),
    ]


def test_a_large_piece_goes_to_the_transport_by_itself() -> None:
    """To join it with others would be to copy it."""
    replies = queue()
    large = bytes(REFER_BYTES)
    for piece in (b"a", b"b", large, b"c", large):
        replies.reply(piece)
    chunks = [replies.next_chunk() for _ in range(4)]
    assert chunks == [b"ab", large, b"c", large]
    assert chunks[1] is chunks[3] is large
    assert replies.reply_bytes == 0


def test_reserved_room_follows_what_reads_have_brought() -> None:
    replies = queue()
    assert replies.reserve(2) == 2 * FIRST_READ_BYTES
    assert replies.unread_bytes == 0
    replies.came(2 * FIRST_READ_BYTES, 2, 2 << 20)
    assert replies.reply_bytes == 0
    assert replies.reserve(1) == 1 << 20, "as large as the latest"
    replies.came(1 << 20, 1, 10)
    assert replies.reserve(1) == 1 << 19, "and half of it after a smaller one"
    replies.came(1 << 19, 1, 10)
    for _ in range(30):
        replies.came(replies.reserve(1), 1, 1)
    assert replies.reserve(1) == LEAST_READ_BYTES


def test_the_queue_is_full_at_either_bound() -> None:
    replies = queue()
    places(replies, SLOTS_MAX - 1)
    assert not replies.is_full
    places(replies, 1)
    assert replies.is_full
    replies = queue()
    replies.reply(bytes(REPLY_BYTES_MAX - 1))
    assert not replies.is_full
    replies.reply(b"1")
    assert replies.is_full


def test_an_answer_has_room_when_it_is_its_turn_and_the_client_takes_replies() -> None:
    replies = queue()
    first, second = places(replies, 2)
    replies.fill(second, bytes(REPLY_BYTES_MAX))
    (third,) = places(replies, 1)
    assert replies.has_room(first)
    assert not replies.has_room(third)
    replies.is_paused = True
    assert not replies.has_room(first)


def test_a_connection_that_is_gone_is_never_pumped() -> None:
    pumped = 0

    def pump() -> None:
        nonlocal pumped
        pumped += 1

    server = FakeServer()
    replies = Replies(server, pump)
    replies.is_open = True
    (slot,) = places(replies, 1)
    replies.schedule_pump()
    replies.schedule_pump()
    loop: Any = server.loop
    loop.run()
    assert pumped == 1
    replies.pump_scheduled = False  # As the pump does.
    replies.lost()
    replies.fill(slot, b"late")
    replies.schedule_pump()
    loop.run()
    assert pumped == 1
