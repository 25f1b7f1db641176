"""Consensus messages as items of a peer frame, and back.

Sending costs nothing: messages and entries are NamedTuples, which msgpack writes as arrays.
Receiving gives plain tuples, which are turned into their classes here. The frame's checksum was
verified, and the peer's version compared, before anything arrives here; what does not fit all
the same is a `PeerFrameError`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from quorumcache.node.consensus.raft.messages import (
    MESSAGE_TYPES,
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    PreVote,
    PreVoteReply,
    SnapshotChunk,
    TimeoutNow,
    Vote,
    VoteReply,
)
from quorumcache.node.consensus.values import Configuration, Entry, Message
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.items import HEARTBEAT_REPLIES, HEARTBEATS

KIND_OF: dict[type[Message], int] = {cls: kind for kind, cls in enumerate(MESSAGE_TYPES)}
"""Wire number of each message type."""

APPEND: Final = KIND_OF[Append]
"""Kind of the item that carries entries of a log."""
_SNAPSHOT_CHUNK: Final = KIND_OF[SnapshotChunk]
_make_entry = Entry._make
_MAKERS: tuple[Callable[[Iterable[Any]], Message], ...] = tuple(cls._make for cls in MESSAGE_TYPES)


BEAT_KINDS: dict[type[Message], int] = {
    Heartbeat: HEARTBEATS,
    HeartbeatReply: HEARTBEAT_REPLIES,
}
"""Messages that every group sends at every heartbeat: they travel many to an item."""


AGAIN_TYPES: Final = frozenset((PreVote, PreVoteReply, Vote, VoteReply, TimeoutNow))
"""Messages of elections: they also go as datagrams."""

DATAGRAM_KINDS: Final = frozenset(
    (
        *(KIND_OF[cls] for cls in AGAIN_TYPES),
        *(KIND_OF[Append], KIND_OF[AppendReply], HEARTBEATS, HEARTBEAT_REPLIES),
    )
)
"""All that may come as a datagram: lost, twice, late and in any order."""

VOTE_REPLY_KIND: Final = KIND_OF[VoteReply]
"""As a datagram it may overtake what its sender has sent before it on the connection."""


def check_message(message: Message) -> None:
    """Raise `PeerFrameError` if a member of a message has the wrong type.

    For when a message could not be handled: whose fault was it? Too slow to ask of every message.
    """
    fits = True
    assert isinstance(message, MESSAGE_TYPES)
    for name, member in zip(message._fields, message, strict=True):
        if isinstance(member, Configuration):
            fits = fits and all(
                type(part) is tuple and all(type(replica) is int for replica in part)
                for part in member
            )
        elif isinstance(message, Append) and name == "entries":
            fits = fits and all(
                tuple(map(type, entry)) == (int, int, int, bytes) for entry in message.entries
            )
        elif name == "data":
            fits = fits and type(member) is bytes
        else:
            fits = fits and isinstance(member, int)
    if not fits:
        raise PeerFrameError(f"a {type(message).__name__} with a member of another type")


def encode_message(group_id: int, message: Message) -> tuple[int, int, Message]:
    """The item (kind, group_id, message)."""
    return (KIND_OF[type(message)], group_id, message)


def decode_message(item: tuple[Any, ...]) -> Message:
    """The message of an item whose kind is below `CONSENSUS_KINDS`."""
    try:
        kind, group_id, fields = item
        if type(group_id) is not int or kind < 0:
            raise ValueError(f"kind {kind} for group {group_id!r:.60}")
        if kind == APPEND:
            term, prev_index, prev_term, commit_index, entries = fields
            return Append(
                term, prev_index, prev_term, commit_index, tuple(map(_make_entry, entries))
            )
        if kind == _SNAPSHOT_CHUNK:
            chunk = SnapshotChunk._make(fields)
            return chunk._replace(configuration=Configuration._make(chunk.configuration))
        message: Message = _MAKERS[kind](fields)
        return message
    except (TypeError, ValueError, LookupError) as error:
        raise PeerFrameError(f"a consensus message of an unknown form: {error}") from error


def decode_beats(item: tuple[Any, ...]) -> list[tuple[int, Message]]:
    """(group_id, message) of each heartbeat, or answer to one, of an item."""
    try:
        kind, beats = item
        make = Heartbeat._make if kind == HEARTBEATS else HeartbeatReply._make
        decoded: list[tuple[int, Message]] = [(beat[0], make(beat[1:])) for beat in beats]
        for group_id, _ in decoded:
            if type(group_id) is not int:
                raise ValueError(f"a beat of group {group_id!r:.60}")
        return decoded
    except (TypeError, ValueError, LookupError) as error:
        raise PeerFrameError(f"heartbeats of an unknown form: {error}") from error
