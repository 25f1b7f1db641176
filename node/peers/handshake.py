"""Who this node is to the others, and which of them it takes for what they say they are."""

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
from quorumcache.node.peers.link import Refused
from quorumcache.node.storage.start_record import PeerStarts
from quorumcache.node.storage.starts import Starts

NEWER_MAP_RETRY_MS: Final = 500
"""Pause of a node that we do not know, but whose map is newer than ours."""


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
        """This data directory, and no other, speaks for the node from now on."""
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

    def accepted(self, hello: Hello) -> None:
        """A connection of this peer is taken: remember the start of its directory."""
        if self._starts is not None:
            self._starts.saw(hello.disk_id, Starts(hello.start_number, hello.start_marks))
