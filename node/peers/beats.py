"""Heartbeats of many groups at one moment as one item, and one answer to all of them.

    BEATS        (kind, life, number, sent_ns, stamp, fields)     leader to follower
    BEATS_HEARD  (kind, life, number, stamp, but)                 follower to leader

fields: group_id, term, commit_index, read_context and lead of each group, one after the other. lead
is by how much fresh_index is above commit_index; it means nothing without a stamp. The other
members are those of a `Heartbeat`.

The answer says that every group but those at the positions of `but` has heard its heartbeat, and
repeats what a `HeartbeatReply` would. What became of the others is said in messages of their own,
or not at all. As in `bundles.py`, `life` is that of the process that sent the heartbeats, which
remembers what an answer will mean. Both items come twice, and the first copy counts.
"""

from __future__ import annotations

from typing import Any, Final

from quorumcache.node.consensus.transport import BEAT_FIELDS
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.codec import pack_item
from quorumcache.node.peers.items import BEATS, BEATS_HEARD

BEATS_PER_ITEM: Final = 24
"""Groups whose heartbeats travel together: they fit into a datagram."""

REMEMBERED_MAX: Final = 1 << 14
"""Heartbeats without an answer that are remembered of one peer: a MiB. Their answers would come too
late to be of use."""

Heard = tuple[int, int, int, int, tuple[int, ...]]
"""Life, number, sent_ns, stamp and fields of heartbeats that came."""


class OpenBeats:
    """Heartbeats that wait for the end of the turn."""

    __slots__ = ("fields", "sent_ns", "stamp")

    def __init__(self, sent_ns: int, stamp: int) -> None:
        self.sent_ns = sent_ns
        self.stamp = stamp
        self.fields: list[int] = []


class SentBeats:
    """Those that one peer has not answered, oldest first."""

    __slots__ = ("beats", "count")

    def __init__(self) -> None:
        self.beats: dict[int, OpenBeats] = {}
        self.count = 0
        """Heartbeats in all of them."""

    def add(self, number: int, beats: OpenBeats) -> None:
        self.beats[number] = beats
        self.count += len(beats.fields) // BEAT_FIELDS
        while self.count > REMEMBERED_MAX:
            self.take(next(iter(self.beats)))

    def take(self, number: int) -> OpenBeats | None:
        beats = self.beats.pop(number, None)
        if beats is not None:
            self.count -= len(beats.fields) // BEAT_FIELDS
        return beats


class Beats:
    """Those of a node, as a leader."""

    def __init__(self, life: int) -> None:
        """`life`: another number after each start of the process."""
        self.life = life
        self.open: dict[int, list[OpenBeats]] = {}
        """By peer: what goes there at the end of the turn."""
        self.unanswered: dict[int, SentBeats] = {}
        """By peer."""
        self._number = 0

    def room(self, node_id: int, sent_ns: int, stamp: int) -> list[int]:
        """The fields of an item to a peer, for one more heartbeat of this moment and stamp."""
        found = self.open.get(node_id)
        if found is None:
            found = self.open[node_id] = []
        if found:
            beats = found[-1]
            if (
                beats.sent_ns == sent_ns
                and beats.stamp == stamp
                and len(beats.fields) < BEATS_PER_ITEM * BEAT_FIELDS
            ):
                return beats.fields
        beats = OpenBeats(sent_ns, stamp)
        found.append(beats)
        return beats.fields

    def close(self, node_id: int, beats: OpenBeats) -> bytes:
        """The item that carries heartbeats to a peer; what its answer will mean is remembered."""
        self._number += 1
        number = self._number
        sent = self.unanswered.get(node_id)
        if sent is None:
            sent = self.unanswered[node_id] = SentBeats()
        sent.add(number, beats)
        item = (BEATS, self.life, number, beats.sent_ns, beats.stamp, beats.fields)
        packed: bytes = pack_item(item)
        return packed

    def answered(
        self, node_id: int, item: tuple[Any, ...]
    ) -> tuple[OpenBeats, int, tuple[int, ...]] | None:
        """What a peer has heard by this answer: the heartbeats, its stamp, and the positions that
        the answer is not about. None if they are not known any more. Raises `PeerFrameError`."""
        life, number, stamp, but = fields_of_answer(item)
        sent = self.unanswered.get(node_id)
        if life != self.life or sent is None:
            return None
        beats = sent.take(number)
        if beats is None:
            return None
        count = len(beats.fields) // BEAT_FIELDS
        if but and max(but) >= count:
            raise PeerFrameError(f"an answer about heartbeat {max(but)} of {count}")
        return beats, stamp, but

    def lost(self, node_id: int) -> None:
        """The connection to a peer, or from it, is gone: no answer is waited for."""
        self.unanswered.pop(node_id, None)


def fields_of_beats(item: tuple[Any, ...]) -> Heard:
    """What is in a BEATS. Raises `PeerFrameError`."""
    if len(item) == 6 and _are_numbers(item[:5]) and type(item[5]) is tuple:
        fields: tuple[Any, ...] = item[5]
        if len(fields) % BEAT_FIELDS == 0 and _are_numbers(fields):
            return item[1], item[2], item[3], item[4], fields
    raise PeerFrameError("heartbeats of an unknown form")


def fields_of_answer(item: tuple[Any, ...]) -> tuple[int, int, int, tuple[int, ...]]:
    """Life, number, stamp and positions of a BEATS_HEARD. Raises `PeerFrameError`."""
    if len(item) == 5 and _are_numbers(item[:4]) and type(item[4]) is tuple:
        but: tuple[Any, ...] = item[4]
        if _are_numbers(but):
            return item[1], item[2], item[3], but
    raise PeerFrameError("an answer to heartbeats of an unknown form")


def _are_numbers(values: tuple[Any, ...]) -> bool:
    for value in values:
        if type(value) is not int:
            return False
        number: int = value
        if number < 0:
            return False
    return True


def pack_answer(life: int, number: int, stamp: int, but: list[int]) -> bytes:
    """The BEATS_HEARD of heartbeats with this life and number."""
    packed: bytes = pack_item((BEATS_HEARD, life, number, stamp, but))
    return packed
