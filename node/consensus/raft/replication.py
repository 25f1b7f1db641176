"""Appends: a leader's sending and a follower's answer (Raft thesis 3.5, 10.2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from quorumcache.node.consensus.catch_up import SNAPSHOTS_MAX
from quorumcache.node.consensus.progress import PROBE, REPLICATE, SNAPSHOT_SILENT_CHECKS, Progress
from quorumcache.node.consensus.raft.commit import commit_as_told, maybe_commit
from quorumcache.node.consensus.raft.configurations import (
    configuration_appended,
    configurations_truncated,
)
from quorumcache.node.consensus.raft.messages import Append, AppendReply
from quorumcache.node.consensus.raft.roles import become_follower
from quorumcache.node.consensus.raft.state import RaftState, send_as_leader
from quorumcache.node.consensus.raft.transfer import maybe_hand_over
from quorumcache.node.consensus.values import (
    Entry,
    EntryKind,
    Index,
    Outbound,
    ReplicaId,
    Role,
    Term,
)

_CONFIG: Final = int(EntryKind.CONFIG)
_LEADER: Final = Role.LEADER
_FOLLOWER: Final = Role.FOLLOWER
_new: Final = tuple.__new__  # see proposals.py


# -- leader --------------------------------------------------------------------------------


def broadcast_appends(r: RaftState) -> None:
    """Send every peer what is new, and more to those that are behind. Peers at the same position
    share one message."""
    r.append_due = False
    log = r.log
    config = r.config
    next_index = 0
    message: Append | None = None
    size = 0
    out = r.messages if r.term_durable else r.messages_after_append
    for p in r.peers:
        if p.is_behind or p.is_learner:
            send_appends(r, p)
            continue
        if p.next_index != next_index or message is None:
            next_index = p.next_index
            if not log.first_index <= next_index <= log.last_index:
                send_appends(r, p)
                message = None
                continue
            message, size = _append_from(r, next_index, config.append_bytes_max)
        if not p.has_room(config.inflight_appends_max, config.inflight_bytes_max):
            continue
        p.sent(next_index + len(message[4]) - 1, size)
        out.append(_new(Outbound, (p.replica_id, message)))
        if p.next_index <= log.last_index:
            send_appends(r, p)  # more than one message's worth


def send_appends(r: RaftState, p: Progress) -> None:
    """Send `p` all it lacks, as far as its state, its windows and a learner's budget allow.

    A learner is sent what is committed, and nothing else: a replica that counts it among the voters
    already may need its vote, and no voter could win against a newer log (docs/consensus.md).
    """
    log = r.log
    if p.state is REPLICATE:
        config = r.config
        last_index = r.commit_index if p.is_learner else log.last_index
        while p.next_index <= last_index:
            if p.next_index < log.first_index:
                want_snapshot(r, p)
                return
            if not p.has_room(config.inflight_appends_max, config.inflight_bytes_max):
                return
            bytes_max = p.may_send(config.append_bytes_max, r.now_ns, config.catch_up_bytes_max)
            if not bytes_max:
                return  # It is sent more when it answers.
            message, size = _append_from(r, p.next_index, bytes_max)
            if p.is_learner:
                message, size = _cut(message, size, last_index)
            if p.budget is not None:
                p.budget.give_back(bytes_max - size, p.doublings)
            p.sent(p.next_index + len(message.entries) - 1, size)
            send_as_leader(r, p.replica_id, message)
        p.arrived()
    elif p.state is PROBE and not p.paused:
        if p.next_index < log.first_index:
            want_snapshot(r, p)
            return
        p.paused = True
        config = r.config
        bytes_max = p.room(config.append_bytes_max, config.catch_up_bytes_max)
        if p.is_learner or p.held_bytes or not bytes_max:
            # If entries are on their way already, they are only late, or they are lost: the answer
            # to this one tells.
            send_as_leader(r, p.replica_id, _append_empty(r, p))
            return
        message, size = _append_from(r, p.next_index, bytes_max)
        p.hold(size)
        send_as_leader(r, p.replica_id, message)


def _append_from(r: RaftState, next_index: int, bytes_max: int) -> tuple[Append, int]:
    """An Append of what fits from `next_index` on, possibly nothing, and its payload bytes."""
    log = r.log
    entries, size = log.batch(next_index, bytes_max)
    prev_index = next_index - 1
    prev_term = log.term_at(prev_index)
    assert prev_term is not None
    return _new(Append, (r.term, prev_index, prev_term, r.commit_index, entries)), size


def _cut(message: Append, size: int, last_index: Index) -> tuple[Append, int]:
    """What of it ends at `last_index` at the latest, and its payload bytes."""
    entries = message.entries[: last_index - message.prev_index]
    if len(entries) == len(message.entries):
        return message, size
    return message._replace(entries=entries), sum(len(entry.payload) for entry in entries)


def want_snapshot(r: RaftState, p: Progress) -> None:
    """The next entry of `p` is compacted away: it needs a snapshot.

    If the log was dropped once more before it had it, and others may wait for the place that it
    had, they ask before it: else a group that is written a lot could keep its place for good.
    """
    is_again = p.state is REPLICATE and p.is_behind and p.budget is None
    p.become_snapshot(r.ticks)
    if is_again and p.window.snapshots >= SNAPSHOTS_MAX - 1:
        return  # It asks when it answers a heartbeat after an election timeout.
    ask_for_snapshot(r, p)


def ask_for_snapshot(r: RaftState, p: Progress) -> None:
    """Ask the shell for one, or do so later: its node is sent a few at a time, so that those which
    wait take no memory."""
    config = r.config
    p.release()
    size = p.snapshot_room(config.snapshot_chunk_bytes, config.catch_up_bytes_max)
    if size and p.take_place(r.ticks):
        p.hold(size)
        p.snapshot_asked_tick = r.ticks
        r.snapshot_wanted.append(p.replica_id)
    else:
        p.leave_place()
        p.snapshot_asked_tick = r.ticks - config.election_ticks


def needed_from_log(r: RaftState, index: Index) -> Index:
    """The last index <= `index` that the log may lose without another snapshot for a peer that is
    catching up and was heard from lately.
    """
    for p in r.peers:
        if p.silent_checks >= SNAPSHOT_SILENT_CHECKS:
            continue
        if p.snapshot is not None:
            index = min(index, p.snapshot.meta.last_index)  # It goes on from there.
        elif p.state is REPLICATE:
            index = min(index, p.match_index)
    return index


def resume_appends(r: RaftState, p: Progress) -> None:
    """`p` answered a heartbeat: make up for Appends that may have been lost."""
    if p.state is PROBE:
        p.paused = False
        if p.match_index < r.log.last_index:
            send_appends(r, p)
    elif p.state is REPLICATE and not p.inflight_count:
        if p.next_index <= r.log.last_index:
            send_appends(r, p)  # its window was full, or a learner's budget used up
    elif p.state is REPLICATE:
        if p.stalled_at == p.match_index:
            # No acknowledgement for a whole heartbeat round. An empty Append at the end of what
            # was sent is refused if something before it is missing, which leads to a probe.
            if p.next_index < r.log.first_index:
                want_snapshot(r, p)
                return
            send_as_leader(r, p.replica_id, _append_empty(r, p))
        p.stalled_at = p.match_index


def _append_empty(r: RaftState, p: Progress) -> Append:
    prev_index = p.next_index - 1
    prev_term = r.log.term_at(prev_index)
    assert prev_term is not None
    return Append(r.term, prev_index, prev_term, r.commit_index, ())


def handle_append_reply(r: RaftState, sender: ReplicaId, m: AppendReply) -> None:
    if r.role is not _LEADER:
        return  # an answer to a leadership that is over
    p = r.members.get(sender)
    if p is None:
        return  # no longer a member: its acknowledgement counts for nothing
    _, match_index, reject, hint_index, hint_term = m
    if not reject:
        _matched(r, p, match_index)
        return
    p.recent_active = True
    if hint_term:
        hint_index = r.log.conflict_hint(hint_index, hint_term)[0]
    if p.rejected(match_index, hint_index + 1):
        send_appends(r, p)


def handle_match(r: RaftState, sender: ReplicaId, match_index: Index) -> bool:
    """An `AppendReply` of this term that refuses nothing, without the message. Whether anything
    may have come of it."""
    if r.role is _LEADER:
        for p in r.peers:
            if p.replica_id == sender:
                return _matched(r, p, match_index)
    return False


def _matched(r: RaftState, p: Progress, match_index: Index) -> bool:
    """A member holds durably all that we have up to `match_index`. False if nothing came of it
    that is to be sent, written or applied."""
    is_more = False
    p.recent_active = True
    assert match_index <= r.log.last_index, (
        f"replica {p.replica_id} acknowledged what we never wrote"
    )
    if p.acknowledged(match_index):
        if p.state is not REPLICATE:
            _caught_on(r, p)
        p.begin_round(r.commit_index)
        if match_index > r.commit_index:
            is_more = maybe_commit(r)
    elif p.state is PROBE and match_index == p.match_index:
        p.become_replicate()
    if r.role is _LEADER:  # a commit can end a leadership
        if p.next_index <= r.log.last_index:
            send_appends(r, p)
            is_more = True
        elif p.is_behind and p.state is REPLICATE:
            p.arrived()
        if r.transfer_target:
            maybe_hand_over(r, p)
            is_more = True
    return is_more


def _caught_on(r: RaftState, p: Progress) -> None:
    """`p` acknowledged something new: from a probe, or while it was thought to need a snapshot."""
    if p.state is PROBE or p.match_index + 1 >= r.log.first_index:
        p.become_replicate()


# -- follower ------------------------------------------------------------------------------


def hear_leader(r: RaftState, leader_id: ReplicaId) -> None:
    """A message of this term's leader arrived: follow it, and promise to refuse votes a while."""
    assert r.role is not Role.LEADER, f"{leader_id} also leads in term {r.term}"
    if r.role is not _FOLLOWER or r.leader_id != leader_id:
        assert r.leader_id in (0, leader_id), f"two leaders in term {r.term}"
        become_follower(r, r.term, leader_id)
    r.heard_tick = r.ticks


