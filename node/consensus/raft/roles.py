"""The only places where `role` changes.

           timeout            pre-vote won          vote won
FOLLOWER ----------> PRE_CANDIDATE ----> CANDIDATE ----------> LEADER
    ^  |                  |                 |  ^                 |
    |  '------------------|-----------------|--' TimeoutNow      |
    '---------------------+-----------------+--------------------'
         newer term, a leader of this term, lost vote, lost quorum, removed
"""

from __future__ import annotations

from quorumcache.node.consensus.raft.configurations import build_progress, drop_progress
from quorumcache.node.consensus.raft.state import RaftState, restart_election_timer
from quorumcache.node.consensus.values import ReplicaId, Role, Term


def become_follower(r: RaftState, term: Term, leader_id: ReplicaId) -> None:
    """Enter `term` (or stay in it) as a follower of `leader_id`, 0 = not known yet."""
    assert term >= r.term, (term, r.term)
    if r.role is Role.LEADER:
        _end_leadership(r)
    if term != r.term:
        r.term = term
        r.voted_for = 0
        r.hard_changed = True
    if r.role is not Role.FOLLOWER:
        # A follower's timer keeps running: a mere newer term is no sign of a leader.
        r.role = Role.FOLLOWER
        restart_election_timer(r)
    r.votes = {}
    r.leader_id = leader_id
    r.soft_changed = True


def become_pre_candidate(r: RaftState) -> None:
    """Ask whether an election could be won, without touching the term (Raft thesis 9.6)."""
    assert r.role is not Role.LEADER
    r.role = Role.PRE_CANDIDATE
    _reset_votes(r)


def become_candidate(r: RaftState) -> None:
    """Enter the next term and vote for ourselves (Raft thesis 3.4)."""
    assert r.role is not Role.LEADER
    r.term += 1
    r.voted_for = r.replica_id
    r.hard_changed = True
    r.role = Role.CANDIDATE
    _reset_votes(r)


def become_leader(r: RaftState) -> None:
    """Won. The caller appends the no-op and tells the others."""
    assert r.role is Role.CANDIDATE
    assert r.voted_for == r.replica_id
    r.role = Role.LEADER
    r.leader_id = r.replica_id
    r.soft_changed = True
    # Others only answer a Vote that left after our own was durable.
    r.term_durable = any(v for voter, v in r.votes.items() if voter != r.replica_id)
    r.votes = {}
    r.term_start_index = r.log.last_index + 1
    r.incoming = None
    build_progress(r)
    index = r.configurations[-1][0]
    r.pending_config_index = index if index > r.commit_index else 0
    first = max(r.commit_index + 1, r.log.first_index)
    r.uncommitted_bytes = sum(len(e.payload) for e in r.log.slice(first, r.log.last_index + 1))
    r.lease_until_ns = 0
    r.read_round = 0
    assert not r.reads_waiting
    assert not r.read_rounds
    r.heartbeat_tick = r.ticks
    r.quorum_check_tick = r.ticks + r.config.election_ticks
    r.deadline_tick = r.ticks


def _reset_votes(r: RaftState) -> None:
    r.leader_id = 0
    r.votes = {r.replica_id: True}
    r.soft_changed = True
    restart_election_timer(r)


def _end_leadership(r: RaftState) -> None:
    r.lease_until_ns = 0
    r.handed_over_index = 0
    r.term_start_index = 0
    r.term_durable = True
    r.transfer_target = 0
    r.pending_config_index = 0
    r.uncommitted_bytes = 0
    r.append_due = False
    for _, _, contexts in r.read_rounds:
        r.failed_reads.extend(contexts)
    r.failed_reads.extend(r.reads_waiting)
    r.read_rounds.clear()
    r.reads_waiting = []
    r.snapshot_wanted = []
    drop_progress(r)
