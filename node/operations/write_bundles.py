"""Writes that another node leads, many in one item: those that become ready in a turn of the loop.

A client's write is not sent before its earlier one of the same group has ended, unless both are
taken together (`order.py`). Here they are: all writes of a turn that go to one node leave as one
FORWARD_WRITES, in their order. Its leader takes them in that order, and of a group nothing behind
one that it does not take (`forwarded_writes.py`). So thousands of pipelined writes of one client
and one group need a round trip for each bundle, not one for each write.

What holds for a forward that was sent (`forwards.py`) holds from the moment it is gathered. Answers
come for each write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from quorumcache.node.peers.items import FORWARD_WRITE, FORWARD_WRITES, WRITES_MAX

if TYPE_CHECKING:
    from quorumcache.node.operations.operation import Proposal
    from quorumcache.node.peers.sender import PeerSender

BUNDLE_BYTES: Final = 64 << 10
"""A bundle with so many bytes of keys and values leaves at once: the frame stays short, and the
leader takes others between two of them."""

WRITE_COST_BYTES: Final = 64
"""What a write takes of that beside its key and value."""


class WriteBundle:
    """What goes to one node."""

    __slots__ = ("size", "writes")

    def __init__(self) -> None:
        self.writes: dict[int, tuple[Proposal, tuple[Any, ...]]] = {}
        """By request id, in order: the operation, and its members of the item behind the id."""
        self.size = 0
        """Bytes of its keys and values, and WRITE_COST_BYTES for each write."""

    @property
    def is_full(self) -> bool:
        """Does it take no more?"""
        return self.size >= BUNDLE_BYTES or len(self.writes) >= WRITES_MAX

    def add(self, request_id: int, write: Proposal) -> None:
        """One more, behind the others."""
        members = (write.group_id, write.size, write.uncertain, write.command())
        self.writes[request_id] = (write, members)
        self.size += write.size + WRITE_COST_BYTES

    def item(self) -> tuple[Any, ...]:
        """As it is sent."""
        writes = [(request_id, *members) for request_id, (_, members) in self.writes.items()]
        if len(writes) == 1:
            return (FORWARD_WRITE, *writes[0])
        return (FORWARD_WRITES, tuple(writes))


class WriteBundles:
    """The bundles that are open: what was gathered in this turn."""

    __slots__ = ("_peers", "open")

    def __init__(self, peers: PeerSender) -> None:
        self._peers = peers
        self.open: dict[int, WriteBundle] = {}
        """By node."""

    def holds(self, node_id: int, request_id: int) -> bool:
        """Was this request gathered for the node, and not sent yet?"""
        bundle = self.open.get(node_id)
        return bundle is not None and request_id in bundle.writes

    def add(self, node_id: int, request_id: int, write: Proposal) -> WriteBundle:
        """Gather one more write. The bundle it is in, which has to leave at once if it is full."""
        bundle = self.open.get(node_id)
        if bundle is None:
            bundle = self.open[node_id] = WriteBundle()
        bundle.add(request_id, write)
        return bundle

    def drop(self, node_id: int, request_id: int) -> bool:
        """Send this request no more. False: it was sent."""
        bundle = self.open.get(node_id)
        return bundle is not None and bundle.writes.pop(request_id, None) is not None

    def send(self, node_id: int) -> list[Proposal]:
        """Let the bundle of a node go. What could not be sent: certainly not executed."""
        bundle = self.open.pop(node_id)
        if not bundle.writes or self._peers.send(node_id, bundle.item()):
            return []
        return [write for write, _ in bundle.writes.values()]
