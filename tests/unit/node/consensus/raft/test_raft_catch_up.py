"""What a leader sends to a node that was away, beside other leaders of its node."""

from __future__ import annotations

from quorumcache.node.consensus.catch_up import SNAPSHOTS_MAX, CatchUpWindows
from quorumcache.node.consensus.raft.messages import (
    Append,
    AppendReply,
    HeartbeatReply,
    SnapshotChunk,
    SnapshotReply,
)
from quorumcache.node.consensus.raft.snapshots import REPEAT_DOUBLINGS_MAX
from quorumcache.node.consensus.values import Configuration, SnapshotMeta, SnapshotSource
from tests.support.raft_solo import ELECTION_TICKS, Solo

THREE = Configuration((1, 2, 3))
BOUNDS = {"catch_up_bytes_max": 40, "append_bytes_max": 1000, "snapshot_chunk_bytes": 1000}


def leader(windows: CatchUpWindows) -> Solo:
    """Leads 2 and 3, and has lost sight of 3 since; 3 lacks ten entries of ten bytes."""
    solo = Solo(**BOUNDS)
    solo.raft.share_catch_up(windows)
    solo.lead()
    solo.step(3, AppendReply(1, 1, False, 0, 0))
    solo.flush()
    solo.raft.peer_unreachable(3)
    for _ in range(10):
        solo.raft.propose(b"x" * 10)
        solo.flush()
        solo.acknowledge(2)
    solo.flush()
    return solo


def appends_to(solo: Solo, replica: int) -> list[Append]:
    return [m for to, m in solo.flush() if to == replica and isinstance(m, Append)]


def sent(solo: Solo, replica: int) -> list[int]:
    return [entry.index for append in appends_to(solo, replica) for entry in append.entries]


def answer_heartbeat(solo: Solo) -> None:
    solo.tick(5)
    solo.echo(3)


def test_groups_that_lag_together_have_a_window_full_under_way() -> None:
    windows = CatchUpWindows()
    groups = [leader(windows) for _ in range(8)]
    for solo in groups:
        answer_heartbeat(solo)
    indices = [sent(solo, 3) for solo in groups]
    assert indices == [[2]] * 4 + [[]] * 4, "the others only ask where it is"
    assert windows.of(3).under_way == 40
    for solo in groups[4:]:
        solo.step(3, AppendReply(1, 1, False, 0, 0))
        assert sent(solo, 3) == []
        assert solo.raft.progress()[3].state == "replicate"
    groups[0].step(3, AppendReply(1, 2, False, 0, 0))
    assert sent(groups[0], 3) == [3]
    assert windows.of(3).under_way == 40


def test_who_has_to_wait_goes_on_when_it_answers_a_heartbeat() -> None:
    windows = CatchUpWindows()
    first, second = leader(windows), leader(windows)
    windows.of(3).under_way += 30
    answer_heartbeat(first)
    assert sent(first, 3) == [2]
    second.step(3, AppendReply(1, 1, False, 0, 0))
    answer_heartbeat(second)
    assert sent(second, 3) == []
    windows.of(3).under_way -= 30
    answer_heartbeat(second)
    assert sent(second, 3) == [2, 3, 4]


def test_all_arrive_and_nothing_of_the_window_is_lost() -> None:
    windows = CatchUpWindows()
    groups = [leader(windows) for _ in range(8)]
    for _ in range(60):
        for solo in groups:
            answer_heartbeat(solo)
            while appends := appends_to(solo, 3):
                last = appends[-1]
                solo.step(3, AppendReply(1, last.prev_index + len(last.entries), False, 0, 0))
    for solo in groups:
        assert solo.raft.progress()[3].match_index == solo.raft.last_index
        solo.raft.propose(b"new")
        assert sent(solo, 3) == [12], "new entries do not wait"
    assert windows.of(3).under_way == 0


def test_what_is_new_waits_for_no_window_unless_the_follower_lacks_more() -> None:
    windows = CatchUpWindows()
    behind = leader(windows)
    windows.of(3).under_way += 40
    answer_heartbeat(behind)
    behind.step(3, AppendReply(1, 1, False, 0, 0))
    behind.flush()
    run = behind.raft.extend(b"y" * 10)
    assert run is not None, "the short way, with the follower left out"
    assert behind.raft.followers == (2,)
    behind.raft.propose(b"y" * 10)
    messages = behind.flush()
    assert [to for to, m in messages if isinstance(m, Append)] == [2]


