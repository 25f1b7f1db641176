"""What an item takes: which memory is compared, and with how many items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quorumcache.bench import memory
from quorumcache.bench.driver import LoadPlan, Measured
from quorumcache.bench.errors import TargetError
from quorumcache.bench.loadgen import Routes
from quorumcache.bench.measure import Progress
from quorumcache.bench.memory import Look, MemoryUse, measure_memory
from quorumcache.bench.memory_parts import Parts

ITEM_BYTES = 300
EMPTY_BYTES = 40 << 20
FIRST_BYTES = 5 << 20
"""Buffers and tables, which come with the first requests."""


class World:
    """A target whose memory grows with its items. `misses`: of the items that are read back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *pids: int, misses: int = 0) -> None:
        self.name = "quorumcache"
        self.addresses = [("127.0.0.1", pid) for pid in pids]
        self.pids = list(pids)
        self.asked = 0
        self.given_back = 0
        self.keys = 0
        self.loaded: list[int] = []
        self._misses = misses
        monkeypatch.setattr(memory.time, "sleep", lambda seconds: None)
        monkeypatch.setattr(memory, "find_routes", lambda addresses, mode: Routes(tuple(addresses)))
        monkeypatch.setattr(memory, "run_load", self._load)
        monkeypatch.setattr(memory.procfs, "rss_bytes", self._rss)
        monkeypatch.setattr(memory, "parts_of", self._parts)

    def _load(self, plan: LoadPlan, pids: Any, progress: Any) -> Measured:
        self.keys = max(self.keys, plan.workload.keys)
        self.loaded.append(plan.workload.keys)
        return Measured(misses=self._misses)

    def _rss(self, pid: int) -> int:
        first = FIRST_BYTES if self.keys else 0
        return EMPTY_BYTES + first + pid * ITEM_BYTES * self.keys - self.given_back

    def _parts(self, address: tuple[str, int]) -> Parts:
        self.asked += 1
        return Parts(items=address[1] * 152 * self.keys, index=10 * self.keys)

    def measure(self, items: int, fill: Callable[[int], int] | None = None) -> list[MemoryUse]:
        target: Any = self
        return measure_memory(target, items, 100, Progress(quiet=True), fill)


def per_item(use: MemoryUse) -> float:
    return (use.settled.rss - use.empty.rss) / use.items


def test_what_comes_with_the_first_requests_is_not_the_items(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, 1)
    (use,) = world.measure(50_000)
    assert per_item(use) == ITEM_BYTES
    assert use.process == "quorumcache"
    assert world.loaded[-1] == 50_000


def test_each_node_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    uses = World(monkeypatch, 1, 2).measure(50_000)
    assert [use.process for use in uses] == ["quorumcache a", "quorumcache b"]
    assert [per_item(use) for use in uses] == [ITEM_BYTES, 2 * ITEM_BYTES]
    assert uses[1].empty.parts == Parts(items=2 * 152 * 1000, index=10_000)
    assert uses[1].stored.parts == Parts(items=2 * 152 * 50_000, index=500_000)


def test_it_is_looked_at_when_the_last_item_is_stored_and_at_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, 1)
    slept: list[float] = []

    def fall(seconds: float) -> None:
        slept.append(seconds)
        if world.keys == 50_000:
            world.given_back = 1 << 20

    monkeypatch.setattr(memory.time, "sleep", fall)
    (use,) = world.measure(50_000)
    assert use.stored.rss - use.settled.rss == 1 << 20
    assert world.asked == 3


def test_a_server_of_another_protocol_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 1)
    (use,) = world.measure(50_000, fill=lambda keys: 0)
    assert (world.asked, use.settled) == (0, Look(EMPTY_BYTES))


def test_items_that_were_lost_make_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TargetError, match=r"quorumcache lost 3 of the items.*fewer --items"):
        World(monkeypatch, 1, misses=3).measure(50_000)
