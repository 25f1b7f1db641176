"""Heartbeats of many groups at one moment as one item, and one answer to all of them.

    BEATS        (kind, life, number, sent_ns, stamp, copied, fields)    leader to follower
    BEATS_HEARD  (kind, life, number, stamp, but)                        follower to leader

fields: group_id, term, commit_index, read_context and lead of each group, one after the other. lead
is by how much fresh_index is above commit_index; it means nothing without a stamp. The other
members are those of a `Heartbeat`.

The answer says that every group but those at the positions of `but` has heard its heartbeat, and
repeats what a `HeartbeatReply` would. What became of the others is said in messages of their own,
or not at all. As in `bundles.py`, `life` is that of the process that sent the heartbeats, which
remembers what an answer will mean.

A datagram is a second way past a packet that the connection has lost, and costs as much as the
first one. So heartbeats, and their answers, are copied (copied: 1) while it may be needed: if what
was sent to the node at the moment before has not been answered, and for a second from then on,
since the answers to copies say nothing of the connection; if it was long ago; and once a second, to
show that datagrams pass. Of two copies the first counts.
"""

from __future__ import annotations

from typing import Any, Final

from quorumcache.node.consensus.transport import BEAT_FIELDS, BEATS_PER_ITEM
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.codec import pack_item
from quorumcache.node.peers.items import BEATS, BEATS_HEARD

REMEMBERED_MAX: Final = 1 << 14
"""Heartbeats without an answer that are remembered of one peer: a MiB. Their answers would come too
late to be of use."""

COPY_NS: Final = 1_000_000_000
"""Once in so long they are copied in any case: the other side counts what comes, which shows
whether datagrams pass."""

WELL_NS: Final = 1_000_000_000
"""An answer to what was sent longer ago says nothing of the connection now."""

TROUBLE_NS: Final = 1_000_000_000
"""For so long they are copied once an answer was missing: as long as datagrams count beside a
connection that brings nothing (`STALLED_TICKS`)."""

Heard = tuple[int, int, int, int, bool, tuple[int, ...]]
"""Life, number, sent_ns, stamp, copied and fields of heartbeats that came."""


class OpenBeats:
    """Heartbeats that wait for the end of the turn."""

    __slots__ = ("fields", "sent_ns", "stamp")

    def __init__(self, sent_ns: int, stamp: int) -> None:
        self.sent_ns = sent_ns
        self.stamp = stamp
        self.fields: list[int] = []


class SentBeats:
    """Those that one peer has not answered, oldest first."""

    __slots__ = (
        "_answered_ns",
        "_before_ns",
        "_copied_ns",
        "_moment_ns",
        "_trouble_ns",
        "beats",
        "count",
    )

    def __init__(self) -> None:
        self.beats: dict[int, OpenBeats] = {}
        self.count = 0
        """Heartbeats in all of them."""
        self._moment_ns = 0
        """When the newest ones were sent, answered or not."""
        self._before_ns = 0
        """When those of the moment before were."""
        self._copied_ns = 0
        """When some were copied last."""
        self._answered_ns = 0
        """When the newest that were answered had been sent."""
        self._trouble_ns = 0
        """Until when they are copied because an answer was missing."""

    def is_well(self, now_ns: int) -> bool:
        """Whether what was sent before this moment has come, and its answer as well, and all that
        was sent in the last second."""
        if now_ns > self._moment_ns:
            self._before_ns, self._moment_ns = self._moment_ns, now_ns
        before_ns = self._before_ns
        if not before_ns or now_ns - before_ns > WELL_NS:
            return False  # Nothing is known.
        if before_ns > self._answered_ns:
            self._trouble_ns = now_ns + TROUBLE_NS
        return now_ns >= self._trouble_ns

    def needs_copy(self, now_ns: int) -> bool:
        """Whether those of this moment are to be copied."""
        if self.is_well(now_ns) and now_ns - self._copied_ns < COPY_NS:
            return False
        self._copied_ns = now_ns
        return True

    def answered(self, beats: OpenBeats) -> None:
        """An answer has come to these."""
        if beats.sent_ns > self._answered_ns:
            self._answered_ns = beats.sent_ns

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

    def close(self, node_id: int, beats: OpenBeats) -> tuple[bytes, bool]:
        """The item that carries heartbeats to a peer, and whether it is to be copied. What its
        answer will mean is remembered."""
        self._number += 1
        number = self._number
        sent = self.unanswered.get(node_id)
        if sent is None:
            sent = self.unanswered[node_id] = SentBeats()
        is_copied = sent.needs_copy(beats.sent_ns)
        sent.add(number, beats)
        moment = beats.sent_ns, beats.stamp
        packed: bytes = pack_item(
            (BEATS, self.life, number, *moment, 1 if is_copied else 0, beats.fields)
        )
        return packed, is_copied

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
        sent.answered(beats)
        count = len(beats.fields) // BEAT_FIELDS
        if but and max(but) >= count:
            raise PeerFrameError(f"an answer about heartbeat {max(but)} of {count}")
        return beats, stamp, but

    def lost(self, node_id: int) -> None:
        """The connection to a peer, or from it, is gone: no answer is waited for."""
        self.unanswered.pop(node_id, None)


def fields_of_beats(item: tuple[Any, ...]) -> Heard:
    """What is in a BEATS. Raises `PeerFrameError`."""
    if len(item) == 7 and _are_numbers(item[:6]) and type(item[6]) is tuple:
        fields: tuple[Any, ...] = item[6]
        if len(fields) % BEAT_FIELDS == 0 and _are_numbers(fields):
            return item[1], item[2], item[3], item[4], item[5] == 1, fields
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
