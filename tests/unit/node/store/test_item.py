"""The packed form of an item, and the limits that memcached would hold it to."""

from sys import getsizeof

import pytest

from quorumcache.node.state_machine import ITEM_BYTES_MAX
from quorumcache.node.store.item import (
    BLOCK_SMALL_MAX,
    ENDS,
    ITEM_DATA,
    KEY_BYTES_MAX,
    PIECES,
    STALE,
    WON,
    block_bytes,
    cas_unique,
    expires_at_ms,
    fingerprint,
    item_cost,
    item_fits,
    item_flags,
    item_value,
    pack_header,
    unpack_header,
    value_bytes_sure,
    wire_data,
)


@pytest.mark.parametrize("value", [b"", b"x", b"with\r\nline end ", b" 1 2\r\n"])
@pytest.mark.parametrize("flags", [0, 2**32 - 1])
def test_what_was_packed_is_read(value: bytes, flags: int) -> None:
    item = pack_header(1, 2**60, 2**64 - 1) + wire_data(flags, value)
    assert unpack_header(item) == (1, 2**60, 2**64 - 1)
    assert (expires_at_ms(item), cas_unique(item)) == (2**60, 2**64 - 1)
    assert (item_flags(item), item_value(item)) == (flags, value)
    assert item_cost(b"key", item) == 48 + block_bytes(len(item))


def test_a_block_is_what_the_allocator_hands_out() -> None:
    """Small objects come in steps of 16 bytes; beyond 512 malloc's head of 8 bytes comes to it."""
    for length in range(2000):
        object_bytes = getsizeof(bytes(length))
        assert object_bytes == length + 33
        is_small = object_bytes <= 512
        assert is_small == (length <= BLOCK_SMALL_MAX)
        expected = object_bytes if is_small else object_bytes + 8
        assert 0 <= block_bytes(length) - expected < 16
        assert block_bytes(length) % 16 == 0


def test_the_bytes_of_a_packed_item() -> None:
    """Snapshots hold them, and peers send them."""
    item = pack_header(1, 1000, 5) + wire_data(3, b"ab")
    assert item.hex() == "0100000000000003e80000000000000005" + b" 3 2\r\nab\r\n".hex()
    assert item[ITEM_DATA:] == b" 3 2\r\nab\r\n"


@pytest.mark.parametrize(
    ("key_bytes", "flags", "most"), [(1, 0, 1_048_516), (250, 0, 1_048_267), (250, 1, 1_048_263)]
)
def test_the_largest_value_under_the_default_limit(key_bytes: int, flags: int, most: int) -> None:
    assert item_fits(key_bytes, flags, most, ITEM_BYTES_MAX)
    assert not item_fits(key_bytes, flags, most + 1, ITEM_BYTES_MAX)


def test_a_sure_value_fits_under_any_key_and_flags() -> None:
    sure = value_bytes_sure(ITEM_BYTES_MAX)
    assert item_fits(KEY_BYTES_MAX, 1, sure, ITEM_BYTES_MAX)
    assert not item_fits(KEY_BYTES_MAX, 1, sure + 1, ITEM_BYTES_MAX)
    assert value_bytes_sure(1) < 0


def test_a_fingerprint_tells_versions_apart() -> None:
    data = wire_data(0, b"value")
    item = pack_header(0, 0, 7) + data
    known = fingerprint(item)
    assert 0 < known < 1 << 64
    assert fingerprint(pack_header(0, 0, 7) + data) == known
    others = [
        pack_header(0, 0, 8) + data,
        pack_header(0, 0, 7) + wire_data(1, b"value"),
        pack_header(0, 0, 7) + wire_data(0, b"Value"),
        pack_header(STALE, 0, 7) + data,
        pack_header(WON, 0, 7) + data,
        pack_header(STALE | WON, 0, 7) + data,
        pack_header(PIECES, 0, 7) + b" 0 5\r\n" + bytes(7) + b"\x03",
        pack_header(PIECES, 0, 7) + b" 0 5\r\n" + bytes(7) + b"\x05",
    ]
    assert len({known, *map(fingerprint, others)}) == 1 + len(others)
    # A touch makes no other version of it.
    assert fingerprint(pack_header(ENDS, 99, 7) + data) == known
