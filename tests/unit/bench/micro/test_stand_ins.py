"""What stands in for the network does what it does: one frame for each node, of all its items."""

from __future__ import annotations

from quorumcache.bench.micro.stand_ins import KEYS, Outbox, filled_store, item_in, key_of
from quorumcache.node.peers.codec import FrameDecoder, decode_items


def test_items_for_a_node_leave_as_one_frame() -> None:
    outbox = Outbox()
    outbox.send(2, (1, b"a"))
    outbox.send_bulk(2, (1, b"b"))
    outbox.send(3, (1, b"c"))
    assert outbox.frames == {}
    outbox.flush()
    (payload,) = FrameDecoder().feed(outbox.frames[2])
    assert list(decode_items(payload)) == [(1, b"a"), (1, b"b")]
    assert item_in(FrameDecoder(), outbox.frames[3]) == (1, b"c")


def test_the_store_has_all_keys() -> None:
    items = filled_store().items
    assert len(items) == KEYS
    assert key_of(KEYS - 1) in items
    assert key_of(KEYS) == key_of(0)
