"""How entries enter a leader's log."""

from __future__ import annotations

from typing import Final

from quorumcache.node.consensus.errors import NotLeader, ProposalDropped
from quorumcache.node.consensus.progress import PROBE
from quorumcache.node.consensus.raft.configurations import configuration_appended
from quorumcache.node.consensus.raft.state import RaftState
from quorumcache.node.consensus.values import Entry, EntryKind, Index, Message, Role

_LEADER: Final = Role.LEADER
_NORMAL: Final = int(EntryKind.NORMAL)
_new: Final = (
    tuple.__new__
)  # half the cost of a NamedTuple's own constructor (0.12 instead of 0.25 us)


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


def extend(r: RaftState, payload: bytes) -> Message | None:
    """See `ReplicatedLog.extend`: what `propose` and the next Ready do, all in one, where every
    follower is sent the new entry and nothing else, or nothing at all. The caller has seen that no
    Ready is due."""
    if r.role is not _LEADER or not r.term_durable or r.transfer_target:
        return None
    log = r.log
    last_index = log.last_index
    config = r.config
    size = len(payload)
    uncommitted_bytes = r.uncommitted_bytes + size
    if uncommitted_bytes > config.uncommitted_bytes_max:
        return None
    index = last_index + 1
    peers = r.peers
    misses_followers = False
    for p in peers:
        if p.is_behind and not p.is_learner and (p.state is not PROBE or p.paused):
            misses_followers = True  # It is sent nothing before it answers.
            continue
        if p.is_behind or p.is_learner or p.next_index != index:
            return None
        if not p.has_room(config.inflight_appends_max, config.inflight_bytes_max):
            return None
    if misses_followers or r.misses_followers:
        r.misses_followers = misses_followers
        r.followers = tuple([p.replica_id for p in peers if not p.is_behind])
    for p in peers:
        if not p.is_behind:
            p.sent(index, size)
    r.uncommitted_bytes = uncommitted_bytes
    term = r.term
    prev_term = log.last_term
    return term, last_index, prev_term, r.commit_index, [log.append_own(term, payload)]


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
