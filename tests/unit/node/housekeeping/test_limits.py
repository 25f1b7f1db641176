"""The alarms of memory and connections: raised by refusals, gone when it has been quiet."""

from __future__ import annotations

import pytest

from quorumcache.node.alarms import Alarms
from quorumcache.node.housekeeping.limits import QUIET_NS, LimitWatch
from quorumcache.node.replica.memory_room import MemoryRoom
from quorumcache.node.telemetry.counters import Counters

S = 1_000_000_000


class Limits:
    def __init__(self) -> None:
        self.told: list[tuple[str, bool]] = []
        self.alarms = Alarms(lambda alarm, raised: self.told.append((alarm.name, raised)))
        self.counters = Counters()
        self.memory = MemoryRoom(1 << 20)
        self.watch = LimitWatch(self.alarms, self.counters, memory=self.memory, connections_max=10)
        self.evicts = False

    def names(self, now_ns: int, bytes_used: int = 0) -> list[str]:
        self.watch.look(now_ns, bytes_used, evicts=self.evicts)
        return [alarm.name for alarm in self.alarms.raised()]


@pytest.fixture
def limits() -> Limits:
    return Limits()


def test_memory_that_is_nearly_full(limits: Limits) -> None:
    assert limits.names(S, (1 << 20) * 94 // 100) == []
    assert limits.names(2 * S, (1 << 20) * 97 // 100) == ["memory_full"]
    assert "96 % of the memory allowed (1m)" in limits.alarms.warnings()[0]
    assert limits.names(2 * S + QUIET_NS - 1) == ["memory_full"]
    assert limits.names(2 * S + QUIET_NS) == []
    assert limits.told == [("memory_full", True), ("memory_full", False)]


def test_tables_count_and_so_does_another_setting(limits: Limits) -> None:
    limits.memory.table_bytes = 1 << 19
    assert limits.names(S, 1 << 18) == []
    assert limits.names(S, 1 << 19) == ["memory_full"]
    limits.memory.memory_bytes = 1 << 21
    assert limits.names(S + QUIET_NS, 1 << 19) == []


def test_a_full_cache_that_evicts_is_no_alarm_but_a_refusal_is(limits: Limits) -> None:
    limits.evicts = True
    assert limits.names(S, 1 << 20) == []
    limits.counters.store_no_memory += 1
    assert limits.names(2 * S, 1 << 20) == ["memory_full"]
    sentence = limits.alarms.warnings()[0]
    assert "although this node evicts" in sentence
    assert "nothing is evicted" not in sentence
    assert limits.names(2 * S + QUIET_NS, 1 << 20) == []


def test_a_refused_store_raises_it_whatever_is_used(limits: Limits) -> None:
    limits.counters.store_no_memory += 1
    assert limits.names(S, 1000) == ["memory_full"]
    limits.counters.store_no_memory += 1
    assert limits.names(5 * S, 1000) == ["memory_full"]
    assert limits.names(5 * S + QUIET_NS - 1, 1000) == ["memory_full"]
    assert limits.names(5 * S + QUIET_NS, 1000) == []


def test_connections(limits: Limits) -> None:
    limits.counters.curr_connections = 9
    assert limits.names(S) == []
    limits.counters.curr_connections = 10
    assert limits.names(2 * S) == ["connections_full"]
    limits.counters.curr_connections = 0
    limits.counters.rejected_connections += 5  # Between two looks.
    assert limits.names(3 * S) == ["connections_full"]
    assert limits.names(3 * S + QUIET_NS) == []


def test_refused_writes(limits: Limits) -> None:
    assert limits.names(S) == []
    limits.counters.writes_refused += 1
    assert limits.names(2 * S) == ["writes_full"]
    assert limits.names(2 * S + QUIET_NS) == []


def test_a_stats_reset_is_no_refusal(limits: Limits) -> None:
    limits.counters.store_no_memory += 1
    limits.names(S)
    limits.counters.reset()
    assert limits.names(S + QUIET_NS) == []
