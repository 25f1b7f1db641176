"""Flow control of appends and snapshots, and compaction."""

from __future__ import annotations

import pytest

from quorumcache.node.consensus.api import HANDED_OUT_BYTES, HANDED_OUT_MAX
from quorumcache.node.consensus.log import LOOSE_ENTRIES_MAX
from quorumcache.node.consensus.progress import SNAPSHOT_SILENT_CHECKS
from quorumcache.node.consensus.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    SnapshotChunk,
    SnapshotReply,
)
from quorumcache.node.consensus.values import (
    Configuration,
    Entry,
    Role,
    SnapshotMeta,
    SnapshotSource,
)
from tests.support.raft_cluster import RaftCluster
from tests.support.raft_solo import ELECTION_TICKS, Solo, log_of, terms_of

THREE = Configuration((1, 2, 3))


def appends_to(solo: Solo, replica: int) -> list[Append]:
    return [m for to, m in solo.flush() if to == replica and isinstance(m, Append)]


def test_proposals_between_two_readys_travel_in_one_append() -> None:
    solo = Solo()
    raft = solo.lead()
    for number in range(5):
        raft.propose(b"%d" % number)
    (append,) = appends_to(solo, 2)
    assert len(append.entries) == 5


def test_the_window_bounds_appends_under_way() -> None:
    solo = Solo(inflight_appends_max=3)
    raft = solo.lead()
    sent = []
    for number in range(10):
        raft.propose(b"%d" % number)
        sent += appends_to(solo, 2)
    assert [a.entries[0].index for a in sent] == [2, 3, 4]
    solo.acknowledge(2, index=2)
    (append,) = appends_to(solo, 2)
    assert [e.index for e in append.entries] == [5, 6, 7, 8, 9, 10, 11], "all that piled up"


def test_the_window_bounds_bytes_under_way() -> None:
    solo = Solo(inflight_bytes_max=100, append_bytes_max=60)
    raft = solo.lead()
    for _ in range(5):
        raft.propose(b"x" * 50)
    assert len(appends_to(solo, 2)) == 2
    solo.acknowledge(2, index=2)
    assert len(appends_to(solo, 2)) == 1


def test_a_probe_is_one_append_until_it_is_answered() -> None:
    solo = Solo(term=1, terms=(1, 1, 1))
    raft = solo.become_leader()
    assert len(appends_to(solo, 2)) == 1
    raft.propose(b"x")
    assert appends_to(solo, 2) == []
    solo.step(2, AppendReply(2, 3, True, 1, 1))
    (append,) = appends_to(solo, 2)
    assert append.prev_index == 1
    solo.tick(5)
    solo.echo(2)
    assert len(appends_to(solo, 2)) == 1, "perhaps it was lost"


def test_a_silent_window_is_probed_with_an_empty_append() -> None:
    """The last Append was lost, so nothing would ever be refused."""
    solo = Solo()
    raft = solo.lead()
    raft.propose(b"x")
    solo.flush()
    for expected in (0, 1):
        solo.tick(5)
        solo.echo(2)
        appends = appends_to(solo, 2)
        assert len(appends) == expected
    assert appends[0] == Append(1, 2, 1, 1, ())
    solo.step(2, AppendReply(1, 2, True, 1, 1))
    (append,) = appends_to(solo, 2)
    assert [e.payload for e in append.entries] == [b"x"]


MUCH = 1 << 30
"""Of the log may be kept for those who lack it."""


def compacted_leader(**settings: int) -> Solo:
    """A leader of 1, 2, 3 whose log begins at 11 and which has not heard from 3."""
    solo = Solo(term=1, terms=(1,) * 10, **settings)
    solo.lead(2)
    solo.raft.compact(11)
    assert solo.raft.first_index == 12
    return solo


def pass_checks(solo: Solo, count: int) -> None:
    """So many checks of the quorum, before which only 2 is heard from."""
    for _ in range(count * ELECTION_TICKS):
        solo.tick()
        solo.step(2, HeartbeatReply(solo.raft.term, 0, 0))
    solo.flush()
    assert solo.raft.role is Role.LEADER


