"""What this node tells the others of itself, and which of them it accepts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from random import Random
from typing import Final

from quorumcache.node.peers.codec import (
    PROTOCOL_VERSION,
    Hello,
    Items,
    Refusal,
    Refused,
    encode_hello,
)
from quorumcache.node.peers.link import PeerLink
from quorumcache.node.peers.peer import Peer
from quorumcache.node.peers.proofs import (
    NONCE_BITS,
    PROOF_FORM,
    encode_proof,
    form_of,
    has_secret,
    is_farewell,
    is_proof,
    make_farewell,
    make_proof,
    nonce_of,
    proof_in,
    with_extras,
)
from quorumcache.node.peers.strangers import KnownPeer, why_stranger
from quorumcache.node.storage.start_record import PeerStarts
from quorumcache.node.storage.starts import Starts
from quorumcache.ring.secret import SECRET_FILE, SECRET_VARIABLE, Secret

NEWER_MAP_RETRY_MS: Final = 500
"""Pause of a node that we do not know, but whose map is newer than ours."""

DUPLICATE_RETRY_MS: Final = 500
"""Pause of a second process of the same name: by then the first one may have ended."""


class Handshake:
    """One per node, for all its connections."""

    def __init__(
        self,
        hello: Hello,
        starts: PeerStarts | None,
        on_newer_map: Callable[[], None],
        entropy: Random,
        secret: Secret | None = None,
    ) -> None:
        """`starts`: what was seen of the other data directories; without it all are believed.
        `on_newer_map`: a stranger of our cluster has a newer map. `entropy`: for nonces. `secret`:
        the cluster's; None if this node has none.
        """
        assert hello.protocol_version == PROTOCOL_VERSION
        self.hello = hello
        """What this node says of itself, without what is drawn for each connection."""
        self.requires_proofs = False
        """No connection is accepted without a proof of the secret, if this node has it."""
        self.secret = secret
        self._map_form = 1
        self._named: Collection[int] = ()
        """The nodes that the newest map names. A lost one may be among them that is no peer."""
        self._entropy = entropy
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

    def set_map(self, epoch: int, form: int, named: Collection[int] = ()) -> None:
        """The newest map: future hellos tell its epoch, and who cannot read it is no peer. `named`:
        the nodes in it.
        """
        self.hello = self.hello._replace(map_epoch=epoch)
        self._map_form = form
        self._named = named

    def set_founded(self) -> None:
        """Future hellos tell that the founding is complete."""
        self.hello = self.hello._replace(is_founded=True)

    def introduce(self, link: PeerLink) -> bytes:
        """The frame that introduces this node on a connection, with a nonce of its own."""
        link.nonce = f"{self._entropy.getrandbits(NONCE_BITS):032x}"
        return encode_hello(with_extras(self.hello, link.nonce, self.secret is not None))

    def proof_frame(self, hello: Hello) -> bytes:
        """What proves to the node that we dialed that we know the secret; b"" for an earlier
        release, which would not know what it is.
        """
        if form_of(hello) < PROOF_FORM:
            return b""
        secret = self.secret
        proof = make_proof(secret, self.hello, hello, nonce_of(hello)) if secret else b""
        return encode_proof(proof)

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
            raise Refused(why, farewell=self._farewell(hello))
        form = form_of(hello)
        if form < self._map_form:
            raise Refused(
                f"node {hello.name} runs quorumcache {hello.version} of form {form}, which cannot "
                f"read the cluster map of node {own.name}: that has form {self._map_form}. Start "
                f"node {hello.name} with the version of the other nodes"
            )
        if self._starts is not None:
            starts = Starts(hello.start_number, hello.start_nonces)
            why = self._starts.why_set_back(own.name, hello.name, hello.disk_id, starts)
            if why is not None:
                raise Refused(why)

    def _farewell(self, hello: Hello) -> tuple[int, bytes]:
        """What tells a node that it is no member any more: our map, which is newer, does not name
        it; (0, b"") if that cannot be said.
        """
        own, secret = self.hello, self.secret
        is_gone = hello.node_id not in {own.node_id, *self._known, *self._named}
        if secret is None or not is_gone or hello.cluster_id != own.cluster_id:
            return 0, b""
        if not 0 < hello.map_epoch < own.map_epoch:
            return 0, b""  # It may be a node that has just joined.
        return own.map_epoch, make_farewell(secret, hello, own.map_epoch, nonce_of(hello))

    def is_farewell(self, refusal: Refusal, nonce: str) -> bool:
        """Whether somebody who knows the secret tells us so, in answer to our hello with this
        nonce."""
        own, epoch = self.hello, refusal.left_epoch
        if self.secret is None or epoch <= own.map_epoch:
            return False
        return is_farewell(self.secret, refusal.farewell, own, epoch, nonce)

    def check_form(self, hello: Hello) -> None:
        """Raise `Refused` for a caller of a release that has no proofs, if they are required."""
        if form_of(hello) < PROOF_FORM and self._must_prove:
            raise Refused(self._why_unproven(hello))

    def check_proof(self, hello: Hello, items: Items, nonce: str) -> bool:
        """Whether the first frame of a caller proves that it knows the secret; `nonce`: of this
        connection. Raises `Refused` for a wrong proof, and for none if proofs are required.
        """
        proof, secret = proof_in(items), self.secret
        if secret is None:
            return False
        if proof:
            if not is_proof(secret, proof, hello, self.hello, nonce):
                raise Refused(
                    f"node {hello.name} has another secret than node {self.hello.name}: give all "
                    f"nodes of the cluster the same {SECRET_FILE}"
                )
            return True
        if self._must_prove:
            raise Refused(self._why_unproven(hello))
        return False

    @property
    def _must_prove(self) -> bool:
        return self.requires_proofs and self.secret is not None

    def _why_unproven(self, hello: Hello) -> str:
        return (
            f"node {hello.name} does not prove that it knows the cluster's secret, which node "
            f"{self.hello.name} requires: start it with --secret-file or {SECRET_VARIABLE}"
        )

    def proven(self, peers: Mapping[int, Peer]) -> set[int]:
        """The nodes that know the cluster's secret, as far as this one could see: those that have
        proven it on the connection that stands, and itself. Empty if it has no secret.
        """
        if self.secret is None:
            return set()
        return {self.hello.node_id, *(each for each, peer in peers.items() if peer.is_proven)}

    def cut_unproven(self, link: PeerLink | None) -> None:
        """End a connection that was accepted before proofs were required, if they are now."""
        if link is None or link.closing or link.is_proven or link.hello is None:
            return
        if self._must_prove:
            link.refuse(Refused(self._why_unproven(link.hello)))

    def datagram_secret(self, link: PeerLink) -> Secret | None:
        """What the datagrams beside a connection depend on: the secret, if both sides have it."""
        if link.dialed:
            return self.secret if link.hello is not None and has_secret(link.hello) else None
        return self.secret if link.is_proven else None

    def check_caller(self, hello: Hello, inbound: PeerLink | None) -> None:
        """Raise `Refused` if another process is connected as the node that calls."""
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

    def accepted(self, hello: Hello) -> None:
        """A connection of this peer is taken: remember the start of its directory."""
        if self._starts is not None:
            self._starts.saw(hello.disk_id, Starts(hello.start_number, hello.start_nonces))
