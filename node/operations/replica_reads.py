"""Carries out reads that allow some staleness: at a replica here, or at one of another node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumcache.node.operations.forwards import Forwards
from quorumcache.node.operations.leaders import Leaders
from quorumcache.node.operations.operation import Read
from quorumcache.node.operations.piece_reads import PieceReads
from quorumcache.node.operations.read_values import PieceRead
from quorumcache.node.operations.serving import Serving

if TYPE_CHECKING:
    from quorumcache.node.replica.group import ReplicaGroup


class ReplicaReads:
    """See the module."""

    __slots__ = ("_forwards", "_leaders", "_pieces", "_serving")

    def __init__(
        self, serving: Serving, leaders: Leaders, forwards: Forwards, pieces: PieceReads
    ) -> None:
        self._serving = serving
        self._leaders = leaders
        self._forwards = forwards
        self._pieces = pieces

    def attempt(self, read: Read, group: ReplicaGroup | None) -> bool:
        """Answer it, or ask a node that has a replica. `group`: the one here, if there is one.
        False: the leader has to answer it.
        """
        if isinstance(read, PieceRead):
            return self._pieces.attempt(read)
        if group is not None:
            items = self._serving.read_stale(group, read)
            if items is None:
                return False
            read.target = 0
            read.on_items(items)
            return True
        is_up = self._serving.peers.is_up
        nodes = [node for node in self._leaders.replicas(read.group_id) if is_up(node)]
        if not nodes:
            return False
        node_id = nodes[self._forwards.next_id % len(nodes)]
        if not self._forwards.send_first_read(read, node_id):
            return False
        read.asked_replica = True
        return True