def ask_for_snapshot(solo: Solo) -> None:
    solo.step(3, AppendReply(2, 10, True, 0, 0))
    assert solo.ready().snapshot_wanted == [3]
    assert solo.raft.progress()[3].state == "snapshot"


def chunks(solo: Solo) -> list[SnapshotChunk]:
    return [m for _, m in solo.flush() if isinstance(m, SnapshotChunk)]


SOURCE = SnapshotSource(SnapshotMeta(11, 2, THREE), [b"01234", b"", b"56789"])


def test_a_snapshot_travels_one_chunk_at_a_time() -> None:
    solo = compacted_leader(snapshot_chunk_bytes=4)
    ask_for_snapshot(solo)
    solo.raft.provide_snapshot(3, SOURCE)
    solo.raft.provide_snapshot(3, SOURCE)
    seen = []
    for next_offset in (4, 8, 10):
        (chunk,) = chunks(solo)
        assert (chunk.last_index, chunk.last_term, chunk.configuration) == SOURCE.meta
        seen.append((chunk.offset, chunk.total_bytes, chunk.data))
        reply = SnapshotReply(2, 11, next_offset, False)
        solo.step(3, reply, reply)
    assert seen == [(0, 10, b"0123"), (4, 10, b"4567"), (8, 10, b"89")]
    assert chunks(solo) == []
    solo.raft.propose(b"after")
    solo.step(3, SnapshotReply(2, 11, 10, True))
    assert solo.raft.progress()[3][:3] == (11, 13, "replicate")
    (append,) = appends_to(solo, 3)
    assert (append.prev_index, append.prev_term) == (11, 2)


def test_a_snapshot_is_resumed_where_the_receiver_stands() -> None:
    """The connection broke; the receiver kept what it had. Or it restarted and kept nothing."""
    solo = compacted_leader(snapshot_chunk_bytes=4)
    ask_for_snapshot(solo)
    solo.raft.provide_snapshot(3, SOURCE)
    assert chunks(solo)[0].offset == 0
    solo.step(3, SnapshotReply(2, 11, 8, False))
    assert chunks(solo)[0].offset == 8
    solo.step(3, SnapshotReply(2, 11, 0, False))
    assert chunks(solo)[0].offset == 0
    solo.step(3, SnapshotReply(2, 7, 8, False), SnapshotReply(2, 11, 999, False))
    assert chunks(solo) == []


def answer_heartbeats(solo: Solo, ticks: int) -> list[SnapshotChunk]:
    """Both followers answer in each tick; what 3 is sent meanwhile."""
    sent = []
    for _ in range(ticks):
        solo.tick()
        solo.step(2, HeartbeatReply(2, 0, 0))
        solo.step(3, HeartbeatReply(2, 0, 0))
        sent += chunks(solo)
    return sent


def test_a_chunk_without_an_answer_is_repeated_ever_less_often() -> None:
    """Heartbeats pass it, as datagrams: it may be on a slow way, which repetitions would fill."""
    solo = compacted_leader(snapshot_chunk_bytes=4)
    ask_for_snapshot(solo)
    solo.raft.provide_snapshot(3, SOURCE)
    (chunk,) = chunks(solo)
    assert answer_heartbeats(solo, ELECTION_TICKS - 1) == []
    assert answer_heartbeats(solo, 1) == [chunk]
    assert answer_heartbeats(solo, 2 * ELECTION_TICKS - 1) == []
    assert answer_heartbeats(solo, 1) == [chunk]
    assert answer_heartbeats(solo, 4 * ELECTION_TICKS) == [chunk]
    solo.step(3, SnapshotReply(2, 11, 4, False))
    (second,) = chunks(solo)
    assert second.offset == 4
    assert answer_heartbeats(solo, ELECTION_TICKS) == [second], "it moves: as soon as at first"


def test_a_chunk_is_repeated_to_a_member_that_was_silent() -> None:
    solo = compacted_leader(snapshot_chunk_bytes=4)
    ask_for_snapshot(solo)
    solo.raft.provide_snapshot(3, SOURCE)
    (chunk,) = chunks(solo)
    pass_checks(solo, 2)
    solo.step(3, HeartbeatReply(2, 0, 0), HeartbeatReply(2, 0, 0))
    assert chunks(solo) == [chunk]


