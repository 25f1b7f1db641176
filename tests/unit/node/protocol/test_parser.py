"""The parser's requests, states and limits. Byte-exact replies are in tests/conformance."""

import pytest

from quorumcache.node.protocol.lines import LINE_BYTES_MAX, RETRIEVAL_LINE_BYTES_MAX
from quorumcache.node.protocol.parser import UNFINISHED_LINE_BYTES_MAX, Parser
from quorumcache.node.protocol.requests import (
    Arithmetic,
    BinaryClient,
    Cluster,
    Delete,
    FlushAll,
    Get,
    GetAndTouch,
    Immediate,
    MetaDelete,
    MetaGet,
    MetaNoop,
    MetaReply,
    MetaSet,
    Quit,
    RefusedMetaSet,
    RefusedStore,
    Request,
    Stats,
    Store,
    Touch,
    Verbosity,
    Version,
)
from quorumcache.node.protocol.responses import (
    BAD_DATA_CHUNK_LINE,
    BAD_FORMAT_LINE,
    ERROR_LINE,
    TOO_LARGE_LINE,
    binary_refusal,
)
from quorumcache.node.state_machine import ITEM_BYTES_MAX
from quorumcache.node.store.commands import OP_ADD, OP_APPEND, OP_CAS, OP_DECR, OP_INCR, OP_SET
from quorumcache.node.store.item import item_fits, value_bytes_sure

PLAIN = MetaReply(b"", b"", b"a", False, False)


@pytest.mark.parametrize(
    ("data", "request_"),
    [
        (b"get a\r\n", Get((b"a",), False)),
        (b"get a b  c\n", Get((b"a", b"b", b"c"), False)),
        (b"gets a\r\n", Get((b"a",), True)),
        (b"gat 5 a b\r\n", GetAndTouch(5, (b"a", b"b"), False)),
        (b"gats -5 a\r\n", GetAndTouch(-5, (b"a",), True)),
        (b"set a 1 2 1\r\nx\r\n", Store(OP_SET, b"a", b" 1 1\r\nx\r\n", 2, 0, False)),
        (b"set a 01 +2 1\r\nx\r\n", Store(OP_SET, b"a", b" 1 1\r\nx\r\n", 2, 0, False)),
        (b"add a 0 0 0 noreply\r\n\r\n", Store(OP_ADD, b"a", b" 0 0\r\n\r\n", 0, 0, True)),
        (b"append a 1 2 1\r\nx\r\n", Store(OP_APPEND, b"a", b"x", 0, 0, False)),
        (b"cas a 1 2 1 9\r\nx\r\n", Store(OP_CAS, b"a", b" 1 1\r\nx\r\n", 2, 9, False)),
        (
            b"cas a 1 2 1 9 noreply\r\nx\r\n",
            Store(OP_CAS, b"a", b" 1 1\r\nx\r\n", 2, 9, True),
        ),
        (b"delete a\r\n", Delete(b"a", False)),
        (b"delete a 0 noreply\r\n", Delete(b"a", True)),
        (b"incr a 5\r\n", Arithmetic(OP_INCR, b"a", 5, False)),
        (b"decr a 5 noreply\r\n", Arithmetic(OP_DECR, b"a", 5, True)),
        (b"touch a -1\r\n", Touch(b"a", -1, False)),
        (b"flush_all\r\n", FlushAll(0, False)),
        (b"flush_all noreply\r\n", FlushAll(0, True)),
        (b"flush_all 7 noreply\r\n", FlushAll(7, True)),
        (b"version\r\n", Version()),
        (b"verbosity 1 noreply\r\n", Verbosity(1, True)),
        (b"stats\r\n", Stats(())),
        (b"stats items now\r\n", Stats((b"items", b"now"))),
        (b"cluster map 7\r\n", Cluster((b"map", b"7"))),
        (b"cluster\r\n", Cluster(())),
        (b"quit\r\n", Quit()),
        (b"mg a v\r\n", MetaGet(b"a", True, False, *[None] * 5, reply=PLAIN)),
        (b"md a\r\n", MetaDelete(b"a", None, None, False, None, False, 0, PLAIN)),
        (b"mn\r\n", MetaNoop()),
        (
            b"ms a 1 F1 T2\r\nx\r\n",
            MetaSet(b"a", OP_SET, b" 1 1\r\nx\r\n", 1, 2, *[None] * 3, False, PLAIN),
        ),
        (
            b"ms a 1 MA N5 F7\r\nx\r\n",
            MetaSet(b"a", OP_APPEND, b"x", 7, None, 5, None, None, False, PLAIN),
        ),
    ],
)
def test_requests(data: bytes, request_: Request) -> None:
    requests = Parser().feed(data)
    assert requests == [request_]
    assert type(requests[0]) is type(request_)


