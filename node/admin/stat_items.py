"""`stats items`, `slabs`, `sizes`, `conns`, `detail` and `cachedump`.

There are no slab classes here. All items are told to be in class 1, since tools walk classes: its
chunk is as large as the mean item, all its chunks are in use, and a page is 1 MiB, so that the sums
which tools make come out near what is so. A class that holds nothing is left out, as in memcached.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from quorumcache.node.admin.view import ObservedNode, role_name, shard_groups
from quorumcache.node.protocol.requests import ITEM_CLASS, SLAB_CLASS_MAX
from quorumcache.node.store.item import expires_at_ms, value_bytes
from quorumcache.ring.address import is_unix

END: Final = b"END\r\n"
# memcached answers a cachedump with at most this much.
CACHEDUMP_BYTES_MAX: Final = 2 << 20

KEYS_PER_STEP: Final = 1000
"""Keys that a list of items takes from a table at a time."""

_PAGE_BYTES: Final = 1 << 20

# Of memcached's keys of a class: what is counted here, by its counter, and what does not exist
# here, which is 0.
_ITEM_COUNTERS: Final = {
    "outofmemory": "store_no_memory",
    "reclaimed": "reclaimed",
    "expired_unfetched": "expired_unfetched",
    "evicted": "evictions",
    "evicted_unfetched": "evicted_unfetched",
    "evicted_active": "evicted_active",
    "crawler_items_checked": "crawler_items_checked",
}
_ITEM_NOTHING: Final = (
    *("number_hot", "number_warm", "number_cold", "age_hot", "age_warm", "age"),
    *("evicted_nonzero", "evicted_time", "tailrepairs"),
    *("crawler_reclaimed", "lrutail_reflocked"),
    *("moves_to_cold", "moves_to_warm", "moves_within_lru", "direct_reclaims"),
    *("hits_to_hot", "hits_to_warm", "hits_to_cold", "hits_to_temp"),
)
_SLAB_COUNTERS: Final = (
    *("get_hits", "cmd_set", "delete_hits", "incr_hits", "decr_hits"),
    *("cas_hits", "cas_badval", "touch_hits"),
)


def items(node: ObservedNode) -> Iterator[tuple[str, object]]:
    """`stats items`."""
    number, size = _totals(node)
    if not number:
        return
    prefix = f"items:{ITEM_CLASS}:"
    yield prefix + "number", number
    yield prefix + "mem_requested", size
    for name, counter in _ITEM_COUNTERS.items():
        yield prefix + name, getattr(node.counters, counter)
    for name in _ITEM_NOTHING:
        yield prefix + name, 0


def slabs(node: ObservedNode) -> Iterator[tuple[str, object]]:
    """`stats slabs`."""
    number, size = _totals(node)
    if number:
        chunk_bytes = -(-size // number)
        yield f"{ITEM_CLASS}:chunk_size", chunk_bytes
        yield f"{ITEM_CLASS}:chunks_per_page", max(1, _PAGE_BYTES // chunk_bytes)
        yield f"{ITEM_CLASS}:total_pages", -(-size // _PAGE_BYTES)
        yield f"{ITEM_CLASS}:total_chunks", number
        yield f"{ITEM_CLASS}:used_chunks", number
        yield f"{ITEM_CLASS}:free_chunks", 0
        yield f"{ITEM_CLASS}:free_chunks_end", 0
        for name in _SLAB_COUNTERS:
            yield f"{ITEM_CLASS}:{name}", getattr(node.counters, name)
    yield "active_slabs", int(number > 0)
    yield "total_malloced", size


def _totals(node: ObservedNode) -> tuple[int, int]:
    """Number and bytes of the items of all replicas here."""
    number = size = 0
    for _, _, store in shard_groups(node):
        number += len(store.items)
        size += store.bytes_used
    return number, size


def sizes(node: ObservedNode) -> Iterator[tuple[str, object]]:
    """`stats sizes`: counting them would cost every store."""
    yield "sizes_status", "disabled"


def sizes_refused(node: ObservedNode) -> Iterator[tuple[str, object]]:
    """`stats sizes_enable`. memcached forgets the END of this reply."""
    yield "sizes_status", "error"
    yield "sizes_error", "not_supported"


def connections(node: ObservedNode) -> Iterator[tuple[str, object]]:
    """`stats conns`: listeners first, with numbers below those of any connection."""
    listeners = node.listen_address.split(",") if node.listen_address else []
    for number, address in enumerate(listeners):
        yield f"{-number}:addr", _with_transport(address)
        yield f"{-number}:state", "conn_listening"
        yield f"{-number}:secs_since_last_cmd", 0
    for connection in node.connections:
        yield f"{connection.number}:addr", _with_transport(connection.client_address)
        yield f"{connection.number}:listen_addr", _with_transport(connection.listen_address)
        yield f"{connection.number}:state", f"conn_{connection.state}"
        yield f"{connection.number}:secs_since_last_cmd", connection.idle_seconds


def _with_transport(address: str) -> str:
    """As memcached writes it: `tcp:1.2.3.4:5`, `tcp6:[::1]:5`, `unix:/path`."""
    if is_unix(address):
        return address
    return f"tcp6:{address}" if address.startswith("[") else f"tcp:{address}"


def detail(node: ObservedNode, args: tuple[bytes, ...]) -> bytes:
    """`stats detail`: the whole reply."""
    if not node.config.dump_enabled:
        return b"CLIENT_ERROR stats detail not allowed\r\n"
    word = args[0] if args else b""
    if word in (b"on", b"off"):
        node.client_events.count_prefixes(word == b"on")
        return b"OK\r\n"
    if word == b"dump":
        return node.client_events.prefix_lines() + END
    return b"CLIENT_ERROR usage: stats detail on|off|dump\r\n"


def cachedump(node: ObservedNode, args: tuple[bytes, ...]) -> bytes:
    """`stats cachedump`: the whole reply. As of the other dumps, of the shards led here."""
    if not node.config.dump_enabled:
        return b"CLIENT_ERROR stats cachedump not allowed\r\n"
    if len(args) < 2:
        return b"CLIENT_ERROR bad command line\r\n"
    # Long digit strings are refused before int() gets them.
    if not all(word.isdigit() and len(word) <= 10 for word in args[:2]):
        return b"CLIENT_ERROR bad command line format\r\n"
    slab_class, limit = int(args[0]), int(args[1])
    if slab_class > SLAB_CLASS_MAX:
        return b"CLIENT_ERROR Illegal slab id\r\n"
    lines: list[bytes] = []
    size = 0
    if slab_class == ITEM_CLASS:
        for line in _item_lines(node):
            size += len(line)
            if size > CACHEDUMP_BYTES_MAX or (limit and len(lines) >= limit):
                break
            lines.append(line)
    return b"".join(lines) + END


def _item_lines(node: ObservedNode) -> Iterator[bytes]:
    now_ms = node.time.now_ms()
    for _, group, store in shard_groups(node):
        if role_name(group) != "leader":
            continue
        cursor, is_first = 0, True
        while cursor or is_first:
            is_first = False
            cursor, keys = store.items.keys_after(cursor, KEYS_PER_STEP)
            for key in keys:
                item = store.items.get(key)
                if item is None:
                    continue
                end_ms = expires_at_ms(item)
                if end_ms and end_ms <= now_ms:
                    continue
                end = node.time.wall_of(end_ms) // 1000 if end_ms else 0
                yield b"ITEM %s [%d b; %d s]\r\n" % (key, value_bytes(item), end)