def test_the_shell_is_asked_again_when_it_does_not_answer() -> None:
    solo = compacted_leader()
    ask_for_snapshot(solo)
    solo.step(3, HeartbeatReply(2, 0, 0))
    assert not solo.raft.has_ready()
    solo.tick(ELECTION_TICKS - 1)
    solo.echo(2)
    solo.tick()
    solo.flush()
    solo.step(3, HeartbeatReply(2, 0, 0))
    assert solo.ready().snapshot_wanted == [3]


def test_a_snapshot_that_the_log_has_moved_past_is_not_sent() -> None:
    solo = compacted_leader()
    ask_for_snapshot(solo)
    old = SnapshotSource(SnapshotMeta(5, 1, THREE), [b"old"])
    solo.raft.provide_snapshot(3, old)
    assert chunks(solo) == []
    solo.raft.provide_snapshot(3, SOURCE)
    assert len(chunks(solo)) == 1
    solo.raft.provide_snapshot(2, SOURCE)
    solo.raft.provide_snapshot(9, SOURCE)
    assert chunks(solo) == [], "nobody else wants one"


def test_the_log_is_kept_for_a_peer_that_is_receiving_a_snapshot() -> None:
    """Else it would need the next one the moment it is done."""
    solo = compacted_leader()
    ask_for_snapshot(solo)
    solo.raft.provide_snapshot(3, SOURCE)
    for number in range(5):
        solo.raft.propose(b"%d" % number)
    solo.flush()
    solo.acknowledge(2)
    solo.flush()
    solo.raft.compact(14, MUCH)
    assert solo.raft.first_index == 12
    pass_checks(solo, 1)
    solo.raft.compact(14, MUCH)
    assert solo.raft.first_index == 12, "its next answer is on the way"
    solo.step(3, SnapshotReply(2, 11, 10, True))
    solo.raft.compact(14, MUCH)
    assert solo.raft.first_index == 12, "it has the snapshot, and not yet what came meanwhile"
    solo.step(3, AppendReply(2, 14, False, 0, 0))
    solo.raft.compact(14, MUCH)
    assert solo.raft.first_index == 15


def test_the_log_that_is_kept_for_others_is_bounded() -> None:
    solo = compacted_leader()
    ask_for_snapshot(solo)
    solo.raft.provide_snapshot(3, SOURCE)
    for number in range(5):
        solo.raft.propose(b"%d" % number)
    solo.flush()
    solo.acknowledge(2)
    solo.flush()
    solo.raft.compact(14, solo.raft.log_bytes - 1)
    assert solo.raft.first_index == 15


def test_only_what_was_handed_out_as_committed_is_packed() -> None:
    count = LOOSE_ENTRIES_MAX
    solo = Solo(term=1, terms=(1,) * (3 * count))
    assert solo.raft.pack(1000) == 0, "a new leader may replace all of it"
    solo.step(2, Append(1, 3 * count, 1, 2 * count, ()))
    solo.flush()
    assert solo.raft.pack(1000) >= 2 * count
    assert solo.raft.log.loose_index == 2 * count + 1
    solo.step(3, Append(2, 2 * count, 1, 2 * count, (Entry(2 * count + 1, 2, 0, b"new"),)))
    assert terms_of(solo.raft) == [1] * (2 * count) + [2]


def test_much_that_is_committed_is_handed_out_bit_by_bit() -> None:
    most = HANDED_OUT_MAX
    solo = Solo(term=1, terms=(1,) * (3 * most))
    solo.step(2, Append(1, 3 * most, 1, 2 * most + 1, ()))
    assert [e.index for e in solo.ready().committed_entries] == list(range(1, most + 1))
    assert solo.raft.has_ready()
    assert [e.index for e in solo.raft.take_committed()] == list(range(most + 1, 2 * most + 1))
    assert solo.raft.has_ready()
    assert [e.index for e in solo.ready().committed_entries] == [2 * most + 1]
    assert not solo.raft.has_ready()
    assert solo.raft.take_committed() == []


