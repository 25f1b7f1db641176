"""What the log knows of its groups: one set of rules, used while writing and while recovering.

`GroupStates.take` is called for every item in the order in which items stand in the log, by the
writer when it puts them into a frame, by recovery when it reads them back. So the two cannot
disagree about what a sequence of items means.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from quorumcache.node.consensus.values import HardState
from quorumcache.node.wal.format import GroupHead, Head, Mark, MarkKind, WalRecord

NOTHING: Final = (0, 0)
NO_HARD_STATE: Final = HardState(0, 0)


def plain_take_following(
    items: Sequence[WalRecord | Mark],
    position: int,
    last_indexes: dict[int, int],
    touched: dict[int, int],
) -> int:
    """See `take_following`."""
    for at in range(position, len(items)):
        item = items[at]
        if len(item) != 3:
            return at
        group, hard_state, entries = item
        if hard_state is not None or not entries:
            return at
        first_index = entries[0][0]
        if first_index < 2 or first_index != last_indexes.get(group, 0) + 1:
            return at
        last_indexes[group] = touched[group] = entries[-1][0]
    return len(items)


TakeFollowing = Callable[[Sequence[WalRecord | Mark], int, dict[int, int], dict[int, int]], int]


def _form() -> TakeFollowing:
    try:
        from quorumcache.node.core import wire
    except ImportError:  # The sources run: `compiled.py` hides what was compiled.
        return plain_take_following
    return wire.take_following


take_following: Final[TakeFollowing] = _form()
"""Take in the usual items from a position on: records without a hard state, whose entries are right
behind the last one of their group. Their last entries are put into both tables. Returns the
position of the first item that is another case."""


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

    def take(self, items: Sequence[WalRecord | Mark]) -> list[Mark]:
        """Take items in log order; return the marks among them.

        Raises ValueError for entries that do not follow what is there.
        """
        marks: list[Mark] = []
        position = -1
        while True:
            # A busy node comes through here for every record that it writes.
            position = take_following(items, position + 1, self.last_indexes, self.touched)
            if position == len(items):
                return marks
            item = items[position]
            if len(item) == 3:
                group, hard_state, entries = item
                if hard_state is not None:
                    self.hard_states[group] = hard_state
                if entries:
                    self._take_entries(group, entries[0][0], entries[-1][0])
            else:
                assert isinstance(item, Mark)
                self._take_mark(item)
                marks.append(item)

    def _take_entries(self, group: int, first_index: int, last_index: int) -> None:
        """A group's first entries, or some that replace others."""
        present_index = self.last_indexes.get(group, 0)
        if first_index > present_index + 1:
            raise ValueError(f"group {group}: entry {first_index} follows {present_index}")
        if first_index <= self.bases.get(group, NOTHING)[0]:
            raise ValueError(f"group {group}: entry {first_index} is below its snapshot")
        if first_index <= present_index:
            self.cuts.append((group, first_index - 1))
        self.hard_states.setdefault(group, NO_HARD_STATE)
        self.last_indexes[group] = self.touched[group] = last_index

    def _take_mark(self, mark: Mark) -> None:
        """A group's log was dropped up to a snapshot, or altogether."""
        group, kind, index, term = mark
        if kind == MarkKind.FORGOTTEN:
            for table in (self.hard_states, self.bases, self.last_indexes, self.touched):
                table.pop(group, None)
            self.cuts.append((group, 0))
            return
        if index <= self.bases.get(group, NOTHING)[0]:
            return
        self.hard_states.setdefault(group, NO_HARD_STATE)
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
