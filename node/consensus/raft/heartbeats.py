"""Heartbeat rounds: they carry the lease's clock, read rounds and the commit index, and notice
loss."""

from __future__ import annotations

from quorumcache.node.consensus.api import BEAT_COMMITS, BEAT_HEARD, BEAT_ODD
from quorumcache.node.consensus.lease import NEVER_NS
from quorumcache.node.consensus.progress import SNAPSHOT
from quorumcache.node.consensus.quorum import VoteResult, joint_vote_result
from quorumcache.node.consensus.raft.commit import commit_as_told
from quorumcache.node.consensus.raft.messages import Heartbeat, HeartbeatReply
from quorumcache.node.consensus.raft.reads import confirm_rounds, has_committed_in_term, renew_lease
from quorumcache.node.consensus.raft.replication import hear_leader, resume_appends
from quorumcache.node.consensus.raft.roles import become_follower
from quorumcache.node.consensus.raft.snapshots import resume_snapshot
from quorumcache.node.consensus.raft.state import RaftState, send_as_leader
from quorumcache.node.consensus.raft.transfer import (
    abandon_transfer,
    call_successor,
    maybe_hand_over,
)
from quorumcache.node.consensus.staleness import make_stamp, stamp_ns
from quorumcache.node.consensus.values import Index, Outbound, ReplicaId, Role


def leader_deadline(r: RaftState) -> None:
    """A tick of a leader at which something is due."""
    ticks = r.ticks
    if ticks >= r.quorum_check_tick:
        r.quorum_check_tick = ticks + r.config.election_ticks
        if not _has_active_quorum(r):
            call_successor(r)
            become_follower(r, r.term, 0)  # check-quorum, Raft thesis 6.2
            return
    if r.transfer_target and ticks >= r.transfer_deadline_tick:
        abandon_transfer(r)
    if ticks >= r.heartbeat_tick:
        # Only here is `now_ns` certain to be a reading later than every reply that has come: the
        # stamps go back if the lease holds at it.
        broadcast_heartbeats(r, echo=r.now_ns < r.lease_until_ns)
        r.heartbeat_tick = ticks + r.config.heartbeat_ticks
    r.deadline_tick = min(r.heartbeat_tick, r.quorum_check_tick)
    if r.transfer_target:
        r.deadline_tick = min(r.deadline_tick, r.transfer_deadline_tick)


def _has_active_quorum(r: RaftState) -> bool:
    """Was a quorum heard from since the last check? Starts the next interval."""
    active = {replica: p.recent_active for replica, p in r.members.items()}
    active[r.replica_id] = True
    for p in r.peers:
        p.checked()
    configuration = r.configuration
    result = joint_vote_result(active, configuration.voters, configuration.voters_outgoing)
    return result is VoteResult.WON


def broadcast_heartbeats(r: RaftState, *, echo: bool = False) -> None:
    """Start a round: its time of sending is what a lease counts from.

    `echo`: the lease held at a moment after all stamps had come, so they may be sent back. A lease
    also means that `commit_index` covers what earlier leaders committed.
    """
    now_ns = r.now_ns
    sink = r.beat_sink if r.term_durable else None
    own = r.own
    if own is not None:
        own.echo_ns = now_ns
        own.echo_round = r.read_round
    for p in r.peers:
        # Never tell of more than the peer is known to hold: its entries above may be wrong.
        commit_index = min(p.match_index, r.commit_index)
        stamp = fresh_index = 0
        if echo and p.stamp:
            stamp = p.stamp
            fresh_index = r.commit_index
        if sink is not None and sink.beat(
            p.replica_id, r.term, commit_index, now_ns, r.read_round, stamp, fresh_index
        ):
            continue
        beat = Heartbeat(r.term, commit_index, now_ns, r.read_round, stamp, fresh_index)
        send_as_leader(r, p.replica_id, beat)
    if not r.peers or len(r.voters) == 1:
        renew_lease(r)


def start_read_round(r: RaftState) -> None:
    """Put all waiting reads on a round of their own."""
    assert has_committed_in_term(r)
    r.read_round += 1
    r.read_rounds.append((r.read_round, r.commit_index, r.reads_waiting))
    r.reads_waiting = []
    broadcast_heartbeats(r)
    confirm_rounds(r)  # a sole voter needs no other replica


def handle_heartbeat(r: RaftState, sender: ReplicaId, m: Heartbeat) -> None:
    hear_leader(r, sender)
    if m.commit_index > r.commit_index:
        commit_as_told(r, m.commit_index)
    if m.stamp:
        _learn_freshness(r, m.stamp, m.fresh_index)
    # The answer says that we had not voted in a newer term, which is so. But a replica that
    # restarts without a trace of ever having answered would not keep the promise it makes.
    out = r.messages if r.has_durable_state else r.messages_after_append
    stamp = make_stamp(r.freshness.life, r.now_ns)
    out.append(Outbound(sender, HeartbeatReply(r.term, m.sent_ns, m.read_context, stamp)))


def hear_beat(r: RaftState, commit_index: Index, stamp: int, fresh_index: Index) -> int:
    """A `Heartbeat` of this term's leader, in the usual case; see `ReplicatedLog.hear_beat`."""
    if r.role is not Role.FOLLOWER or commit_index > r.log.last_index:
        return BEAT_ODD
    r.heard_tick = r.ticks
    if stamp:
        _learn_freshness(r, stamp, fresh_index)
    if commit_index <= r.commit_index:
        return BEAT_HEARD
    commit_as_told(r, commit_index)
    return BEAT_COMMITS


def _learn_freshness(r: RaftState, stamp: int, fresh_index: Index) -> None:
    # `now_ns` is no later than the true time, hence neither is a stamp made of it.
    read_ns = stamp_ns(stamp, r.freshness.life, r.now_ns)
    if read_ns > NEVER_NS:
        r.freshness.learn(read_ns, fresh_index)


def handle_heartbeat_reply(r: RaftState, sender: ReplicaId, m: HeartbeatReply) -> None:
    beat_answered(r, sender, m.sent_ns, m.read_context, m.stamp)


def beat_answered(
    r: RaftState, sender: ReplicaId, sent_ns: int, read_context: int, stamp: int
) -> None:
    """An answer to a heartbeat of this term."""
    if r.role is not Role.LEADER:
        return  # an answer to a leadership that is over
    p = r.members.get(sender)
    if p is None:
        return  # no longer a member
    p.recent_active = True
    p.stamp = stamp
    if sent_ns > p.echo_ns:
        p.echo_ns = sent_ns
        renew_lease(r)
    if read_context > p.echo_round:
        p.echo_round = read_context
        confirm_rounds(r)
    if p.state is SNAPSHOT:
        resume_snapshot(r, p)
    else:
        resume_appends(r, p)
    if r.transfer_target:
        maybe_hand_over(r, p)
