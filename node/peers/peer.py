"""What the peer network knows of other nodes, and the receiver of what they send."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from quorumcache.node.peers.codec import Hello, Items, Refusal
from quorumcache.ring.address import parse_address

if TYPE_CHECKING:
    from quorumcache.node.peers.link import PeerLink


ONE_WAY_NS: Final = 5_000_000_000
"""So long may a node that takes our connections be without one of its own to us: it dials again
within a second, so after that it cannot reach us, or does not find us at the address it knows."""


class PeerSpec(NamedTuple):
    """Another node: its name, where to dial it, and the data directory that may speak for it.

    `address`: HOST:PORT, by our settings or the map. `told`: where it says that it is; "" if it has
    not said so. `more`: where others say that it is. Dials take turns where they differ.
    """

    name: str
    address: str
    disk_id: str
    told: str = ""
    more: tuple[str, ...] = ()

    def addresses(self) -> list[tuple[str, int]]:
        """The (host, port) pairs to dial, in turn."""
        texts = dict.fromkeys(text for text in (self.address, self.told, *self.more) if text)
        return [parse_address(text) for text in texts]


class Asker(Protocol):
    """The connection of a new node that asks: a `PeerLink` that has not introduced itself.

    `nonces`: of a join, the new node's and this one's, until the next question.
    """

    nonces: tuple[bytes, bytes] | None

    def answer(self, frame: bytes, *, is_last: bool = True) -> None:
        """Send the answer, if the other side is still there; the last one ends the connection."""

    def wait_longer(self) -> None:
        """The answer takes longer than a hello may."""


class PeerHandler(Protocol):
    """Receives what the peers send. Called on the loop."""

    def on_peer_items(self, node_id: int, items: Items) -> None:
        """One frame. Raising `PeerError` closes the link with that as the reason."""

    def on_peer_datagram(self, node_id: int, items: Items) -> None:
        """Items of a datagram: lost, repeated, late and in any order, from that very process.
        Raising `PeerError` drops it."""

    def on_peer_hello(self, node_id: int, hello: Hello) -> None:
        """A peer introduced itself on either connection: its addresses, zone, weight, epoch."""

    def on_peer_up(self, node_id: int) -> None:
        """The link to the peer is ready: `send` takes items."""

    def on_peer_down(self, node_id: int, why: str) -> None:
        """The link to the peer, or the one from it, is lost, or it refuses connections.

        A hint that it may be dead. Once per change: not again for each failed redial.
        """

    def on_refused(self, node_id: int, why: str) -> None:
        """A handshake ended in a refusal by either side. `node_id` 0: a stranger came to us."""

    def on_farewell(self, epoch: int) -> None:
        """A node that knows the secret says that the map of this epoch names this node no more."""

    def on_newer_map(self) -> None:
        """A stranger of our cluster has a newer map: the others may have it, too."""

    def on_question(self, asker: Asker, payload: bytes) -> bool:
        """The first frame of a connection that came in. True if it is the question of a new node:
        then it is, or will be, answered. Raises as `link_introduced`.
        """


class Peer:
    """What we know of one other node, whether connected or not."""

    __slots__ = (
        "addresses",
        "datagram_token",
        "disk_id",
        "failures",
        "form",
        "inbound",
        "link",
        "name",
        "one_way_since_ns",
        "refusal",
        "refused",
        "retry_ms",
        "suspect",
        "wake",
    )

    def __init__(self, name: str, addresses: list[tuple[str, int]], disk_id: str) -> None:
        self.name = name
        self.addresses = addresses
        self.disk_id = disk_id
        self.form = 1  # of the map and of the items that it speaks, as it said last
        self.refusal = ""  # what the other side said last; "" once it took us
        self.refused = ""  # what we said to it last; "" once we took it
        self.one_way_since_ns = 0  # the dialed link stands, an accepted one does not; 0 = not so
        self.link: PeerLink | None = None  # dialed and ready
        self.inbound: PeerLink | None = None  # accepted and ready
        self.datagram_token = b""  # of the datagrams that count now; b"" without `inbound`
        self.failures = 0  # dials in a row without a stable link
        self.retry_ms = 0  # told by a refusal; 0 = none
        self.suspect = False  # on_peer_down was called, and nothing came up since
        self.wake: asyncio.Future[None] | None = None  # ends the pause before the next dial

    @property
    def is_proven(self) -> bool:
        """Whether its items come from a process that has proven that it knows the secret."""
        return self.inbound is not None and self.inbound.is_proven

    def note_refusal(self, refusal: Refusal, by_peer: bool, counts: bool) -> None:
        """A dial ended so. `counts`: it is to be told to people."""
        self.retry_ms = refusal.retry_ms
        if counts and by_peer:
            self.refusal = refusal.sentence
        elif counts:
            self.refused = refusal.sentence

    def wake_up(self) -> None:
        """End the pause before the next dial, if there is one."""
        if self.wake is not None and not self.wake.done():
            self.wake.set_result(None)


def refusals_of(peers: Mapping[int, Peer], now_ns: int) -> dict[int, str]:
    """See `PeerNetwork.refusals`."""
    found = {}
    for node_id, peer in peers.items():
        if peer.refusal:
            found[node_id] = f"node {peer.name} refuses this node: {peer.refusal}"
        elif peer.one_way_since_ns and now_ns - peer.one_way_since_ns > ONE_WAY_NS:
            found[node_id] = (
                f"node {peer.name} cannot connect to this node, although this node can connect "
                "to it: the address that it knows of this node is wrong, or blocked"
            )
    return found


def why_apart(peers: Mapping[int, Peer], now_ns: int) -> dict[int, str]:
    """See `PeerNetwork.why_apart`."""
    found = refusals_of(peers, now_ns)
    for node_id, peer in peers.items():
        if peer.refused and node_id not in found:
            found[node_id] = f"this node refuses it: {peer.refused}"
    return found
