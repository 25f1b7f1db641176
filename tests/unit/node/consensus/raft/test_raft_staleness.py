"""Who sends stamps back, when, and what a replica makes of them (staleness.py, heartbeats.py)."""

from __future__ import annotations

from quorumcache.node.consensus.lease import NEVER_NS
from quorumcache.node.consensus.raft import Raft
from quorumcache.node.consensus.raft.messages import Heartbeat, HeartbeatReply, TimeoutNow
from quorumcache.node.consensus.staleness import make_stamp
from quorumcache.node.consensus.values import Configuration
from tests.support.raft_cluster import RaftCluster
from tests.support.raft_solo import ELECTION_TICKS, TICK_NS, Solo

STAMP = make_stamp(77, 123 << 20)


def leader_with_lease() -> Solo:
    """Replica 1 leads 2 and 3, has committed in its term, and holds a lease; no stamp came yet."""
    solo = Solo()
    solo.lead()
    beat_round(solo)
    solo.echo(2, 3)
    assert solo.raft.lease_until_ns > solo.now_ns
    return solo


def beat_round(solo: Solo) -> None:
    """Let time pass until heartbeats are due; they stay pending."""
    due = solo.raft.heartbeat_tick
    while solo.raft.ticks < due:
        solo.tick()


def beats(solo: Solo) -> dict[int, Heartbeat]:
    return {to: m for to, m in solo.sent(Heartbeat) if isinstance(m, Heartbeat)}


def stamped_reply(solo: Solo, sent_ns: int = 0, stamp: int = STAMP) -> HeartbeatReply:
    return HeartbeatReply(solo.raft.term, sent_ns, 0, stamp)


def test_the_newest_stamp_goes_back_under_the_lease_with_the_commit_index() -> None:
    solo = leader_with_lease()
    solo.step(2, stamped_reply(solo, stamp=1), stamped_reply(solo))
    beat_round(solo)
    sent = beats(solo)
    assert (sent[2].stamp, sent[2].fresh_index) == (STAMP, solo.raft.commit_index)
    assert (sent[3].stamp, sent[3].fresh_index) == (0, 0), "a stamp of another replica"


def test_the_index_is_the_leaders_own_and_not_what_the_receiver_holds() -> None:
    """A follower that lags may not take what it holds for all there is."""
    solo = leader_with_lease()
    solo.raft.propose(b"x")
    solo.flush()
    solo.acknowledge(3)
    solo.step(2, stamped_reply(solo))
    beat_round(solo)
    beat = beats(solo)[2]
    assert beat.commit_index < solo.raft.commit_index == beat.fresh_index


def test_nothing_goes_back_once_the_lease_has_run_out() -> None:
    solo = leader_with_lease()
    solo.step(2, stamped_reply(solo))
    solo.now_ns = solo.raft.lease_until_ns  # The process stood still.
    beat_round(solo)
    assert solo.raft.role.name == "LEADER"
    assert beats(solo)[2].stamp == 0


def test_nothing_goes_back_before_an_entry_of_the_term_is_committed() -> None:
    """Until then the leader may not know all that its predecessors committed."""
    solo = Solo()
    solo.become_leader()
    solo.echo(2, 3)
    solo.step(2, stamped_reply(solo))
    beat_round(solo)
    assert beats(solo)[2].stamp == 0


