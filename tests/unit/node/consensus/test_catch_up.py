"""The window of what is sent to a node that was away."""

from __future__ import annotations

from typing import cast

from quorumcache.node.consensus.catch_up import (
    DOUBLINGS_MAX,
    PARTS,
    SNAPSHOTS_MAX,
    CatchUpWindow,
    CatchUpWindows,
)
from quorumcache.node.consensus.progress import SNAPSHOT_SILENT_CHECKS, Progress
from quorumcache.node.consensus.values import SendBudget


def test_one_group_gets_a_part_of_the_window_at_a_time() -> None:
    window = CatchUpWindow()
    assert window.room(1000, 400, 0) == 400 // PARTS
    assert window.room(7, 400, 0) == 7
    window.under_way = 399
    assert window.room(1000, 400, 0) == 400 // PARTS, "it is passed by a part at most"
    window.under_way = 400
    assert window.room(1000, 400, 0) == 0
    assert CatchUpWindow().room(10, 1, 0) == 1, "however small it is"


def test_each_round_has_twice_the_window_of_the_one_before() -> None:
    window = CatchUpWindow()
    window.under_way = 400
    assert window.room(1000, 400, 1) == 2 * 400 // PARTS
    window.under_way = 400 << DOUBLINGS_MAX
    assert window.room(1000, 400, DOUBLINGS_MAX + 1) == 0


def test_groups_share_the_window_to_a_node() -> None:
    windows = CatchUpWindows()
    assert windows.of(2) is windows.of(2)
    assert windows.of(2) is not windows.of(3)


def behind(window: CatchUpWindow, match_index: int = 5) -> Progress:
    p = Progress(2, match_index + 1, window)
    p.acknowledged(match_index)
    p.become_replicate()
    return p


def test_a_member_takes_of_the_window_what_it_was_sent_while_it_was_behind() -> None:
    window = CatchUpWindow()
    p = behind(window)
    p.sent(6, 100)
    p.sent(8, 50)
    assert window.under_way == 150
    p.arrived()
    p.sent(9, 1000)
    assert window.under_way == 150, "what is new does not count"
    p.acknowledged(6)
    assert window.under_way == 50
    p.acknowledged(9)
    assert (window.under_way, p.inflight_bytes) == (0, 0)


def test_whatever_becomes_of_it_the_window_is_given_back() -> None:
    for end in ("probed", "snapshot", "silent", "let go"):
        window = CatchUpWindow()
        other = behind(window)
        other.sent(6, 7)
        p = behind(window)
        p.sent(6, 100)
        p.sent(7, 100)
        if end == "probed":
            p.become_probe()
        elif end == "snapshot":
            p.become_snapshot(0)
        elif end == "silent":
            p.recent_active = False
            p.checked()
        else:
            p.release()
        assert window.under_way == 7, end
        p.acknowledged(7)
        assert window.under_way == 7, f"not twice: {end}"


def test_the_rounds_of_a_member_that_is_behind_are_forgotten_when_it_has_arrived() -> None:
    p = behind(CatchUpWindow())
    p.begin_round(20)
    assert p.doublings == 0, "the first one"
    p.acknowledged(19)
    p.begin_round(30)
    assert p.doublings == 0, "it lasts"
    p.acknowledged(20)
    p.begin_round(30)
    assert p.doublings == 1
    p.become_snapshot(0)
    assert p.doublings == 2, "its log was dropped meanwhile"
    p.become_replicate()
    p.arrived()
    assert p.doublings == 0
    p.acknowledged(40)
    p.begin_round(50)
    assert p.doublings == 0, "it is not behind"


def test_a_snapshot_gets_a_larger_part_since_fewer_share_the_window() -> None:
    p = behind(CatchUpWindow())
    assert p.snapshot_room(1000, 400) == 400 // SNAPSHOTS_MAX
    assert p.snapshot_room(7, 400) == 7


def test_so_many_snapshots_are_on_their_way_and_no_more() -> None:
    window = CatchUpWindow()
    first, *others = (behind(window) for _ in range(SNAPSHOTS_MAX + 1))
    assert first.take_place(0)
    assert first.take_place(0), "it has one"
    assert [p.take_place(0) for p in others] == [True] * (SNAPSHOTS_MAX - 1) + [False]
    assert window.snapshots == SNAPSHOTS_MAX
    first.leave_place()
    first.leave_place()
    assert window.snapshots == SNAPSHOTS_MAX - 1
    assert others[-1].take_place(0)


def test_whatever_becomes_of_a_snapshot_its_place_is_given_back() -> None:
    for end in ("probed", "installed", "wanted anew", "silent", "let go"):
        window = CatchUpWindow()
        p = behind(window)
        p.become_snapshot(0)
        assert p.take_place(0)
        if end == "probed":
            p.become_probe()
        elif end == "installed":
            p.become_replicate()
        elif end == "wanted anew":
            p.become_snapshot(1)
        elif end == "silent":
            for _ in range(SNAPSHOT_SILENT_CHECKS):
                assert window.snapshots == 1, "for a while it may come back to it"
                p.recent_active = False
                p.checked()
        else:
            p.leave_window()
        assert window.snapshots == 0, end


def test_the_snapshot_of_a_learner_takes_no_place() -> None:
    """It goes as slowly as its budget says: a voter is not to wait for it."""
    window = CatchUpWindow()
    learner = behind(window)
    learner.budget = cast(SendBudget, object())
    window.snapshots = SNAPSHOTS_MAX
    assert learner.take_place(0)
    learner.leave_place()
    assert window.snapshots == SNAPSHOTS_MAX
