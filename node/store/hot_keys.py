"""Which items of a shard were hit lately, as one bit for each: a leader's hint for a later one.

Only the leader sees the reads, so a replica that comes to lead knows nothing of them. A sketch
tells it enough to keep what is asked for. The bit of a key is chosen by its token, so a sketch says
of some keys that they were hit though they were not; such an item stays for one round more.
"""

from typing import Final

SKETCH_BYTES_MAX: Final = 32 << 10
"""Of one shard: a frame's worth."""

SKETCH_BYTES_MIN: Final = 8

BITS_PER_ITEM: Final = 4
"""Then one key of five is taken for a hot one by mistake, when half of the items are hot."""


class HotKeys:
    """A sketch."""

    __slots__ = ("_bits", "_mask")

    def __init__(self, bits: bytearray) -> None:
        """`bits`: as many bytes as `is_sketch` allows."""
        self._bits = bits
        self._mask = 8 * len(bits) - 1

    def add(self, token: int) -> None:
        """The key of this token is hot."""
        bit = token & self._mask
        self._bits[bit >> 3] |= 1 << (bit & 7)

    def has(self, token: int) -> bool:
        """Whether the key of this token is hot, or looks so."""
        bit = token & self._mask
        return self._bits[bit >> 3] >> (bit & 7) & 1 == 1

    @property
    def bits(self) -> bytes:
        """What `HotKeys` is made of again."""
        return bytes(self._bits)


def new_sketch(items: int) -> HotKeys:
    """An empty sketch for a shard of so many items."""
    size = SKETCH_BYTES_MIN
    while 8 * size < BITS_PER_ITEM * items and size < SKETCH_BYTES_MAX:
        size *= 2
    return HotKeys(bytearray(size))


def hits_to_be_hot(items: int) -> int:
    """Hits from which on an item is put into the sketch: more, where there are too many items."""
    return 1 if items <= 8 * SKETCH_BYTES_MAX else 3


def is_sketch(bits: bytes) -> bool:
    """Whether something that came from outside has the length of a sketch."""
    size = len(bits)
    return SKETCH_BYTES_MIN <= size <= SKETCH_BYTES_MAX and size & (size - 1) == 0
