"""What the steps of a request need of a node that is not there: its network, clock, and items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from quorumcache.node.clock import Clock
from quorumcache.node.peers.codec import FrameDecoder, decode_items, encode_items, pack_item
from quorumcache.node.peers.proofs import OWN_FORM
from quorumcache.node.store.commands import OP_SET
from quorumcache.node.store.item import wire_data
from quorumcache.node.store.store import ShardStore

SHARDS: Final = 64
KEYS: Final = 1000
VALUE: Final = b"x" * 100
NOW_MS: Final = 1_700_000_000_000


def key_of(number: int) -> bytes:
    """One of `KEYS`."""
    return b"user:%08d" % (number % KEYS)


def filled_store() -> ShardStore:
    """All keys have their value."""
    found = ShardStore()
    for number in range(KEYS):
        command = (0, 0, 0, OP_SET, key_of(number), wire_data(0, VALUE), 0)
        found.apply(number, NOW_MS, [command])
    return found


class StillClock(Clock):
    """Time does not pass."""

    def monotonic_ns(self) -> int:
        return 1

    def wall_ms(self) -> int:
        return NOW_MS


class StillLoop:
    """A loop on which nothing comes to its turn."""

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        """Not soon."""


class Outbox:
    """The peer network: packs items as it does, and makes one frame for each node."""

    def __init__(self) -> None:
        self._packed: dict[int, list[bytes]] = {}
        self.frames: dict[int, bytes] = {}
        """By node, what left with the last `flush`."""

    def send(self, node_id: int, item: tuple[Any, ...]) -> bool:
        return self.send_packed(node_id, pack_item(item))

    send_bulk = send

    def send_packed(self, node_id: int, packed: bytes) -> bool:
        before = self._packed.get(node_id)
        if before is None:
            self._packed[node_id] = [packed]
        else:
            before.append(packed)
        return True

    def send_again(self, node_id: int, packed: bytes) -> None:
        """The copy for a datagram: it is rare."""

    def flush(self) -> None:
        packed, self._packed = self._packed, {}
        for node_id, items in packed.items():
            self.frames[node_id] = encode_items(items)

    def form_of(self, node_id: int) -> int:
        return OWN_FORM

    def is_up(self, node_id: int) -> bool:
        return True


def item_in(decoder: FrameDecoder, frame: bytes) -> tuple[Any, ...]:
    """The one item of a frame."""
    (payload,) = decoder.feed(frame)
    item = decode_items(payload)[0]
    assert type(item) is tuple
    return item
