"""The places of replies in their order, and what stands in them."""

from __future__ import annotations

from quorumcache.node.operations.operation import Read


class ValueStream:
    """A value that comes in pieces, in its place among the pieces of a reply.

    A class and no `Protocol`: mypyc calls the methods of a class directly.
    """

    __slots__ = ("is_broken", "is_over")

    def __init__(self) -> None:
        self.is_over = False
        """All was taken."""
        self.is_broken = False
        """The rest cannot be had: the client has to learn so by the end of its connection."""

    def take(self) -> bytes | None:
        """The next piece; None if it is not here yet: then a pump is scheduled once it is."""
        raise NotImplementedError

    def close(self) -> None:
        """Nobody takes the rest."""
        raise NotImplementedError

    def again(self) -> ValueStream:
        """The same value once more. Nothing of this one was taken yet."""
        raise NotImplementedError


class Slot:
    """The place of one reply in the order of replies."""

    __slots__ = ("_pieces", "done", "whole")

    def __init__(self) -> None:
        self._pieces: list[bytes | memoryview | ValueStream] | None = None
        """None until somebody asks: most replies are one piece, and have no list."""
        self.done = False
        self.whole: bytes | None = None
        """A reply that came as one piece before its turn. Then it is done, and has no pieces."""

    @property
    def pieces(self) -> list[bytes | memoryview | ValueStream]:
        """What the reply has so far, to be changed in place."""
        pieces = self._pieces
        if pieces is None:
            pieces = self._pieces = []
        return pieces

    @property
    def is_empty(self) -> bool:
        """Nothing of the reply lies here."""
        return self.whole is None and not self._pieces


class Parked:
    """A read whose answer was dropped, and the place of its reply."""

    __slots__ = ("read", "slot")

    def __init__(self, slot: Slot, read: Read) -> None:
        self.slot = slot
        self.read = read