def test_of_entries_that_are_long_fewer_are_handed_out() -> None:
    half, rest = HANDED_OUT_BYTES // 2, HANDED_OUT_BYTES - HANDED_OUT_BYTES // 2
    solo = Solo()
    solo.lead(2)
    before = solo.raft.emitted_index
    for size in (half, rest, 1, 2 * HANDED_OUT_BYTES, 1, 1):
        solo.raft.propose(bytes(size))
    solo.persist(solo.ready())
    solo.step(2, AppendReply(solo.raft.term, solo.raft.last_index, False, 0, 0))
    taken = []
    for way in (1, 0, 1, 0):
        entries = solo.raft.take_committed() if way else solo.ready().committed_entries
        taken.append([entry.index - before for entry in entries])
    assert taken == [[1, 2], [3], [4], [5, 6]]


def test_a_peer_that_is_behind_is_sent_packed_entries() -> None:
    solo = Solo()
    solo.lead(2)
    for number in range(LOOSE_ENTRIES_MAX + 5):
        solo.raft.propose(b"%d" % number)
    solo.flush()
    solo.acknowledge(2)
    solo.flush()
    held = solo.raft.log.slice(1, solo.raft.last_index + 1)
    assert solo.raft.pack(1000) == len(held)
    solo.step(3, AppendReply(solo.raft.term, 1, False, 0, 0))
    (append,) = appends_to(solo, 3)
    assert list(append.entries) == held[1:]


def test_no_log_is_kept_for_a_peer_that_stays_silent() -> None:
    solo = Solo()
    solo.lead()
    for number in range(5):
        solo.raft.propose(b"%d" % number)
    solo.flush()
    solo.acknowledge(2)
    solo.flush()
    pass_checks(solo, SNAPSHOT_SILENT_CHECKS - 1)
    solo.raft.compact(6, MUCH)
    assert solo.raft.first_index == 2
    pass_checks(solo, 2)
    solo.raft.compact(6, MUCH)
    assert solo.raft.first_index == 7


def test_a_follower_collects_chunks_and_installs() -> None:
    solo = Solo(term=2, terms=(1,))
    first = SnapshotChunk(2, 11, 2, THREE, 0, 6, b"abc")
    second = SnapshotChunk(2, 11, 2, THREE, 3, 6, b"def")
    solo.step(2, second)
    assert solo.flush() == [(2, SnapshotReply(2, 11, 0, False))], "out of order: start over"
    solo.step(2, first, first)
    assert solo.flush() == [(2, SnapshotReply(2, 11, 3, False))] * 2
    solo.step(2, second)
    ready = solo.ready()
    assert ready.snapshot is not None
    assert ready.snapshot.meta == SnapshotMeta(11, 2, THREE)
    assert ready.snapshot.pieces == [b"abc", b"def"]
    assert not ready.messages, "done is said once it is durable"
    assert ready.messages_after_append == [(2, SnapshotReply(2, 11, 6, True))]
    assert (solo.raft.commit_index, solo.raft.last_index) == (11, 11)


def test_committed_entries_wait_until_the_snapshot_is_installed() -> None:
    solo = Solo(term=2)
    solo.step(2, SnapshotChunk(2, 11, 2, THREE, 0, 1, b"a"))
    snapshot_ready = solo.ready()
    solo.step(2, Append(2, 11, 2, 12, tuple(log_of((2,), 11))))
    ready = solo.ready()
    assert ready.entries
    assert not ready.committed_entries
    solo.persist(snapshot_ready)
    assert [e.index for e in solo.ready().committed_entries] == [12]


def test_one_snapshot_is_installed_at_a_time() -> None:
    solo = Solo(term=2)
    solo.step(2, SnapshotChunk(2, 11, 2, THREE, 0, 1, b"a"))
    ready = solo.ready()
    solo.step(2, SnapshotChunk(2, 20, 2, THREE, 0, 1, b"b"))
    assert not solo.raft.has_ready()
    solo.persist(ready)
    solo.step(2, SnapshotChunk(2, 20, 2, THREE, 0, 1, b"b"))
    assert solo.ready().snapshot is not None


