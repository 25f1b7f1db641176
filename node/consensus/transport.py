"""What a host of replicas needs of the way to the other nodes."""

from __future__ import annotations

from typing import Final

from quorumcache.node.consensus.runs import Run
from quorumcache.node.consensus.values import Index, Message, Outbound, ReplicaId, Term

Held = tuple[int, int, int]
"""Group, term, and the index up to which its entries are durable at another node."""

BEAT_FIELDS: Final = 5
"""Numbers that are told of each group in the heartbeats of many: group_id, term, commit_index,
read_context, and by how much fresh_index is above commit_index."""

BEATS_PER_ITEM: Final = 24
"""Groups whose heartbeats travel together: they fit into a datagram."""


class Transport:
    """Carries messages between replicas of the same group: each at most once, some out of order.

    A class and no `Protocol`: every message of consensus goes through it, and mypyc calls the
    methods of a class directly.
    """

    __slots__ = ()

    def send(self, group_id: int, messages: list[Outbound], tick: int) -> None:
        """Queue messages; they leave with the next `flush`. `tick` numbers the host's ticks."""
        raise NotImplementedError

    def send_run(self, group_id: int, followers: tuple[ReplicaId, ...], message: Message) -> None:
        """Queue what `ReplicatedLog.extend` returned, for each of these."""
        raise NotImplementedError

    def flush(self) -> None:
        """Send what is queued, in one frame to every peer."""
        raise NotImplementedError

    def message_of(self, run: Run) -> Message:
        """A run as the message that it stands for."""
        raise NotImplementedError

    def answer_bundle(
        self, node_id: int, life: int, number: int, but: list[int], tick: int
    ) -> None:
        """Tell who sent a bundle of entries that all of it is durable here, but these runs. It
        leaves with the next `flush`."""
        raise NotImplementedError

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
        """Queue a heartbeat, to leave with those of other groups. False: it has to be a message."""
        raise NotImplementedError

    def message_of_beat(
        self,
        term: Term,
        commit_index: Index,
        sent_ns: int,
        read_context: int,
        stamp: int,
        fresh_index: Index,
    ) -> Message:
        """The message that a heartbeat stands for."""
        raise NotImplementedError

    def answer_beats(
        self, node_id: int, life: int, number: int, stamp: int, but: list[int], is_copied: bool
    ) -> None:
        """Tell who sent the heartbeats of many groups that they were heard, but those at these
        positions. `stamp`: this node's clock. `is_copied`: tell it twice. It leaves with the next
        `flush`."""
        raise NotImplementedError

    def check(self, message: Message) -> None:
        """Raise `PeerFrameError` if a message that could not be handled is the peer's fault."""
        raise NotImplementedError
