"""The batch codec."""

import msgpack
import pytest

from node.store.commands import (
    OP_COUNT,
    OP_EXPIRE,
    OP_SET,
    CommandError,
    decode_batch,
    encode_batch,
)

BATCH = [
    (0, 0, 0, OP_SET, b"key", b" 0 1\r\nx\r\n", -5),
    (2**63, 7, 3, OP_EXPIRE, b"", ((b"a", 1), (b"b", 2**64 - 1))),
]


def test_round_trip() -> None:
    assert decode_batch(encode_batch(2**41, BATCH)) == (2**41, tuple(BATCH))
    assert decode_batch(encode_batch(0, [])) == (0, ())


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x93",
        encode_batch(1, BATCH)[:-1],
        encode_batch(1, BATCH) + b"\x00",
        msgpack.packb(7),
        msgpack.packb((1, 2, 3)),
        msgpack.packb(("now", ())),
        msgpack.packb((1, 7)),
        msgpack.packb((1, (7,))),
        msgpack.packb((1, ((0, 0, 0, OP_SET),))),
        msgpack.packb((1, ((0, 0, 0, OP_COUNT, b"key"),))),
        msgpack.packb((1, ((0, 0, 0, 0, b"key"),))),
    ],
)
def test_what_is_no_batch(payload: bytes) -> None:
    with pytest.raises(CommandError):
        decode_batch(payload)
