"""Leadership transfer (Raft thesis 3.10).

From the moment a transfer begins there is no lease: the successor is elected without regard to
what followers promised us. A TimeoutNow that was sent can arrive at any later time, so when the
transfer is abandoned after one, this term never has a lease again. The leader then begins a term in
which it may have one (`needs_new_term`, `election.begin_new_term`): a late TimeoutNow of the old
term makes a candidate of the new one at most, and there a quorum has voted already.
"""

from __future__ import annotations

from typing import Final

from quorumcache.node.consensus.errors import ConfigurationRefused, NotLeader
from quorumcache.node.consensus.progress import Progress
from quorumcache.node.consensus.raft.messages import TimeoutNow
from quorumcache.node.consensus.raft.reads import echoed_until_ns, renew_lease
from quorumcache.node.consensus.raft.state import RaftState, send_as_leader
from quorumcache.node.consensus.values import ReplicaId, Role

SLOW_ELECTIONS_MAX: Final = 4
"""A successor is waited for if its answers take less than so many election timeouts."""


def begin_transfer(r: RaftState, to: ReplicaId) -> None:
    """See `ReplicatedLog.transfer_leadership`."""
    if r.role is not Role.LEADER:
        raise NotLeader(r.leader_id, r.term)
    if not r.configuration.is_voter(to):
        raise ConfigurationRefused(f"replica {to} is no voter of {r.configuration}")
    if to in (r.replica_id, r.transfer_target):
        return
    r.transfer_target = to
    r.transfer_deadline_tick = r.ticks + r.config.election_ticks + _answer_ticks(r, r.members[to])
    r.deadline_tick = min(r.deadline_tick, r.transfer_deadline_tick)
    r.lease_until_ns = 0
    maybe_hand_over(r, r.members[to])


def _answer_ticks(r: RaftState, p: Progress) -> int:
    """How long the answers of a slow member take: it has to hold the whole log before it is told.
    0 for one that is not slow, and for one that has been silent for too long to be waited for."""
    age_ticks = (r.now_ns - p.echo_ns) // (r.config.tick_ms * 1_000_000)
    election_ticks = r.config.election_ticks
    return age_ticks if election_ticks < age_ticks < SLOW_ELECTIONS_MAX * election_ticks else 0


def maybe_hand_over(r: RaftState, p: Progress) -> None:
    """Tell the target to stand for election once it holds the whole log.

    Called again at its heartbeat replies, in case the message was lost.
    """
    if p.replica_id == r.transfer_target and p.match_index == r.log.last_index:
        r.handed_over_index = r.log.last_index
        send_as_leader(r, p.replica_id, TimeoutNow(r.term))


def call_successor(r: RaftState) -> None:
    """Before stepping down because no quorum was heard: the voter that is furthest along, of these
    the one heard last, need not wait for its timeout.

    If we are slow rather than cut off, our last heartbeats are still on their way, and every one
    begins a new promise when it comes. This comes behind them and ends the wait. It is sent only
    when the lease is over; a leader that stepped down never leads in that term again, so the term
    has no other lease.
    """
    others = [p for p in r.voters if p.replica_id != r.replica_id]
    if r.outgoing or not others or r.now_ns < r.lease_until_ns:
        return
    best = max(others, key=lambda p: (p.match_index, p.echo_ns, -p.replica_id))
    send_as_leader(r, best.replica_id, TimeoutNow(r.term))


def abandon_transfer(r: RaftState) -> None:
    """The target did not take over in time: lead on."""
    r.transfer_target = 0
    renew_lease(r)


def needs_new_term(r: RaftState) -> bool:
    """Leader: is the lease void because of an abandoned transfer, and would a new term have one?

    Not while a quorum answers too slowly for a lease, or has not yet committed what was in the log
    when the transfer began: it would elect us late or not at all. Nothing was proposed since then,
    so usually nothing is in flight when the new term begins.
    """
    index = r.handed_over_index
    if not index or r.transfer_target or r.commit_index < index:
        return False
    return echoed_until_ns(r) > r.now_ns
