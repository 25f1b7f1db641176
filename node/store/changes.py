"""Changes of one item that classic and meta commands share.

Each gives the item a unique and places it. A client may set the unique itself (`E` of the meta
commands). The counter then goes on behind the client's number, so that no unique which the shard
hands out by itself was set by a client before.
"""

from typing import Final

from quorumcache.node.store.exptime import ALREADY_EXPIRED
from quorumcache.node.store.item import ENDS, PIECES, pack_header
from quorumcache.node.store.large import LINE_FEED, is_large
from quorumcache.node.store.state import ShardState, pack_unique

COUNTED_BELOW: Final = 1 << 63
"""The counter follows the numbers that clients set, but for those from here on: behind the largest
there would be none left. It reaches them only if a client has set one just below, and then writes
2^63 times.
"""


def new_unique(state: ShardState, chosen: int | None) -> int:
    """The unique of a changed item: the client's own, or the counter's next."""
    if chosen is None:
        state.cas_counter = unique = state.cas_counter + 1
        return unique
    if state.cas_counter < chosen < COUNTED_BELOW:
        state.cas_counter = chosen
    return chosen


def place(
    state: ShardState, key: bytes, bits: int, expires_at_ms: int, unique: int, data: bytes
) -> None:
    """Put an item that ends at `expires_at_ms` (0 = never, ALREADY_EXPIRED = it is gone at once).

    `bits`: STALE and WON, or neither. `data`: what follows the header; it tells a large item.
    """
    if data[-1] != LINE_FEED and is_large(state, data):
        bits |= PIECES
    if expires_at_ms == ALREADY_EXPIRED:
        state.remove(key)
    elif expires_at_ms:
        item = pack_header(bits | ENDS, expires_at_ms, unique) + data
        state.put_ending(key, item, expires_at_ms)
    else:
        state.put(key, pack_header(bits, 0, unique) + data)


def rewrite(
    state: ShardState, key: bytes, item: bytes, bits: int, unique: int, data: bytes
) -> None:
    """Give an item other data, with the unique and bits that it shall have; its expiry stays."""
    if data[-1] != LINE_FEED and is_large(state, data):
        bits |= PIECES
    head = bytes((bits | (item[0] & ENDS),)) + item[1:9]
    state.put(key, head + pack_unique(unique) + data)
