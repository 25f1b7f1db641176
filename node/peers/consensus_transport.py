"""Consensus on the peer network: what goes on the connection, what as a datagram, and together.

Heartbeats, the answers to them, and entries are gathered over a turn: those of all groups for one
peer travel in few items (`beats.py`, `bundles.py`). Messages of elections, and the first of a new
leader, also go as datagrams, so that a lost packet in front of them on the connection holds nothing
up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from quorumcache.node.consensus.runs import Run, pack_run, unpack_runs
from quorumcache.node.consensus.transport import BEATS_PER_ITEM, Held, Transport
from quorumcache.node.consensus.values import Index, Message, Outbound, ReplicaId, Term
from quorumcache.node.consensus.wire import COPY_ALWAYS, COPY_IF_FIRST, COPY_ONCE_A_TICK
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers import beats
from quorumcache.node.peers.beats import Beats, Heard, OpenBeats
from quorumcache.node.peers.bundles import (
    BUNDLE_BYTES_GOAL,
    Bundle,
    Bundles,
    fields_of_bundle,
    pack_answer,
)
from quorumcache.node.peers.codec import pack_item
from quorumcache.node.peers.consensus_items import (
    BEAT_KINDS,
    ENTRIES_KIND,
    WIRE,
    check_message,
    decode_beats,
    decode_message,
    encode_message,
    message_of_beat,
)
from quorumcache.node.peers.items import BUNDLE_FORM

BEATS_SEEN_MAX: Final = 1024
"""Hashes of beats that wait for their second copy: more than a second's of a large cluster."""


_COPIES: Final = WIRE.copies
_IS_FIRST: Final = WIRE.is_first
_ENTRIES: Final = WIRE.entries


class PackedSender(Protocol):
    """The peer network, as far as consensus needs it."""

    def send_packed(self, node_id: int, packed: bytes) -> bool: ...
    def send_again(self, node_id: int, packed: bytes) -> None: ...
    def flush(self) -> None: ...
    def form_of(self, node_id: int) -> int: ...


def _nothing() -> None:
    """While nobody else collects."""


