"""The messages replicas exchange. `MESSAGE_TYPES` gives each its number on the wire.

Every message starts with a term. It is the sender's own term, with two exceptions: a `PreVote` and
a granted `PreVoteReply` carry the term the candidate would take, which no replica has entered yet.
"""

from __future__ import annotations

from typing import NamedTuple

from quorumcache.node.consensus.values import Configuration, Entry, Index, Term


class PreVote(NamedTuple):
    """Would you vote for me in `term` (mine + 1)? Changes no replica's term (Raft thesis 9.6)."""

    term: Term
    last_index: Index
    last_term: Term


class PreVoteReply(NamedTuple):
    """`term` is the one asked for if granted, else the voter's own."""

    term: Term
    granted: bool


class Vote(NamedTuple):
    """Vote for me in `term` (Raft thesis 3.4). `force`: the leader asked me to (3.10), so ignore
    its lease."""

    term: Term
    last_index: Index
    last_term: Term
    force: bool


class VoteReply(NamedTuple):
    term: Term
    granted: bool


class Append(NamedTuple):
    """Entries that follow (`prev_index`, `prev_term`); empty as a probe (Raft thesis 3.5)."""

    term: Term
    prev_index: Index
    prev_term: Term
    commit_index: Index
    entries: tuple[Entry, ...]


class AppendReply(NamedTuple):
    """Answer to an `Append`.

    Accepted: all entries <= `match_index` are durable here and equal to the leader's. `reject`:
    `match_index` repeats the refused `prev_index`; the logs can agree at `hint_index`, whose term
    here is `hint_term`, or below.
    """

    term: Term
    match_index: Index
    reject: bool
    hint_index: Index
    hint_term: Term


class Heartbeat(NamedTuple):
    """`commit_index` is min(leader's commit_index, receiver's match_index). `sent_ns` (the leader's
    clock) and `read_context` (number of the newest read round, 0 = none) are echoed.

    `stamp` is the newest of the receiver's stamps (see staleness.py), sent back under a valid lease
    only: all that was committed when it was made lies at or below `fresh_index`. 0 = none.
    """

    term: Term
    commit_index: Index
    sent_ns: int
    read_context: int
    stamp: int = 0
    fresh_index: Index = 0


class HeartbeatReply(NamedTuple):
    """Echoes, and a stamp of the sender's own clock for the leader to send back."""

    term: Term
    sent_ns: int
    read_context: int
    stamp: int = 0


class SnapshotChunk(NamedTuple):
    """Bytes [`offset`, `offset` + len(`data`)) of a snapshot of `total_bytes`."""

    term: Term
    last_index: Index
    last_term: Term
    configuration: Configuration
    offset: int
    total_bytes: int
    data: bytes


class SnapshotReply(NamedTuple):
    """`next_offset` is the first byte missing; `done`: everything <= `last_index` is durable
    here."""

    term: Term
    last_index: Index
    next_offset: int
    done: bool


class TimeoutNow(NamedTuple):
    """The leader of `term` asks the receiver to stand for election at once (Raft thesis 3.10)."""

    term: Term


RaftMessage = (
    PreVote
    | PreVoteReply
    | Vote
    | VoteReply
    | Append
    | AppendReply
    | Heartbeat
    | HeartbeatReply
    | SnapshotChunk
    | SnapshotReply
    | TimeoutNow
)

MESSAGE_TYPES: tuple[type[RaftMessage], ...] = (
    PreVote,
    PreVoteReply,
    Vote,
    VoteReply,
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
)
"""Wire number = position. Only ever append."""
