"""Large values come out of the parser in pieces, however their bytes are cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumcache.node.protocol.parser import Parser
from quorumcache.node.protocol.requests import (
    Get,
    Immediate,
    MetaSet,
    RefusedStore,
    Request,
    Store,
    ValueBegins,
    ValueEnds,
    ValuePiece,
)
from quorumcache.node.protocol.value_blocks import ValueBlock, ValueLimits
from quorumcache.node.state_machine import WHOLE_ITEM_BYTES_MAX
from quorumcache.node.store.commands import OP_APPEND, OP_CAS, OP_SET

LARGE, PIECE = 20, 8


def parser(*, may_use_pieces: bool = True, item_bytes_max: int = 1 << 20) -> Parser:
    return Parser(item_bytes_max, ValueLimits(lambda: may_use_pieces, LARGE, PIECE))


def fed(it: Parser, data: bytes, cuts: list[int]) -> list[Request]:
    requests: list[Request] = []
    start = 0
    for cut in [*sorted(cut for cut in cuts if cut < len(data)), len(data)]:
        requests += it.feed(data[start:cut])
        start = cut
    return requests


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_wherever_the_bytes_are_cut(data: st.DataObject) -> None:
    value = data.draw(st.binary(min_size=0, max_size=60))
    end = data.draw(st.sampled_from([b"\r\n", b"\r\r", b"xx"]))
    stream = b"set k 5 7 %d\r\n%b%bget a\r\n" % (len(value), value, end)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    requests = fed(parser(), stream, cuts)
    assert requests.pop() == Get((b"a",), False)
    if len(value) <= LARGE:
        whole = b" 5 %d\r\n%b\r\n" % (len(value), value)
        is_whole = end == b"\r\n"
        assert type(requests[0]) is (Store if is_whole else Immediate)
        assert not is_whole or requests == [Store(OP_SET, b"k", whole, 7, 0, False)]
        return
    begins, *pieces, ends = requests
    store = Store(OP_SET, b"k", b" 5 %d\r\n" % len(value), 7, 0, False)
    assert begins == ValueBegins(store, len(value), False)
    assert ends == ValueEnds(end == b"\r\n")
    assert all(type(piece) is ValuePiece for piece in pieces)
    lengths = [len(piece.piece) for piece in pieces]
    assert all(length == PIECE for length in lengths[:-1])
    assert 0 < lengths[-1] <= PIECE
    assert b"".join(piece.piece for piece in pieces) == value


def test_other_commands_with_a_large_value() -> None:
    value = b"v" * 21
    cas, *_ = parser().feed(b"cas k 1 2 21 9 noreply\r\n" + value)
    assert cas == ValueBegins(Store(OP_CAS, b"k", b" 1 21\r\n", 2, 9, True), 21, True)
    append, *_ = parser().feed(b"append k 1 2 21\r\n" + value)
    assert append == ValueBegins(Store(OP_APPEND, b"k", b"", 0, 0, False), 21, False)
    ms, *_ = parser().feed(b"ms k 21 F3 T9 c\r\n" + value)
    assert isinstance(ms, ValueBegins)
    assert isinstance(ms.store, MetaSet)
    assert (ms.store.data, ms.store.exptime, ms.value_bytes) == (b" 3 21\r\n", 9, 21)


def test_a_connection_holds_no_more_than_a_piece() -> None:
    it = parser()
    it.feed(b"set k 0 0 100000\r\n")
    for _ in range(1000):
        it.feed(b"x" * 7)
        assert it.buffered_bytes < PIECE


def test_a_value_that_is_too_large_is_swallowed_and_held_nowhere() -> None:
    it = parser(item_bytes_max=1000)
    it.feed(b"set k 0 0 100000\r\n")
    for _ in range(100):
        assert it.feed(b"x" * 1000) == []
        assert it.buffered_bytes == 0
    (refused,) = it.feed(b"\r\n")
    assert isinstance(refused, RefusedStore)


@pytest.mark.parametrize("length", [21, WHOLE_ITEM_BYTES_MAX])
def test_while_some_nodes_know_no_pieces_values_stay_whole_and_within_the_old_limit(
    length: int,
) -> None:
    it = parser(may_use_pieces=False, item_bytes_max=128 << 20)
    block = bytes(length)
    (request,) = it.feed(b"set k 0 0 %d\r\n%b\r\n" % (length, block))
    assert type(request) is (Store if length == 21 else RefusedStore)


def test_a_block_hands_out_what_it_is_given_without_holding_it() -> None:
    block = ValueBlock(20, PIECE)
    requests: list[Request] = []
    assert block.take(b"0123456789abcdefghij", 0, requests) == 20
    assert [len(r.piece) for r in requests if isinstance(r, ValuePiece)] == [8, 8, 4]
    assert (block.buffered_bytes, block.is_over) == (0, False)
    assert block.take(b"..\r\nget", 2, requests) == 4
    assert block.is_over
    assert requests[-1] == ValueEnds(True)
