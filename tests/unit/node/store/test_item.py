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
    size = 38 + 8 + (4 if flags else 0) + len(b"key") + len(value)
    assert 0 <= item_cost(b"key", item) - (size + 8) < 16


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


@pytest.mark.parametrize(
    ("bits", "flags", "value_bytes", "cost"),
    [
        (0, 0, 0, 48),
        (0, 0, 100, 160),
        (0, 0, 101, 176),
        (0, 1, 96, 160),
        (0, 1, 97, 176),
        (ENDS, 0, 92, 160),
        (ENDS, 0, 93, 176),
        (ENDS | STALE, 1, 88, 160),
        (STALE | WON, 0, 100, 160),
    ],
)
def test_what_an_item_costs(bits: int, flags: int, value_bytes: int, cost: int) -> None:
    item = pack_header(bits, 5 if bits & ENDS else 0, 1) + wire_data(flags, b"x" * value_bytes)
    key = b"k" * 14 if value_bytes else b"k"
    assert item_cost(key, item) == cost
    assert cost % 16 == 0


@pytest.mark.parametrize("length", [1, 1023, 1024, 5 << 20])
def test_a_large_item_costs_its_value_as_well(length: int) -> None:
    text = b" 0 %d\r\n" % length + bytes(7) + b"\x03"
    item = pack_header(PIECES, 0, 1) + text
    own = item_cost(b"key", item) - length - (length >> 10)
    assert 0 <= own - (38 + 3 + len(text) + 8) < 16


@pytest.mark.parametrize(
    "text",
    [
        b" 0 4\r\nvalue\r\n",
        b" 0 05\r\nvalue\r\n",
        b" 00 5\r\nvalue\r\n",
        b" 4294967296 5\r\nvalue\r\n",
        b" -1 5\r\nvalue\r\n",
        b" 0 5\r\nvalue",
        b"?",
    ],
)
def test_another_text_costs_its_whole_length(text: bytes) -> None:
    """Such items may come from a later version. The native table keeps the text as it stands."""
    value = b"x" * 160
    item = pack_header(0, 0, 1) + text + value
    assert 0 <= item_cost(b"key", item) - (38 + 3 + len(text) + len(value) + 8) < 16


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
