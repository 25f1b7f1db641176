"""Gives each item that a peer sends to the part of the node that handles it.

Each item of each frame passes here, so this file is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.founding.introduction import info_of
from quorumcache.node.operations.forwarded_writes import take_writes
from quorumcache.node.operations.found_items import answer_gets
from quorumcache.node.peers.codec import Hello, Items
from quorumcache.node.peers.consensus_items import (
    ACKNOWLEDGEMENT_KIND,
    DATAGRAM_KINDS,
    ENTRIES_KIND,
    VOTE_KIND,
    decode_message,
)
from quorumcache.node.peers.founding_frames import decode_question
from quorumcache.node.peers.items import (
    BEATS,
    BEATS_HEARD,
    BUNDLE,
    BUNDLE_HELD,
    CONSENSUS_KINDS,
    DIRECTORY_KINDS,
    FITNESS,
    FORWARD_FOUND,
    FORWARD_GETS,
    FORWARD_WRITES,
    HEARTBEAT_REPLIES,
    HEARTBEATS,
    HOT_KEYS,
    MAP_REQUEST,
    MEMORY,
    RARE_KINDS,
    TIME,
)
from quorumcache.node.telemetry.logs import event, get_logger

if TYPE_CHECKING:
    from quorumcache.node.cluster_time import ClusterTime
    from quorumcache.node.directory.follower import MapFollower
    from quorumcache.node.directory.members import Members
    from quorumcache.node.directory.office import DirectoryOffice
    from quorumcache.node.founding.progress import FoundingProgress
    from quorumcache.node.housekeeping.fitness import Fitness
    from quorumcache.node.housekeeping.hot_keys import HotKeysTeller
    from quorumcache.node.housekeeping.memory_round import MemoryRound
    from quorumcache.node.housekeeping.timekeeper import Timekeeper
    from quorumcache.node.operations.coordinator import Coordinator
    from quorumcache.node.peers.consensus_transport import ConsensusTransport
    from quorumcache.node.peers.network import PeerNetwork
    from quorumcache.node.peers.peer import Asker
    from quorumcache.node.replica.host import ReplicaHost

log = get_logger("node")


class Inbox:
    """The peer network's `PeerHandler`, on a node that is a member."""

    def __init__(
        self,
        *,
        host: ReplicaHost,
        transport: ConsensusTransport,
        coordinator: Coordinator,
        follower: MapFollower,
        office: DirectoryOffice,
        founding: FoundingProgress,
        timekeeper: Timekeeper,
        time: ClusterTime,
        members: Members,
        fitness: Fitness,
        memory: MemoryRound,
        hot_keys: HotKeysTeller,
        on_told: Callable[[], None],
        on_join: Callable[[Asker, bytes], bool],
    ) -> None:
        """`on_told` is called when a node told something new of itself. `on_join` gets the first
        frames of strangers: True if one was the question of a node that joins.
        """
        self._host = host
        self._transport = transport
        self._coordinator = coordinator
        self._follower = follower
        self._office = office
        self._founding = founding
        self._timekeeper = timekeeper
        self._time = time
        self._members = members
        self._fitness = fitness
        self._memory = memory
        self._hot_keys = hot_keys
        self._on_told = on_told
        self._on_join = on_join
        self.peers: PeerNetwork | None = None
        """Set before the network starts."""
        self.is_stopping = False
        """Lost connections are of no consequence any more: the node closes them itself."""

    # -- items ---------------------------------------------------------------------------

    def on_peer_items(self, node_id: int, items: Items) -> None:
        """One frame from a peer.

        Raises `PeerFrameError` at an item that is none; those before it have been delivered.
        """
        for item in items:
            kind = item[0]
            if type(kind) is not int:
                raise PeerFrameError(f"an item of the kind {kind!r:.60}, expected a number")
            number: int = kind
            if number < CONSENSUS_KINDS:
                deliver_consensus(node_id, item, self._host, self._transport)
            elif number in RARE_KINDS:
                self.on_rare_item(node_id, item)
            elif number == FORWARD_GETS:
                answer_gets(self._coordinator.serving, node_id, item)
            elif number == FORWARD_WRITES:
                take_writes(self._coordinator.serving, node_id, item)
            elif number == FORWARD_FOUND:
                self._coordinator.bundles.answered(node_id, item)
            else:
                self._coordinator.on_forward(node_id, item)

    def on_rare_item(self, node_id: int, item: tuple[Any, ...]) -> None:
        """An item of `RARE_KINDS`."""
        if item[0] == TIME:
            self._timekeeper.heard(node_id, item)
        elif item[0] in DIRECTORY_KINDS:
            self._office.on_item(node_id, item)
        elif item[0] == FITNESS:
            self._fitness.heard(node_id, item)
        elif item[0] == MEMORY:
            self._memory.heard(node_id, item)
        elif item[0] == HOT_KEYS:
            self._hot_keys.heard(node_id, item)
        else:
            self._follower.on_item(node_id, item)

    def on_peer_datagram(self, node_id: int, items: Items) -> None:
        """Consensus, and nothing else: all other items count on coming once and in order.

        A vote may make this node a leader, so it has to come behind the time that its voter told
        (`Timekeeper`). While this node does not know the time, only the connection keeps that
        order: the vote comes there, too.

        An acknowledgement may be that of an earlier replica of its sender, which has been removed.
        The replica that comes after it begins as a learner, and becomes a voter when it holds all
        that the earlier one can have acknowledged. So those of learners count on their connection
        only, where they are in order.
        """
        for item in items:
            kind = item[0]
            if type(kind) is not int or kind not in DATAGRAM_KINDS:
                raise PeerFrameError(f"an item of the kind {kind!r:.60} came as a datagram")
            if kind == VOTE_KIND and not self._time.is_settled:
                continue
            if kind == ACKNOWLEDGEMENT_KIND and self._is_of_learner(node_id, item):
                continue
            if kind == BUNDLE_HELD:
                held = self._transport.answered(node_id, item, is_last=False)
                is_learner = self._host.is_learner
                held = [each for each in held if not is_learner(each[0], node_id)]
                self._host.acknowledged(node_id, held)
                continue
            deliver_consensus(node_id, item, self._host, self._transport)

    def _is_of_learner(self, node_id: int, item: tuple[Any, ...]) -> bool:
        is_formed = len(item) > 1 and type(item[1]) is int  # Otherwise its decoder says so.
        return is_formed and self._host.is_learner(item[1], node_id)

    # -- connections ---------------------------------------------------------------------

    def on_peer_hello(self, node_id: int, hello: Hello) -> None:
        """A peer told of itself."""
        told = self._members.told
        before = told.get(node_id)
        info = told[node_id] = info_of(hello)
        if info != before:
            self._on_told()
        self._office.addresses.told(node_id, hello.start_number, hello.peer_address)
        self._fitness.met(node_id)
        self._founding.accepted(node_id, is_complete=hello.is_founded)
        self._follower.heard_of(node_id, hello.map_epoch)

    def on_peer_up(self, node_id: int) -> None:
        """The connection to a peer is ready."""
        self._timekeeper.peer_up(node_id)  # Before anything that could make the peer a leader.
        event(log, "info", "peer_up", peer=node_id)
        self._follower.peer_up(node_id)
        self._coordinator.peer_up(node_id)

    def on_peer_down(self, node_id: int, why: str) -> None:
        """The connection to a peer, or from it, is gone."""
        event(log, "info", "peer_down", peer=node_id, why=why)
        if self.is_stopping:
            return
        if self.peers is None or not self.peers.is_heard(node_id):
            # Otherwise it may still vote for us, and its clock has to count if we come to lead.
            self._time.lost(node_id)
        self._transport.peer_down(node_id)
        self._coordinator.peer_down(node_id)
        self._office.desk.peer_down(node_id)
        self._host.peer_unreachable(node_id)

    def on_refused(self, node_id: int, why: str) -> None:
        """A peer and this node do not fit together; logged and counted where it was found."""

    def on_farewell(self, epoch: int) -> None:
        """The cluster has gone on without this node."""
        self._office.departure.removed(epoch)

    # -- strangers -----------------------------------------------------------------------

    def on_newer_map(self) -> None:
        """A stranger has a newer map than this node: ask all peers for theirs."""
        if self.peers is not None:
            self.peers.send_to_all((MAP_REQUEST, self._follower.epoch))
            self._host.flush_soon()

    def on_question(self, asker: Asker, payload: bytes) -> bool:
        """A new node asks for the founding record, or to join."""
        blank = decode_question(payload)
        if blank is not None:
            asker.answer(self._founding.answer(blank))
            return True
        return self._on_join(asker, payload)