def test_while_a_snapshot_is_installed_its_sender_hears_that_nothing_is_missing() -> None:
    """Else it repeats its last chunk, which takes from what others are sent, and the answers to all
    of them wait here."""
    solo = Solo(term=2)
    last = SnapshotChunk(2, 11, 2, THREE, 0, 1, b"a")
    solo.step(2, last)
    installing = solo.ready()
    for _ in range(3):
        solo.step(2, last)
        ready = solo.ready()
        assert ready.messages == [(2, SnapshotReply(2, 11, 1, False))]
        assert not ready.messages_after_append
    solo.persist(installing)
    solo.step(2, last._replace(offset=1, data=b""))
    assert solo.flush() == [(2, SnapshotReply(2, 11, 1, True))]


def test_a_sender_polls_with_empty_chunks_once_all_is_there() -> None:
    solo = compacted_leader(snapshot_chunk_bytes=10)
    ask_for_snapshot(solo)
    solo.raft.provide_snapshot(3, SOURCE)
    (chunk,) = chunks(solo)
    assert answer_heartbeats(solo, ELECTION_TICKS) == [chunk], "it may be lost"
    solo.step(3, SnapshotReply(2, 11, 10, False))
    solo.step(3, HeartbeatReply(2, 0, 0), HeartbeatReply(2, 0, 0))
    assert chunks(solo) == [chunk._replace(offset=10, data=b"")]


def test_a_snapshot_that_was_let_go_is_not_sent_again_to_who_has_installed_it() -> None:
    """Its disk kept it from answering for as long as nobody waits."""
    solo = compacted_leader()
    ask_for_snapshot(solo)
    solo.raft.provide_snapshot(3, SOURCE)
    solo.raft.propose(b"after")
    solo.flush()
    pass_checks(solo, SNAPSHOT_SILENT_CHECKS + 1)
    solo.step(3, SnapshotReply(2, 11, 10, False))
    assert solo.raft.progress()[3].state == "snapshot"
    solo.step(3, SnapshotReply(2, 11, 10, True))
    assert solo.raft.progress()[3].state == "replicate"
    (append,) = appends_to(solo, 3)
    assert (append.prev_index, len(append.entries)) == (11, 1)


def test_one_that_the_log_does_not_follow_on_does_not_end_the_next_one() -> None:
    solo = compacted_leader(snapshot_chunk_bytes=4)
    ask_for_snapshot(solo)
    solo.raft.provide_snapshot(3, SOURCE)
    assert chunks(solo)[0].offset == 0
    solo.step(3, SnapshotReply(2, solo.raft.first_index - 2, 10, True))
    solo.step(3, SnapshotReply(2, 11, 4, False))
    assert chunks(solo)[0].offset == 4
    assert solo.raft.progress()[3].state == "snapshot"


def test_an_oversized_snapshot_is_not_taken_in() -> None:
    solo = Solo(term=2, snapshot_bytes_max=100)
    solo.step(2, SnapshotChunk(2, 11, 2, THREE, 0, 101, b"a"))
    assert solo.flush() == []


def test_chunks_of_another_snapshot_start_over() -> None:
    solo = Solo(term=2)
    solo.step(2, SnapshotChunk(2, 11, 2, THREE, 0, 6, b"abc"))
    solo.step(2, SnapshotChunk(2, 12, 2, THREE, 3, 6, b"def"))
    assert solo.flush()[-1] == (2, SnapshotReply(2, 12, 0, False))


def test_compaction_never_passes_what_was_handed_out_as_committed() -> None:
    solo = Solo(term=1)
    solo.step(2, Append(1, 0, 0, 2, tuple(log_of((1, 1, 1)))))
    solo.raft.compact(3)
    assert solo.raft.first_index == 1
    solo.flush()
    solo.raft.compact(3)
    assert (solo.raft.first_index, solo.raft.log_bytes > 0) == (3, True)


def test_a_peer_behind_the_log_is_noticed_by_a_silent_window() -> None:
    """Its Appends were lost and what they held was compacted meanwhile."""
    solo = Solo(inflight_appends_max=1)
    raft = solo.lead()
    for _ in range(3):
        raft.propose(b"x")
        solo.flush()
        solo.acknowledge(2)
        solo.flush()
    raft.compact(4)
    for _ in range(2):
        solo.tick(5)
        beats = [m for to, m in solo.flush() if to == 3 and isinstance(m, Heartbeat)]
        solo.step(3, HeartbeatReply(1, beats[-1].sent_ns, 0))
    assert solo.ready().snapshot_wanted == [3]


