"""Goal: frames survive any cut of the stream; nothing malformed gets through or costs memory."""

from __future__ import annotations

import random
from contextlib import suppress
from struct import pack
from zlib import crc32

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumcache.node.errors import HandshakeRefused, PeerFrameError
from quorumcache.node.peers.codec import (
    FRAME_BYTES_MAX,
    HEADER,
    KEEPALIVE_FRAME,
    PROTOCOL_VERSION,
    FrameDecoder,
    Hello,
    Refusal,
    decode_hello,
    decode_items,
    encode_frame,
    encode_hello,
    encode_items,
    encode_refusal,
    pack_item,
    value_bytes_of,
)
from tests.support.founding import disk_id

HELLO = Hello(
    protocol_version=PROTOCOL_VERSION,
    cluster_id="c1",
    disk_id=disk_id(1),
    settings_fingerprint="f0",
    node_id=1,
    name="a",
    incarnation=7,
    start_number=2,
    start_nonces=b"mar1mar2",
    is_founded=True,
    peer_address="10.0.0.1:7400",
    client_address="10.0.0.1:11211",
    http_address="",
    zone="",
    weight=1.0,
    map_epoch=0,
    version="0.1.0",
    settings=(("shards", "64"), ("replication", "3")),
)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=50),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=8,
)
item_lists = st.lists(st.lists(values, min_size=1, max_size=4).map(tuple), max_size=20)


def payload_of(frame: bytes) -> bytes:
    [payload] = FrameDecoder().feed(frame)
    return payload


@given(st.lists(st.binary(max_size=300), max_size=8), st.randoms(use_true_random=False))
def test_frames_survive_any_cut(payloads: list[bytes], rng: random.Random) -> None:
    stream = b"".join(map(encode_frame, payloads))
    decoder = FrameDecoder()
    found = []
    at = 0
    while at < len(stream):
        step = rng.choice([1, 2, 7, 50, 1000])
        found += decoder.feed(stream[at : at + step])
        at += step
    assert found == payloads
    assert decoder.buffered_bytes == 0


def test_a_long_frame_in_many_pieces_is_collected_in_one_buffer() -> None:
    """Looking at the whole buffer again for each piece would be quadratic."""
    frame = encode_frame(b"x" * 100_000)
    decoder = FrameDecoder()
    assert decoder.feed(frame[:5000]) == []
    buffer = decoder._buffer
    for at in range(5000, 100_000, 1000):
        assert decoder.feed(frame[at : at + 1000]) == []
        assert decoder._buffer is buffer
    assert decoder.feed(frame[100_000:]) == [b"x" * 100_000]


def test_a_stream_cut_at_every_byte() -> None:
    stream = encode_frame(b"abc") + KEEPALIVE_FRAME + encode_frame(b"x" * 300)
    for cut in range(len(stream) + 1):
        decoder = FrameDecoder()
        assert len(decoder.feed(stream[:cut]) + decoder.feed(stream[cut:])) == 3


@given(item_lists)
def test_items_and_back(items: list[tuple]) -> None:
    assert decode_items(payload_of(encode_items([pack_item(item) for item in items]))) == tuple(
        items
    )


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65535, 65536])
def test_the_head_of_the_array_has_three_sizes(count: int) -> None:
    items = [(i,) for i in range(count)]
    assert payload_of(encode_items([pack_item(item) for item in items])) == msgpack.packb(items)


def test_a_keepalive_is_a_frame_of_no_items() -> None:
    assert decode_items(payload_of(KEEPALIVE_FRAME)) == ()


