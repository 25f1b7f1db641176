"""The checksum at the end of small files: CRC-32 of all before it, 4 bytes, big endian. Pure."""

from __future__ import annotations

from typing import Final
from zlib import crc32

_CRC_BYTES: Final = 4


def with_checksum(data: bytes) -> bytes:
    """What a file holds of `data`."""
    return data + crc32(data).to_bytes(_CRC_BYTES, "big")


def checked(data: bytes) -> bytes:
    """What is in such a file, without its checksum. ValueError when that is wrong."""
    content = data[:-_CRC_BYTES]
    if len(data) < _CRC_BYTES or crc32(content) != int.from_bytes(data[-_CRC_BYTES:], "big"):
        raise ValueError("the checksum is wrong")
    return content
