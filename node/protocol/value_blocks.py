"""The data block of a large value, handed out in pieces as it arrives.

A block above the threshold is not collected: its request goes out at once (`ValueBegins`), then its
pieces (`ValuePiece`), all of the same length but the last, then whether the block ended as it has
to (`ValueEnds`). So a connection holds one piece of a value, however large that is.
"""

from quorumcache.node.protocol.requests import Request, ValueEnds, ValuePiece

_END: bytes = b"\r\n"


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
