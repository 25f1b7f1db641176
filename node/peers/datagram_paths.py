"""Which datagrams of this node go where, and which that come in are taken.

One path leads to each peer whose dialed connection stands. One token of each peer whose accepted
connection stands lets its datagrams in; see `datagrams.py`.
"""

from __future__ import annotations

from quorumcache.node.peers.codec import Hello
from quorumcache.node.peers.datagrams import DatagramPath, make_token, token_of
from quorumcache.node.peers.link import PeerLink
from quorumcache.node.peers.peer import Peer


class DatagramPaths:
    """See the module. One for the whole network of a node."""

    def __init__(self) -> None:
        self._paths: dict[int, DatagramPath] = {}  # of ready links, by node id
        self._tokens: dict[bytes, int] = {}  # node id, of the datagrams that are taken in

    # --- out

    def opened(self, own: Hello, link: PeerLink) -> None:
        """The dialed link stands; from now on its path is used, if it has one already."""
        if link.path is not None and link.hello is not None:
            link.path.token = make_token(own, link.hello)
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

    def take_of(self, peer: Peer, sender: Hello | None, own: Hello) -> None:
        """Those of the process that introduced itself so, and no others; None: no more."""
        self._tokens.pop(peer.datagram_token, None)
        peer.datagram_token = b""
        if sender is not None:
            peer.datagram_token = make_token(sender, own)
            self._tokens[peer.datagram_token] = sender.node_id

    def sender_of(self, datagram: bytes) -> int | None:
        """The peer that sent it; None if it is not taken."""
        return self._tokens.get(token_of(datagram))
