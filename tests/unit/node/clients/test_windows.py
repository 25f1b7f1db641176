"""Windows of keys: how many follow from what the latest answers have brought."""

from typing import Any

import pytest

from quorumcache.node.clients.context import REPLY_BYTES_MAX
from quorumcache.node.clients.replies import FIRST_TOUCH_BYTES, LEAST_TOUCH_BYTES
from quorumcache.node.clients.windows import WINDOW_KEYS, window_keys
from quorumcache.node.operations.failure import Failure
from quorumcache.node.store.commands import OP_META_GET
from quorumcache.node.store.results import ITEM, META_HIT
from tests.support.fake_server import Client, item, keys_of, set_line

KEYS = 200
FIRST = REPLY_BYTES_MAX // FIRST_TOUCH_BYTES
TOUCHES = (
    b"gat 0 k\r\n",
    b"mg k v T30\r\n",
    b"mg k v h T30\r\n",
    b"cluster fence lock 8\r\nget k\r\n",
)
"""Retrievals that are writes, so what they bring cannot be dropped."""


def outcome_of(operation: Any, value: bytes) -> Any:
    if operation.is_write:
        return (ITEM, item(value))
    return [item(value)] * len(operation.keys)


def windows_of(client: Client, words: bytes, value: bytes, count: int = KEYS) -> list[int]:
    """Ask for so many keys of one group: how many of them are under way at a time."""
    keys = keys_of(client.server, 1, count)
    client.send(words + b" " + b" ".join(keys) + b"\r\n")
    windows: list[int] = []
    read = b""
    while client.coordinator.started:
        started = list(client.coordinator.started)
        client.coordinator.started.clear()
        windows.append(sum(len(operation.keys) for operation in started))
        for operation in started:
            operation.end(outcome_of(operation, value))
        client.turn()
        read += client.read()
    assert [line.split()[1] for line in read.split(b"\r\n") if line[:5] == b"VALUE"] == keys
    assert read.endswith(b"END\r\n")
    assert client.connection.replies.reply_bytes == 0, "all room is given back"
    return windows


def test_a_get_of_many_keys_takes_whole_windows_while_values_are_small() -> None:
    assert windows_of(Client(), b"gets", b"x") == [64, 64, 64, 8]


def test_a_get_of_large_values_takes_as_many_keys_as_there_is_room_for() -> None:
    client = Client(high=1 << 40)
    windows = windows_of(client, b"gets", bytes(500_000), 60)
    assert windows == [60, 8, 8, 8, 8, 8, 8, 3], "of the first one nine were kept"
    assert windows_of(client, b"gets", bytes(500_000), 20) == [8, 8, 4]
    assert windows_of(client, b"gets", b"x", 20) == [8, 12], "the next answers may be as large"
    for _ in range(6):
        windows_of(client, b"gets", b"x", 1)
    assert windows_of(client, b"gets", b"x", 64) == [64]


def test_a_gat_begins_with_few_keys_and_takes_more_as_answers_are_small() -> None:
    client = Client()
    client.lead_all()
    assert windows_of(client, b"gat 0", b"x") == [4, 8, 16, 32, 64, 64, 12]
    assert windows_of(client, b"gat 0", b"x", 64) == [64]


def test_a_gat_of_large_values_has_few_of_them_under_way() -> None:
    """From another node each brings its value, whatever room there is."""
    client = Client(high=1 << 40)
    client.lead_all()
    large = bytes(900_000)
    assert max(windows_of(client, b"gat 0", large, 40)) <= REPLY_BYTES_MAX // 900_000
    assert max(windows_of(client, b"gats 0", large, 40)) <= REPLY_BYTES_MAX // 900_000


def test_of_a_window_that_is_larger_than_expected_no_more_is_held_than_there_is_room_for() -> None:
    """The first of a connection, say. It ends before the first key that there was no room for."""
    client = Client(high=1 << 40)
    keys = [key for group in (1, 2, 3, 4) for key in keys_of(client.server, group, 12)]
    client.send(b"get " + b" ".join(keys) + b"\r\n")
    reads = list(client.coordinator.started)
    assert len(reads) == 4
    client.coordinator.started.clear()
    value = bytes(700_000)
    for read in reversed(reads):  # The first keys come last.
        assert read.room.has_room(), "or it would be asked again and again"
        read.end([item(value)] * len(read.keys))
        held = client.connection.replies.unread_bytes
        assert held < REPLY_BYTES_MAX + 2 * 700_100
    client.turn()
    read = client.read()
    assert 0 < read.count(b"VALUE") <= 7
    while client.coordinator.started:
        started = list(client.coordinator.started)
        client.coordinator.started.clear()
        assert sum(len(operation.keys) for operation in started) <= 7
        for operation in started:
            operation.end(outcome_of(operation, value))
        client.turn()
        read += client.read()
    assert [line.split()[1] for line in read.split(b"\r\n") if line[:5] == b"VALUE"] == keys
    assert client.server.counters.get_hits == len(keys)
    assert client.connection.replies.reply_bytes == 0


