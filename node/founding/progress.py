"""A member of a cluster that is being founded: who has accepted, and when the founding is complete.

Group 0 starts on a node only after that node has stored durably that *all* founders have accepted.
A founder has accepted when it introduced itself as a member (only members say hello), or when a
member says that the founding is complete.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from quorumcache.node.errors import DiskRefused
from quorumcache.node.founding.data_dir import Membership
from quorumcache.node.peers.codec import encode_refusal
from quorumcache.node.peers.founding_frames import Blank, encode_found
from quorumcache.node.peers.founding_secret import (
    NO_SECRET,
    founding_proof,
    secret_told,
    unequal,
)
from quorumcache.node.storage.identity import IDENTITY_FILE, NodeIdentity, encode_identity

if TYPE_CHECKING:
    from quorumcache.node.storage.disk import Disk
    from quorumcache.node.storage.secret import Secret

STRANGER_RETRY_MS = 5000


class FoundingProgress:
    """See the module. `on_complete` is called once, when the founding is complete and stored."""

    def __init__(
        self,
        member: Membership,
        *,
        disk: Disk | None,
        directory: str,
        on_complete: Callable[[], None],
        on_failed: Callable[[BaseException], None],
        secret: Secret | None = None,
        was_given: bool = False,
    ) -> None:
        """`secret`: the cluster's. `was_given`: the operator gave it to this node, so he gives it
        to the other founders as well.
        """
        self.identity: NodeIdentity = member.identity
        self.record = member.record
        self.completed = asyncio.Event()
        """Set once `is_complete` is true and durable."""
        self._disk = disk
        self._path = f"{directory}/{IDENTITY_FILE}"
        self._on_complete = on_complete
        self._on_failed = on_failed
        self._secret = secret
        self._was_given = was_given
        self._accepted = {member.identity.node_id}
        self._is_storing = False
        self._is_due = False
        if self.identity.is_complete:
            self.completed.set()

    @property
    def is_complete(self) -> bool:
        """Durably known here: all founders have accepted."""
        return self.identity.is_complete

    def accepted(self, node_id: int, *, is_complete: bool) -> None:
        """A member of the cluster introduced itself; `is_complete`: what it knows."""
        if self.identity.is_complete or self._is_storing:
            return
        self._accepted.add(node_id)
        self._is_due = self._is_due or is_complete
        self.store_if_due()

    def store_if_due(self) -> None:
        """Store that the founding is complete, if it is. Also called now and then: a disk that was
        full may have room again.
        """
        if self.identity.is_complete or self._is_storing:
            return
        if not self._is_due and not all(f.node_id in self._accepted for f in self.record.founders):
            return
        self._is_storing = True
        complete = self.identity._replace(is_complete=True)

        def stored(error: BaseException | None) -> None:
            self._is_storing = False
            if isinstance(error, DiskRefused):
                return  # `store_if_due` comes again.
            if error is not None:
                self._on_failed(error)
                return
            self.identity = complete
            self.completed.set()
            self._on_complete()

        if self._disk is None:
            stored(None)
        else:
            self._disk.write_atomic(self._path, [encode_identity(complete)], stored)

    def waiting_for(self) -> list[str]:
        """Names of the founders that are not known to have accepted; none once it is complete."""
        if self.identity.is_complete:
            return []
        return [f.name for f in self.record.founders if f.node_id not in self._accepted]

    def answer(self, blank: Blank) -> bytes:
        """The frame that answers a new node's question."""
        theirs, own = blank.info, self.identity
        founder = self.record.founder_named(theirs.name)
        cluster = f"cluster {own.cluster_id}"
        if founder is None:
            why = (
                f"node {theirs.name} is new, but node {own.name} already belongs to {cluster}, "
                f"which was founded without a node {theirs.name}. To found another cluster, "
                f"give node {theirs.name} an --initial-cluster without nodes of this cluster"
            )
        elif founder.disk_id != theirs.disk_id:
            why = (
                f"node {theirs.name} has the new data directory {theirs.disk_id}, but in {cluster} "
                f"that name belongs to data directory {founder.disk_id}: start it with the "
                f"directory that it had. If that one is lost, {self._when_lost()}"
            )
        elif own.is_complete or self._is_storing:
            why = (
                f"node {theirs.name} is new, but its data directory {theirs.disk_id} is a member "
                f"of {cluster} already: it was set back to an older copy and no longer knows what "
                "it promised. Start it with the directory as it was last, or leave the node "
                "stopped; the cluster goes on without it"
            )
        else:
            why = self._why_other_secret(blank)
            if not why:
                needs_secret = secret_told(blank.settings) == NO_SECRET
                return encode_found(self.record, self._secret if needs_secret else None)
        return encode_refusal(why, STRANGER_RETRY_MS)

    def _why_other_secret(self, blank: Blank) -> str:
        """Why a founder that was given another secret than this node cannot have the record; "" if
        the secrets fit. One that was made for the cluster is handed out, a given one never.
        """
        told, secret = secret_told(blank.settings), self._secret
        if not told:
            return ""  # It knows of no secrets, and goes on without one.
        if told == NO_SECRET:
            is_unequal = self._was_given
        else:
            is_unequal = secret is None or told != founding_proof(secret, blank.settings)
        name, other = self.identity.name, blank.info.name
        return unequal(name, secret is None, other, told == NO_SECRET) if is_unequal else ""

    def _when_lost(self) -> str:
        """What to do about a founder's directory that is lost."""
        leave = "leave the node stopped; the cluster goes on without it"
        if self.identity.is_complete:
            return leave
        # This node may be the only one that has not heard of the completion.
        return (
            "look at /health of all other nodes: if each of them has the alarm 'founding', nothing "
            "was ever stored; stop all nodes, move their data directories aside, and start again. "
            f"Otherwise {leave}"
        )