@pytest.mark.parametrize("tail", [b"1_0 0 1", b"\xb2 0 1", b"0 x 1", b"0 0x 1", b"0 1_0 1"])
def test_the_cached_part_is_as_strict(tail: bytes) -> None:
    for _ in range(2):
        assert Parser().feed(b"set a %b\r\nx\r\n" % tail) == [Immediate(BAD_FORMAT_LINE)]


def test_a_length_is_a_number_and_nothing_else() -> None:
    for length in (b"1_0", b"\xb2", b"+1", b"-1", b"1x", b"2147483646", b"000000000001"):
        requests = Parser().feed(b"set a 0 0 %b\r\nxyz\r\n" % length)
        assert requests == [Immediate(BAD_FORMAT_LINE), Immediate(ERROR_LINE)]
    assert Parser().feed(b"set a 0 0 2147483645\r\nx") == []


def test_too_large_is_told_after_the_block() -> None:
    parser = Parser()
    assert parser.feed(b"set k 0 0 2000000\r\n") == []
    assert parser.feed(b"x" * 2_000_000) == []
    assert parser.buffered_bytes == 0
    assert parser.feed(b"\r") == []
    assert parser.feed(b"\nversion\r\n") == [
        RefusedStore(OP_SET, b"k", TOO_LARGE_LINE, False),
        Version(),
    ]


def test_a_refused_line_is_told_after_the_block() -> None:
    parser = Parser()
    assert parser.feed(b"set k x 0 3\r\nab") == []
    assert parser.feed(b"c\r\n") == [Immediate(BAD_FORMAT_LINE)]


@pytest.mark.parametrize("item_bytes_max", [400, 1000, ITEM_BYTES_MAX])
@pytest.mark.parametrize("key", [b"k", b"k" * 250])
@pytest.mark.parametrize("flags", [0, 1])
def test_the_item_limit_is_exact(item_bytes_max: int, key: bytes, flags: int) -> None:
    largest = item_bytes_max - 59 - len(key) - (4 if flags else 0)
    assert item_fits(len(key), flags, largest, item_bytes_max)
    for length, kind in ((largest, Store), (largest + 1, RefusedStore)):
        line = b"set %b %d 0 %d\r\n" % (key, flags, length)
        (request,) = Parser(item_bytes_max).feed(line + b"x" * length + b"\r\n")
        assert type(request) is kind
    assert value_bytes_sure(item_bytes_max) <= largest


@pytest.mark.parametrize("item_bytes_max", [400, 1000])
@pytest.mark.parametrize("mode", [b"S", b"E", b"A", b"P", b"R"])
@pytest.mark.parametrize("flags", [0, 1])
def test_the_item_limit_is_exact_for_meta_sets(
    item_bytes_max: int, mode: bytes, flags: int
) -> None:
    largest = item_bytes_max - 59 - 3 - (4 if flags else 0)
    for length in (largest, largest + 1):
        # The key counts as it is stored, not as it is written.
        line = b"ms Zm9v %d M%b F%d b k q\r\n" % (length, mode, flags)
        (request,) = Parser(item_bytes_max).feed(line + b"x" * length + b"\r\n")
        assert type(request) is (MetaSet if length == largest else RefusedMetaSet)
        assert request.key == b"foo"
        assert request.reply == MetaReply(b"k", b"", b"Zm9v", True, True)


def test_a_meta_set_that_is_too_large_is_told_after_its_block() -> None:
    parser = Parser()
    assert parser.feed(b"ms k 2000000 O1\r\n" + b"x" * 1000) == []
    assert parser.buffered_bytes == 0
    reply = MetaReply(b"O", b"1", b"k", False, False)
    assert parser.feed(b"x" * 1_999_000 + b"\r\nversion\r\n") == [
        RefusedMetaSet(b"k", TOO_LARGE_LINE, reply, 2_000_000),
        Version(),
    ]


@pytest.mark.parametrize("flags", [b"v v", b"Tx", b"Fx", b"S9", b"MX", b"b", b"O" + b"x" * 32])
def test_a_refused_meta_set_swallows_its_block(flags: bytes) -> None:
    for quiet in (b"", b" q"):
        data = b"ms key 11 %b%b\r\nflush_all\r\n\r\nversion\r\n" % (flags, quiet)
        first, second = Parser().feed(data)
        assert type(first) is Immediate
        assert first.reply.startswith(b"CLIENT_ERROR ")
        assert second == Version()


