"""Errors of the replicated log. Each says whether the proposal can have any effect.

Apart from `node/errors.py`: they are part of the interface of this package, which is pure and
knows nothing of the node around it. `ReplicaGroup` turns them into reasons of a refusal.
"""

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
    """Another change has not committed yet, or the term's first entry has not (Raft thesis 4.1), or
    a new voter holds nothing of the log yet. Safe to retry later."""


class ConfigurationRefused(ConsensusError):
    """The configuration or replica asked for can never be accepted as it is."""


class AcknowledgedEntriesLost(ConsensusError):
    """The leader says that this replica acknowledged entries that its log does not hold.

    Its disk has lost what it was given, or was restored from an older copy. It has no right to
    vote any more: what it promised is not known. Certain, not a guess: a leader tells a replica of
    commits only as far as that replica acknowledged in the leader's own term.
    """

    def __init__(self, index: int, last_index: int) -> None:
        super().__init__(f"acknowledged entries up to {index} but holds them up to {last_index}")
        self.index = index
        self.last_index = last_index
