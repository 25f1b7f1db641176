"""What this node tells the others of itself, and which of them it accepts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from quorumcache.node.peers.codec import (
    PROTOCOL_VERSION,
    Hello,
    KnownPeer,
    encode_hello,
    why_stranger,
)
from quorumcache.node.peers.link import PeerLink, Refused
from quorumcache.node.storage.start_record import PeerStarts
from quorumcache.node.storage.starts import Starts

NEWER_MAP_RETRY_MS: Final = 500
"""Pause of a node that we do not know, but whose map is newer than ours."""

DUPLICATE_RETRY_MS: Final = 500
"""Pause of a second process of the same name: by then the first one may have ended."""


class Handshake:
    """One per node, for all its connections."""

    def __init__(
        self, hello: Hello, starts: PeerStarts | None, on_newer_map: Callable[[], None]
    ) -> None:
        """`starts`: what was seen of the other data directories; without it all are believed.
        `on_newer_map`: a stranger of our cluster has a newer map.
        """
        assert hello.protocol_version == PROTOCOL_VERSION
        self.hello = hello
        """What this node says of itself."""
        self.hello_frame = encode_hello(hello)
        self._known: dict[int, KnownPeer] = {}
        self._starts = starts
        self._on_newer_map = on_newer_map

    def know(self, node_id: int, name: str, disk_id: str) -> None:
        """This data directory, and no other, belongs to the node from now on."""
        assert node_id != self.hello.node_id
        self._known[node_id] = KnownPeer(name, disk_id)

    def forget(self, node_id: int) -> None:
        """The node has left the cluster: it is a stranger."""
        del self._known[node_id]

    def set_map_epoch(self, epoch: int) -> None:
        """The epoch that future hellos tell."""
        self.hello = self.hello._replace(map_epoch=epoch)
        self.hello_frame = encode_hello(self.hello)

    def set_founded(self) -> None:
        """Future hellos tell that the founding is complete."""
        self.hello = self.hello._replace(is_founded=True)
        self.hello_frame = encode_hello(self.hello)

    def check(self, hello: Hello, dialed_id: int) -> None:
        """Raise `Refused` if the hello is not that of a peer.

        `dialed_id`: the node that we dialed; 0 if the other side dialed us.
        """
        own = self.hello
        why = why_stranger(own, hello, self._known, dialed_id or None)
        if why is not None:
            if hello.cluster_id == own.cluster_id and hello.map_epoch > own.map_epoch:
                # It may be right, and our map old: see what the others have, then try again.
                self._on_newer_map()
                raise Refused(why, NEWER_MAP_RETRY_MS)
            raise Refused(why)
        if self._starts is not None:
            starts = Starts(hello.start_number, hello.start_marks)
            why = self._starts.why_set_back(own.name, hello.name, hello.disk_id, starts)
            if why is not None:
                raise Refused(why)

    def check_caller(self, hello: Hello, inbound: PeerLink | None) -> None:
        """Raise `Refused` if another process is connected as the node that calls; else end
        `inbound`, the connection that the same process had so far.
        """
        if inbound is None or inbound.hello is None or inbound.closing:
            return
        if inbound.hello.incarnation != hello.incarnation:
            # Either it restarted and its old connection has not died yet, or there are two
            # processes of one name: two voters of one name are a danger to every promise.
            raise Refused(
                f"another process is connected to node {self.hello.name} as node {hello.name}. If "
                "that process has ended, try again after 2 s",
                DUPLICATE_RETRY_MS,
            )
        inbound.abort("replaced by a new connection from the same process")

    def accepted(self, hello: Hello) -> None:
        """A connection of this peer is taken: remember the start of its directory."""
        if self._starts is not None:
            self._starts.saw(hello.disk_id, Starts(hello.start_number, hello.start_marks))
