"""What an item takes: which memory is compared, and with how many items."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.bench import memory
from quorumcache.bench.driver import LoadPlan, Measured
from quorumcache.bench.errors import TargetError
from quorumcache.bench.loadgen import Routes
from quorumcache.bench.measure import Progress
from quorumcache.bench.memory import MemoryUse, measure_memory, memory_table

ITEM_BYTES = 300
EMPTY_BYTES = 40 << 20
FIRST_BYTES = 5 << 20
"""Buffers and tables, which come with the first requests."""


class World:
    """A target whose memory grows with its items. `misses`: of the items that are read back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *pids: int, misses: int = 0) -> None:
        self.name = "quorumcache"
        self.addresses = [("127.0.0.1", 1)]
        self.pids = list(pids)
        self.keys = 0
        self.loaded: list[int] = []
        self._misses = misses
        monkeypatch.setattr(memory.time, "sleep", lambda seconds: None)
        monkeypatch.setattr(memory, "find_routes", lambda addresses, mode: Routes(tuple(addresses)))
        monkeypatch.setattr(memory, "run_load", self._load)
        monkeypatch.setattr(memory.procfs, "rss_bytes", self._rss)

    def _load(self, plan: LoadPlan, pids: Any, progress: Any) -> Measured:
        self.keys = max(self.keys, plan.workload.keys)
        self.loaded.append(plan.workload.keys)
        return Measured(misses=self._misses)

    def _rss(self, pid: int) -> int:
        first = FIRST_BYTES if self.keys else 0
        return EMPTY_BYTES + first + pid * ITEM_BYTES * self.keys

    def measure(self, items: int) -> list[MemoryUse]:
        target: Any = self
        return measure_memory(target, items, 100, Progress(quiet=True))


def test_what_comes_with_the_first_requests_is_not_the_items(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, 1)
    (use,) = world.measure(50_000)
    assert use.bytes_per_item == ITEM_BYTES
    assert use.process == "quorumcache"
    assert world.loaded[-1] == 50_000


def test_each_node_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    uses = World(monkeypatch, 1, 2).measure(50_000)
    assert [use.process for use in uses] == ["quorumcache a", "quorumcache b"]
    assert [use.bytes_per_item for use in uses] == [ITEM_BYTES, 2 * ITEM_BYTES]


def test_items_that_were_lost_make_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TargetError, match=r"quorumcache lost 3 of the items.*fewer --items"):
        World(monkeypatch, 1, misses=3).measure(50_000)


def test_the_table_compares_with_memcached() -> None:
    ours = MemoryUse(process="quorumcache", items=1000, rss_empty=1 << 20, rss_full=2 << 20)
    theirs = MemoryUse(process="memcached", items=1024, rss_empty=0, rss_full=512 << 10)
    table = memory_table([ours, theirs], 100)
    assert table.rows == (
        ("quorumcache", "1,000 items", "1.0", "2.0", "1049", "2.05"),
        ("memcached", "1,024 items", "0.0", "0.5", "512", "-"),
    )
    assert len(table.columns) == len(table.rows[0])
    assert table.data["bytes_per_item"]["memcached"] == 512.0
    assert "114 bytes" in table.notes[0]


def test_without_memcached_nothing_is_compared_and_other_sizes_claim_nothing() -> None:
    use = MemoryUse(process="quorumcache", items=1000, rss_empty=0, rss_full=1 << 20)
    table = memory_table([use], 50)
    assert table.rows[0][-1] == "-"
    assert "114" not in table.notes[0]
