"""Snapshots in chunks: one chunk under way per peer, resumable at any offset (Raft thesis 5.3).

The receiver says which byte it needs next, and the sender follows. Its last word, `done`, waits
until the snapshot is durable. While it is being installed the sender polls with empty chunks.
"""

from __future__ import annotations

from typing import Final

from quorumcache.node.consensus.progress import SNAPSHOT, Progress
from quorumcache.node.consensus.raft.commit import commit_as_told, maybe_commit
from quorumcache.node.consensus.raft.configurations import configurations_restored
from quorumcache.node.consensus.raft.messages import SnapshotChunk, SnapshotReply
from quorumcache.node.consensus.raft.replication import (
    ask_for_snapshot,
    hear_leader,
    send_appends,
)
from quorumcache.node.consensus.raft.state import (
    IncomingSnapshot,
    RaftState,
    send_as_leader,
    send_durable,
)
from quorumcache.node.consensus.raft.transfer import maybe_hand_over
from quorumcache.node.consensus.values import (
    Outbound,
    ReplicaId,
    Role,
    SnapshotMeta,
    SnapshotSource,
)

REPEAT_DOUBLINGS_MAX: Final = 5
"""A chunk without an answer is sent again after 32 election timeouts at the latest (10 s)."""


# -- leader --------------------------------------------------------------------------------


def provide_snapshot(r: RaftState, to: ReplicaId, source: SnapshotSource) -> None:
    """See `ReplicatedLog.provide_snapshot`."""
    if r.role is not Role.LEADER:
        return
    p = r.members.get(to)
    if p is None or p.state is not SNAPSHOT or p.snapshot is not None:
        return  # gone, caught up in another way, or given twice
    assert source.meta.last_index <= r.commit_index
    if source.meta.last_index < r.log.prev_index:
        return  # the log does not reach back to it any more: asked again after a while
    p.start_snapshot(source)
    p.snapshot_heard_tick = r.ticks
    _send_chunk(r, p)


def _send_chunk(r: RaftState, p: Progress) -> None:
    """Send what follows, if there is room and a place for it.

    It may be without a place: what it was given comes of an older wish, it was a learner when it
    began, or it was given up and is answered after all.
    """
    source = p.snapshot
    assert source is not None
    meta = source.meta
    offset = p.snapshot_offset
    config = r.config
    size = 0
    p.release()
    may_send = _is_given_up(p) or p.take_place(r.ticks)
    if offset < source.total_bytes:
        if may_send:
            size = p.snapshot_room(config.snapshot_chunk_bytes, config.catch_up_bytes_max)
        if not size:
            return  # It is sent more when it answers a heartbeat.
    part = source.read(offset, size)
    p.hold(len(part))
    p.snapshot_sent_tick = r.ticks
    p.snapshot_moved = True
    chunk = SnapshotChunk(
        *(r.term, meta.last_index, meta.last_term, meta.configuration),
        *(offset, source.total_bytes, part),
    )
    send_as_leader(r, p.replica_id, chunk)


def resume_snapshot(r: RaftState, p: Progress) -> None:
    """`p` answered a heartbeat: send a chunk, or the request to the shell, that had to wait, or led
    nowhere.

    Heartbeats may pass a chunk on its way. It is lost if it has no answer after an election timeout
    and, if it is only slow, the next one is twice as patient: chunks sent again and again would be
    what a slow way is full of.
    """
    if p.snapshot is None:
        if r.ticks - p.snapshot_asked_tick >= r.config.election_ticks:
            if _leads_nowhere(r, p):
                p.leave_window()
                p.snapshot_asked_tick = p.snapshot_heard_tick = r.ticks  # Others ask before it.
            else:
                ask_for_snapshot(r, p)
        return
    if not _is_given_up(p) and _leads_nowhere(r, p):
        # It was sent again each time after the member had been silent, which is no repetition.
        p.snapshot_repeats = REPEAT_DOUBLINGS_MAX + 1
        p.leave_window()
    if p.snapshot_moved:
        p.snapshot_moved = False
    elif not p.held_bytes and not _is_given_up(p):
        # There was nothing to send, or no room; or it is asked whether it is done.
        _send_chunk(r, p)
    elif r.ticks - p.snapshot_sent_tick >= _patience(r, p):
        p.snapshot_repeats = min(p.snapshot_repeats + 1, REPEAT_DOUBLINGS_MAX + 1)
        _send_chunk(r, p)
        if _is_given_up(p):
            p.leave_window()  # It takes none of it: others are not to wait for that.


