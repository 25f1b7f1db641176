"""Errors of the replicated log. Each says whether the proposal can have any effect."""

from __future__ import annotations


class ConsensusError(Exception):
    """Base of all errors raised by a replicated log. None of them leaves anything in the log."""


class NotLeader(ConsensusError):
    """This replica does not lead; `leader_id` (0 = unknown) may."""

    def __init__(self, leader_id: int, term: int) -> None:
        super().__init__(f"not the leader in term {term}; the leader is {leader_id or 'unknown'}")
        self.leader_id = leader_id
        self.term = term


class ProposalDropped(ConsensusError):
    """The leader did not take the proposal; it is certainly not in the log. Safe to retry later."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MembershipChangePending(ConsensusError):
    """Another change has not committed yet, or the term's first entry has not (Raft thesis 4.1)."""


class ConfigurationRefused(ConsensusError):
    """The configuration or replica asked for can never be accepted as it is."""
