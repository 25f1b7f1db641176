"""Consensus on the peer network: what goes on the connection, what as a datagram, and together.

Heartbeats, and the answers to them, are gathered over a turn: those of all groups for one peer
travel in few items. Messages of elections, and the first of a new leader, also go as datagrams, so
that a lost packet in front of them on the connection holds nothing up.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from quorumcache.node.consensus.transport import Transport
from quorumcache.node.consensus.values import Message, Outbound
from quorumcache.node.consensus.wire import COPY_IF_FIRST, COPY_ONCE_A_TICK
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.codec import pack_item
from quorumcache.node.peers.consensus_items import (
    BEAT_KINDS,
    WIRE,
    check_message,
    decode_beats,
    encode_message,
)

BEATS_PER_ITEM: Final = 24
"""Groups whose heartbeats travel together: they fit into a datagram."""

BEATS_SEEN_MAX: Final = 1024
"""Hashes of beats that wait for their second copy: more than a second's of a large cluster."""


_COPIES: Final = WIRE.copies
_IS_FIRST: Final = WIRE.is_first


class PackedSender(Protocol):
    """The peer network, as far as consensus needs it."""

    def send_packed(self, node_id: int, packed: bytes) -> bool: ...
    def send_again(self, node_id: int, packed: bytes) -> None: ...
    def flush(self) -> None: ...


class ConsensusTransport(Transport):
    """One per node."""

    def __init__(self, peers: PackedSender) -> None:
        self.peers: PackedSender = peers
        self._beats: dict[tuple[int, int], list[tuple[int, ...]]] = {}
        """Heartbeats, and answers to them, of this turn, by peer and kind of item."""
        self._beats_seen: dict[int, bool] = {}
        """Hashes of beats of which one copy has come, oldest first."""
        self._copy_ticks: dict[int, int] = {}
        """Tick of the last message of the kind `COPY_ONCE_A_TICK` that went as a datagram, by
        peer."""

    def send(self, group_id: int, messages: list[Outbound], tick: int) -> None:
        """Queue messages; they leave with the next `flush`."""
        send = self.peers.send_packed
        last: Message | None = None
        packed = b""
        for to, message in messages:
            kind = BEAT_KINDS.get(type(message))
            if kind is not None:
                beats = self._beats.get((to, kind))
                if beats is None:
                    beats = self._beats[to, kind] = []
                beats.append((group_id, *message))
                continue
            if message is not last:  # Followers at the same position get the same message.
                last = message
                packed = pack_item(encode_message(group_id, message))
            send(to, packed)
            copy = _COPIES.get(type(message), 0)
            if copy == 0:
                continue
            if copy == COPY_ONCE_A_TICK:
                if self._copy_ticks.get(to) == tick:
                    continue
                self._copy_ticks[to] = tick
            elif copy == COPY_IF_FIRST and not _IS_FIRST(message):
                continue
            self.peers.send_again(to, packed)

    def flush(self) -> None:
        """One frame to every peer, in which the heartbeats of all groups are one item."""
        if self._beats:
            beats, self._beats = self._beats, {}
            for (to, kind), members in beats.items():
                for start in range(0, len(members), BEATS_PER_ITEM):
                    packed = pack_item((kind, members[start : start + BEATS_PER_ITEM]))
                    self.peers.send_packed(to, packed)
                    self.peers.send_again(to, packed)
        self.peers.flush()

    def check(self, message: Message) -> None:
        """Raise `PeerFrameError` if a member of the message has the wrong type."""
        check_message(message)

    def beats(self, node_id: int, item: tuple[Any, ...]) -> list[tuple[int, Message]]:
        """(group, message) of each heartbeat of an item, or answer to one; none of a second copy.

        Beats come on the connection and as a datagram: the later copy is not worth its time, and a
        second answer in a round would look like a round without progress. Raises `PeerFrameError`.
        """
        beats = decode_beats(item)
        try:
            beat_hash = hash((node_id, item))
        except TypeError as error:
            raise PeerFrameError(f"heartbeats of an unknown form: {error}") from error
        seen = self._beats_seen
        if seen.pop(beat_hash, False):
            return []
        seen[beat_hash] = True
        if len(seen) > BEATS_SEEN_MAX:
            del seen[next(iter(seen))]
        return beats
