"""How often a data directory was started, and the marks of its last starts. Pure values.

`start_record.py` says what they are for, and keeps them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MARK_BYTES: Final = 4
"""Of the random mark of a start."""

MARKS_MAX: Final = 1024
"""Marks that a directory keeps, and tells in each hello. A node that has not seen another one for
so many of its starts can no longer tell whether that one has the same directory."""


class Starts(NamedTuple):
    """How often a directory was started as a member, and the marks of the last starts."""

    number: int = 0
    marks: bytes = b""
    """`MARK_BYTES` each, the newest last: of all starts, or of the last `MARKS_MAX`."""

    def next(self, incarnation: int) -> Starts:
        """With one start more. Its mark is taken from the process's random number."""
        mark = (incarnation % (1 << 8 * MARK_BYTES)).to_bytes(MARK_BYTES, "big")
        return Starts(self.number + 1, (self.marks + mark)[-MARK_BYTES * MARKS_MAX :])

    def mark_of(self, number: int) -> bytes | None:
        """The mark of start `number`; None if it is not among those kept."""
        at = len(self.marks) - (self.number - number + 1) * MARK_BYTES
        return self.marks[at : at + MARK_BYTES] if 0 <= at < len(self.marks) else None