def test_nothing_goes_back_from_the_beginning_of_a_transfer_and_after_a_timeout_now() -> None:
    solo = leader_with_lease()
    solo.acknowledge(2)
    solo.raft.transfer_leadership(2)
    assert solo.sent(TimeoutNow)
    slow_ns = ELECTION_TICKS * TICK_NS
    for _ in range(2 * ELECTION_TICKS // solo.raft.config.heartbeat_ticks):
        beat_round(solo)
        sent = beats(solo)
        assert sent[3].stamp == 0
        # Keeps it in office, and is too slow for it to begin a term with a lease.
        solo.step(3, stamped_reply(solo, sent[3].sent_ns - slow_ns))
    assert not solo.raft.transfer_target, "it should have been abandoned by now"
    assert solo.raft.term == 1


def test_a_read_round_carries_no_stamps() -> None:
    """Its clock reading may be older than a stamp that came since."""
    solo = leader_with_lease()
    solo.step(2, stamped_reply(solo))
    solo.raft.request_read(1, solo.now_ns)
    assert beats(solo)[2].stamp == 0


def test_stamps_of_an_earlier_term_are_forgotten() -> None:
    solo = leader_with_lease()
    solo.step(2, stamped_reply(solo))
    solo.raft.step_down()
    solo.flush()
    solo.lead()
    beat_round(solo)
    solo.echo(3)
    beat_round(solo)
    solo.step(2, HeartbeatReply(solo.raft.term - 1, 0, 0, STAMP))
    assert all(beat.stamp == 0 for beat in beats(solo).values())


def echoed(cluster: RaftCluster, replica: int) -> int:
    """How old a replica of a cluster knows its state to be, in nanoseconds."""
    member = cluster.members[replica]
    fresh_ns = member.raft.fresh_ns(member.applied_index)
    return member.now_ns() - fresh_ns


def led_cluster(count: int = 3, learners: tuple[int, ...] = ()) -> RaftCluster:
    cluster = RaftCluster(configuration=Configuration(tuple(range(1, count + 1)), learners))
    cluster.elect(1)
    cluster.tick(30)
    return cluster


def two_rounds_ns(raft: Raft) -> int:
    return (2 * raft.config.heartbeat_ticks + 1) * TICK_NS


def test_followers_and_learners_know_their_age_within_two_heartbeats() -> None:
    cluster = led_cluster(learners=(4,))
    for replica in (2, 3, 4):
        assert echoed(cluster, replica) <= two_rounds_ns(cluster[1])


def test_what_is_not_applied_is_not_counted() -> None:
    cluster = led_cluster()
    member = cluster.members[2]
    before = member.raft.fresh_ns(member.applied_index)
    stamp = make_stamp(member.raft.freshness.life, member.now_ns())
    beyond = member.applied_index + 1
    beat = Heartbeat(cluster[1].term, member.applied_index, 1, 0, stamp, beyond)
    member.raft.step(1, beat)
    assert member.raft.fresh_ns(member.applied_index) == before
    assert member.now_ns() - member.raft.fresh_ns(beyond) < 1 << 20


def test_age_grows_while_the_leader_is_silent_and_survives_its_fall() -> None:
    """What was learned under one leader stays true under the next."""
    cluster = led_cluster()
    cluster.isolate(1)
    cluster.tick(5)
    known = cluster.members[2].raft.fresh_ns(cluster.members[2].applied_index)
    assert echoed(cluster, 2) >= 5 * TICK_NS
    cluster.wait_for_leader(2, 3)
    for replica in (2, 3):
        member = cluster.members[replica]
        assert member.raft.fresh_ns(member.applied_index) >= known - TICK_NS
    cluster.tick(20)
    assert min(echoed(cluster, 2), echoed(cluster, 3)) <= two_rounds_ns(cluster[1])
    assert echoed(cluster, 1) >= 20 * TICK_NS, "the one cut off cannot know"


def test_a_stamp_of_an_earlier_life_is_not_believed() -> None:
    """The machine restarted, and its clock counts from zero: an old stamp would look like one of a
    moment ago."""
    cluster = led_cluster()
    member = cluster.members[2]
    old = make_stamp(member.raft.freshness.life, member.now_ns())
    cluster.restart(2)
    member.offset_ns = 1 << 32
    member.raft.tick(member.now_ns())
    beat = Heartbeat(cluster[1].term, 0, 1, 0, old, 0)
    member.raft.step(1, beat)
    assert member.raft.fresh_ns(member.applied_index) == NEVER_NS
    cluster.pump()
    cluster.tick(20)
    assert echoed(cluster, 2) <= two_rounds_ns(cluster[1])


def test_a_stopped_process_is_as_old_as_its_pause() -> None:
    cluster = led_cluster()
    cluster.tick(40, 1, 3)
    assert echoed(cluster, 2) >= 40 * TICK_NS
