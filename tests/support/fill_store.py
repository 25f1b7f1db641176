"""Fills a shard's store in a process of its own, and prints how much memory that took.

`python -m tests.support.fill_store COUNT VALUE_BYTES TTL ROUNDS` prints growth of the resident
memory and `memory_bytes`, both in bytes. `TTL` 0: items without an expiry. `ROUNDS`: each writes
half as many items again as there are, under drawn keys, and puts new ones in the place of some.
Sizes are drawn, up to 64 bytes more than `VALUE_BYTES`: as in a cache, they are the same over time.
"""

from __future__ import annotations

import gc
import sys
from array import array
from collections.abc import Iterator
from itertools import islice
from random import Random

from quorumcache.node.state_machine import Command
from quorumcache.node.store.commands import OP_DELETE, OP_SET
from quorumcache.node.store.item import wire_data
from quorumcache.node.store.store import ShardStore
from quorumcache.node.system.heap import give_back_free_memory

BATCH = 64


def rss_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def key(number: int) -> bytes:
    return b"key:%010d" % number


def main(count: int, value_bytes: int, ttl: int, rounds: int) -> None:
    random = Random(1)
    warm, store = ShardStore(), ShardStore()
    index = 0

    def store_command(number: int) -> Command:
        size = value_bytes + random.randrange(65)
        exptime = ttl and ttl + random.randrange(1000)
        return 0, 0, 0, OP_SET, key(number), wire_data(0, b"x" * size), exptime

    def run(target: ShardStore, commands: Iterator[Command]) -> None:
        nonlocal index
        while batch := list(islice(commands, BATCH)):
            index += 1
            target.apply(index, 1_700_000_000_000 + index, batch)

    run(warm, map(store_command, range(100)))
    numbers = array("Q", range(count))
    gc.collect()
    before = rss_bytes()
    run(store, map(store_command, numbers))
    for _ in range(rounds):
        run(store, map(store_command, (random.choice(numbers) for _ in range(count // 2))))
        for _ in range(count // 20):
            place = random.randrange(count)
            run(store, iter([(0, 0, 0, OP_DELETE, key(numbers[place]))]))
            numbers[place] += count
            run(store, map(store_command, [numbers[place]]))
    store.tidy()
    gc.collect()
    give_back_free_memory()
    print(rss_bytes() - before, store.memory_bytes)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
