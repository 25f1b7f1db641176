"""What is drawn for the nodes and the network of a seed, so that rare paths become ordinary."""

from __future__ import annotations

from random import Random
from typing import Any

from tests.simulation.network import NetworkConfig

MEMORY_SHARE = 0.25
"""Of the seeds, how many have so little memory that it is used up."""

EVICTING_SEGMENTS = (16 << 10, 1 << 20)
"""Of the nodes that have little memory, those with segments of these sizes evict, and the others
refuse. It is no draw of its own, so that the seeds of before draw what they did."""

REQUEST_TIMEOUTS_MS = (400, 1000, 2000, 5000)
"""Ascending."""

ITEM_LIMITS = (2 << 10, 8 << 10, 8 << 10, 64 << 10, 1 << 20)

HEARTBEAT_AND_ELECTION_MS = ((50, 300), (50, 300), (20, 100), (50, 150), (100, 1000))


def draw_settings(random: Random) -> dict[str, Any]:
    """Settings that begin equal on all nodes, as `NodeConfig` names them."""
    heartbeat_ms, election_ms = random.choice(HEARTBEAT_AND_ELECTION_MS)
    return {
        "data_dir": "/data",
        "http": "",
        "heartbeat_ms": heartbeat_ms,
        "election_ms": election_ms,
        "item_bytes_max": random.choice(ITEM_LIMITS),
        **draw_own_settings(random, memory_is_limited=random.random() < MEMORY_SHARE),
        "tick_ms": random.choice((0, 0, 10)),
        "session_idle_ms": random.choice((1_000, 60_000, 3_600_000)),
    }


def draw_own_settings(random: Random, *, memory_is_limited: bool) -> dict[str, Any]:
    """Settings that each node may have its own of, and change with any restart."""
    segment_bytes = random.choice((4 << 10, 16 << 10, 64 << 10, 1 << 20))
    memory_bytes = random.choice((8 << 10, 32 << 10, 128 << 10))
    evicts = not memory_is_limited or segment_bytes in EVICTING_SEGMENTS
    if memory_is_limited and evicts:
        memory_bytes = max(4 << 10, memory_bytes // 4)  # Few enough for something to be evicted.
    return {
        "request_timeout_ms": random.choice(REQUEST_TIMEOUTS_MS),
        "stop_timeout_ms": random.choice((200, 2000, 10_000)),
        "segment_bytes_max": segment_bytes,
        "wal_bytes_max": segment_bytes * random.choice((1, 2, 8)),
        "snapshot_bytes_min": random.choice((128, 512, 4 << 10, 32 << 10, 256 << 10)),
        "memory_bytes": memory_bytes if memory_is_limited else 1 << 30,
        "evicts": evicts,
        "connections_max": random.choice((4096, 4096, 24, 40)),
    }


def draw_new_settings(random: Random, *, memory_is_limited: bool) -> dict[str, Any]:
    """Settings that must be equal on all nodes, and may be others after all were stopped."""
    heartbeat_ms, election_ms = random.choice(HEARTBEAT_AND_ELECTION_MS)
    settings: dict[str, Any] = {
        "heartbeat_ms": heartbeat_ms,
        "election_ms": election_ms,
        "tick_ms": 0,
        "session_idle_ms": random.choice((1_000, 60_000, 3_600_000)),
        **draw_own_settings(random, memory_is_limited=memory_is_limited),
    }
    settings["item_bytes_max"] = random.choice(ITEM_LIMITS)
    return settings


def draw_bounds(random: Random) -> dict[str, int]:
    """Bounds of `ConsensusConfig`: batches, windows, pieces of snapshots."""
    bounds = {
        "append_bytes_max": random.choice((256, 8 << 10, 1 << 20)),
        "inflight_appends_max": random.choice((1, 2, 64)),
        "inflight_bytes_max": random.choice((1 << 10, 64 << 10, 8 << 20)),
        "uncommitted_bytes_max": random.choice((2 << 10, 64 << 10, 64 << 20)),
        "snapshot_chunk_bytes": random.choice((2 << 10, 16 << 10, 256 << 10)),
    }
    bounds["catch_up_bytes_max"] = 4 * bounds["snapshot_chunk_bytes"]
    return bounds


def draw_network(random: Random) -> NetworkConfig:
    latency_ns = random.choice((50_000, 200_000, 2_000_000))
    return NetworkConfig(
        latency_ns=latency_ns,
        jitter_ns=latency_ns * random.choice((0, 1, 5)),
        quantum_ns=random.choice((0, 50_000, 1_000_000)),
        split_probability=random.choice((0.0, 0.05, 0.5)),
        spike_probability=random.choice((0.0, 0.001, 0.01)),
        window_bytes=random.choice((16 << 10, 64 << 10, 256 << 10)),
    )
