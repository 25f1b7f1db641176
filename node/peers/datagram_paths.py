"""Which datagrams of this node go where, and which that come in are taken.

One path leads to each peer whose dialed connection stands. One token of each peer whose accepted
connection stands lets its datagrams in; see `datagrams.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from quorumcache.node.errors import PeerError
from quorumcache.node.peers.datagrams import DatagramPath, items_of, make_token, token_of
from quorumcache.node.peers.handshake import Handshake
from quorumcache.node.peers.line_log import LineLog
from quorumcache.node.peers.link import PeerLink
from quorumcache.node.peers.peer import Peer, PeerHandler
from quorumcache.node.peers.proofs import keyed
from quorumcache.node.telemetry.counters import Counters


class DatagramPaths:
    """See the module. One for the whole network of a node."""

    def __init__(self, counters: Counters, lines: LineLog) -> None:
        self._counters = counters
        self._lines = lines
        self._paths: dict[int, DatagramPath] = {}  # of ready links, by node id
        self._tokens: dict[bytes, int] = {}  # node id, of the datagrams that are taken in

    # --- out

    def opened(self, link: PeerLink, handshake: Handshake) -> None:
        """The dialed link stands; from now on its path is used, if it has one already."""
        if link.path is not None and link.hello is not None:
            token = make_token(handshake.hello, link.hello)
            link.path.token = keyed(token, handshake.datagram_secret(link))
            self._paths[link.node_id] = link.path

    def closed(self, node_id: int) -> None:
        """The dialed link is gone, and the path with it."""
        self._paths.pop(node_id, None)

    def send(self, node_id: int, packed: bytes) -> None:
        """Put an item into the next datagram to the peer, if there is a way."""
        path = self._paths.get(node_id)
        if path is not None:
            path.send(packed)

    def flush(self) -> None:
        """Send what was put in."""
        for path in self._paths.values():
            path.flush()

    # --- in

    def take_of(self, peer: Peer, link: PeerLink, handshake: Handshake) -> None:
        """Those of the process at the other end of an accepted link, and no others of this peer."""
        assert link.hello is not None
        self.take_none_of(peer)
        token = make_token(link.hello, handshake.hello)
        peer.datagram_token = keyed(token, handshake.datagram_secret(link))
        self._tokens[peer.datagram_token] = link.node_id

    def take_none_of(self, peer: Peer) -> None:
        """No more from this peer."""
        self._tokens.pop(peer.datagram_token, None)
        peer.datagram_token = b""

    def receive(self, data: bytes, peers: Mapping[int, Peer], handler: PeerHandler) -> None:
        """Hand on what a datagram holds, if it is taken."""
        node_id = self._tokens.get(token_of(data))
        if node_id is not None and not _is_stalled(peers[node_id]):
            try:
                handler.on_peer_datagram(node_id, items_of(data))
            except PeerError as error:
                self._lines.event("warning", "peer_datagram_bad", peer=node_id, why=error)
            else:
                self._counters.peer_datagrams_received += 1
                return
        self._counters.peer_datagrams_refused += 1


def _is_stalled(peer: Peer) -> bool:
    """Heartbeats that come beside a connection which brings nothing would keep a leader in office
    whose entries do not arrive: where only small packets pass, for ever.
    """
    return peer.inbound is not None and peer.inbound.is_stalled
