"""What a sequence of items in the log means, for its writer and for a start alike."""

from __future__ import annotations

import pytest

from quorumcache.node.consensus.values import Entry, HardState
from quorumcache.node.wal.format import GroupHead, Head, Mark, MarkKind, WalRecord
from quorumcache.node.wal.groups import GroupStates


def record(group: int, first: int, count: int = 1, term: int = 1) -> WalRecord:
    entries = tuple(Entry(first + i, term, 0, b"x") for i in range(count))
    return WalRecord(group, HardState(term, 2), entries)


def test_entries_follow_and_replace() -> None:
    states = GroupStates()
    states.take([record(1, 1, 5)])
    assert (states.last_indexes, states.touched, states.cuts) == ({1: 5}, {1: 5}, [])
    states.take([record(1, 3, 1, term=2)])
    assert states.last_indexes == {1: 3}
    assert states.cuts == [(1, 2)], "those above no longer count in earlier segments"
    assert states.hard_states == {1: HardState(2, 2)}


def test_a_vote_alone_touches_no_entries() -> None:
    states = GroupStates()
    states.take([WalRecord(1, HardState(3, 1))])
    assert states.hard_states == {1: HardState(3, 1)}
    assert (states.last_indexes, states.touched) == ({}, {})


@pytest.mark.parametrize("first", [2, 7])
def test_a_gap_is_refused(first: int) -> None:
    with pytest.raises(ValueError, match=f"group 1: entry {first} follows 0"):
        GroupStates().take([record(1, first)])


def test_entries_below_the_snapshot_are_refused() -> None:
    states = GroupStates()
    states.take([record(1, 1, 5), Mark(1, MarkKind.COMPACTED, 4, 1)])
    with pytest.raises(ValueError, match="entry 4 is below its snapshot"):
        states.take([record(1, 4)])


def test_marks_are_returned_and_a_snapshot_of_its_own_keeps_the_entries_behind_it() -> None:
    states = GroupStates()
    mark = Mark(1, MarkKind.COMPACTED, 3, 1)
    assert states.take([record(1, 1, 5), mark]) == [mark]
    assert states.bases == {1: (3, 1)}
    assert states.last_indexes == {1: 5}
    assert states.cuts == []
    assert states.take([Mark(1, MarkKind.COMPACTED, 2, 1)]), "an older one changes nothing"
    assert states.bases == {1: (3, 1)}


def test_an_installed_snapshot_drops_the_entries_behind_it() -> None:
    states = GroupStates()
    states.take([record(1, 1, 5), Mark(1, MarkKind.INSTALLED, 3, 2)])
    assert states.last_indexes == {1: 3}
    assert states.touched == {1: 3}
    assert states.cuts == [(1, 3)]
    states.take([record(1, 4)])
    assert states.last_indexes == {1: 4}


def test_nothing_is_left_of_a_forgotten_group() -> None:
    states = GroupStates()
    states.take([record(1, 1, 5), record(2, 1), Mark(1, MarkKind.FORGOTTEN, 0, 0)])
    assert states.cuts == [(1, 0)]
    assert set(states.hard_states) == set(states.last_indexes) == set(states.touched) == {2}


def test_a_head_says_all_that_the_items_said() -> None:
    states = GroupStates()
    states.take([record(2, 1, 5), Mark(2, MarkKind.COMPACTED, 3, 1), record(1, 1, term=4)])
    head = states.head(77)
    assert head == Head(77, (GroupHead(1, 4, 2, 0, 0, 1), GroupHead(2, 1, 2, 3, 1, 5)))
    again = GroupStates()
    again.take_head(head)
    assert again.head(77) == head
    assert (again.hard_states, again.bases, again.last_indexes) == (
        states.hard_states,
        states.bases,
        states.last_indexes,
    )