def test_a_whole_cluster_catches_up_through_lost_chunks() -> None:
    cluster = RaftCluster(3, snapshot_chunk_bytes=16, seed=4)
    leader = cluster.elect(1)
    cluster.isolate(3)
    for number in range(50):
        leader.propose(b"%d" % number)
    cluster.pump()
    cluster.members[1].compact()
    cluster.heal()
    lost = 0
    for _ in range(400):
        cluster.tick()
        if cluster.random.random() < 0.5:
            leader.propose(b"more")
            for replica in cluster.members:
                cluster.process(replica)
            lost += len(cluster.network)
            cluster.network = []
    cluster.tick(100)
    assert lost > 50
    assert cluster.states()[2] == cluster.states()[0]


# -- learners --------------------------------------------------------------------------------


class Purse:
    """Gives what the test put in."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.doublings: list[int] = []

    def take(self, wanted: int, now_ns: int, doublings: int = 0) -> int:
        taken = max(0, min(wanted, self.size))
        self.size -= taken
        self.doublings.append(doublings)
        return taken

    def give_back(self, size: int, doublings: int = 0) -> None:
        self.size += size


def led_with_learner(purse: Purse) -> Solo:
    """Replica 1 leads 2 and 3, and 4 learns: a probe of it has been answered."""
    solo = Solo(learners=(4,))
    raft = solo.lead()
    raft.pace_learners(purse)
    solo.tick(5)
    solo.echo(4)
    solo.step(4, AppendReply(1, 1, False, 0, 0))
    solo.flush()
    assert raft.progress()[4].state == "replicate"
    return solo


def test_a_learner_is_sent_what_its_budget_allows_and_voters_everything() -> None:
    purse = Purse(25)
    solo = led_with_learner(purse)
    for _ in range(5):
        solo.raft.propose(b"x" * 10)
    sent = solo.flush()
    voter = [m for to, m in sent if to == 2 and isinstance(m, Append)]
    solo.acknowledge(2)
    sent = solo.flush()
    learner = [m for to, m in sent if to == 4 and isinstance(m, Append)]
    assert [e.index for m in voter for e in m.entries] == [2, 3, 4, 5, 6]
    assert [e.index for m in learner for e in m.entries] == [2, 3, 4], "the last one is larger"
    assert purse.size == -5, "what it was larger by is owed"


def test_a_learner_is_sent_what_is_committed_and_nothing_else() -> None:
    """It holds no entry that a voter may have to win without."""
    solo = led_with_learner(Purse(1000))
    for payload in (b"a", b"b", b"c"):
        solo.raft.propose(payload)
    assert appends_to(solo, 4) == []
    solo.step(2, AppendReply(1, 3, False, 0, 0))
    (append,) = appends_to(solo, 4)
    assert [e.index for e in append.entries] == [2, 3], "at once, and not with the next heartbeat"
    assert append.commit_index == 3
    solo.tick(5)
    solo.echo(4)
    assert [m.entries for m in appends_to(solo, 4)] == []
    solo.acknowledge(2)
    (append,) = appends_to(solo, 4)
    assert [e.index for e in append.entries] == [4]


def test_a_learner_without_a_budget_is_sent_no_more() -> None:
    solo = Solo(learners=(4,))
    solo.lead()
    solo.tick(5)
    solo.echo(4)
    solo.step(4, AppendReply(1, 1, False, 0, 0))
    solo.flush()
    solo.raft.propose(b"a")
    assert appends_to(solo, 4) == []
    solo.acknowledge(2)
    (append,) = appends_to(solo, 4)
    assert [e.index for e in append.entries] == [2]


def test_a_learner_that_was_refused_is_sent_the_rest_when_it_answers_a_heartbeat() -> None:
    purse = Purse(0)
    solo = led_with_learner(purse)
    solo.raft.propose(b"x" * 10)
    solo.flush()
    solo.acknowledge(2)
    assert appends_to(solo, 4) == []
    solo.tick(5)
    solo.echo(4)
    assert appends_to(solo, 4) == []
    purse.size = 100
    solo.tick(5)
    solo.echo(4)
    (append,) = appends_to(solo, 4)
    assert [e.index for e in append.entries] == [2]
    assert purse.size == 90


def test_a_learner_that_acknowledges_is_sent_more() -> None:
    purse = Purse(10)
    solo = led_with_learner(purse)
    for _ in range(2):
        solo.raft.propose(b"x" * 10)
    solo.flush()
    solo.acknowledge(2)
    assert len(appends_to(solo, 4)) == 1
    purse.size = 10
    solo.step(4, AppendReply(1, 2, False, 0, 0))
    (append,) = appends_to(solo, 4)
    assert [e.index for e in append.entries] == [3]


def test_a_probe_of_a_learner_costs_nothing() -> None:
    purse = Purse(0)
    solo = Solo(term=1, terms=(1, 1, 1), learners=(4,))
    raft = solo.raft
    raft.pace_learners(purse)
    solo.become_leader()
    (append,) = appends_to(solo, 4)
    assert (append.prev_index, append.entries) == (3, ())
    solo.step(4, AppendReply(2, 3, True, 0, 0))
    (append,) = appends_to(solo, 4)
    assert (append.prev_index, append.entries) == (0, ())
    solo.acknowledge(2)
    solo.step(4, AppendReply(2, 0, False, 0, 0))
    assert appends_to(solo, 4) == []
    assert raft.progress()[4].state == "replicate"
    assert purse.doublings


def test_each_round_of_a_learner_goes_twice_as_fast() -> None:
    """A round ends when the learner has what the log held as the round began."""
    purse = Purse(1000)
    solo = led_with_learner(purse)
    raft = solo.raft
    for _ in range(3):
        raft.propose(b"x")
    solo.flush()
    solo.acknowledge(2)
    doublings = []
    for match_index in (2, 3, 4, 5):
        solo.step(4, AppendReply(1, match_index, False, 0, 0))
        raft.propose(b"x")
        solo.flush()
        solo.acknowledge(2)
        solo.flush()
        doublings.append(purse.doublings[-1])
    assert doublings == [1, 1, 2, 2], "a round of two entries, and one of which half is there"
    for _ in range(3):
        solo.step(4, AppendReply(1, raft.last_index, False, 0, 0))
        raft.propose(b"x")
        solo.flush()
        solo.acknowledge(2)
        solo.flush()
    assert purse.doublings[-1] == 2, "it keeps up"
    raft.propose(b"not committed")
    solo.step(4, AppendReply(1, raft.commit_index, False, 0, 0))
    assert raft.members[4].doublings == 2, "it has all that it may have"
    assert raft.members[2].doublings == 0


def test_who_becomes_a_voter_is_held_up_no_longer() -> None:
    purse = Purse(0)
    solo = led_with_learner(purse)
    raft = solo.raft
    raft.change_membership(Configuration((1, 2, 3, 4)))
    (append,) = appends_to(solo, 4)
    assert len(append.entries) == 1
    solo.step(2, AppendReply(1, 2, False, 0, 0))
    solo.step(3, AppendReply(1, 2, False, 0, 0))
    solo.flush()
    raft.change_membership(Configuration((1, 2, 3), (4,)))
    raft.propose(b"x" * 10)
    assert appends_to(solo, 4) == [], "and is paced when it learns again"


def test_a_learner_that_is_still_a_voter_in_a_joint_change_is_not_paced() -> None:
    purse = Purse(0)
    solo = Solo((1, 2, 3), learners=(4,), outgoing=(1, 2, 4))
    solo.raft.pace_learners(purse)
    solo.become_leader(2, 3, 4)
    (append,) = appends_to(solo, 4)
    assert len(append.entries) == 1
    assert purse.doublings == []


@pytest.mark.parametrize("is_leader", [True, False])
def test_the_log_of_a_replica_that_has_left_is_let_go_bit_by_bit(is_leader: bool) -> None:
    solo = Solo(terms=(1,) * 1000, term=1)
    if is_leader:
        solo.lead()
    raft = solo.raft
    raft.step_down()
    count = raft.last_index
    assert count >= 1000
    assert raft.let_go(600) == 600
    assert raft.log_bytes == 0
    assert raft.let_go(600) == count - 600
    assert raft.let_go(600) == 0
