"""How Raft's messages travel. Pure.

Sending costs nothing: messages and entries are NamedTuples, which msgpack writes as arrays. Only
the configuration in a piece of a snapshot has a form of its own. Receiving gives plain tuples,
which are turned into their classes here.
"""

from __future__ import annotations

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
from quorumcache.node.consensus.values import (
    Configuration,
    Entry,
    EntryKind,
    Message,
    configuration_of,
)
from quorumcache.node.consensus.wire import COPY_ALWAYS, COPY_IF_FIRST, COPY_ONCE_A_TICK, Wire

_make_entry = Entry._make

_CONFIGURATION: Final = SnapshotChunk._fields.index("configuration")


def _append(fields: Any) -> Message:
    term, prev_index, prev_term, commit_index, entries = fields
    return Append(term, prev_index, prev_term, commit_index, tuple(map(_make_entry, entries)))


def _snapshot_chunk(fields: Any) -> Message:
    chunk = SnapshotChunk._make(fields)
    return chunk._replace(configuration=configuration_of(chunk.configuration))


def _snapshot_chunk_fields(message: Message) -> tuple[Any, ...]:
    assert isinstance(message, SnapshotChunk)
    fields: list[Any] = list(message)
    fields[_CONFIGURATION] = message.configuration.form()
    return tuple(fields)


def _fits(message: Message) -> bool:
    fits = True
    assert isinstance(message, MESSAGE_TYPES)
    for name, member in zip(message._fields, message, strict=True):
        if isinstance(member, Configuration):
            # As a plain tuple: compiled code raises where a field of another type is read by name.
            *parts, decision = tuple(member)
            fits = fits and type(decision) is int
            fits = fits and all(
                type(part) is tuple and all(type(replica) is int for replica in part)
                for part in parts
            )
        elif isinstance(message, Append) and name == "entries":
            fits = fits and all(
                tuple(map(type, entry)) == (int, int, int, bytes) for entry in message.entries
            )
        elif name == "data":
            fits = fits and type(member) is bytes
        else:
            fits = fits and isinstance(member, int)
    return fits


def _is_first(message: Message) -> bool:
    """What a new leader sends first. An empty Append never overtakes the entries before it: it asks
    whether they arrived, and a refusal has all of them sent again."""
    assert isinstance(message, Append)
    entries = message.entries
    return len(entries) == 1 and entries[0].kind == EntryKind.NOOP


_DECODERS: Final = {Append: _append, SnapshotChunk: _snapshot_chunk}

WIRE: Final = Wire(
    message_types=MESSAGE_TYPES,
    decoders=tuple(_DECODERS.get(cls, cls._make) for cls in MESSAGE_TYPES),
    encoders={SnapshotChunk: _snapshot_chunk_fields},
    fits=_fits,
    beat=Heartbeat,
    beat_reply=HeartbeatReply,
    copies={
        # Elections. A lost packet in front of them on the connection holds nothing up.
        PreVote: COPY_ALWAYS,
        PreVoteReply: COPY_ALWAYS,
        Vote: COPY_ALWAYS,
        VoteReply: COPY_ALWAYS,
        TimeoutNow: COPY_ALWAYS,
        # One answer tells all that earlier ones did, so a few of many will do.
        AppendReply: COPY_ONCE_A_TICK,
        Append: COPY_IF_FIRST,
    },
    is_first=_is_first,
    entries=Append,
    vote=VoteReply,
    acknowledgement=AppendReply,
)
