"""Goal: the order of eviction keeps the items that will be asked for again.

Method: the queue alone, without a cluster, replays traces (`bench/traces.py`) as a look-aside cache
would use it: a miss stores the item. Beside it stands a plain LRU, and a model of memcached's
segmented LRU, both with room for the same number of items. The seeds are fixed, so a result is a
number that changes only with the policy. docs/eviction.md shows larger runs.
"""

from __future__ import annotations

from collections import OrderedDict
from random import Random
from typing import Protocol

import pytest

from quorumcache.bench.traces import find_traces
from quorumcache.node.store.eviction_queue import EvictionQueue
from quorumcache.node.store.item import item_cost, pack_header, wire_data
from quorumcache.node.store.item_table import new_item_table

KEYS, REQUESTS = 6_000, 90_000
ITEM = pack_header(0, 0, 1) + wire_data(0, bytes(100))
COST = item_cost(bytes(8), ITEM)


class Cache(Protocol):
    def get(self, key: int) -> bool:
        """Whether the key was there; it is now."""


class OurCache:
    """What a leader does, with some victims at a time."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.items = new_item_table()
        self.queue = EvictionQueue(self.items)

    def get(self, key: int) -> bool:
        name = key.to_bytes(8, "big")
        if name in self.items:
            self.items.note_hit(name, self.queue.now_s)
            return True
        over = len(self.items) + 1 - self.room
        if over > 0:
            wanted = COST * (over + self.room // 256)
            plan = self.queue.victims(wanted)
            assert plan is not None
            for victim in plan.keys:
                queue, stamp = self.items.queue_of(victim), self.items.stamp(victim)
                self.items.remove(victim)
                self.queue.evicted(victim, queue, stamp)
        self.items.put(name, ITEM, self.queue.now_s)
        if self.queue.has_ghosts:
            self.queue.added(name, ITEM)
        return False


class Lru:
    """Who was not asked for longest leaves."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.keys: OrderedDict[int, None] = OrderedDict()

    def get(self, key: int) -> bool:
        if key in self.keys:
            self.keys.move_to_end(key)
            return True
        if len(self.keys) >= self.room:
            self.keys.popitem(last=False)
        self.keys[key] = None
        return False


class SegmentedLru:
    """memcached's (doc/new_lru.txt): hot 20 %, warm 40 %, cold; two hits make an item active, and
    active ones go to warm.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.hot: OrderedDict[int, int] = OrderedDict()
        self.warm: OrderedDict[int, int] = OrderedDict()
        self.cold: OrderedDict[int, int] = OrderedDict()

    def get(self, key: int) -> bool:
        for queue in (self.hot, self.warm, self.cold):
            if key in queue:
                queue[key] += 1
                if queue is self.cold and queue[key] >= 2:
                    del queue[key]
                    self.warm[key] = 1
                return True
        for queue, percent in ((self.hot, 20), (self.warm, 40)):
            while len(queue) * 100 > self.room * percent:
                old, hits = queue.popitem(last=False)
                if hits >= 2:
                    self.warm[old] = 1
                else:
                    self.cold[old] = hits
        if len(self.hot) + len(self.warm) + len(self.cold) >= self.room:
            (self.cold or self.warm or self.hot).popitem(last=False)
        self.hot[key] = 0
        return False


def points(cache: Cache, trace: list[int]) -> float:
    """Hit ratio of the second half, in percent."""
    half = len(trace) // 2
    for key in trace[:half]:
        cache.get(key)
    return 100 * sum(map(cache.get, trace[half:])) / (len(trace) - half)


def gains(name: str, percent: int) -> tuple[float, float]:
    """Points above a plain LRU and above memcached's, with room for so many of the keys."""
    (trace,) = find_traces(name)
    requests = list(trace.keys(KEYS, REQUESTS, Random(11)))
    room = KEYS * percent // 100
    ours = points(OurCache(room), requests)
    return ours - points(Lru(room), requests), ours - points(SegmentedLru(room), requests)


@pytest.mark.parametrize("percent", [2, 10, 30])
@pytest.mark.parametrize("name", ["zipf-0.8", "zipf-1.0", "zipf-1.2", "shifting"])
def test_skewed_traces_and_working_sets_that_move(name: str, percent: int) -> None:
    over_lru, over_segmented = gains(name, percent)
    assert over_lru > -0.5
    assert over_segmented > 0


@pytest.mark.parametrize(("percent", "lru", "segmented"), [(2, 6, 2.9), (10, 4, 2.1), (30, 3, 1.4)])
def test_scans_leave_what_is_asked_for_alone(percent: int, lru: float, segmented: float) -> None:
    over_lru, over_segmented = gains("scan-mixed", percent)
    assert over_lru > lru
    assert over_segmented > segmented


def test_a_loop_that_does_not_fit_is_no_worse_than_with_lru() -> None:
    assert gains("loop", 10)[0] >= 0
