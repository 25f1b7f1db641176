"""The commit index: moved by a quorum on the leader, by the leader's word on a follower."""

from __future__ import annotations

from quorumcache.node.consensus.errors import AcknowledgedEntriesLost
from quorumcache.node.consensus.quorum import majority_value, median
from quorumcache.node.consensus.raft.membership import configuration_committed
from quorumcache.node.consensus.raft.reads import renew_lease
from quorumcache.node.consensus.raft.state import RaftState
from quorumcache.node.consensus.values import Index


def maybe_commit(r: RaftState) -> bool:
    """Leader: commit what a quorum holds durably, if it is of our own term. Whether that was more.

    An entry of an earlier term on a majority can still be overwritten (Raft paper 5.4.2,
    figure 8); it commits with the first of ours. All entries from term_start_index on are ours.
    """
    voters = r.voters
    if len(voters) == 3:
        index = median(voters[0].match_index, voters[1].match_index, voters[2].match_index)
    else:
        index = majority_value([p.match_index for p in voters])
    if r.outgoing:
        index = min(index, majority_value([p.match_index for p in r.outgoing]))
    before = r.commit_index
    if index <= before or index < r.term_start_index:
        return False
    assert index <= r.log.last_index
    r.commit_index = index
    if r.configuration.learners:
        r.append_due = True  # They are sent what is committed.
    r.uncommitted_bytes -= r.log.payload_bytes(before + 1, index + 1)
    assert r.uncommitted_bytes >= 0
    if before < r.term_start_index:
        renew_lease(r)
        if r.configuration.voters_outgoing and not r.pending_config_index:
            configuration_committed(r)  # our predecessor did not get to leave the joint one
    if r.pending_config_index and index >= r.pending_config_index:
        configuration_committed(r)
    return True


def commit_as_told(r: RaftState, index: Index) -> None:
    """Follower: the leader has committed up to `index`, which we hold as it does.

    Raises `AcknowledgedEntriesLost` if we do not: then this replica may not go on. But one that
    knows nothing of its group was born empty, and what was acknowledged was so by another one,
    which was removed from this node. A leader that stood still meanwhile tells of that.
    """
    if index > r.heard_commit_index:
        r.heard_commit_index = index
    if index > r.log.last_index:
        if not r.configuration.voters:
            return
        # Leaders tell of no more than we acknowledged in their term.
        raise AcknowledgedEntriesLost(index, r.log.last_index)
    if index > r.commit_index:
        r.commit_index = index
