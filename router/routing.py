"""From a key to the address to ask: the cluster map plus what is known of leaders. Pure.

The map says which nodes hold a shard and which one should lead it. Who really leads it changes
without a new epoch, so the table keeps one address per shard, from the newest of: the map's
preferred leader, a node's list of leaders (which carries terms), a redirect.

Leadership of a shard in one term belongs to one node for ever. So when a node that was listed as
leader of term t says that it is not, only lists of a later term are believed from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from quorumcache.ring import ClusterMap
from quorumcache.ring.hashing import shard_of
from quorumcache.router.requests import LeaderLine


class Route(NamedTuple):
    """Where a key lives: addresses are the nodes' client addresses, "" for an unknown leader."""

    shard: int
    leader: str
    replicas: tuple[str, ...]


class RoutingTable:
    """Shard -> address of its leader, as far as known. Never empty: it starts from a map."""

    __slots__ = (
        "_addresses",
        "_by_id",
        "_is_known",
        "_leaders",
        "_shard_count",
        "_terms",
        "cluster_map",
    )

    def __init__(self, cluster_map: ClusterMap) -> None:
        self.cluster_map = cluster_map
        self._shard_count = cluster_map.shard_count
        self._by_id = {node.node_id: node.client_address for node in cluster_map.nodes}
        # By shard: client addresses of the replicas, the preferred leader first.
        self._addresses = [
            tuple(self._by_id[node_id] for node_id in replicas)
            for replicas in cluster_map.replica_sets
        ]
        # By shard: the address to ask first. Invariant: an address of the map, or one a redirect
        # of a newer epoch has named.
        self._leaders = [addresses[0] for addresses in self._addresses]
        # By shard: whether that is more than the map's preference.
        self._is_known = [False] * self._shard_count
        # By shard: lists of leaders of a lower term are out of date.
        self._terms = [0] * self._shard_count

    @property
    def addresses(self) -> tuple[str, ...]:
        """Client addresses of all nodes, by node id."""
        return tuple(self._by_id.values())

    def shard_of(self, key: bytes) -> int:
        return shard_of(key, self._shard_count)

    @property
    def leaders(self) -> Sequence[str]:
        """By shard: the address to ask first. It changes with what is learned."""
        return self._leaders

    def leader(self, shard: int) -> str:
        """The address to ask first."""
        return self._leaders[shard]

    def replicas(self, shard: int) -> tuple[str, ...]:
        """Client addresses of the replicas, the preferred leader first."""
        return self._addresses[shard]

    def route(self, key: bytes) -> Route:
        """Shard, leader and replicas of a valid key."""
        shard = shard_of(key, self._shard_count)
        leader = self._leaders[shard] if self._is_known[shard] else ""
        return Route(shard, leader, self._addresses[shard])

    def target(self, shard: int, asked: Sequence[str]) -> str:
        """The address to ask next, given those `asked` in vain in this round; "" ends the round.

        The believed leader first, then the other replicas, then any node: one that holds no
        replica may know a newer map.
        """
        if self._leaders[shard] not in asked:
            return self._leaders[shard]
        for address in self._addresses[shard]:
            if address not in asked:
                return address
        for address in self._by_id.values():
            if address not in asked:
                return address
        return ""

    def moved(self, shard: int, said_by: str, address: str) -> None:
        """A node at `said_by` answered that it does not lead `shard`, but `address` does ("":
        it knows none).
        """
        if not 0 <= shard < self._shard_count:
            return  # a node of another layout; the next map will tell
        if self._leaders[shard] == said_by:
            self._terms[shard] += 1
        self._is_known[shard] = bool(address)
        if address:
            self._leaders[shard] = address

    def learn_leaders(self, lines: Iterable[LeaderLine]) -> None:
        """Take a node's list of leaders; older terms and unknown nodes are passed over."""
        for shard, term, node_id in lines:
            address = self._by_id.get(node_id)
            if address and 0 <= shard < self._shard_count and term >= self._terms[shard]:
                self._terms[shard] = term
                self._leaders[shard] = address
                self._is_known[shard] = True

    def succeed(self, cluster_map: ClusterMap) -> RoutingTable:
        """The table for a newer map of the same cluster, keeping the leaders that still fit."""
        table = RoutingTable(cluster_map)
        if table._shard_count == self._shard_count:
            for shard, address in enumerate(self._leaders):
                if address in table._addresses[shard]:
                    table._leaders[shard] = address
                    table._terms[shard] = self._terms[shard]
                    table._is_known[shard] = self._is_known[shard]
        return table
