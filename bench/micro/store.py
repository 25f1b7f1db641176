"""What the store costs, in time and in memory: `python -m quorumcache.bench.micro.store`."""

import gc
import os
from collections.abc import Callable
from io import BytesIO
from itertools import count
from time import perf_counter
from timeit import repeat
from typing import Final

from quorumcache.bench.micro.protocol import microseconds, report
from quorumcache.node.state_machine import Command, decode_batch, encode_batch
from quorumcache.node.store.commands import (
    OP_APPEND,
    OP_DELETE,
    OP_GAT,
    OP_INCR,
    OP_SESSION_OPEN,
    OP_SET,
)
from quorumcache.node.store.item import ITEM_DATA, wire_data
from quorumcache.node.store.snapshot import encode_view
from quorumcache.node.store.store import ShardStore

_DATA: Final = wire_data(0, b"x" * 100)
_NOW_MS: Final = 1_700_000_000_000
_ITEMS: Final = 100_000
_CHUNK_BYTES: Final = 256 << 10
"""`snapshot_chunk_bytes`, as nodes have it."""


def _filled(items: int, exptime: int = 0) -> ShardStore:
    store = ShardStore()
    for number in range(items):
        store.apply(number, _NOW_MS, [(0, 0, 0, OP_SET, b"user:%08d" % number, _DATA, exptime)])
    return store


def _batches(make: Callable[[int], Command]) -> Callable[[], object]:
    """Runs batches of one command each on a store of many items."""
    store = _filled(1000)
    store.apply(0, _NOW_MS, [(1, 0, 0, OP_SESSION_OPEN, b"")])
    store.apply(0, _NOW_MS, [(0, 0, 0, OP_SET, b"number", wire_data(0, b"100000000"), 0)])
    numbers = count(1)
    batches = ([make(number)] for number in numbers)
    prepared = [next(batches) for _ in range(200_000)]
    index = count()

    def run() -> None:
        store.apply(1, _NOW_MS, prepared[next(index) % len(prepared)])

    return run


def _resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _item_overhead(items: int) -> float:
    """Resident bytes of one item beside its key and its packed form."""
    gc.collect()
    before = _resident_bytes()
    store = _filled(items)
    used = (_resident_bytes() - before) / len(store.items)
    return used - len(b"user:00000000") - ITEM_DATA - len(_DATA)


def _longest_step(data: bytes) -> float:
    """Seconds of one turn of the loop at most while a state is restored in the pieces in which it
    comes from a leader."""
    stream = BytesIO(data)
    pieces = list(iter(lambda: stream.read(_CHUNK_BYTES), b""))
    steps = ShardStore().restoring(pieces)
    longest = 0.0
    is_ended = False
    while not is_ended:
        begin = perf_counter()
        is_ended = next(steps, None) is None
        longest = max(longest, perf_counter() - begin)
    return longest


def main() -> None:
    """Print the figures."""
    for items in (100_000, 150_000, 200_000):
        name = f"resident bytes beside key and item, {items} items"
        report(name, _item_overhead(items), "bytes")
    key = b"user:%08d"
    kinds: dict[str, Callable[[int], Command]] = {
        "set, no session": lambda n: (0, 0, 0, OP_SET, key % (n % 1000), _DATA, 0),
        "set, session": lambda n: (1, n, n - 1, OP_SET, key % (n % 1000), _DATA, 0),
        "set with exptime": lambda n: (0, 0, 0, OP_SET, key % (n % 1000), _DATA, 3600),
        "incr, session": lambda n: (1, n, n - 1, OP_INCR, b"number", 1),
        "gat": lambda n: (0, 0, 0, OP_GAT, key % (n % 1000), 100),
        "append of nothing": lambda n: (0, 0, 0, OP_APPEND, key % (n % 1000), b""),
        "delete of nothing": lambda n: (0, 0, 0, OP_DELETE, b"nothing"),
    }
    for name, make in kinds.items():
        report(f"apply a batch of one: {name}", microseconds(_batches(make), 1))
    batch = [(0, 0, 0, OP_SET, key % number, _DATA, 0) for number in range(64)]
    store = _filled(1000)
    report(
        "apply a batch of 64 sets, per set",
        microseconds(lambda: store.apply(1, _NOW_MS, batch), 64),
    )
    payload = encode_batch(_NOW_MS, batch)
    report("encode a batch of one set", microseconds(lambda: encode_batch(1, batch[:1]), 1))
    one = encode_batch(_NOW_MS, batch[:1])
    report("decode a batch of one set", microseconds(lambda: decode_batch(one), 1))
    report("decode a batch of 64 sets, per set", microseconds(lambda: decode_batch(payload), 64))
    hit = key % 5
    serve = store.serve
    report("serve, hit", microseconds(lambda: [serve(hit) for _ in batch], 64))
    lookup = store.lookup
    report("lookup, hit", microseconds(lambda: [lookup(hit, _NOW_MS) for _ in batch], 64))
    report("lookup, miss", microseconds(lambda: [lookup(b"no", _NOW_MS) for _ in batch], 64))

    large = _filled(_ITEMS)
    report(f"view of {_ITEMS} items", min(repeat(large.view, number=1, repeat=5)) * 1e3, "ms")
    view = large.view()
    encode = min(repeat(lambda: sum(map(len, encode_view(view))), number=1, repeat=3))
    report(f"encode a view of {_ITEMS} items", encode * 1e3, "ms")
    data = b"".join(encode_view(view))
    restore = min(repeat(lambda: ShardStore().restore(data), number=1, repeat=3))
    report(f"restore {_ITEMS} items", restore * 1e3, "ms")
    ending = _filled(_ITEMS, 3600)
    ends = b"".join(encode_view(ending.view()))
    restore = min(repeat(lambda: ShardStore().restore(ends), number=1, repeat=3))
    report(f"restore {_ITEMS} items that end", restore * 1e3, "ms")
    longest = min(_longest_step(data) for _ in range(3))
    report(f"restore {_ITEMS} items in pieces, longest step", longest * 1e3, "ms")
    digest = min(repeat(large.digest, number=1, repeat=3))
    report(f"digest of {_ITEMS} items", digest * 1e3, "ms")


if __name__ == "__main__":
    main()