def handle_append(r: RaftState, sender: ReplicaId, m: Append) -> None:
    if r.leader_id == sender and r.role is _FOLLOWER:  # the usual case of hear_leader
        r.heard_tick = r.ticks
    else:
        hear_leader(r, sender)
    log = r.log
    term, prev_index, prev_term, commit_index, entries = m
    if prev_index == log.last_index and prev_term == log.last_term:
        for entry in entries:
            log.append(entry)
            if entry[2] == _CONFIG:
                configuration_appended(r, entry[0], entry[3])
        match_index = log.last_index
    elif prev_index < r.commit_index:
        # What is committed is the same everywhere, so the logs match so far at least, and an
        # entry right above follows one that matches. (It may be compacted away here.)
        known = r.commit_index - prev_index
        for entry in entries[:known]:
            assert log.term_at(entry[0]) in (None, entry[1]), "committed entries differ"
        match_index = _merge(r, r.commit_index, entries[known:])
    elif log.matches(prev_index, prev_term):
        match_index = _merge(r, prev_index, entries)
    else:
        hint_index, hint_term = log.conflict_hint(prev_index, prev_term)
        reply = AppendReply(term, prev_index, True, hint_index, hint_term)
        r.messages_after_append.append(Outbound(sender, reply))
        if commit_index > r.heard_commit_index:
            r.heard_commit_index = commit_index
        return
    if commit_index > r.commit_index:
        if commit_index > r.heard_commit_index:
            r.heard_commit_index = commit_index
        # Only what this message proved to be equal: entries of ours above it may be wrong.
        commit_as_told(r, commit_index if commit_index < match_index else match_index)
    r.messages_after_append.append(
        _new(Outbound, (sender, _new(AppendReply, (term, match_index, False, 0, 0))))
    )


