"""The Prometheus side: every counter is exported, names are sound, values are those of the node."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from quorumcache.node.admin.memory_use import memory_of
from quorumcache.node.admin.metrics import (
    FAMILIES_PER_TURN,
    LINES_PER_TURN,
    PLAIN,
    READS,
    REQUESTS,
    RESULTS,
    NodeCollector,
    _OneFamily,
    render,
)
from quorumcache.node.telemetry.counters import COUNTER_NAMES, Counters
from quorumcache.node.telemetry.timings import Histogram
from quorumcache.ring import Move
from tests.support.fake_node import FakeGroup, FakeNode, FakeStore


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


def scrape(node: FakeNode) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = asyncio.run(render(NodeCollector(node))).decode()
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in samples
            samples[key] = sample.value
    return samples


def test_every_counter_is_exported_under_one_name() -> None:
    exported = [
        *PLAIN,
        *READS.values(),
        *RESULTS.values(),
        *(n for names in REQUESTS.values() for n in names),
    ]
    assert set(exported) == set(COUNTER_NAMES)


def test_names_are_prefixed_and_well_formed(node: FakeNode) -> None:
    for name, _ in scrape(node):
        assert re.fullmatch(r"(quorumcache|process)_[a-z0-9_]+", name), name


def test_requests_and_results(node: FakeNode) -> None:
    node.counters.cmd_get = 3
    node.counters.delete_hits = 2
    node.counters.delete_misses = 5
    node.counters.cas_badval = 1
    found = scrape(node)
    assert found["quorumcache_requests_total", (("command", "get"),)] == 3
    assert found["quorumcache_requests_total", (("command", "delete"),)] == 7
    assert found["quorumcache_results_total", (("command", "cas"), ("result", "badval"))] == 1


def test_reads_by_level_add_up_to_all_reads(node: FakeNode) -> None:
    node.counters.cmd_get = 10
    node.counters.cmd_get_bounded = 3
    node.counters.cmd_get_local = 2
    found = scrape(node)
    by_level = {
        level: found["quorumcache_reads_total", (("level", level),)]
        for level in ("linearizable", "bounded", "local")
    }
    assert by_level == {"linearizable": 5, "bounded": 3, "local": 2}


def test_staleness_of_each_replica(node: FakeNode) -> None:
    node.host.groups[2].staleness = 1 << 62
    found = scrape(node)
    assert found["quorumcache_replica_staleness_seconds", (("shard", "0"),)] == 0.12
    assert found["quorumcache_replica_staleness_seconds", (("shard", "1"),)] == math.inf


def test_a_stats_reset_does_not_take_prometheus_totals_back(node: FakeNode) -> None:
    node.counters.cmd_get = 3
    node.counters.reset()
    node.counters.cmd_get = 1
    assert scrape(node)["quorumcache_requests_total", (("command", "get"),)] == 4


def test_gauges(node: FakeNode) -> None:
    node.store(0).put(b"k", b"v")
    node.counters.curr_connections = 6
    found = scrape(node)
    assert found["quorumcache_connections", ()] == 6
    assert found["quorumcache_items", ()] == 1
    assert found["quorumcache_shards_led", ()] == 1
    assert found["quorumcache_log_syncs_total", ()] == 5
    assert found["quorumcache_peer_up", (("peer", "b"),)] == 1
    assert found["quorumcache_peer_up", (("peer", "c"),)] == 0


def test_memory_is_told_by_its_parts(node: FakeNode) -> None:
    store = node.store(0)
    store.put(b"k", b"v")
    store.sessions.open(1, 1000)
    found, memory = scrape(node), memory_of(node)
    assert memory.items > 0 < memory.sessions
    assert found["quorumcache_item_bytes", ()] == memory.items
    assert found["quorumcache_table_bytes", ()] == memory.tables
    assert found["quorumcache_index_bytes", ()] == memory.index
    assert found["quorumcache_session_bytes", ()] == memory.sessions
    assert found["quorumcache_retired_bytes", ()] == memory.retired
    assert found["quorumcache_slab_free_bytes", ()] == memory.free
    assert found["quorumcache_log_memory_bytes", ()] == memory.log


def test_nodes_and_moves_of_the_map(node: FakeNode) -> None:
    assert node.map is not None
    first = node.map.replica_sets[0]
    waiting = Move(1, first, first[::-1])
    newer = replace(node.map, form=2, directory=(1, 2), moves=(waiting,), is_paused=True)
    node.map = newer.with_node(replace(newer.node(3), state="down"))
    found = scrape(node)
    assert found["quorumcache_map_form", ()] == 2
    assert found["quorumcache_nodes", (("state", "active"),)] == 2
    assert found["quorumcache_nodes", (("state", "down"),)] == 1
    assert found["quorumcache_moves", (("state", "waiting"),)] == 1
    assert found["quorumcache_moves", (("state", "started"),)] == 0
    assert found["quorumcache_moves_paused", ()] == 1


def test_replicas_and_lag(node: FakeNode) -> None:
    found = scrape(node)
    assert found["quorumcache_replica_role", (("shard", "directory"),)] == 0
    assert found["quorumcache_replica_role", (("shard", "1"),)] == 3
    assert found["quorumcache_replica_commit_index", (("shard", "0"),)] == 11
    lag = {labels: v for (name, labels), v in found.items() if name.endswith("lag_entries")}
    assert lag == {
        (("peer", "b"), ("shard", "1")): 0,
        (("peer", "c"), ("shard", "1")): 3,
    }


def test_before_the_first_map(node: FakeNode) -> None:
    node.map = None
    node.host.groups.clear()
    found = scrape(node)
    assert found["quorumcache_map_epoch", ()] == 0
    assert found["quorumcache_peer_up", (("peer", "b"),)] == 1


def test_histograms(node: FakeNode) -> None:
    for seconds in (0.00005, 0.0002, 0.0002, 99.0):
        node.timings.sync_seconds.observe(seconds)
    found = scrape(node)
    buckets = {
        labels[0][1]: value
        for (name, labels), value in found.items()
        if name == "quorumcache_log_sync_seconds_bucket"
    }
    assert (buckets["5e-05"], buckets["0.00025"], buckets["5.0"], buckets["+Inf"]) == (1, 3, 3, 4)
    assert found["quorumcache_log_sync_seconds_count", ()] == 4
    assert found["quorumcache_log_sync_seconds_sum", ()] == pytest.approx(99.00045)


def test_histogram_bounds_are_inclusive() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.5):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.cumulative() == [("1.0", 2.0), ("2.0", 4.0), ("+Inf", 5.0)]
    assert (histogram.count, histogram.total) == (5, 7.0)


def test_a_scrape_of_many_shards_lets_other_work_run_and_does_not_wait_for_it_often(
    node: FakeNode,
) -> None:
    """With 4096 replicas: no turn of the loop renders more than its share, and they are few."""
    for group_id in range(3, 4097):
        node.host.groups[group_id] = FakeGroup(group_id, machine=FakeStore())
    collector = NodeCollector(node)
    taken = [0]
    shard_lines, collect = collector.shard_lines, collector.collect

    def counted_lines() -> Iterator[str]:
        for line in shard_lines():
            taken[-1] += 1
            yield line

    def counted_families() -> Iterator[Metric]:
        for family in collect():
            taken[-1] += LINES_PER_TURN // FAMILIES_PER_TURN
            yield family

    collector.shard_lines = counted_lines  # type: ignore[method-assign]
    collector.collect = counted_families  # type: ignore[method-assign]

    async def main() -> None:
        task = asyncio.ensure_future(render(collector))
        while not task.done():
            await asyncio.sleep(0)
            taken.append(0)
        text = (await task).decode()
        assert text.count("\nquorumcache_replica_term{") == 4097

    asyncio.run(main())
    assert max(taken) <= LINES_PER_TURN + LINES_PER_TURN // FAMILIES_PER_TURN
    assert 10 < len(taken) < 40


def test_lines_per_shard_are_what_the_library_would_write(node: FakeNode) -> None:
    family = GaugeMetricFamily("quorumcache_replica_term", "Current term.", labels=["shard"])
    for label, group_id in (("directory", 0), ("0", 1), ("1", 2)):
        family.add_metric([label], node.host.groups[group_id].term)
    text = "".join(NodeCollector(node).shard_lines())
    assert generate_latest(_OneFamily(family)).decode() in text


def test_counters_have_no_room_for_typing_errors() -> None:
    with pytest.raises(AttributeError):
        Counters().cmd_gett += 1  # type: ignore[attr-defined]
