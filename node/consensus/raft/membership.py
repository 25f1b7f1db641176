"""Membership change: what a leader may propose, and what follows when it commits.

Single step when the voters differ by at most one replica, so that any two majorities overlap
(Raft thesis 4.1); otherwise joint consensus (4.3), whose second entry the leader, or its
successor, appends as soon as the first is committed.

A replica that was born empty has no vote (election.py), so a new voter must first be a learner that
holds the beginning of the log: else a change could end in a configuration that elects no leader.
"""

from __future__ import annotations

from quorumcache.node.consensus.errors import (
    ConfigurationRefused,
    MembershipChangePending,
    NotLeader,
    ProposalDropped,
)
from quorumcache.node.consensus.raft.configurations import encode_configuration
from quorumcache.node.consensus.raft.messages import TimeoutNow
from quorumcache.node.consensus.raft.proposals import append_own
from quorumcache.node.consensus.raft.reads import has_committed_in_term
from quorumcache.node.consensus.raft.roles import become_follower
from quorumcache.node.consensus.raft.state import RaftState, send_as_leader
from quorumcache.node.consensus.values import Configuration, EntryKind, Index, Role


def change_membership(r: RaftState, new: Configuration) -> Index:
    """See `ReplicatedLog.change_membership`."""
    if r.role is not Role.LEADER:
        raise NotLeader(r.leader_id, r.term)
    if r.transfer_target:
        raise ProposalDropped("leadership is being handed over")
    if not has_committed_in_term(r):
        # Without this two leaders could each have an uncommitted change on the same base.
        raise MembershipChangePending("the first entry of this term is not committed yet")
    current = r.configuration
    if r.pending_config_index or current.voters_outgoing:
        raise MembershipChangePending(f"a change to {current} is under way")
    new.validate()
    if new == current:
        raise ConfigurationRefused(f"this already is the configuration: {current}")
    if new.decision < current.decision:
        raise ConfigurationRefused(
            f"decision {new.decision} is older than {current.decision}, which is in force"
        )
    if new.voters_outgoing and set(new.voters_outgoing) != set(current.voters):
        raise ConfigurationRefused(
            f"outgoing voters {new.voters_outgoing} are not the present voters {current.voters}"
        )
    joining = [v for v in new.voters if v not in current.voters]
    empty = [v for v in joining if v not in r.members or not r.members[v].match_index]
    if empty:
        raise MembershipChangePending(
            f"replicas {empty} hold nothing of the log yet: add them as learners first, and wait"
        )
    if len(set(new.voters) ^ set(current.voters)) > 1:
        new = new._replace(voters_outgoing=current.voters)
    index = append_own(r, EntryKind.CONFIG, encode_configuration(new))
    return index


def configuration_committed(r: RaftState) -> None:
    """Leader: the configuration in force is committed."""
    r.pending_config_index = 0
    configuration = r.configuration
    if configuration.voters_outgoing:
        final = configuration._replace(voters_outgoing=())
        append_own(r, EntryKind.CONFIG, encode_configuration(final))
    elif r.replica_id not in configuration.voters:
        _leave(r)


def _leave(r: RaftState) -> None:
    """Removed: hand over to the voter that holds most, and step down (Raft thesis 4.2.2)."""
    successor = max(r.voters, key=lambda p: (p.match_index, -p.replica_id))
    send_as_leader(r, successor.replica_id, TimeoutNow(r.term))
    become_follower(r, r.term, 0)