@pytest.mark.parametrize("length", [b"", b" S5", b" x", b" -1", b" +5", b" 2147483646", b" 5x"])
def test_the_block_of_a_meta_set_without_a_length_is_read_as_commands(length: bytes) -> None:
    """As with set: it is not known where the block ends."""
    requests = Parser().feed(b"ms key%b\r\nmn\r\n" % length)
    assert requests == [Immediate(BAD_FORMAT_LINE), MetaNoop()]


@pytest.mark.parametrize("quiet", [b"", b" q"])
def test_a_meta_set_needs_the_end_of_its_block(quiet: bytes) -> None:
    requests = Parser().feed(b"ms k 2%b\r\nxyz\r\nmn\r\n" % quiet)
    assert requests == [Immediate(BAD_DATA_CHUNK_LINE), Immediate(BAD_FORMAT_LINE), MetaNoop()]


def test_limits_of_an_unfinished_line() -> None:
    parser = Parser()
    assert parser.feed(b"x" * UNFINISHED_LINE_BYTES_MAX) == []
    assert not parser.closed
    assert parser.feed(b"x") == [Quit()]
    assert parser.closed
    assert Parser().feed(b"x" * UNFINISHED_LINE_BYTES_MAX + b"y") == [Quit()]
    for start in (b"get ", b"gets ", b"gat ", b"gats "):
        parser = Parser()
        assert parser.feed(start.ljust(RETRIEVAL_LINE_BYTES_MAX, b"x")) == []
        assert parser.feed(b"x") == [Quit()]
    assert Parser().feed(b"get".ljust(3000, b"x")) == [Quit()]


def test_limits_of_a_whole_line() -> None:
    assert Parser().feed(b"x" * LINE_BYTES_MAX + b"\n") == [Immediate(ERROR_LINE)]
    assert Parser().feed(b"x" * (LINE_BYTES_MAX + 1) + b"\n") == [Quit()]
    assert Parser().feed(b"set a 0 0 1 %b\r\n1\r\n" % (b"x" * LINE_BYTES_MAX)) == [Quit()]
    keys = b" k" * (RETRIEVAL_LINE_BYTES_MAX // 2)
    assert Parser().feed(b"get" + keys + b"\n") == [Quit()]
    (request,) = Parser().feed(b"get" + keys[:-4] + b"\n")
    assert type(request) is Get
    assert len(request.keys) == len(keys) // 2 - 2


def test_nothing_comes_after_quit() -> None:
    parser = Parser()
    assert parser.feed(b"quit\r\nget a\r\n") == [Quit()]
    assert parser.feed(b"get a\r\n") == []
    assert parser.closed


def test_first_byte_of_the_binary_protocol() -> None:
    parser = Parser()
    assert parser.feed(b"") == []
    request = bytes([0x80, 7, 0, 3, *range(4, 24)])
    assert parser.feed(request[:1]) == parser.feed(request[1:23]) == []
    answer = BinaryClient(binary_refusal(request))
    assert answer.reply[:2] == b"\x81\x07"
    assert answer.reply[12:16] == request[12:16]
    assert parser.feed(request[23:] + b"abc") == [answer, Quit()]
    assert parser.buffered_bytes == 0
    parser = Parser()
    assert parser.feed(b"get \x80\r\n") == [Get((b"\x80",), False)]
    assert parser.feed(b"\x80abc\r\n") == [Immediate(ERROR_LINE)]


def test_a_block_keeps_no_second_copy() -> None:
    """What is buffered of a value is what has arrived, whatever the pieces."""
    parser = Parser()
    parser.feed(b"set k 0 0 100000\r\n")
    header = parser.buffered_bytes
    for arrived in range(1000, 100_000, 1000):
        assert parser.feed(b"x" * 1000) == []
        assert parser.buffered_bytes == header + arrived
    (request,) = parser.feed(b"x" * 1000 + b"\r\n")
    assert type(request) is Store
    assert len(request.data) == header + 100_002
    assert parser.buffered_bytes == 0


def test_another_limit_holds_from_the_next_storage_line_on() -> None:
    parser = Parser(item_bytes_max=1 << 20)
    store = b"set a 0 0 2000\r\n" + b"x" * 2000 + b"\r\n"
    assert [type(request).__name__ for request in parser.feed(store)] == ["Store"]
    assert parser.feed(store[:100]) == []
    parser.limit_items(1024)
    assert [type(request).__name__ for request in parser.feed(store[100:])] == ["Store"]
    assert [type(request).__name__ for request in parser.feed(store)] != ["Store"]
    parser.limit_items(1 << 20)
    assert [type(request).__name__ for request in parser.feed(store)] == ["Store"]