def deliver_consensus(
    node_id: int, item: tuple[Any, ...], host: ReplicaHost, transport: ConsensusTransport
) -> None:
    """A consensus item from a peer. Raises `PeerFrameError` if it is none."""
    if item[0] == HEARTBEATS or item[0] == HEARTBEAT_REPLIES:
        for group_id, message in transport.beats(node_id, item):
            host.step(node_id, group_id, message, False)
    elif item[0] == BEATS:
        told = transport.beats_told(node_id, item)
        if told is not None:
            life, number, sent_ns, stamp, is_copied, fields = told
            host.take_beats(node_id, life, number, sent_ns, stamp, is_copied, fields)
    elif item[0] == BEATS_HEARD:
        heard = transport.beats_heard(node_id, item)
        if heard is not None:
            beats, stamp, but = heard
            host.beats_heard(node_id, beats.sent_ns, stamp, beats.fields, but)
    elif item[0] == BUNDLE:
        life, number, runs = transport.bundle(item)
        host.take_bundle(node_id, life, number, runs)
    elif item[0] == BUNDLE_HELD:
        host.acknowledged(node_id, transport.answered(node_id, item, is_last=True))
    else:
        message = decode_message(item)
        host.step(node_id, item[1], message, item[0] == ENTRIES_KIND)
