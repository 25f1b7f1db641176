"""Where the other nodes are, when the map does not say it: what they told, passed on.

A node tells its addresses to those that it reaches. The directory's leader puts them into the map.
If most nodes with a seat in the directory have moved at once, there is no such leader: those that
moved are known where they told of themselves, and nowhere else. So every node passes on, now and
then, what it knows otherwise than the map says. A node that reaches one other node is found by all
that this one reaches, and finds them.

Each address goes with the number of the start of the data directory in which its node told it. An
older one never takes the place of a newer one, whoever brings it. What is passed on says where to
dial, and nothing else: who answers there has to prove who it is, and only what a node tells of
itself gets into the map.

Only for maps of form 2, and between nodes that read it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from quorumcache.node.peers.items import ADDRESSES, ADDRESSES_MAX
from quorumcache.node.storage.known_nodes import KnownNode, KnownNodes
from quorumcache.ring.node_info import LOST

if TYPE_CHECKING:
    from quorumcache.node.directory.members import Members
    from quorumcache.node.storage.known_nodes import KnownNodesFile
    from quorumcache.ring import ClusterMap

TELL_MS: Final = 1000
"""So often is told what the map does not say: a node hears of a move one hop away within this."""


class BookPeers(Protocol):
    """The peer network, as far as the book needs it."""

    def send(self, node_id: int, item: tuple[Any, ...]) -> bool: ...
    def form_of(self, node_id: int) -> int: ...


class AddressBook:
    """See the module. `places` is what all of it is for."""

    def __init__(
        self,
        members: Members,
        *,
        peers: BookPeers,
        flush: Callable[[], None],
        file: KnownNodesFile | None,
    ) -> None:
        """`file`: None where nothing is kept. `flush`: send what was given to `peers` soon."""
        self._members = members
        self._peers = peers
        self._flush = flush
        self._file = file
        self.on_news: Callable[[], None] = _nothing
        """A node may be somewhere else than was known."""
        self.stored = file.found if file is not None else KnownNodes()
        """What this node knew before its start."""
        self._newest = {
            node_id: (node.version, node.peer_address)
            for node_id, node in self.stored.nodes.items()
        }
        """By node, the start in which it told of itself last, and the peer address."""
        self._map: ClusterMap | None = None
        self._hints: dict[int, str] = {}
        """By node, where it has answered: an address that this node's operator gave it."""
        self._told_last = 0
        """The node up to which the last tell came, in order of id."""

    def places(self, node_id: int) -> tuple[str, ...]:
        """Peer addresses of a node, beside those that the map and the node itself say."""
        newest, hint = self._newest.get(node_id), self._hints.get(node_id)
        return (*((newest[1],) if newest else ()), *((hint,) if hint else ()))

    # -- what is heard ---------------------------------------------------------------------

    def told(self, node_id: int, version: int, address: str) -> None:
        """A node told of itself, in this start of its directory."""
        if version and version >= self._newest.get(node_id, (0, ""))[0]:
            self._newest[node_id] = (version, address)

    def heard(self, item: tuple[Any, ...]) -> None:
        """A node passes on what it knows."""
        known = {node.node_id for node in self._members.nodes()}
        is_news = False
        for node_id, version, address in item[1]:
            if node_id == self._members.own_id or node_id not in known:
                continue  # The map that says more comes from the same node.
            if version > self._newest.get(node_id, (0, ""))[0]:
                is_news = is_news or self._newest.get(node_id, (0, ""))[1] != address
                self._newest[node_id] = (version, address)
        if is_news:
            self.on_news()

    def hint(self, node_id: int, address: str) -> None:
        """The node answers at this address."""
        if self._hints.get(node_id) != address:
            self._hints[node_id] = address
            self.on_news()

    def learned(self, cluster_map: ClusterMap) -> None:
        """A newer map: what it does not name is gone. A node that moved on from where it was known
        here is known where this map says.
        """
        before, self._map = self._map, cluster_map
        old = {node.node_id: node.peer_address for node in before.nodes} if before else {}
        for node in cluster_map.nodes:
            version, address = self._newest.get(node.node_id, (0, ""))
            if version and address == old.get(node.node_id) != node.peer_address:
                self._newest[node.node_id] = (version, node.peer_address)
        known = {node.node_id for node in cluster_map.nodes}
        for kept in (self._newest, self._hints):
            for node_id in kept.keys() - known:
                del kept[node_id]

    # -- what is told and kept ------------------------------------------------------------

    def tell(self) -> None:
        """Tell all nodes what the map does not say, and store what is known. Called every
        `TELL_MS`."""
        cluster_map = self._map
        if cluster_map is None or cluster_map.form < 2:
            return
        news = self._next(self._news(cluster_map))
        if news:
            for node in cluster_map.nodes:
                if node.node_id != self._members.own_id and self._peers.form_of(node.node_id) > 1:
                    self._peers.send(node.node_id, (ADDRESSES, news))
            self._flush()
        if self._file is not None:
            self._file.store(self._known(cluster_map))

    def _news(self, cluster_map: ClusterMap) -> list[tuple[int, int, str]]:
        news = []
        for node in cluster_map.nodes:
            version, address = self._newest.get(node.node_id, (0, ""))
            if version and node.state != LOST and address != node.peer_address:
                news.append((node.node_id, version, address))
        return news

    def _next(self, news: list[tuple[int, int, str]]) -> tuple[tuple[int, int, str], ...]:
        """As many as one item takes: those behind the ones that were told last, then from the
        beginning."""
        later = [each for each in news if each[0] > self._told_last]
        turn = [*later, *(each for each in news if each[0] <= self._told_last)][:ADDRESSES_MAX]
        if turn:
            self._told_last = turn[-1][0]
        return tuple(turn)

    def _known(self, cluster_map: ClusterMap) -> KnownNodes:
        record = self._members.record
        nodes = {}
        for node in cluster_map.nodes:
            if node.node_id == self._members.own_id:
                continue
            founder = record.founder(node.node_id) if record is not None else None
            disk_id = node.disk_id or (founder.disk_id if founder is not None else "")
            version, address = self._newest.get(node.node_id, (0, node.peer_address))
            nodes[node.node_id] = KnownNode(version, address, node.name, disk_id)
        return KnownNodes(cluster_map.epoch, nodes)


def _nothing() -> None:
    """Nobody dials."""
