"""The checksum at the end of small files."""

from __future__ import annotations

import pytest

from quorumcache.node.storage.checksum import checked, with_checksum


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256))])
def test_every_damaged_bit_is_noticed(data: bytes) -> None:
    stored = with_checksum(data)
    assert checked(stored) == data
    for bit in range(8 * len(stored)):
        damaged = bytearray(stored)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="the checksum is wrong"):
            checked(bytes(damaged))


def test_what_is_cut_off_is_noticed() -> None:
    stored = with_checksum(b"some data")
    for size in range(len(stored)):
        with pytest.raises(ValueError, match="the checksum is wrong"):
            checked(stored[:size])
