"""The numbers that a write carries, so that it is executed once however often it is repeated. Pure.

Exactly once (Raft thesis 6.3): a write carries (session, sequence). A `NodeSession` is this
process's identity towards one group; it is opened through the group's log, so that the group
remembers which of its sequences were executed, and with which result. An attempt whose fate is
unknown can therefore be repeated at the next leader: it is executed once, or answered from memory.

A client that has opened a session itself numbers its own writes. Such a write carries the client's
`WriteId` in place of ours, and never another one: the client may repeat it through another node
after this one is gone.
"""

from __future__ import annotations

from typing import Any, Final

FIRST_SEQUENCE: Final = 1
"""First sequence of a session."""

WriteId = tuple[int, int, int]
"""(session, sequence, floor) of a write, as its client gave them."""


class NodeSession:
    """This process towards one group: an id known to the group's log, and sequences in flight."""

    __slots__ = ("_ended", "_floor", "id", "next_sequence")

    def __init__(self, session_id: int) -> None:
        self.id: Any = session_id
        """A number, kept as an object: each command holds it, and would have to make one."""
        self.next_sequence: int = FIRST_SEQUENCE
        self._floor: int = FIRST_SEQUENCE
        self._ended: set[int] = set()
        """Sequences above the floor that need not be repeated any more. Most end in their order, so
        it is empty most of the time."""

    def take(self) -> int:
        """The sequence of one more write."""
        sequence = self.next_sequence
        self.next_sequence = sequence + 1
        return sequence

    def end(self, sequence: int) -> None:
        """Its write will not be sent any more."""
        ended = self._ended
        if sequence != self._floor:
            if sequence > self._floor:
                ended.add(sequence)
            return
        sequence += 1
        while ended and sequence in ended:
            ended.remove(sequence)
            sequence += 1
        self._floor = sequence

    def floor(self) -> int:
        """The lowest sequence that may still be repeated. What lies below is answered, and the
        group may forget it."""
        return self._floor
