"""The way to other nodes, as operations see it."""

from __future__ import annotations

from typing import Any, Protocol


class PeerSender(Protocol):
    """What the peer network does for them. Sending never blocks; False: it was not sent."""

    def send(self, node_id: int, item: tuple[Any, ...]) -> bool: ...
    def send_bulk(self, node_id: int, item: tuple[Any, ...]) -> bool: ...
    def is_up(self, node_id: int) -> bool: ...

    def form_of(self, node_id: int) -> int:
        """What the node understands (`proofs.py`)."""