def follow(
    r: RaftState,
    sender: ReplicaId,
    prev_index: Index,
    prev_term: Term,
    commit_index: Index,
    entries: list[Entry],
) -> bool:
    """The usual case of an `Append` of this term: our leader's next entries, all of them commands.

    They count as handed out. False if it is another case.
    """
    log = r.log
    if r.leader_id != sender or r.role is not _FOLLOWER:
        return False
    if prev_index != log.last_index or prev_term != log.last_term:
        return False
    r.heard_tick = r.ticks
    for entry in entries:
        log.append(entry)
    log.unstable_index = log.last_index + 1
    if commit_index > r.commit_index:
        if commit_index > r.heard_commit_index:
            r.heard_commit_index = commit_index
        commit_as_told(r, commit_index if commit_index < log.last_index else log.last_index)
    return True


def _merge(r: RaftState, prev_index: Index, entries: Sequence[Entry]) -> Index:
    """Write entries that follow a matching one into the middle of the log; what now matches."""
    log = r.log
    position = log.first_conflict(entries)
    if position < len(entries):
        index = entries[position].index
        assert index > r.commit_index, "a committed entry is never overwritten"
        if index <= log.last_index:
            log.truncate_suffix(index)
            configurations_truncated(r, index)
        for entry in entries[position:]:
            log.append(entry)
            if entry.kind == _CONFIG:
                configuration_appended(r, entry.index, entry.payload)
    return prev_index + len(entries)
