"""Old entries of a log in memory, without an object each.

Of 14 bytes of key and 100 of value an entry as a tuple takes 330 bytes: itself, its index, its
payload as an object. Packed it takes what its payload has, and 4 bytes. What is worse, objects of a
few hundred bytes lie among others that live on; one such neighbour keeps a megabyte from going back
to the system when thousands of entries around it are dropped. The payloads of a run are one block.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from quorumcache.node.consensus.values import Entry, Index, Term

PACKED_OVERHEAD_BYTES: Final = 8
"""Charged per packed entry on top of its payload."""

RUN_BYTES_GOAL: Final = 64 << 10
"""A run takes no further entry once it holds so much. So an entry that is larger is a run of its
own, whose payload is not copied."""

BYTES_PER_ENTRY: Final = 512
"""To copy so much takes as long as what else is done for an entry."""


class PackedRun:
    """Consecutive entries of one term and kind, at least one: their payloads, one behind the
    other."""

    __slots__ = ("ends", "first_index", "kind", "last_index", "payloads", "term")

    def __init__(
        self, first_index: Index, term: Term, kind: int, payloads: bytes, ends: array[int]
    ) -> None:
        self.first_index = first_index
        self.last_index = first_index + len(ends) - 1
        self.term = term
        self.kind = kind
        self.payloads = payloads
        self.ends = ends
        """Where each payload ends."""

    def payload_bytes(self, lo: Index, hi: Index) -> int:
        """Payload bytes of the entries [lo, hi), all of them here."""
        start = self._start(lo)
        return self._start(hi) - start

    def entries(self, lo: Index, hi: Index) -> list[Entry]:
        """The entries [lo, hi), all of them here."""
        if len(self.ends) == 1:  # It may be large, and is not copied.
            return [Entry(lo, self.term, self.kind, self.payloads)] if lo < hi else []
        start = self._start(lo)
        found: list[Entry] = []
        for index in range(lo, hi):
            end = self.ends[index - self.first_index]
            found.append(Entry(index, self.term, self.kind, self.payloads[start:end]))
            start = end
        return found

    def beyond(self, lo: Index, bytes_max: int) -> Index:
        """Where entries from `lo` on end that are more than `bytes_max` with the last one, and
        would not be without it; the end of the run if there are not so many."""
        last = bisect_right(self.ends, self._start(lo) + bytes_max, lo - self.first_index)
        return min(self.first_index + last, self.last_index) + 1

    def after(self, index: Index) -> PackedRun:
        """The entries > `index`, at least one, in a block of their own."""
        start = self._start(index + 1)
        ends = array("I", [end - start for end in self.ends[index + 1 - self.first_index :]])
        return PackedRun(index + 1, self.term, self.kind, self.payloads[start:], ends)

    def _start(self, index: Index) -> int:
        position = index - self.first_index
        return self.ends[position - 1] if position > 0 else 0


def pack(entries: Sequence[Entry], work_max: int) -> tuple[list[PackedRun], int]:
    """The first of these entries, which follow each other, in as few runs as it takes: all, or as
    many as make `work_max`. Returns the work as well: one for each entry, and for what is copied
    as much as for so many entries as it takes the time of (`BYTES_PER_ENTRY`).
    """
    runs: list[PackedRun] = []
    payloads: list[bytes] = []
    ends: list[int] = []
    size = 0
    work = copied = 0
    first_index = term = kind = 0
    for entry in entries:
        if work + copied // BYTES_PER_ENTRY >= work_max:
            break
        payload = entry[3]
        work += 1
        if len(payload) <= RUN_BYTES_GOAL:
            copied += len(payload)
        fits = size + len(payload) <= RUN_BYTES_GOAL and entry[1] == term and entry[2] == kind
        if payloads and not fits:
            runs.append(PackedRun(first_index, term, kind, b"".join(payloads), array("I", ends)))
            payloads, ends, size = [], [], 0
        if not payloads:
            first_index, term, kind, _ = entry
        payloads.append(payload)
        size += len(payload)
        ends.append(size)
    if payloads:
        runs.append(PackedRun(first_index, term, kind, b"".join(payloads), array("I", ends)))
    return runs, work + copied // BYTES_PER_ENTRY


def run_of(runs: Sequence[PackedRun], index: Index) -> int:
    """Position of the run with the entry of that index, which is in one of these."""
    lo, hi = 0, len(runs) - 1
    while lo < hi:
        middle = (lo + hi) // 2
        if runs[middle].last_index < index:
            lo = middle + 1
        else:
            hi = middle
    return lo
