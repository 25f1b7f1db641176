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


def sending_and_waiting(
    windows: CatchUpWindows, source: SnapshotSource = SOURCE
) -> tuple[list[Solo], Solo]:
    """As many leaders as have places, with what they send, and one more."""
    *sending, waiting = compacted(windows, SNAPSHOTS_MAX + 1)
    for solo in sending:
        assert wanted(solo) == [3]
        solo.raft.provide_snapshot(3, source)
    return sending, waiting


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
    sending, waiting = sending_and_waiting(windows)
    for solo in sending:
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
    refused, waiting = sending_and_waiting(windows)
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


STUCK_TICKS = ELECTION_TICKS << (REPEAT_DOUBLINGS_MAX + 1)


def pass_time(solo: Solo, ticks: int, *, silent: bool = False) -> None:
    """3 answers heartbeats, or nothing, and 2 keeps the leader in its place."""
    for _ in range(ticks // 5):
        if silent:
            solo.tick(5)
        else:
            answer_heartbeat(solo)
        solo.step(2, HeartbeatReply(1, 0, 0))


def sizes_within(solo: Solo, ticks: int) -> list[int]:
    """The chunks that are sent while 3 answers heartbeats."""
    sizes: list[int] = []
    for _ in range(ticks // 5):
        pass_time(solo, 5)
        sizes += chunk_sizes(solo)
    return sizes


def given_up(windows: CatchUpWindows) -> Solo:
    """A leader whose snapshot was never answered."""
    (solo,) = compacted(windows, 1)
    assert wanted(solo) == [3]
    solo.raft.provide_snapshot(3, SOURCE)
    pass_time(solo, STUCK_TICKS + 5)
    solo.flush()
    assert windows.of(3).snapshots == windows.of(3).under_way == 0
    return solo


def test_one_that_is_given_up_and_answered_after_all_waits_for_a_place() -> None:
    windows = CatchUpWindows()
    late = given_up(windows)
    sending = compacted(windows, SNAPSHOTS_MAX)
    assert [wanted(solo) for solo in sending] == [[3]] * SNAPSHOTS_MAX
    for solo in sending:
        solo.raft.provide_snapshot(3, SnapshotSource(SOURCE.meta, [b"s" * 5]))
    late.step(3, SnapshotReply(1, 11, 20, False))
    assert chunk_sizes(late) == []
    assert sizes_within(late, 20) == []
    sending[0].step(3, SnapshotReply(1, 11, 5, True))
    assert sizes_within(late, 10) == [5]
    assert windows.of(3).snapshots == SNAPSHOTS_MAX


def test_one_that_is_made_for_an_older_wish_waits_for_a_place() -> None:
    windows = CatchUpWindows()
    late, *sending = compacted(windows, SNAPSHOTS_MAX + 1)
    assert wanted(late) == [3]
    windows.of(3).under_way += 1000
    pass_time(late, ELECTION_TICKS + 5)
    assert windows.of(3).snapshots == 0, "there is no room for it"
    windows.of(3).under_way -= 1000
    assert [wanted(solo) for solo in sending] == [[3]] * SNAPSHOTS_MAX
    late.flush()
    for solo in sending:
        solo.raft.provide_snapshot(3, SnapshotSource(SOURCE.meta, [b"s" * 5]))
    late.raft.provide_snapshot(3, SOURCE)
    assert chunk_sizes(late) == [], "there is room, and no place"
    assert sizes_within(late, 20) == []
    sending[0].raft.step_down()
    assert sizes_within(late, 5) == [20]


def test_a_wish_that_the_shell_never_grants_holds_up_the_others_for_a_while() -> None:
    windows = CatchUpWindows()
    *forgotten, waiting = compacted(windows, SNAPSHOTS_MAX + 1)
    assert [wanted(solo) for solo in forgotten] == [[3]] * SNAPSHOTS_MAX
    for solo in forgotten:
        pass_time(solo, STUCK_TICKS - ELECTION_TICKS)
    assert wanted(waiting) == []
    for solo in forgotten:
        pass_time(solo, ELECTION_TICKS + 5)
        solo.ready()
    assert wanted(waiting) == [3]
    asked = [wanted(forgotten[0]) for _ in range(ELECTION_TICKS // 5)]
    assert asked[:2] == [[], []], "the others ask first"
    assert [3] in asked


def test_silence_now_and_then_does_not_keep_what_is_never_answered_in_the_window() -> None:
    """What was sent before a silence is sent again at once, and does not count as a repetition."""
    windows = CatchUpWindows()
    (solo,) = compacted(windows, 1)
    assert wanted(solo) == [3]
    solo.raft.provide_snapshot(3, SOURCE)
    for _ in range(STUCK_TICKS // (5 * ELECTION_TICKS) + 1):
        pass_time(solo, 3 * ELECTION_TICKS)
        pass_time(solo, 2 * ELECTION_TICKS + 5, silent=True)
        solo.flush()
    pass_time(solo, 10)
    assert windows.of(3).snapshots == windows.of(3).under_way == 0


def change(solo: Solo, configuration: Configuration) -> None:
    solo.raft.change_membership(configuration)
    solo.flush()
    solo.acknowledge(2)
    solo.flush()


class Unbounded:
    def take(self, wanted: int, now_ns: int, doublings: int = 0) -> int:
        return wanted

    def give_back(self, size: int, doublings: int = 0) -> None:
        pass


def test_a_voter_that_becomes_a_learner_gives_its_place_back() -> None:
    windows = CatchUpWindows()
    (solo,) = compacted(windows, 1)
    solo.raft.pace_learners(Unbounded())
    assert wanted(solo) == [3]
    assert windows.of(3).snapshots == 1
    change(solo, Configuration((1, 2), (3,)))
    assert windows.of(3).snapshots == 0


def test_a_learner_that_becomes_a_voter_waits_for_a_place() -> None:
    windows = CatchUpWindows()
    promoted, *sending = compacted(windows, SNAPSHOTS_MAX + 1)
    promoted.raft.pace_learners(Unbounded())
    change(promoted, Configuration((1, 2), (3,)))
    assert wanted(promoted) == [3]
    promoted.raft.provide_snapshot(3, SOURCE)
    assert chunk_sizes(promoted) == [20]
    for solo in sending:
        assert solo.raft.members[3].take_place(0)
    change(promoted, THREE)
    promoted.step(3, SnapshotReply(1, 11, 20, False))
    assert chunk_sizes(promoted) == []
    assert sizes_within(promoted, 20) == []
    sending[0].raft.step_down()
    assert sizes_within(promoted, 10) == [5]


def test_one_that_waits_for_a_slow_disk_keeps_its_place() -> None:
    windows = CatchUpWindows()
    (solo,) = compacted(windows, 1)
    assert wanted(solo) == [3]
    solo.raft.provide_snapshot(3, SOURCE)
    for offset in (20, 25):
        solo.step(3, SnapshotReply(1, 11, offset, False))
    for _ in range(2 * STUCK_TICKS // 10):
        pass_time(solo, 10)
        solo.step(3, SnapshotReply(1, 11, 25, False))
    assert windows.of(3).snapshots == 1


def test_one_that_needs_another_snapshot_at_once_lets_the_others_go_first() -> None:
    """Its group is written a lot: the log was dropped beyond the first one meanwhile."""
    windows = CatchUpWindows()
    small = SnapshotSource(SOURCE.meta, [b"s" * 5])
    sending, waiting = sending_and_waiting(windows, small)
    busy = sending[0]
    for _ in range(3):
        busy.raft.propose(b"x" * 10)
        busy.flush()
        busy.acknowledge(2)
    busy.flush()
    busy.raft.compact(13)
    busy.step(3, SnapshotReply(1, 11, 5, True))
    assert busy.ready().snapshot_wanted == []
    assert wanted(busy) == []
    assert wanted(waiting) == [3]
    waiting.raft.step_down()
    assert [3] in [wanted(busy) for _ in range(ELECTION_TICKS // 5)]
