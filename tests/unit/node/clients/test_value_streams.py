"""Values on their way to a client: one piece at a time, in their place among the replies."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from quorumcache.node.clients import value_streams
from quorumcache.node.clients.context import ClientContext
from quorumcache.node.clients.pumps import Pumps
from quorumcache.node.clients.replies import STREAMS_MAX, Replies
from quorumcache.node.clients.value_streams import (
    FetchedStream,
    HeldStream,
    fill_with_stream,
    open_stream,
)
from quorumcache.node.operations.failure import Failure
from quorumcache.node.store.item import PIECES, pack_header
from quorumcache.node.store.store import ShardStore
from tests.support.manual_loop import ManualLoop

VALUE = (b"abc", b"de")
ITEM = pack_header(PIECES, 0, 1) + b" 0 5\r\n" + (7).to_bytes(8, "big")


class Pieces:
    """The other node's answers, given by hand."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.done: Any = None

    def begin(
        self, owner: Any, group_id: int, key: bytes, number: int, at: int, source: int, done: Any
    ) -> None:
        assert (group_id, key, number, source) == (1, b"k", 7, 3)
        assert self.done is None, "one at a time"
        self.asked.append(at)
        self.done = done

    def answer(self, outcome: Any) -> None:
        done, self.done = self.done, None
        done(outcome if isinstance(outcome, Failure) else [outcome])


def context(pieces: Pieces | None = None, groups: Any = None) -> ClientContext:
    made = SimpleNamespace(
        pumps=Pumps(cast(Any, ManualLoop())),
        coordinator=SimpleNamespace(pieces=pieces),
        groups=groups or {},
        reply_bytes_max=1000,
    )
    return cast(ClientContext, made)


def queue(made: ClientContext | None = None) -> Replies:
    replies = Replies(made or context(), lambda: None)
    replies.is_open = True
    return replies


def drained(replies: Replies) -> bytes:
    out = b""
    for _ in range(100):
        while replies.out:
            out += bytes(replies.next_chunk())
        if replies.stream is None or not replies.pull():
            break
    return out


def test_a_value_leaves_piece_by_piece_between_what_stands_around_it() -> None:
    replies = queue()
    slots = [replies.take_slot() for _ in range(3)]
    assert None not in slots
    replies.fill(slots[2], b"3")
    fill_with_stream(replies, cast(Any, slots[1]), b"(", HeldStream(VALUE), b")")
    assert drained(replies) == b""
    replies.fill(slots[0], b"1")
    assert bytes(replies.next_chunk()) == b"1("
    assert (replies.pull(), list(replies.out)) == (True, [b"abc"])
    assert drained(replies) == b"abcde)3"
    assert (replies.slots, replies.stream, replies.streams, replies.reply_bytes) == (
        type(replies.slots)(),
        None,
        0,
        0,
    )


def test_a_reply_that_ends_while_its_last_value_is_being_sent() -> None:
    """The line behind the value does not overtake it."""
    replies = queue()
    slot = replies.take_slot()
    assert slot is not None
    slot.pieces.append(b"(")
    replies.add_stream(slot, HeldStream(VALUE))
    replies.release()
    assert not replies.pull(), "the transport takes what stands before it first"
    assert bytes(replies.next_chunk()) == b"("
    assert replies.pull()
    replies.fill(slot, b"END")
    assert drained(replies) == b"abcdeEND"


def test_beyond_so_many_values_answers_have_no_room_but_in_their_turn() -> None:
    replies = queue()
    slots = [replies.take_slot() for _ in range(STREAMS_MAX + 1)]
    last = slots[-1]
    assert last is not None
    assert replies.has_room(last)
    for slot in slots[:-1]:
        assert slot is not None
        fill_with_stream(replies, slot, b"", HeldStream(VALUE), b".")
    assert not replies.has_room(last)
    drained(replies)
    assert replies.has_room(last)


def test_a_client_that_goes_closes_the_values_that_wait() -> None:
    replies = queue()
    streams = [HeldStream(VALUE), HeldStream(VALUE)]
    for stream in streams:
        slot = replies.take_slot()
        assert slot is not None
        fill_with_stream(replies, slot, b"", stream, b".")
    replies.lost()
    assert [stream._value for stream in streams] == [(), ()]
    assert (replies.stream, replies.streams) == (None, 0)


def test_a_value_of_a_replica_here_is_opened_at_once() -> None:
    store = ShardStore()
    store.values[7] = VALUE
    groups = {1: SimpleNamespace(machine=store)}
    opened: list[Any] = []
    made = context(groups=groups)
    open_stream(made, queue(made), 1, b"k", ITEM, 3, opened.append)
    (stream,) = opened
    again = stream.again()
    assert [stream.take(), stream.is_over, stream.take(), stream.is_over] == [
        b"abc",
        False,
        b"de",
        True,
    ]
    assert again.take() == b"abc"


def fetched(pieces: Pieces) -> tuple[FetchedStream, Replies, list[Any]]:
    made = context(pieces)
    replies = queue(made)
    opened: list[Any] = []
    open_stream(made, replies, 1, b"k", ITEM, 3, opened.append)
    assert opened == []
    assert pieces.asked == [0]
    pieces.answer(b"abc")
    (stream,) = opened
    return stream, replies, opened


def test_a_value_of_another_node_is_asked_for_ahead_of_the_client() -> None:
    pieces = Pieces()
    stream, _, _ = fetched(pieces)
    assert pieces.asked == [0, 1]
    assert (stream.take(), stream.is_over) == (b"abc", False)
    assert stream.take() is None
    pieces.answer(b"de")
    assert (stream.take(), stream.is_over) == (b"de", True)
    assert pieces.asked == [0, 1]


def test_no_more_is_asked_for_than_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(value_streams, "PIECES_AHEAD", 2)
    pieces = Pieces()
    made = context(pieces)
    item = ITEM.replace(b" 0 5", b" 0 50")
    opened: list[Any] = []
    open_stream(made, queue(made), 1, b"k", item, 3, opened.append)
    pieces.answer(b"a")
    pieces.answer(b"b")
    assert pieces.done is None
    assert opened[0].take() == b"a"
    assert pieces.asked == [0, 1, 2]


@pytest.mark.parametrize("outcome", [None, b"", b"longer than it can be"])
def test_a_value_that_is_gone_before_its_first_piece_is_read_again(outcome: Any) -> None:
    pieces = Pieces()
    made = context(pieces)
    opened: list[Any] = []
    open_stream(made, queue(made), 1, b"k", ITEM, 3, opened.append)
    pieces.answer(outcome)
    assert opened == [None]


def test_a_first_piece_that_cannot_be_had_is_a_failure() -> None:
    pieces = Pieces()
    made = context(pieces)
    opened: list[Any] = []
    open_stream(made, queue(made), 1, b"k", ITEM, 3, opened.append)
    failure = Failure("why", outcome_known=True)
    pieces.answer(failure)
    assert opened == [failure]


@pytest.mark.parametrize("outcome", [None, Failure("why", outcome_known=True), b"too long"])
def test_a_value_whose_rest_is_gone_is_broken(outcome: Any) -> None:
    pieces = Pieces()
    stream, _, opened = fetched(pieces)
    pieces.answer(outcome)
    assert stream.is_broken
    assert opened == [stream]


def test_a_closed_value_asks_for_nothing_more() -> None:
    pieces = Pieces()
    stream, _, _ = fetched(pieces)
    stream.close()
    pieces.answer(b"de")
    assert stream.take() is None
    assert pieces.asked == [0, 1]