def test_a_frame_that_says_it_is_too_long_is_refused_before_it_is_buffered() -> None:
    decoder = FrameDecoder(bytes_max=100)
    with pytest.raises(PeerFrameError, match="101 bytes long, over the maximum of 100"):
        decoder.feed(HEADER.pack(101, 0))
    assert decoder.buffered_bytes == 0
    with pytest.raises(PeerFrameError, match="not a QuorumCache peer"):
        FrameDecoder().feed(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(PeerFrameError, match="over the maximum"):
        encode_frame(bytes(FRAME_BYTES_MAX + 1))


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_flipped_bit_is_found(payload: bytes, data: st.DataObject) -> None:
    frame = bytearray(encode_frame(payload))
    position = data.draw(st.integers(4, len(frame) - 1))
    frame[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(PeerFrameError, match="the stream is damaged"):
        FrameDecoder().feed(bytes(frame))


@given(st.binary(max_size=200))
def test_garbage_with_a_right_checksum_is_refused_or_decoded(garbage: bytes) -> None:
    payload = payload_of(encode_frame(garbage))
    assert payload == garbage
    for decode in (decode_items, decode_hello):
        with suppress(PeerFrameError, HandshakeRefused):
            decode(payload)


@given(st.lists(st.binary(max_size=64), max_size=20))
def test_garbage_streams_never_hold_much(pieces: list[bytes]) -> None:
    decoder = FrameDecoder(bytes_max=256)
    with suppress(PeerFrameError):
        for piece in pieces:
            decoder.feed(piece)
            assert decoder.buffered_bytes < 256 + HEADER.size


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "a frame holds int, expected an array"),
        ({}, "a frame holds dict"),
        ((5,), "an item is 5"),
        (((),), r"an item is \(\)"),
        (((1,), "x"), "an item is 'x'"),
        (("refuse", 1), "a refusal is malformed"),
        (("refuse", 1, 2, 3), "a refusal is malformed"),
    ],
)
def test_malformed_items_are_refused(value: object, message: str) -> None:
    with pytest.raises(PeerFrameError, match=message):
        decode_items(msgpack.packb(value))


def test_bytes_that_are_no_msgpack_are_refused() -> None:
    for payload in (b"", b"\xc1", b"\x92\x01", b"\x90\x90", b"\x91" * 5000, b"\xa1\xff"):
        with pytest.raises(PeerFrameError, match="not valid msgpack"):
            decode_items(payload)


def test_hello_and_back() -> None:
    assert decode_hello(payload_of(encode_hello(HELLO))) == HELLO
    whole = HELLO._replace(weight=2)
    assert type(decode_hello(payload_of(encode_hello(whole))).weight) is float


def test_refusal_and_back() -> None:
    payload = payload_of(encode_refusal("no", 5000))
    assert decode_hello(payload) == decode_items(payload) == Refusal("no", 5000)
    long = payload_of(encode_refusal("x\n" * 5000, 10**12))
    refusal = decode_hello(long)
    assert isinstance(refusal, Refusal)
    assert len(refusal.sentence) == 2000
    assert refusal.sentence.isprintable()
    assert refusal.retry_ms == 600_000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cluster_id", ""),
        ("cluster_id", 5),
        ("cluster_id", "x" * 256),
        ("settings_fingerprint", b"x"),
        ("node_id", -1),
        ("node_id", True),
        ("node_id", "1"),
        ("name", "a\nb"),
        ("incarnation", 1.5),
        ("start_number", -1),
        ("start_number", 3),
        ("start_nonces", "mar1mar2"),
        ("start_nonces", b"mar1mar"),
        ("start_nonces", b"mar1mar2mar3"),
        ("client_address", ""),
        ("http_address", None),
        ("zone", 5),
        ("weight", -1),
        ("weight", 5e-324),
        ("weight", 1e7),
        ("weight", True),
        ("weight", float("nan")),
        ("weight", "1"),
        ("map_epoch", None),
        ("version", ""),
        ("disk_id", ""),
        ("is_founded", 1),
        ("peer_address", 5),
        ("settings", 5),
        ("settings", (("a",),)),
        ("settings", (("a", 1),)),
        ("settings", tuple((f"s{i}", "") for i in range(100))),
    ],
)
def test_a_hello_is_checked_field_by_field(field: str, value: object) -> None:
    fields = HELLO._asdict() | {field: value}
    payload = msgpack.packb(("hello", *fields.values()))
    with pytest.raises(PeerFrameError, match="hello: "):
        decode_hello(payload)


def test_another_protocol_version_is_named_whatever_follows() -> None:
    with pytest.raises(HandshakeRefused, match="peer protocol 9"):
        decode_hello(msgpack.packb(("hello", 9, {"who": "knows"})))
    with pytest.raises(PeerFrameError, match="2 fields"):
        decode_hello(msgpack.packb(("hello", PROTOCOL_VERSION, "x")))
    with pytest.raises(PeerFrameError, match="neither a hello nor a refusal"):
        decode_hello(msgpack.packb((1, 2)))


def test_the_frame_is_as_documented() -> None:
    assert encode_frame(b"abc") == pack(">II", 3, crc32(b"abc")) + b"abc"


def test_how_long_an_answer_becomes_is_told_by_its_values() -> None:
    assert value_bytes_of((35, 1, [b"abc", None, b"de"])) == 5
    assert value_bytes_of((56, 1, (b"abc", 0, 1))) == 3
    assert value_bytes_of((56, 1, ())) == 0
    assert value_bytes_of((36, 1, 2, "why")) == 0
    assert value_bytes_of((1,)) == 0
