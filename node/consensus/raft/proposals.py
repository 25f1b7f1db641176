"""How entries enter a leader's log."""

from __future__ import annotations

from typing import Final

from quorumcache.node.consensus.errors import NotLeader, ProposalDropped
from quorumcache.node.consensus.raft.configurations import configuration_appended
from quorumcache.node.consensus.raft.state import RaftState
from quorumcache.node.consensus.values import Entry, EntryKind, Index, Role

_NORMAL: Final = int(EntryKind.NORMAL)
_new = tuple.__new__  # half the cost of a NamedTuple's own constructor (0.12 instead of 0.25 us)


def propose(r: RaftState, payload: bytes) -> Index:
    """See `ReplicatedLog.propose`."""
    if r.role is not Role.LEADER:
        raise NotLeader(r.leader_id, r.term)
    if r.transfer_target:
        raise ProposalDropped("leadership is being handed over")
    size = r.uncommitted_bytes + len(payload)
    if size > r.config.uncommitted_bytes_max and r.uncommitted_bytes:
        raise ProposalDropped("too many bytes in the log wait to be committed")
    r.uncommitted_bytes = size
    log = r.log
    index = log.last_index + 1
    log.append(_new(Entry, (index, r.term, _NORMAL, payload)))
    r.append_due = True
    return index


def append_own(r: RaftState, kind: EntryKind, payload: bytes) -> Index:
    """Append an entry of the protocol itself: it is never refused, but for the caller's rules."""
    assert r.role is Role.LEADER
    index = r.log.last_index + 1
    r.log.append(Entry(index, r.term, int(kind), payload))
    r.uncommitted_bytes += len(payload)
    r.append_due = True
    if kind is EntryKind.CONFIG:
        assert not r.pending_config_index, "one change at a time"
        r.pending_config_index = index
        configuration_appended(r, index, payload)
    return index