def _is_given_up(p: Progress) -> bool:
    """It is still sent again now and then, but others do not wait for it any more."""
    return p.snapshot_repeats > REPEAT_DOUBLINGS_MAX


def _leads_nowhere(r: RaftState, p: Progress) -> bool:
    """It has kept others waiting for as long as all repetitions take, and has not got on."""
    if not (p.has_place or p.held_bytes):
        return False
    silence = r.ticks - p.snapshot_heard_tick
    return silence >= r.config.election_ticks << (REPEAT_DOUBLINGS_MAX + 1)


def _patience(r: RaftState, p: Progress) -> int:
    """Ticks after which a chunk without an answer is lost."""
    return r.config.election_ticks << min(p.snapshot_repeats, REPEAT_DOUBLINGS_MAX)


def handle_snapshot_reply(r: RaftState, sender: ReplicaId, m: SnapshotReply) -> None:
    if r.role is not Role.LEADER:
        return  # an answer to a leadership that is over
    p = r.members.get(sender)
    if p is None:
        return  # no longer a member
    p.recent_active = True
    if p.state is not SNAPSHOT:
        return  # an old answer; what it acknowledges will be learned by appends
    source = p.snapshot
    is_other = source is None or m.last_index != source.meta.last_index
    if is_other and (not m.done or m.last_index < r.log.prev_index):
        # One that was let go, perhaps, because the member was busy with its disk and silent for
        # long. If it has that, and the log follows on it, no other one is needed.
        return
    if m.done:
        p.acknowledged(m.last_index)
        p.become_replicate()
        p.begin_round(r.log.last_index)
        maybe_commit(r)
        if r.role is Role.LEADER:
            send_appends(r, p)
            if r.transfer_target:
                maybe_hand_over(r, p)
        return
    assert source is not None
    p.release()
    if m.next_offset == source.total_bytes:
        p.snapshot_heard_tick = r.ticks  # All of it is there: the disk may take its time.
    if m.next_offset != p.snapshot_offset and m.next_offset <= source.total_bytes:
        # Usually the next chunk's; lower if the receiver had to start again.
        p.snapshot_offset = m.next_offset
        p.snapshot_repeats = 0
        p.snapshot_heard_tick = r.ticks
        if m.next_offset < source.total_bytes:
            _send_chunk(r, p)


# -- follower ------------------------------------------------------------------------------


def handle_snapshot_chunk(r: RaftState, sender: ReplicaId, m: SnapshotChunk) -> None:
    hear_leader(r, sender)
    if m.last_index <= r.commit_index or r.log.matches(m.last_index, m.last_term):
        commit_as_told(r, m.last_index)
        r.incoming = None
        if r.installing is None:
            send_durable(r, sender, SnapshotReply(r.term, m.last_index, m.total_bytes, True))
        else:
            # All of it is here, and not durable. The sender need not repeat what it sent last; it
            # asks again, so that no answers gather here while the disk takes its time.
            reply = SnapshotReply(r.term, m.last_index, m.total_bytes, False)
            r.messages.append(Outbound(sender, reply))
        return
    if r.installing is not None:
        return  # one at a time; the sender will ask again
    if m.total_bytes > r.config.snapshot_bytes_max:
        return  # cannot be taken in; the group goes on without us
    incoming = r.incoming
    key = (sender, m.term, m.last_index, m.last_term, m.total_bytes)
    if incoming is None or incoming.key != key:
        incoming = r.incoming = IncomingSnapshot(key)
    if m.offset == incoming.size and m.data:
        incoming.pieces.append(m.data)
        incoming.size += len(m.data)
        assert incoming.size <= m.total_bytes, "a chunk reaches beyond its snapshot"
    next_offset = incoming.size
    if next_offset == m.total_bytes:
        meta = SnapshotMeta(m.last_index, m.last_term, m.configuration)
        _restore(r, SnapshotSource(meta, incoming.pieces))
        send_durable(r, sender, SnapshotReply(r.term, m.last_index, m.total_bytes, True))
    else:
        reply = SnapshotReply(r.term, m.last_index, next_offset, False)
        r.messages.append(Outbound(sender, reply))


def _restore(r: RaftState, snapshot: SnapshotSource) -> None:
    """Replace log and state. Everything here was at most uncommitted."""
    meta = snapshot.meta
    assert meta.last_index > r.commit_index
    r.log.restore(meta.last_index, meta.last_term)
    configurations_restored(r, meta.last_index, meta.configuration)
    r.commit_index = r.emitted_index = meta.last_index
    r.incoming = None
    r.installing = meta
    r.snapshot_ready = snapshot
