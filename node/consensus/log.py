"""The log as a replica holds it in memory: entries after a compaction point.

     compacted away      packed runs     entries[i].index == loose_index + i
    ------------------][---------------][-----------------------------------------------]
      (prev_index,      first_index      loose_index      unstable_index      last_index
       prev_term)                                         from here on not yet handed out

Entries that are committed, and so never change, are packed now and then (`packed.py`).

What was handed out in a Ready but is not durable yet is not tracked here: acknowledgements wait for
durability in `messages_after_append`, and a leader counts itself when `persisted` is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from quorumcache.node.consensus.packed import PACKED_OVERHEAD_BYTES, PackedRun, pack, run_of
from quorumcache.node.consensus.values import Entry, EntryKind, Index, Term

ENTRY_OVERHEAD_BYTES: Final = 64
"""Charged per entry on top of its payload, until it is packed."""

LOOSE_ENTRIES_MAX: Final = 128
"""So many entries that might be packed are left as they are: the newest ones are asked for."""

DROPPED_AT_ONCE_MAX: Final = 512
"""So many entries that are not packed are let go at once, half a millisecond; of more, some at a
time (`let_go`). After a start a log may have as many as it gets."""

RUNS_AT_ONCE_MAX: Final = 32
"""The same of packed runs, of 64 KiB each: a third of a millisecond, most of it for the system, to
which the memory goes back. A log of a gigabyte has 16,384."""

RUN_BYTES_PER_WORK: Final = 2 << 10
"""To free so much of a packed run takes as long as a loose entry does."""

_NORMAL: Final = int(EntryKind.NORMAL)
_new: Final = tuple.__new__  # see raft/proposals.py


class EntryLog:
    """A contiguous run of entries above a compaction point. Entry order is the log's order."""

    __slots__ = (
        "bytes",
        "dropped",
        "dropped_runs",
        "entries",
        "first_index",
        "last_index",
        "last_term",
        "loose_index",
        "packed",
        "prev_index",
        "prev_term",
        "unstable_index",
    )

    def __init__(
        self, prev_index: Index = 0, prev_term: Term = 0, entries: Iterable[Entry] = ()
    ) -> None:
        self.packed: list[PackedRun] = []
        """The entries [first_index, loose_index)."""
        self.entries: list[Entry] = []
        """The entries [loose_index, last_index]."""
        self.loose_index = prev_index + 1
        self.prev_index = prev_index
        """The compaction point: index of the last entry forgotten; 0 = nothing was."""
        self.prev_term = prev_term
        self.first_index = prev_index + 1
        """Invariant: prev_index + 1."""
        self.last_index = prev_index
        """Invariant: loose_index + len(entries) - 1."""
        self.last_term = prev_term
        self.bytes = 0
        self.dropped: list[Entry] = []
        self.dropped_runs: list[PackedRun] = []
        """Both are no part of the log any more: `let_go` has them."""
        self.unstable_index = prev_index + 1
        """First entry not handed out in a Ready. first_index <= unstable_index <= last_index + 1;
        falls when entries that were handed out are overwritten."""
        for entry in entries:
            if entry.index > prev_index:
                self.append(entry)
        self.unstable_index = self.last_index + 1

    # -- reading -----------------------------------------------------------------------

    def term_at(self, index: Index) -> Term | None:
        """Term of the entry at `index`; None if it is not here (compacted, or not yet written)."""
        position = index - self.loose_index
        if position >= 0:
            return self.entries[position].term if index <= self.last_index else None
        if index >= self.first_index:
            return self.packed[run_of(self.packed, index)].term
        return self.prev_term if index == self.prev_index else None

    def matches(self, index: Index, term: Term) -> bool:
        """Does the entry at `index` have `term`? Then all before it are equal as well."""
        return self.term_at(index) == term

    def slice(self, lo: Index, hi: Index) -> list[Entry]:
        """Entries [lo, hi); first_index <= lo <= hi <= last_index + 1."""
        first = self.loose_index
        assert lo <= hi <= self.last_index + 1, (lo, hi, self.last_index)
        if lo >= first:
            return self.entries[lo - first : hi - first]
        found = self._unpacked(lo, hi)
        if hi > first:
            found += self.entries[: hi - first]
        return found

    def first_of(self, lo: Index, hi: Index, bytes_max: int) -> list[Entry]:
        """Of the entries [lo, hi) the first ones whose payloads fit `bytes_max`, at least one if
        there is one; limits as in `slice`."""
        found = self.slice(lo, hi)
        if len(found) > 1:
            size = 0
            for position, entry in enumerate(found):
                size += len(entry[3])
                if size > bytes_max and position:
                    return found[:position]
        return found

    def _unpacked(self, lo: Index, hi: Index) -> list[Entry]:
        """Of the entries [lo, hi) those that are packed; `lo` is."""
        assert self.first_index <= lo, (self.first_index, lo)
        found: list[Entry] = []
        for position in range(run_of(self.packed, lo), len(self.packed)):
            run = self.packed[position]
            if run.first_index >= hi:
                break
            found += run.entries(max(lo, run.first_index), min(hi, run.last_index + 1))
        return found

    def batch(self, lo: Index, bytes_max: int) -> tuple[tuple[Entry, ...], int]:
        """Entries from `lo` on whose payloads fit `bytes_max`, at least one if there is one.

        Returns them and their payload bytes.
        """
        first = self.loose_index
        entries = self.entries
        position = lo - first
        if position < 0:
            entries = self._from_packed(lo, bytes_max)
            position = 0
        elif position == len(entries) - 1:  # the usual case: one new entry
            entry = entries[position]
            return (entry,), len(entry[3])
        size = 0
        end = position
        for end in range(position, len(entries)):
            size += len(entries[end][3])
            if size > bytes_max and end > position:
                return tuple(entries[position:end]), size - len(entries[end][3])
        return tuple(entries[position:]), size

    def _from_packed(self, lo: Index, bytes_max: int) -> list[Entry]:
        """Entries from `lo` on, which is packed: more than `bytes_max`, or all."""
        assert self.first_index <= lo, (self.first_index, lo)
        found: list[Entry] = []
        for position in range(run_of(self.packed, lo), len(self.packed)):
            run = self.packed[position]
            start = max(lo, run.first_index)
            end = run.beyond(start, bytes_max)
            found += run.entries(start, end)
            bytes_max -= run.payload_bytes(start, end)
            if bytes_max < 0:
                return found
        return found + self.entries

    def is_up_to_date(self, last_index: Index, last_term: Term) -> bool:
        """Is a log that ends so at least as up to date as this one? (Raft thesis 3.6.1)"""
        if last_term != self.last_term:
            return last_term > self.last_term
        return last_index >= self.last_index

    def conflict_hint(self, index: Index, term: Term) -> tuple[Index, Term]:
        """Largest (index', term') here with index' <= `index` and term' <= `term`.

        Below it two logs can agree, above it they cannot: a whole term is skipped in one exchange.
        The compaction point is the lowest answer. Source: Raft paper 5.3, "if desired ...".
        """
        index = min(index, self.last_index)
        first = self.loose_index
        entries = self.entries
        while index >= first:
            found = entries[index - first].term
            if found <= term:
                return index, found
            index -= 1
        if index >= self.first_index:
            for position in range(run_of(self.packed, index), -1, -1):
                run = self.packed[position]
                if run.term <= term:
                    return min(index, run.last_index), run.term
            index = self.prev_index
        if index < self.prev_index:
            return index, 0  # compacted away: nothing is known
        return self.prev_index, self.prev_term

    # -- writing -----------------------------------------------------------------------

    def append(self, entry: Entry) -> None:
        """Add one entry at the end."""
        index, term, _, payload = entry
        assert index == self.last_index + 1, (index, self.last_index)
        assert term >= self.last_term, (term, self.last_term)
        self.entries.append(entry)
        self.last_index = index
        self.last_term = term
        self.bytes += len(payload) + ENTRY_OVERHEAD_BYTES

    def append_own(self, term: Term, payload: bytes) -> Entry:
        """Add a command of `term` at the end, and give its entry out; so must all before it be."""
        index = self.last_index + 1
        assert term >= self.last_term, (term, self.last_term)
        assert self.unstable_index == index, (self.unstable_index, index)
        entry: Entry = _new(Entry, (index, term, _NORMAL, payload))
        self.entries.append(entry)
        self.last_index = index
        self.last_term = term
        self.bytes += len(payload) + ENTRY_OVERHEAD_BYTES
        self.unstable_index = index + 1
        return entry

    def payload_bytes(self, lo: Index, hi: Index) -> int:
        """Payload bytes of the entries [lo, hi); limits as in `slice`."""
        first = self.loose_index
        size = 0
        if lo < first:
            assert self.first_index <= lo, (self.first_index, lo)
            for run in self.packed:
                if run.last_index >= lo and run.first_index < hi:
                    size += run.payload_bytes(max(lo, run.first_index), min(hi, run.last_index + 1))
            lo = first
        for position in range(lo - first, hi - first):
            size += len(self.entries[position][3])
        return size

    def first_conflict(self, entries: Sequence[Entry]) -> int:
        """Position in `entries` of the first that is not here with the same term.

        len(entries) if all are. The entries follow one that matches.
        """
        for position, entry in enumerate(entries):
            if self.term_at(entry.index) != entry.term:
                return position
        return len(entries)

    def truncate_suffix(self, index: Index) -> None:
        """Drop all entries >= `index`, none of them packed."""
        position = index - self.loose_index
        assert position >= 0, (index, self.loose_index)
        entries = self.entries
        for entry in entries[position:]:
            self.bytes -= len(entry[3]) + ENTRY_OVERHEAD_BYTES
        del entries[position:]
        self.last_index = index - 1
        term = self.term_at(self.last_index)
        assert term is not None
        self.last_term = term
        self.unstable_index = min(self.unstable_index, self.last_index + 1)

    def bytes_after(self, index: Index) -> int:
        """Bytes that the entries > `index` take; `bytes` if nothing below is held."""
        return self.bytes - self._bytes_until(index)

    def _bytes_until(self, index: Index) -> int:
        """Bytes that the entries <= `index` take."""
        size = 0
        for run in self.packed:
            if run.first_index > index:
                return size
            last = min(index, run.last_index)
            size += run.payload_bytes(run.first_index, last + 1)
            size += PACKED_OVERHEAD_BYTES * (last + 1 - run.first_index)
        for entry in self.entries[: max(0, index + 1 - self.loose_index)]:
            size += len(entry[3]) + ENTRY_OVERHEAD_BYTES
        return size

    def pack(self, index: Index, work_max: int, least: int = 0) -> int:
        """Pack the entries <= `index` if they are `least` or more (0: LOOSE_ENTRIES_MAX), the
        oldest first, up to `work_max`; how much work that was (`packed.pack`).

        They must be committed and handed out: what is packed is never truncated.
        """
        count = index + 1 - self.loose_index
        if count < (least or LOOSE_ENTRIES_MAX):
            return 0
        assert index < self.unstable_index, (index, self.unstable_index)
        runs, work = pack(self.entries[: min(count, work_max)], work_max)
        count = runs[-1].last_index + 1 - self.loose_index
        self.bytes -= count * (ENTRY_OVERHEAD_BYTES - PACKED_OVERHEAD_BYTES)
        self.packed += runs
        del self.entries[:count]
        self.loose_index += count
        return work

    def compact(self, index: Index) -> None:
        """Forget all entries <= `index`; they must have been handed out."""
        if index <= self.prev_index:
            return
        assert index < self.unstable_index, (index, self.unstable_index)
        term = self.term_at(index)
        assert term is not None
        self.bytes -= self._bytes_until(index)
        packed = self.packed
        if index + 1 >= self.loose_index:
            self._drop(index + 1 - self.loose_index)
            self._drop_runs(len(packed))
            self.loose_index = index + 1
        else:
            position = run_of(packed, index + 1)
            if packed[position].first_index <= index:
                packed[position] = packed[position].after(index)
            self._drop_runs(position)
        self.prev_index = index
        self.prev_term = term
        self.first_index = index + 1

    def restore(self, index: Index, term: Term) -> None:
        """Replace everything by a snapshot that ends at `index`."""
        self._drop_runs(len(self.packed))
        self._drop(len(self.entries))
        self.bytes = 0
        self.prev_index = self.last_index = index
        self.prev_term = self.last_term = term
        self.first_index = self.loose_index = self.unstable_index = index + 1

    def _drop(self, count: int) -> None:
        """Take the first `count` loose entries out. If they are many, `let_go` frees them. Of what
        it has not freed of those before as many go now, so there is never more than a log of it."""
        dropped = self.dropped
        if count <= DROPPED_AT_ONCE_MAX:
            del self.entries[:count]
        elif count < len(self.entries):
            dropped[:count] = self.entries[:count]
            del self.entries[:count]
        else:
            self.dropped, self.entries = self.entries, []
            self.dropped += dropped[count:]

    def _drop_runs(self, count: int) -> None:
        """Take the first `count` packed runs out, likewise."""
        if count > RUNS_AT_ONCE_MAX:
            self.dropped_runs[:count] = self.packed[:count]
        del self.packed[:count]

    def let_go(self, work_max: int) -> int:
        """Free entries that were dropped, up to about `work_max`; how much work it was: one for
        each loose one, and for a run as much as takes the same time (`RUN_BYTES_PER_WORK`).
        """
        work = min(work_max, len(self.dropped))
        if work:
            del self.dropped[-work:]
        runs = self.dropped_runs
        while runs and work < work_max:
            work += 1 + len(runs.pop().payloads) // RUN_BYTES_PER_WORK
        return work

    def take_unstable(self) -> list[Entry]:
        """Entries not handed out yet; now they are."""
        lo = self.unstable_index
        self.unstable_index = self.last_index + 1
        return self.entries[lo - self.loose_index :]
