"""The data block of a large value, handed out in pieces as it arrives.

A block above a threshold is not collected: its request goes out at once (`ValueBegins`), then its
pieces (`ValuePiece`), all of the same length but the last, then whether the block ended as it has
to (`ValueEnds`). So a connection holds one piece of a value, however large that is.
"""

from collections.abc import Callable
from typing import Final

from quorumcache.node.protocol.requests import Request, ValueEnds, ValuePiece
from quorumcache.node.state_machine import WHOLE_ITEM_BYTES_MAX
from quorumcache.node.store.item import item_fits
from quorumcache.node.store.large import LARGE_VALUE_BYTES, PIECE_BYTES

_END: Final = b"\r\n"


class ValueLimits:
    """Which values are handed out in pieces, and how."""

    __slots__ = ("large_bytes", "may_use_pieces", "piece_bytes")

    def __init__(
        self,
        may_use_pieces: Callable[[], bool],
        large_bytes: int = 0,
        piece_bytes: int = 0,
    ) -> None:
        """`may_use_pieces`: whether all nodes of the cluster know them. `large_bytes`: values above
        it go in pieces of `piece_bytes`; 0 = the product's own.
        """
        self.may_use_pieces = may_use_pieces
        self.large_bytes = large_bytes or LARGE_VALUE_BYTES
        self.piece_bytes = piece_bytes or PIECE_BYTES

    def is_large(self, length: int) -> bool:
        """Whether a value of this length goes in pieces."""
        return length > self.large_bytes and self.may_use_pieces()

    def fits(self, key_bytes: int, flags: int, length: int, item_bytes_max: int) -> bool:
        """Whether such an item may be stored. One that is larger than what travels whole also needs
        nodes that know pieces.
        """
        if item_bytes_max > WHOLE_ITEM_BYTES_MAX and not self.may_use_pieces():
            item_bytes_max = WHOLE_ITEM_BYTES_MAX
        return item_fits(key_bytes, flags, length, item_bytes_max)


ALL_WHOLE: Final = ValueLimits(lambda: False)
"""No value is handed out in pieces."""


class ValueBlock:
    """One block that is being received."""

    __slots__ = ("_end", "_piece", "_piece_bytes", "_value_left")

    def __init__(self, value_bytes: int, piece_bytes: int) -> None:
        """`value_bytes`: what the line announced. `piece_bytes`: length of a piece."""
        self._value_left = value_bytes
        self._piece_bytes = piece_bytes
        self._piece = bytearray()
        """What has arrived of the next piece."""
        self._end = b""
        """What has arrived of the line end behind the value."""

    @property
    def buffered_bytes(self) -> int:
        """Bytes that are held."""
        return len(self._piece)

    @property
    def is_over(self) -> bool:
        """The block is complete; `ValueEnds` was handed out."""
        return len(self._end) == len(_END)

    def take(self, data: bytes, position: int, requests: list[Request]) -> int:
        """Take what `data` has of the block from `position` on; the position behind it."""
        size = len(data)
        piece_bytes = self._piece_bytes
        while self._value_left and position < size:
            held = self._piece
            count = min(self._value_left, size - position, piece_bytes - len(held))
            self._value_left -= count
            stop = position + count
            if not held and (count == piece_bytes or not self._value_left):
                requests.append(ValuePiece(data[position:stop]))
            else:
                held += data[position:stop]
                if len(held) == piece_bytes or not self._value_left:
                    requests.append(ValuePiece(bytes(held)))
                    self._piece = bytearray()
            position = stop
        if not self._value_left and position < size:
            stop = min(position + len(_END) - len(self._end), size)
            self._end += data[position:stop]
            position = stop
            if self.is_over:
                requests.append(ValueEnds(self._end == _END))
        return position