class ConsensusTransport(Transport):
    """One per node."""

    def __init__(self, peers: PackedSender, life: int = 0) -> None:
        """`life`: another number after each start of the process."""
        self.peers: PackedSender = peers
        self.before_flush: Callable[[], None] = _nothing
        """Gives the network what others have collected for it in this turn."""
        self._bundles = Bundles(life)
        self._gathered = Beats(life)
        self._beats: dict[tuple[int, int], list[tuple[int, ...]]] = {}
        """Heartbeats, and answers to them, of this turn that are messages, by peer and kind of
        item."""
        self._beats_seen: dict[int, bool] = {}
        """Hashes of beats of which one copy has come, oldest first."""
        self._copy_ticks: dict[int, int] = {}
        """Tick of the last message of the kind `COPY_ONCE_A_TICK` that went as a datagram, by
        peer."""

    def send(self, group_id: int, messages: list[Outbound], tick: int) -> None:
        """Queue messages; they leave with the next `flush`."""
        send = self.peers.send_packed
        last: Message | None = None
        packed = run = b""
        for to, message in messages:
            cls = type(message)
            if message is not last:  # Followers at the same position get the same message.
                last = message
                packed = b""
                run = pack_run(group_id, message) if cls is _ENTRIES else b""
            if cls is _ENTRIES and self._bundle(to, run, group_id, message):
                continue
            kind = BEAT_KINDS.get(cls)
            if kind is not None:
                beats = self._beats.get((to, kind))
                if beats is None:
                    beats = self._beats[to, kind] = []
                beats.append((group_id, *message))
                continue
            if not packed:
                packed = pack_item(encode_message(group_id, message))
            send(to, packed)
            if self._goes_again(to, message, tick):
                self.peers.send_again(to, packed)

    def send_run(self, group_id: int, followers: tuple[ReplicaId, ...], message: Message) -> None:
        """Queue what `ReplicatedLog.extend` returned, for each of these."""
        run = pack_run(group_id, message)
        if not run:
            whole = _whole(message)
            self.send(group_id, [Outbound(to, whole) for to in followers], 0)
            return
        held = (group_id, message[0], message[1] + 1)
        bundles = self._bundles.open
        for to in followers:
            bundle = bundles.get(to)
            if bundle is None:
                if self.peers.form_of(to) < BUNDLE_FORM:
                    self.send(group_id, [Outbound(to, _whole(message))], 0)
                    continue
                bundle = bundles[to] = Bundle()
            bundle.add(run, held)
            if bundle.size > BUNDLE_BYTES_GOAL:
                self._send_bundle(to, bundles.pop(to))

    def _goes_again(self, to: int, message: Message, tick: int) -> bool:
        """Whether a message also goes as a datagram."""
        copy = _COPIES.get(type(message), 0)
        if copy == COPY_ONCE_A_TICK:
            return self._is_due(to, tick)
        if copy == COPY_IF_FIRST:
            return _IS_FIRST(message)
        return copy == COPY_ALWAYS

    def _is_due(self, to: int, tick: int) -> bool:
        """Whether this is the first copy of the kind `COPY_ONCE_A_TICK` to a peer in this tick."""
        if self._copy_ticks.get(to) == tick:
            return False
        self._copy_ticks[to] = tick
        return True

    def flush(self) -> None:
        """One frame to every peer, in which the heartbeats of all groups are one item, and their
        entries another."""
        self.before_flush()
        bundles, self._bundles.open = self._bundles.open, {}
        before: Bundle | None = None
        for to, bundle in bundles.items():
            if before is None or bundle.packed != before.packed:
                before = bundle
                number, packed = self._bundles.close(bundle)
            self._sent_bundle(to, number, packed, bundle)
        gathered = self._gathered.open
        if gathered:
            for to in list(gathered):
                self._send_beats(to, gathered.pop(to))
        if self._beats:
            beats, self._beats = self._beats, {}
            for (to, kind), members in beats.items():
                for start in range(0, len(members), BEATS_PER_ITEM):
                    packed = pack_item((kind, members[start : start + BEATS_PER_ITEM]))
                    self.peers.send_packed(to, packed)
                    self.peers.send_again(to, packed)
        self.peers.flush()

    # --- bundles

    def _bundle(self, to: int, run: bytes, group_id: int, message: Message) -> bool:
        """Put a run into the bundle for a peer. False: it is none, or the peer knows no bundles.

        If it is none, what the bundle holds leaves now, before the message.
        """
        bundles = self._bundles.open
        bundle = bundles.get(to)
        if not run:
            if bundle is not None:
                self._send_bundle(to, bundles.pop(to))
            return False
        if bundle is None:
            if self.peers.form_of(to) < BUNDLE_FORM:
                return False
            bundle = bundles[to] = Bundle()
        bundle.add(run, (group_id, message[0], message[1] + len(message[4])))
        if bundle.size > BUNDLE_BYTES_GOAL:
            self._send_bundle(to, bundles.pop(to))
        return True

    def _send_bundle(self, to: int, bundle: Bundle) -> None:
        number, packed = self._bundles.close(bundle)
        self._sent_bundle(to, number, packed, bundle)

    def _sent_bundle(self, to: int, number: int, packed: bytes, bundle: Bundle) -> None:
        if self.peers.send_packed(to, packed):
            if to not in self._bundles.unanswered:
                self._forget_who_left()
            self._bundles.sent(to, number, bundle)

    def _forget_who_left(self) -> None:
        """Nobody tells that a connection is gone whose node has left the cluster."""
        for node_id in list(self._bundles.unanswered):
            if self.peers.form_of(node_id) < BUNDLE_FORM:
                self._bundles.lost(node_id)

    def bundle(self, item: tuple[Any, ...]) -> tuple[int, int, list[Run]]:
        """Life, number and runs of a bundle from a peer. Raises `PeerFrameError`."""
        life, number, data = fields_of_bundle(item)
        try:
            return life, number, unpack_runs(data)
        except ValueError as error:
            raise PeerFrameError(f"a bundle of an unknown form: {error}") from error

    def message_of(self, run: Run) -> Message:
        """A run as the message that it stands for."""
        return decode_message((ENTRIES_KIND, run[0], run[1:]))

    def answer_bundle(
        self, node_id: int, life: int, number: int, but: list[int], tick: int
    ) -> None:
        """Tell who sent a bundle that its runs are durable here, but those at these positions.

        The answer leaves with the next `flush`. Like every acknowledgement it also goes as a
        datagram, once in a tick.
        """
        if self.peers.form_of(node_id) < BUNDLE_FORM:
            return  # Another release was started there meanwhile: it has not sent this bundle.
        packed = pack_answer(life, number, but)
        self.peers.send_packed(node_id, packed)
        if self._is_due(node_id, tick):
            self.peers.send_again(node_id, packed)

    def answered(self, node_id: int, item: tuple[Any, ...], *, is_last: bool) -> list[Held]:
        """What a peer says that it holds. `is_last`: the answer came on the connection; a datagram
        with the same may have come before. Raises `PeerFrameError`."""
        return self._bundles.answered(node_id, item, is_last=is_last)

    def peer_down(self, node_id: int) -> None:
        """The connection to a peer, or from it, is gone."""
        self._bundles.lost(node_id)
        self._gathered.lost(node_id)

    # --- heartbeats

    def beat(
        self,
        group_id: int,
        to: ReplicaId,
        term: Term,
        commit_index: Index,
        sent_ns: int,
        read_context: int,
        stamp: int,
        fresh_index: Index,
    ) -> bool:
        """Queue a heartbeat for the next `flush`. False: the node takes it as a message only."""
        gathered = self._gathered
        if to not in gathered.open and self.peers.form_of(to) < BUNDLE_FORM:
            return False
        fields = gathered.room(to, sent_ns, stamp)
        fields.append(group_id)
        fields.append(term)
        fields.append(commit_index)
        fields.append(read_context)
        fields.append(fresh_index - commit_index if stamp else 0)
        return True

    def _send_beats(self, to: int, gathered: list[OpenBeats]) -> None:
        if to not in self._gathered.unanswered:
            for node_id in list(self._gathered.unanswered):
                if self.peers.form_of(node_id) < BUNDLE_FORM:
                    self._gathered.lost(node_id)  # Its node has left: see `_forget_who_left`.
        for each in gathered:
            packed, is_copied = self._gathered.close(to, each)
            self.peers.send_packed(to, packed)
            if is_copied:
                self.peers.send_again(to, packed)

    def message_of_beat(
        self,
        term: Term,
        commit_index: Index,
        sent_ns: int,
        read_context: int,
        stamp: int,
        fresh_index: Index,
    ) -> Message:
        """The message that a heartbeat of `BEATS` stands for."""
        return message_of_beat((term, commit_index, sent_ns, read_context, stamp, fresh_index))

    def beats_told(self, node_id: int, item: tuple[Any, ...]) -> Heard | None:
        """What is in a BEATS; None for a second copy. Raises `PeerFrameError`."""
        told = beats.fields_of_beats(item)
        if not told[4]:
            return told
        return told if self._is_first_copy(hash((node_id, told[0], told[1]))) else None

    def answer_beats(
        self, node_id: int, life: int, number: int, stamp: int, but: list[int], is_copied: bool
    ) -> None:
        """Tell who sent a BEATS that its groups have heard it, but those at these positions: on the
        ways on which it was sent."""
        packed = beats.pack_answer(life, number, stamp, but)
        self.peers.send_packed(node_id, packed)
        if is_copied:
            self.peers.send_again(node_id, packed)

    def beats_heard(
        self, node_id: int, item: tuple[Any, ...]
    ) -> tuple[OpenBeats, int, tuple[int, ...]] | None:
        """What a peer says that it has heard; see `Beats.answered`. Raises `PeerFrameError`."""
        return self._gathered.answered(node_id, item)

    # --- what comes

    def check(self, message: Message) -> None:
        """Raise `PeerFrameError` if a member of the message has the wrong type."""
        check_message(message)

    def beats(self, node_id: int, item: tuple[Any, ...]) -> list[tuple[int, Message]]:
        """(group, message) of each heartbeat of an item, or answer to one; none of a second copy.

        Beats come on the connection and as a datagram: the later copy is not worth its time, and a
        second answer in a round would look like a round without progress. Raises `PeerFrameError`.
        """
        decoded = decode_beats(item)
        try:
            beat_hash = hash((node_id, item))
        except TypeError as error:
            raise PeerFrameError(f"heartbeats of an unknown form: {error}") from error
        return decoded if self._is_first_copy(beat_hash) else []

    def _is_first_copy(self, beat_hash: int) -> bool:
        seen = self._beats_seen
        if seen.pop(beat_hash, False):
            return False
        seen[beat_hash] = True
        if len(seen) > BEATS_SEEN_MAX:
            del seen[next(iter(seen))]
        return True


def _whole(run: Message) -> Message:
    """What `ReplicatedLog.extend` returned, as a message: it holds its entries in a tuple."""
    members = (*run[:4], tuple(run[4]))
    return _ENTRIES(*members)
