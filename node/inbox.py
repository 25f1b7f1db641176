"""What peers send, to whom it concerns. Apart from `node.py` since each item passes here: this file
is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.items import CONSENSUS_KINDS, RARE_KINDS

if TYPE_CHECKING:
    from quorumcache.node.operations.coordinator import Coordinator
    from quorumcache.node.replica.host import ReplicaHost


def deliver(
    node_id: int,
    items: tuple[tuple[Any, ...], ...],
    host: ReplicaHost,
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
            host.on_message(node_id, item)
        elif number in RARE_KINDS:
            on_rare_item(node_id, item)
        else:
            coordinator.on_forward(node_id, item)
