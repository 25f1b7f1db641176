"""One cached item, packed into one bytes object, and what it costs.

    offset  0   bits: ENDS 1, STALE 2, WON 4, PIECES 8; all others 0
            1   expires_at_ms, unsigned 64 bits, big endian; 0 = never
            9   cas_unique, unsigned 64 bits, big endian
            17  b" <flags> <length>\\r\\n<value>\\r\\n", as it goes out on the wire

A *large* item (bit PIECES) holds its value apart, in pieces (`large.py`). Its own bytes end with
the number of that value instead:

            17  b" <flags> <length>\\r\\n", then value_id, unsigned 64 bits, big endian

So a hit is `b"VALUE " + key + item[17:]`, one look at `item[0]` tells that an item is an ordinary
one which lives whatever the time is, and a dict of bytes to bytes holds nothing that the garbage
collector would walk.
"""

from hashlib import blake2b
from struct import Struct
from typing import Final

ENDS: Final = 1
"""Bit of `item[0]`: the item has an expiry."""
STALE: Final = 2
"""Bit of `item[0]`: `ms` or `md` with the flag I marked the item stale. Readers still get it."""
WON: Final = 4
"""Bit of `item[0]`: one client was told that it is to make the item anew, and no other one is."""

PIECES: Final = 8
"""Bit of `item[0]`: the value is not in the item, see above."""

ITEM_DATA: Final = 17
"""Offset of the wire data in a packed item."""

BLOCK_SMALL_MAX: Final = 479
"""Up to this length a bytes object, with its head of 33 bytes, is one of CPython's small objects
(512 bytes)."""

BLOCK_HEAD_BYTES: Final = 38
"""The native table's head of an item: links of its queue, stamp, unique and lengths. The end of an
item that has one takes 8 bytes more, flags that are not 0 take 4."""

FLAGS_MAX: Final = (1 << 32) - 1

KEY_BYTES_MAX: Final = 250
VALUE_BYTES_MAX: Final = (1 << 31) - 3
"""The largest length that a storage line may announce at all."""

# memcached's item: a 48-byte header, 8 bytes of CAS, the key and a NUL, the value and CRLF. Flags
# take 4 bytes unless 0.
_HEADER_BYTES: Final = 48 + 8 + 1 + 2
_FLAGS_BYTES: Final = 4

pack_header: Final = Struct(">BQQ").pack
"""`pack_header(bits, expires_at_ms, cas_unique)`: the first 17 bytes."""
unpack_header: Final = Struct(">BQQ").unpack_from
"""`unpack_header(item) -> (bits, expires_at_ms, cas_unique)`."""


def item_fits(key_bytes: int, flags: int, value_bytes: int, item_bytes_max: int) -> bool:
    """Whether memcached would find room for such an item under the limit `item_bytes_max`.

    With the default limit a 1-byte key and zero flags allow 1,048,516 bytes of value, a 250-byte
    key 1,048,267.
    """
    flags_bytes = _FLAGS_BYTES if flags else 0
    return _HEADER_BYTES + key_bytes + flags_bytes + value_bytes <= item_bytes_max


def value_bytes_sure(item_bytes_max: int) -> int:
    """The largest value that fits whatever its key and flags; below 0 when there is none."""
    return item_bytes_max - _HEADER_BYTES - KEY_BYTES_MAX - _FLAGS_BYTES


def wire_data(flags: int, value: bytes) -> bytes:
    """The wire form of a value: `b" <flags> <length>\\r\\n<value>\\r\\n"`."""
    return b" %d %d\r\n%b\r\n" % (flags, len(value), value)


VALUE_ID_BYTES: Final = 8
"""The number of a value at the end of a large item."""


def value_id(item: bytes) -> int:
    """The number of the value of a large item."""
    return int.from_bytes(item[-VALUE_ID_BYTES:], "big")


def value_bytes(item: bytes) -> int:
    """Length of an item's value, also of a large one."""
    line_end = item.index(b"\r\n", ITEM_DATA)
    return int(item[item.index(b" ", ITEM_DATA + 1) + 1 : line_end])


def item_value(item: bytes) -> bytes:
    """The bare value of a packed item that is not large."""
    assert not item[0] & PIECES
    return item[item.index(b"\r\n", ITEM_DATA) + 2 : -2]


def item_flags(item: bytes) -> int:
    """The client flags of a packed item."""
    return int(item[ITEM_DATA + 1 : item.index(b" ", ITEM_DATA + 1)])


