"""What a leader may answer by itself: the lease (Raft thesis 6.4.1) and read rounds (6.4).

A read round confirms that no newer leader existed when it was sent: a quorum echoed its number in
our term. All reads that wait when a round starts ride on it; rounds are numbered and an echo of a
later round confirms the earlier ones.
"""

from __future__ import annotations

from quorumcache.node.consensus.errors import NotLeader
from quorumcache.node.consensus.quorum import majority_value
from quorumcache.node.consensus.raft.state import RaftState
from quorumcache.node.consensus.values import ReadState, Role


def request_read(r: RaftState, context: int, now_ns: int) -> None:
    """See `ReplicatedLog.request_read`. The round starts when the next Ready is taken."""
    if r.role is not Role.LEADER:
        raise NotLeader(r.leader_id, r.term)
    if now_ns > r.now_ns:
        r.now_ns = now_ns
    r.reads_waiting.append(context)


def has_committed_in_term(r: RaftState) -> bool:
    """Leader: is commit_index known to cover all that earlier leaders committed? (6.4, step 1)"""
    return r.commit_index >= r.term_start_index


def renew_lease(r: RaftState) -> None:
    """Recompute the lease from what the members echoed, under the configuration in force."""
    if r.handed_over_index or r.transfer_target or r.commit_index < r.term_start_index:
        assert r.lease_until_ns == 0
        return
    r.lease_until_ns = max(0, echoed_until_ns(r))


def echoed_until_ns(r: RaftState) -> int:
    """How far a lease reaches by what a quorum has echoed, if this term may have one at all."""
    start_ns = majority_value([p.echo_ns for p in r.voters])
    if r.outgoing:
        start_ns = min(start_ns, majority_value([p.echo_ns for p in r.outgoing]))
    return start_ns + r.lease_length_ns


def confirm_rounds(r: RaftState) -> None:
    """Release the reads of all rounds that a quorum has echoed."""
    rounds = r.read_rounds
    if not rounds:
        return
    confirmed = majority_value([p.echo_round for p in r.voters])
    if r.outgoing:
        confirmed = min(confirmed, majority_value([p.echo_round for p in r.outgoing]))
    while rounds and rounds[0][0] <= confirmed:
        _, read_index, contexts = rounds.popleft()
        r.read_states.extend([ReadState(context, read_index) for context in contexts])