def test_a_leadership_that_ends_gives_its_part_back() -> None:
    windows = CatchUpWindows()
    solo = leader(windows)
    answer_heartbeat(solo)
    assert sent(solo, 3) == [2]
    assert windows.of(3).under_way == 10
    solo.raft.step_down()
    assert windows.of(3).under_way == 0


def test_a_member_that_is_removed_gives_its_part_back() -> None:
    windows = CatchUpWindows()
    solo = leader(windows)
    answer_heartbeat(solo)
    solo.flush()
    solo.raft.change_membership(Configuration((1, 2)))
    assert windows.of(3).under_way == 0


SOURCE = SnapshotSource(SnapshotMeta(11, 1, THREE), [b"s" * 25])


def compacted(windows: CatchUpWindows, count: int) -> list[Solo]:
    """Leaders whose logs do not have any more what 3 lacks."""
    groups = [leader(windows) for _ in range(count)]
    for solo in groups:
        solo.raft.compact(11)
    return groups


def wanted(solo: Solo) -> list[int]:
    """Who is to be sent a snapshot, once 3 has answered a heartbeat."""
    answer_heartbeat(solo)
    return list(solo.ready().snapshot_wanted)


def chunk_sizes(solo: Solo) -> list[int]:
    return [len(m.data) for _, m in solo.flush() if isinstance(m, SnapshotChunk)]


def test_a_few_snapshots_are_asked_for_at_a_time() -> None:
    """Each takes as much memory as the state of its group, until it is through."""
    windows = CatchUpWindows()
    groups = compacted(windows, 4)
    assert [wanted(solo) for solo in groups] == [[3]] * SNAPSHOTS_MAX + [[]] * 2
    for solo in groups[:SNAPSHOTS_MAX]:
        solo.raft.provide_snapshot(3, SOURCE)
        assert chunk_sizes(solo) == [20], "a half of the window"
    groups[0].raft.peer_unreachable(3)
    groups[0].raft.step_down()
    assert wanted(groups[3]) == [3], "with the next heartbeat that it answers"


def test_one_that_is_not_on_the_disk_yet_keeps_its_place() -> None:
    windows = CatchUpWindows()
    groups = compacted(windows, SNAPSHOTS_MAX + 1)
    *sending, waiting = groups
    for solo in sending:
        assert wanted(solo) == [3]
        solo.raft.provide_snapshot(3, SOURCE)
        for offset in (20, 25):
            solo.step(3, SnapshotReply(1, 11, offset, False))
        solo.flush()
    assert windows.of(3).under_way == 0, "all of it is there"
    assert wanted(waiting) == []
    sending[0].step(3, SnapshotReply(1, 11, 25, True))
    assert wanted(waiting) == [3]


def test_one_that_is_never_taken_in_holds_up_the_others_for_a_while() -> None:
    """It may be too large for the other node, which then says nothing to it."""
    windows = CatchUpWindows()
    groups = compacted(windows, SNAPSHOTS_MAX + 1)
    *refused, waiting = groups
    for solo in refused:
        assert wanted(solo) == [3]
        solo.raft.provide_snapshot(3, SOURCE)
    ticks = 0
    while windows.of(3).snapshots or windows.of(3).under_way:
        for solo in refused:
            answer_heartbeat(solo)
            solo.step(2, HeartbeatReply(1, 0, 0))
        ticks += 5
        assert ticks < 10_000
    assert ticks >= ELECTION_TICKS << REPEAT_DOUBLINGS_MAX, "it may be a slow way"
    assert wanted(waiting) == [3]
    repeated = 0
    for _ in range((ELECTION_TICKS << REPEAT_DOUBLINGS_MAX) // 5):
        answer_heartbeat(refused[0])
        refused[0].step(2, HeartbeatReply(1, 0, 0))
        repeated += len(chunk_sizes(refused[0]))
    assert repeated == 1, "it is tried again as seldom as before"
