"""Consensus messages as items of a peer frame, and back, whatever the protocol.

The frame's checksum was verified, and the peer's version compared, before anything arrives here;
what does not fit all the same is a `PeerFrameError`. Pure.
"""

from __future__ import annotations

from typing import Any, Final

from quorumcache.node.consensus.protocols import PROTOCOL, PROTOCOLS
from quorumcache.node.consensus.values import Message
from quorumcache.node.consensus.wire import Wire
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.items import (
    BEATS,
    BEATS_HEARD,
    BUNDLE_HELD,
    HEARTBEAT_REPLIES,
    HEARTBEATS,
)

WIRE: Final[Wire] = PROTOCOLS[PROTOCOL].wire

KIND_OF: dict[type[Message], int] = {cls: kind for kind, cls in enumerate(WIRE.message_types)}
"""Wire number of each message type."""

ENTRIES_KIND: Final = KIND_OF[WIRE.entries]
"""Kind of the item that carries entries of a log."""

VOTE_KIND: Final = KIND_OF[WIRE.vote]
"""Kind of the item that may make its receiver a leader. As a datagram it may overtake what its
sender has sent before it on the connection."""

ACKNOWLEDGEMENT_KIND: Final = KIND_OF[WIRE.acknowledgement]
"""Kind of the item that says which entries its sender holds."""

BEAT_KINDS: dict[type[Message], int] = {
    WIRE.beat: HEARTBEATS,
    WIRE.beat_reply: HEARTBEAT_REPLIES,
}
"""Messages that every group sends at every heartbeat: they travel many to an item."""

DATAGRAM_KINDS: Final = frozenset(
    (
        *(KIND_OF[cls] for cls in WIRE.copies),
        *(BUNDLE_HELD, BEATS, BEATS_HEARD, HEARTBEATS, HEARTBEAT_REPLIES),
    )
)
"""All that may come as a datagram: lost, twice, late and in any order."""

_ENCODERS: Final = [WIRE.encoders.get(cls) for cls in WIRE.message_types]
_DECODERS: Final = WIRE.decoders
_BEAT_DECODER: Final = _DECODERS[KIND_OF[WIRE.beat]]
_BEAT_REPLY_DECODER: Final = _DECODERS[KIND_OF[WIRE.beat_reply]]


def check_message(message: Message) -> None:
    """Raise `PeerFrameError` if a member of a message has the wrong type.

    For when a message could not be handled: whose fault was it? Too slow to ask of every message.
    """
    if not WIRE.fits(message):
        raise PeerFrameError(f"a {type(message).__name__} with a member of another type")


def encode_message(group_id: int, message: Message) -> tuple[int, int, Message]:
    """The item (kind, group_id, message)."""
    kind = KIND_OF[type(message)]
    encode = _ENCODERS[kind]
    return (kind, group_id, message if encode is None else encode(message))


def decode_message(item: tuple[Any, ...]) -> Message:
    """The message of an item whose kind is below `CONSENSUS_KINDS`."""
    try:
        kind, group_id, fields = item
        if type(group_id) is not int or kind < 0:
            raise ValueError(f"kind {kind} for group {group_id!r:.60}")
        number: int = kind
        return _DECODERS[number](fields)
    except (TypeError, ValueError, LookupError) as error:
        raise PeerFrameError(f"a consensus message of an unknown form: {error}") from error


def message_of_beat(members: tuple[int, ...]) -> Message:
    """The message of a heartbeat with these members."""
    return _BEAT_DECODER(members)


def decode_beats(item: tuple[Any, ...]) -> list[tuple[int, Message]]:
    """(group_id, message) of each heartbeat, or answer to one, of an item."""
    try:
        kind, beats = item
        make = _BEAT_DECODER if kind == HEARTBEATS else _BEAT_REPLY_DECODER
        decoded: list[tuple[int, Message]] = [(beat[0], make(beat[1:])) for beat in beats]
        for group_id, _ in decoded:
            if type(group_id) is not int:
                raise ValueError(f"a beat of group {group_id!r:.60}")
        return decoded
    except (TypeError, ValueError, LookupError) as error:
        raise PeerFrameError(f"heartbeats of an unknown form: {error}") from error