def expires_at_ms(item: bytes) -> int:
    """Cluster time at which the item ends, in milliseconds; 0 = never."""
    return int.from_bytes(item[1:9], "big")


def cas_unique(item: bytes) -> int:
    """The item's CAS unique."""
    return int.from_bytes(item[9:17], "big")


def fingerprint(item: bytes) -> int:
    """What tells apart the versions of an item that transactions read: 64 bits, never 0.

    The expiry does not count, nor does the place of a large value: that is known by its number. A
    client may give an item the unique and the value that it had before. It is the same then, also
    for who has read it.
    """
    bits = bytes((item[0] & (STALE | WON),))
    return int.from_bytes(blake2b(bits + item[9:], digest_size=8).digest(), "big") or 1


def block_bytes(length: int) -> int:
    """What the process takes for a bytes object of `length` bytes: its head of 33 bytes, rounded up
    to 16. Beyond `BLOCK_SMALL_MAX` malloc serves it, whose own head takes 8 bytes more.

    The same for CPython 3.11 to 3.13 with glibc: all replicas count alike. Up to 3 % more are lost
    at the end of CPython's pools, and half a page by values above 128 KiB.
    """
    if length > BLOCK_SMALL_MAX:
        return (length + 56) & -16
    return (length + 48) & -16


def object_bytes(key: bytes, item: bytes) -> int:
    """What an item takes as two bytes objects, and the value of a large one."""
    size = block_bytes(len(key)) + block_bytes(len(item))
    if item[0] & PIECES:
        length = value_bytes(item)
        # Heads and rounding of the pieces are at most 128 of each 128 KiB.
        size += length + (length >> 10)
    return size


def _plain_value_bytes(item: bytes) -> int:
    """Length of the value of an ordinary item; -1 if the text before it, or behind it, is not just
    as `wire_data` writes it.
    """
    space = item.find(b" ", ITEM_DATA + 1)
    line_end = item.find(b"\r\n", space + 1)
    length = len(item) - line_end - 4
    if space < 0 or line_end < 0 or length < 0 or not item.endswith(b"\r\n"):
        return -1
    flags = item[ITEM_DATA + 1 : space]
    if flags != b"0" and not (
        flags.isdigit() and len(flags) <= 10 and flags[0] != 48 and int(flags) <= FLAGS_MAX
    ):
        return -1
    is_length = item[space + 1 : line_end] == b"%d" % length
    return length if is_length and item[ITEM_DATA] == 32 else -1


def is_plain_text(item: bytes) -> bool:
    """Whether an item is not large, and its text just as `wire_data` writes it."""
    return not item[0] & PIECES and _plain_value_bytes(item) >= 0


def tells_length(item: bytes) -> bool:
    """Whether the text of a large item begins as `wire_data` writes it."""
    line_end = item.find(b"\r\n", ITEM_DATA)
    words = item[ITEM_DATA:line_end].split(b" ") if line_end > 0 else []
    return len(words) == 3 and not words[0] and all(map(_is_uint32, words[1:]))


def _is_uint32(word: bytes) -> bool:
    """Whether these are the digits of a number of 32 bits, without zeros before them."""
    if not word.isdigit() or len(word) > 10:
        return False
    return int(word) <= FLAGS_MAX and word == b"%d" % int(word)


def item_cost(key: bytes, item: bytes) -> int:
    """What one item adds to `bytes_used`: what the native table takes for it, as malloc rounds it,
    and the value of a large one. The same in all forms and on all replicas. The tables have places
    for it beside (`memory_bytes`).

    The native table keeps an item as a head, the key, and the bare value. It has the whole text of
    an item that is large, or not just as `wire_data` writes it.
    """
    bits = item[0]
    size = BLOCK_HEAD_BYTES + len(key) + (8 if bits & ENDS else 0)
    pieces_bytes = 0
    if bits & PIECES:
        length = value_bytes(item)
        # Heads and rounding of the pieces are at most 128 of each 128 KiB.
        pieces_bytes = length + (length >> 10)
        size += len(item) - ITEM_DATA
    else:
        length = _plain_value_bytes(item)
        if length < 0:
            size += len(item) - ITEM_DATA
        else:
            size += length + (0 if item.startswith(b" 0 ", ITEM_DATA) else 4)
    return ((size + 23) & -16) + pieces_bytes
