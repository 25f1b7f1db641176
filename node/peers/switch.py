"""The peer network as the host and the coordinator see it, also while there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quorumcache.node.peers.network import PeerNetwork


class PeerSwitch:
    """`network` None: this node is alone, or new."""

    def __init__(self) -> None:
        self.network: PeerNetwork | None = None

    def send(self, node_id: int, item: tuple[Any, ...]) -> bool:
        return self.network is not None and self.network.send(node_id, item)

    def send_bulk(self, node_id: int, item: tuple[Any, ...]) -> bool:
        return self.network is not None and self.network.send_bulk(node_id, item)

    def send_packed(self, node_id: int, packed: bytes) -> bool:
        return self.network is not None and self.network.send_packed(node_id, packed)

    def send_again(self, node_id: int, packed: bytes) -> None:
        if self.network is not None:
            self.network.send_again(node_id, packed)

    def is_up(self, node_id: int) -> bool:
        return self.network is not None and self.network.is_up(node_id)

    def flush(self) -> None:
        if self.network is not None:
            self.network.flush()
