"""What peers send, to whom it concerns. Apart from `node.py` since each item passes here: this file
is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.consensus_items import ENTRIES_KIND, decode_message
from quorumcache.node.peers.items import CONSENSUS_KINDS, HEARTBEAT_REPLIES, HEARTBEATS, RARE_KINDS

if TYPE_CHECKING:
    from quorumcache.node.operations.coordinator import Coordinator
    from quorumcache.node.peers.consensus_transport import ConsensusTransport
    from quorumcache.node.replica.host import ReplicaHost


def deliver(
    node_id: int,
    items: tuple[tuple[Any, ...], ...],
    host: ReplicaHost,
    transport: ConsensusTransport,
    coordinator: Coordinator,
    on_rare_item: Callable[[int, tuple[Any, ...]], None],
) -> None:
    """One frame from a peer. `on_rare_item` takes the `RARE_KINDS`.

    Raises `PeerFrameError` at an item that is none; those before it have been delivered.
    """
    for item in items:
        kind = item[0]
        if type(kind) is not int:
            raise PeerFrameError(f"an item of the kind {kind!r:.60}, expected a number")
        number: int = kind
        if number < CONSENSUS_KINDS:
            deliver_consensus(node_id, item, host, transport)
        elif number in RARE_KINDS:
            on_rare_item(node_id, item)
        else:
            coordinator.on_forward(node_id, item)


def deliver_consensus(
    node_id: int, item: tuple[Any, ...], host: ReplicaHost, transport: ConsensusTransport
) -> None:
    """A consensus item from a peer. Raises `PeerFrameError` if it is none."""
    if item[0] == HEARTBEATS or item[0] == HEARTBEAT_REPLIES:
        for group_id, message in transport.beats(node_id, item):
            host.step(node_id, group_id, message, False)
    else:
        message = decode_message(item)
        host.step(node_id, item[1], message, item[0] == ENTRIES_KIND)
