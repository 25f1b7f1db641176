"""The connections between this node and all others. Edge: all peer sockets live here and in
`link.py`.

Every node listens, and dials every other node. A node sends only on the connection that it dialed
and receives on those that it accepted, so there is never a question of which one to use:

    node a  ---- dialed by a: items of a, keepalive ---->  node b
            <--- dialed by b: items of b, keepalive -----

`send` packs an item into the outbox of a link; `flush`, at the end of a turn of the loop, makes one
frame and one write of it. What cannot be sent is dropped, and `send` says so: consensus repeats
what matters.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from random import Random
from typing import Any

from quorumcache.node.clock import Clock
from quorumcache.node.errors import PeerError
from quorumcache.node.peers.codec import Hello, Items, Refusal, pack_item, value_bytes_of
from quorumcache.node.peers.datagram_paths import DatagramPaths
from quorumcache.node.peers.datagrams import DatagramPath
from quorumcache.node.peers.dialer import Dialer
from quorumcache.node.peers.handshake import DUPLICATE_RETRY_MS, Handshake
from quorumcache.node.peers.line_log import LineLog
from quorumcache.node.peers.link import PeerLink
from quorumcache.node.peers.listener import PeerListener
from quorumcache.node.peers.open_links import OpenLinks
from quorumcache.node.peers.peer import Peer, PeerHandler, PeerSpec, refusals_of, why_apart
from quorumcache.node.peers.proofs import form_of
from quorumcache.node.storage.start_record import PeerStarts
from quorumcache.node.system.tasks import Tasks
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.telemetry.logs import event
from quorumcache.ring.secret import Secret


class PeerNetwork:
    """See the module."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        random: Random,
        *,
        listen_address: str,
        tasks: Tasks,
        queue_bytes_max: int = 64 << 20,
        counters: Counters | None = None,
        logger: logging.Logger | None = None,
        listener: PeerListener | None = None,
    ) -> None:
        """`queue_bytes_max`: per outbox. `listener`: one that listens already; without it, `start`
        listens on `listen_address`. Until `join` there are no peers to send to.
        """
        self._loop = loop
        self._clock = clock
        self._random = random
        self._listen_address = listen_address
        self.has_joined = False
        """True once this node is a member that has peers."""
        self._handler: PeerHandler
        self._handshake: Handshake
        self._queue_bytes_max = queue_bytes_max
        self._counters = counters if counters is not None else Counters()
        self._log = logger if logger is not None else logging.getLogger("quorumcache.peers")
        self._peers: dict[int, Peer] = {}
        self._lines = LineLog(clock, self._log)
        self._datagrams = DatagramPaths(self._counters, self._lines)
        self._dialer = Dialer(self, loop, clock, random, tasks, self._lines)
        self._ready: dict[int, PeerLink] = {}  # dialed links that take items, by node id
        self._links = OpenLinks(loop, self._lines)
        self._listener = listener if listener is not None else PeerListener(loop)
        self._dials = False
        self._stopping = False

    # --- life

    def join(
        self,
        hello: Hello,
        peers: Mapping[int, PeerSpec],
        handler: PeerHandler,
        starts: PeerStarts | None = None,
        *,
        secret: Secret | None = None,
        entropy: Random | None = None,
    ) -> None:
        """This node is a member now, and `hello` is what it says of itself; before `start`.

        `peers` holds the other nodes by id, `handler` gets what they bring. `starts`: what was seen
        of the other data directories; without it all are believed. `secret`: the cluster's;
        `entropy`: for nonces, without it the random numbers of the rest.
        """
        assert not self.has_joined
        self._handler = handler
        self._handshake = Handshake(
            hello, starts, handler.on_newer_map, entropy or self._random, secret
        )
        self.has_joined = True
        for node_id in sorted(peers):
            self.add(node_id, peers[node_id])

    async def start(self) -> str:
        """Listens and begins to dial, after `join`. Returns the bound HOST:PORT. `StartupError` if
        the port is in use.
        """
        self._listener.accept = self._accept
        self._listener.on_datagram = self._datagram
        if not self._listener.address:
            await self._listener.start(self._listen_address)
        self._dials = True
        for node_id, peer in self._peers.items():
            self._dialer.start(node_id, peer)
        self._links.start_ticking()
        return self._listener.address

    def _accept(self) -> asyncio.Protocol:
        return self.new_link(0)

    def add(self, node_id: int, spec: PeerSpec) -> None:
        """Another node of the cluster, which is to be dialed and may dial us."""
        assert node_id not in self._peers
        peer = self._peers[node_id] = Peer(spec.name, spec.addresses(), spec.disk_id)
        self._handshake.know(node_id, spec.name, spec.disk_id)
        if self._dials:
            self._dialer.start(node_id, peer)

    def forget(self, node_id: int) -> None:
        """The node has left the cluster: its links are cut, and it is a stranger from now on."""
        peer = self._peers.pop(node_id)
        self._dialer.stop(node_id)
        self._handshake.forget(node_id)
        self._cut(peer, "the node has left the cluster")
        self._datagrams.take_none_of(peer)
        self._ready.pop(node_id, None)
        self._datagrams.closed(node_id)

    def update_peers(self, peers: Mapping[int, PeerSpec]) -> None:
        """The other nodes are these from now on: a newer map says so, or a node itself.

        A link of a data directory that may not speak for its node any more is cut. One that stands
        stays whatever the addresses are: the handshake has shown who is there.
        """
        for node_id in [n for n in self._peers if n not in peers]:
            self.forget(node_id)
        for node_id, spec in sorted(peers.items()):
            peer = self._peers.get(node_id)
            if peer is None:
                self.add(node_id, spec)
                continue
            if peer.disk_id != spec.disk_id or peer.name != spec.name:
                peer.disk_id, peer.name = spec.disk_id, spec.name
                self._handshake.know(node_id, spec.name, spec.disk_id)
                self._cut(peer, "the node has another data directory now")
            addresses = spec.addresses()
            if peer.addresses != addresses:
                peer.addresses = addresses
                peer.wake_up()

    def _cut(self, peer: Peer, why: str) -> None:
        for link in (peer.link, peer.inbound):
            if link is not None:
                link.abort(why)

    async def stop(self) -> None:
        """Sends what is left and closes everything."""
        self.flush()
        self._end()
        await self._links.close_all("this node is stopping")
        self.abort()
        await self._dialer.ended()

    def abort(self) -> None:
        """Cuts everything at once, as a crash would."""
        self._end()
        self._links.abort_all("this node is stopping")

    def _end(self) -> None:
        self._stopping = True
        self._links.stop_ticking()
        self._listener.close()
        self._dialer.stop_all()

    # --- sending

    @property
    def node_ids(self) -> tuple[int, ...]:
        """Ids of all other nodes, ascending."""
        return tuple(self._peers)

    def is_up(self, node_id: int) -> bool:
        """True if `send` to this node would go out."""
        link = self._ready.get(node_id)
        return link is not None and not link.closing

    def is_heard(self, node_id: int) -> bool:
        """True if the connection on which this node's items come stands."""
        peer = self._peers.get(node_id)
        return peer is not None and peer.inbound is not None

    def form_of(self, node_id: int) -> int:
        """What the node understands, as it said last; 1 while it has not said anything."""
        peer = self._peers.get(node_id)
        return peer.form if peer is not None else 1

    def proven(self) -> set[int]:
        """See `Handshake.proven`."""
        return self._handshake.proven(self._peers) if self.has_joined else set()

    def require_proofs(self, is_required: bool) -> None:
        """Accept no connection without a proof from now on, and end those that are without."""
        self._handshake.requires_proofs = is_required
        for peer in self._peers.values():
            self._handshake.cut_unproven(peer.inbound)

    def send(self, node_id: int, item: tuple[Any, ...]) -> bool:
        """Puts an item into a peer's outbox; False if it was dropped (link down, outbox full)."""
        return self.send_packed(node_id, pack_item(item))

    def send_packed(self, node_id: int, packed: bytes) -> bool:
        """`send` for what `pack_item` made of an item, which several peers may get."""
        link = self._ready.get(node_id)
        if link is not None and link.send(packed):
            self._counters.peer_messages_sent += 1
            return True
        self._counters.peer_messages_dropped += 1
        return False

    def send_again(self, node_id: int, packed: bytes) -> None:
        """Sends what was given to `send_packed` also as a datagram, if there is a way: for short
        items that may come twice, late and in any order, and are of no use when they come late.
        """
        self._datagrams.send(node_id, packed)

    def send_bulk(self, node_id: int, item: tuple[Any, ...]) -> bool:
        """`send` for values on their way to a client: everything else goes before them."""
        link, size = self._ready.get(node_id), value_bytes_of(item)
        if link is not None and link.has_bulk_room(size) and link.send_bulk(pack_item(item)):
            self._counters.peer_messages_sent += 1
            return True
        self._counters.peer_messages_dropped += 1
        return False

    def flush(self) -> None:
        """One frame and one write to each peer that there is something for."""
        self._datagrams.flush()
        for link in self._ready.values():
            if link.outbox_bytes or link.bulk_bytes:
                before = link.written_bytes
                link.flush()
                self._counters.peer_bytes_sent += link.written_bytes - before

    def set_map(self, epoch: int, form: int, named: Collection[int] = ()) -> None:
        """See `Handshake.set_map`. Links to nodes that cannot read the map are cut."""
        self._handshake.set_map(epoch, form, named)
        for peer in self._peers.values():
            if peer.form < form:
                self._cut(peer, "the node cannot read the newest cluster map")

    def set_founded(self) -> None:
        """Future hellos tell that the founding is complete."""
        self._handshake.set_founded()

    def send_to_all(self, item: tuple[Any, ...]) -> None:
        """`send` to every peer that is up."""
        packed = pack_item(item)
        for node_id in self._ready:
            self.send_packed(node_id, packed)

    def refusals(self) -> dict[int, str]:
        """The other nodes that do not take this one, by id, and why, as far as is known.

        Nodes that cannot be reached at all are not among them: they may be down.
        """
        return refusals_of(self._peers, self._clock.monotonic_ns())

    def why_apart(self) -> dict[int, str]:
        """By id, why this node and another one do not talk, if one of them refuses the other."""
        return why_apart(self._peers, self._clock.monotonic_ns())

    # --- what the dialer asks and tells (DialerOwner)

    def new_link(self, node_id: int) -> PeerLink:
        """A link for a connection that is about to be opened; `node_id` 0: it was accepted."""
        return PeerLink(self, node_id, self._loop.create_future(), self._queue_bytes_max)

    def dial_failed(self, node_id: int, why: str) -> None:
        """The node cannot be reached."""
        peer = self._peers.get(node_id)
        if peer is not None:
            self._down(node_id, peer, why)
            peer.refusal = peer.refused = ""  # It is not there any more, or not to be reached.

    def path_opened(self, link: PeerLink, path: DatagramPath) -> None:
        """Datagrams can be sent to where the link leads."""
        link.path = path
        peer = self._peers.get(link.node_id)
        if link.is_ready and peer is not None and peer.link is link:
            self._datagrams.opened(link, self._handshake)

    # --- datagrams

    def _datagram(self, data: bytes) -> None:
        self._datagrams.receive(data, self._peers, self._handler)

    def _down(self, node_id: int, peer: Peer, why: str) -> None:
        if not peer.suspect and not self._stopping:
            peer.suspect = True
            self._handler.on_peer_down(node_id, why)

    # --- what the links tell (LinkOwner)

    def own_hello_frame(self, link: PeerLink) -> bytes:
        """What we say first."""
        return self._handshake.introduce(link)

    def own_proof_frame(self, link: PeerLink, hello: Hello) -> bytes:
        """What we say next to a node that we dialed."""
        return self._handshake.proof_frame(hello)

    def link_opened(self, link: PeerLink) -> None:
        """A connection stands; nothing was said yet."""
        self._links.opened(link)
        if self._stopping:
            link.abort("this node is stopping")
        else:
            self._links.bound_unknown()

    def link_introduced(self, link: PeerLink, hello: Hello) -> None:
        """A hello came; `Refused` is raised if it is not of a peer."""
        self._handshake.check(hello, link.node_id)
        if not link.dialed:
            self._handshake.check_form(hello)
            self._handshake.check_caller(hello, self._peers[hello.node_id].inbound)

    def link_proven(self, link: PeerLink, hello: Hello, items: Items) -> None:
        """The first frame of a node that said hello; `Refused` is raised if it is wrong."""
        # What was known of it may have changed since it said hello.
        self.link_introduced(link, hello)
        link.is_proven = self._handshake.check_proof(hello, items, link.nonce)

    def link_ready(self, link: PeerLink) -> None:
        """Both sides accepted each other, as far as we know."""
        assert link.hello is not None
        node_id = link.node_id
        peer = self._peers[node_id]
        peer.suspect = False
        peer.form = form_of(link.hello)
        self._handshake.accepted(link.hello)
        self._links.introduced(link)
        if link.dialed:
            peer.link = self._ready[node_id] = link
            self._datagrams.opened(link, self._handshake)
            peer.refusal = peer.refused = ""
            if peer.inbound is None:
                peer.one_way_since_ns = self._clock.monotonic_ns()
        else:
            if peer.inbound is not None:
                peer.inbound.abort("replaced by a new connection from the same process")
            peer.inbound = link
            self._datagrams.take_of(peer, link, self._handshake)
            peer.one_way_since_ns = 0
            peer.refusal = ""  # It dialed us, so it takes us for what we are.
            old = peer.link
            if old is not None and old.hello and old.hello.incarnation != link.hello.incarnation:
                old.abort("the node was started again")
            peer.wake_up()  # it is there: no need to wait before dialing it
        fields = {"peer": peer.name, "dialed": link.dialed, "remote": link.remote}
        event(self._log, "debug", "peer_link_ready", **fields)
        self._handler.on_peer_hello(node_id, link.hello)
        if link.dialed:
            self._counters.peer_connects += 1
            self._handler.on_peer_up(node_id)

    def link_refused(self, link: PeerLink, refusal: Refusal, by_peer: bool) -> None:
        """A handshake failed: we refused the other side, or it refused us."""
        self._counters.peer_refused += 1
        peer = self._peers.get(link.node_id)
        # One that is to be asked again at once is only on its way into the cluster.
        counts = refusal.retry_ms >= DUPLICATE_RETRY_MS
        if peer is not None and link.dialed:
            peer.note_refusal(refusal, by_peer, counts)
        self._lines.event(
            "error" if counts else "info",
            "peer_refused",
            peer=peer.name if peer is not None else link.remote.rpartition(":")[0],
            by="peer" if by_peer else "this_node",
            why=refusal.sentence,
        )
        self._handler.on_refused(link.node_id, refusal.sentence)
        if by_peer and link.dialed and self._handshake.is_farewell(refusal, link.nonce):
            self._handler.on_farewell(refusal.left_epoch)

    def link_question(self, link: PeerLink, payload: bytes) -> bool:
        """A first frame came in: a new node may ask with it."""
        return self._handler.on_question(link, payload)

    def link_items(self, link: PeerLink, items: Items, size: int) -> None:
        """A frame of items, of `size` bytes with its header."""
        if link.dialed:
            raise PeerError("items came on the connection that this node dialed")
        self._counters.peer_messages_received += len(items)
        self._counters.peer_bytes_received += size
        self._handler.on_peer_items(link.node_id, items)

    def link_item_too_long(self, link: PeerLink, size: int) -> None:
        """An item was dropped that no frame can carry. Sending it again will not help."""
        name = self._peers[link.node_id].name
        self._lines.event("error", "peer_item_too_long", peer=name, bytes=size)

    def link_closed(self, link: PeerLink) -> None:
        """A connection is gone."""
        if not self._links.closed(link):
            return
        if link.hello is None:
            known = self._peers.get(link.node_id)
            self._lines.handshake_failed(link, known.name if known is not None else "")
            return
        node_id = link.node_id
        peer = self._peers.get(node_id)
        if peer is None:
            return  # it has left the cluster
        if link is peer.link:
            peer.link = None
            peer.one_way_since_ns = 0
            del self._ready[node_id]
            self._datagrams.closed(node_id)
            self._counters.peer_disconnects += 1
            # What was sent on it may be lost, so this is always a change.
            peer.suspect = False
        elif link is peer.inbound:
            peer.inbound = None
            self._datagrams.take_none_of(peer)
            if peer.link is not None:
                peer.one_way_since_ns = self._clock.monotonic_ns()
        else:
            return  # replaced by a newer one
        if not self._stopping:
            self._lines.event("info", "peer_link_lost", peer=peer.name, why=link.why)
            self._down(node_id, peer, link.why)


__all__ = ["Hello", "PeerHandler", "PeerNetwork", "PeerSpec"]