def test_a_window_is_cut_behind_its_first_key_at_the_earliest() -> None:
    """Or nothing would ever leave."""
    client = Client(high=1 << 40)
    first, *others = (key for group in (1, 2) for key in keys_of(client.server, group, 12))
    client.send(b"get " + b" ".join([first, *others]) + b"\r\n")
    its_own, rest = sorted(client.coordinator.started, key=lambda read: first not in read.keys)
    client.coordinator.started.clear()
    rest.end([item(bytes(1_000_000))] * len(rest.keys))
    its_own.end([item(bytes(10_000))] * len(its_own.keys))
    client.turn()
    assert client.read().startswith(b"VALUE %b 0 10000" % first)


def test_a_get_of_several_keys_runs_alone_until_sizes_are_known() -> None:
    """Alone it may end its window early. That makes no difference to one that nothing is behind."""
    client = Client()
    keys = keys_of(client.server, 1, FIRST + 1)
    line = b"get " + b" ".join(keys) + b"\r\n"
    other = b"gets %b\r\n" % keys_of(client.server, 2, 1)[0]
    client.send(line + other)
    client.coordinator.take().end([None] * len(keys))
    client.turn()
    client.coordinator.take().end([None])
    client.turn()
    client.send(line + other)
    assert len(client.coordinator.started) == 2


def test_pipelined_gats_whose_answers_are_not_known_are_few() -> None:
    client = Client()
    client.lead_all()
    client.send(b"gat 0 k\r\n" * 100)
    under_way = client.coordinator.started
    assert len(under_way) == FIRST
    assert not client.transport.is_reading
    most = answered = 0
    while under_way:
        most = max(most, len(under_way))
        operation = under_way.pop(0)
        operation.end((ITEM, item()))
        answered += 1
        client.turn()
    assert answered == 100
    assert most > 2 * FIRST, "small answers make room for more"
    assert client.read().count(b"VALUE") == 100


@pytest.mark.parametrize("line", TOUCHES)
def test_however_small_answers_were_gats_of_large_values_have_a_bound(line: bytes) -> None:
    """Each may bring a value that cannot be dropped, and the client may read none of them."""
    client = Client(high=1 << 40)
    client.lead_all()
    client.coordinator.found = lambda key: [item()]  # For the reads with which an mg begins.
    replies = client.connection.replies
    for _ in range(20):
        replies.came(replies.reserve(1), 1, 1)  # Reads have brought little, too.
    under_way = client.coordinator.started

    def answer(value: bytes) -> None:
        touch = under_way.pop(0)
        is_meta = touch.op == OP_META_GET
        touch.end((META_HIT, bytes(8) + item(value)) if is_meta else (ITEM, item(value)))

    for _ in range(30):
        client.send(line)
        answer(b"x")
        client.turn()
    assert client.read().count(b"\r\nx\r\n") == 30
    client.send(line * 1000)
    client.turn()
    assert len(under_way) == REPLY_BYTES_MAX // LEAST_TOUCH_BYTES
    assert not client.transport.is_reading
    most = 0
    while under_way:
        most = max(most, len(under_way))
        answer(bytes(1_000_000))
    assert most <= REPLY_BYTES_MAX // LEAST_TOUCH_BYTES, "what has come counts in full"


@pytest.mark.parametrize("line", [b"mg k v T30\r\n", b"mg k v h T30\r\n"])
def test_an_mg_that_would_touch_and_fails_tells_nothing_of_sizes(line: bytes) -> None:
    client = Client()
    client.coordinator.found = lambda key: [item()]
    for _ in range(5):
        client.send(line)
        client.coordinator.take().end(Failure("no leader", outcome_known=True))
        client.turn()
        assert client.read().startswith(b"SERVER_ERROR")
    assert client.connection.replies.reply_bytes == 0
    assert window_keys(client.connection.replies, True) == FIRST


def test_a_gat_that_fails_tells_nothing_of_sizes() -> None:
    client = Client()
    for _ in range(5):
        client.send(b"gat 0 k\r\n")
        client.coordinator.take().end(Failure("no leader", outcome_known=True))
        client.turn()
        assert client.read().startswith(b"SERVER_ERROR")
    assert client.connection.replies.reply_bytes == 0
    assert window_keys(client.connection.replies, True) == FIRST


def test_what_gats_have_brought_says_nothing_of_gets() -> None:
    client = Client()
    windows_of(client, b"gat 0", bytes(300_000), 2)
    assert window_keys(client.connection.replies, False) == WINDOW_KEYS
    assert window_keys(client.connection.replies, True) < WINDOW_KEYS


@pytest.mark.parametrize("word", [b"get", b"gat 0"])
def test_later_windows_do_not_see_what_was_sent_behind_them(word: bytes) -> None:
    """Also where a window is small because of large values."""
    client = Client(high=1 << 40)
    windows_of(client, b"gets", bytes(1_000_000), 64)
    keys = keys_of(client.server, 1, 12)
    client.send(word + b" " + b" ".join(keys) + b"\r\n" + set_line(keys[-1]))
    seen: list[bytes] = []
    while len(seen) < len(keys):
        started = list(client.coordinator.started)
        client.coordinator.started.clear()
        assert 0 < sum(len(operation.keys) for operation in started) <= 8
        for operation in started:
            seen += operation.keys
            operation.end(outcome_of(operation, b"x"))
        client.turn()
    assert seen == keys
    assert client.coordinator.take().args, "the set comes last"


def test_a_window_is_never_empty() -> None:
    client = Client()
    client.server.reply_bytes_max = 1
    windows_of(client, b"gat 0", b"x", 3)
