"""What the log knows of its groups: one set of rules, used while writing and while recovering.

`GroupStates.take` is called for every item in the order in which items stand in the log, by the
writer when it puts them into a frame, by recovery when it reads them back. So the two cannot
disagree about what a sequence of items means.

Pure.
"""

from __future__ import annotations

from node.consensus.api import HardState
from node.wal.format import GroupHead, Head, Mark, MarkKind, WalRecord

NOTHING = (0, 0)
_NO_HARD_STATE = HardState(0, 0)


class GroupStates:
    """The newest state of every group, up to the items taken so far."""

    __slots__ = ("bases", "cuts", "hard_states", "last_indexes", "touched")

    def __init__(self) -> None:
        self.hard_states: dict[int, HardState] = {}
        """Every known group has one, if only the zero one."""
        self.bases: dict[int, tuple[int, int]] = {}
        """Group to (index, term) of its newest marked snapshot."""
        self.last_indexes: dict[int, int] = {}
        """Group to the index of its last entry, or of its base when none follows."""
        self.touched: dict[int, int] = {}
        """Group to last index, of groups that got entries; the owner sets a new one per segment."""
        self.cuts: list[tuple[int, int]] = []
        """(group, index): entries above index no longer count in earlier segments. Takes effect
        once the items are durable; the owner empties it
        per frame."""

    def take_record(self, record: WalRecord) -> None:
        """A group's hard state and entries. Raises ValueError when they do not follow its log."""
        group, hard_state, entries = record
        if hard_state is not None:
            self.hard_states[group] = hard_state
        if entries:
            first_index = entries[0][0]
            last_index = self.last_indexes.get(group, 0)
            if not last_index:
                self.hard_states.setdefault(group, _NO_HARD_STATE)
            if first_index <= last_index:
                if first_index <= self.bases.get(group, NOTHING)[0]:
                    raise ValueError(f"group {group}: entry {first_index} is below its snapshot")
                self.cuts.append((group, first_index - 1))
            elif first_index != last_index + 1:
                raise ValueError(f"group {group}: entry {first_index} follows {last_index}")
            last_index = entries[-1][0]
            self.last_indexes[group] = last_index
            self.touched[group] = last_index

    def take_mark(self, mark: Mark) -> None:
        """A group's log was dropped up to a snapshot, or altogether."""
        group, kind, index, term = mark
        if kind == MarkKind.FORGOTTEN:
            for table in (self.hard_states, self.bases, self.last_indexes, self.touched):
                table.pop(group, None)
            self.cuts.append((group, 0))
            return
        if index <= self.bases.get(group, NOTHING)[0]:
            return
        self.hard_states.setdefault(group, _NO_HARD_STATE)
        self.bases[group] = (index, term)
        last_index = self.last_indexes.get(group, 0)
        if kind == MarkKind.INSTALLED or index > last_index:
            self.cuts.append((group, index))
            if group in self.touched:
                self.touched[group] = index
            self.last_indexes[group] = index

    def take_head(self, head: Head) -> None:
        """Start from the head of the oldest segment."""
        for group, term, voted_for, base_index, base_term, last_index in head.groups:
            self.hard_states[group] = HardState(term, voted_for)
            if base_index:
                self.bases[group] = (base_index, base_term)
            self.last_indexes[group] = last_index

    def head(self, previous_end: int) -> Head:
        """The head of a segment that starts here."""
        return Head(
            previous_end,
            tuple(
                GroupHead(
                    group,
                    *hard_state,
                    *self.bases.get(group, NOTHING),
                    self.last_indexes.get(group, 0),
                )
                for group, hard_state in sorted(self.hard_states.items())
            ),
        )
