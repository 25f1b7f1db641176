"""Which times of the past a node finds on its disk."""

from __future__ import annotations

import pytest

from quorumcache.node.cluster_time import ClusterTime
from quorumcache.node.consensus.values import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Snapshot,
    SnapshotMeta,
)
from quorumcache.node.errors import WrongDataDir
from quorumcache.node.founding.found_times import find_times
from quorumcache.node.state_machine import encode_batch
from quorumcache.node.store.store import ShardStore
from quorumcache.node.wal.recovery import RecoveredGroup
from tests.support.scripted_log import ManualClock

WALL_MS = 1_700_000_000_000


def new_time() -> ClusterTime:
    clock = ManualClock()
    clock.wall = WALL_MS
    return ClusterTime(clock)


def recovered(*payloads: bytes) -> RecoveredGroup:
    entries = [Entry(1, 1, EntryKind.NOOP, b"")]
    entries += [Entry(n, 1, EntryKind.NORMAL, p) for n, p in enumerate(payloads, 2)]
    return RecoveredGroup(HardState(1, 0), entries)


def snapshot(now_ms: int, wall_ms: int) -> Snapshot:
    store = ShardStore()
    store.apply(1, now_ms, [], wall_ms)
    meta = SnapshotMeta(1, 1, Configuration((1,)))
    return Snapshot(meta, b"".join(store.encode_view(store.view())))


def test_the_latest_time_on_the_disk_is_found_wherever_it_is() -> None:
    early, late = encode_batch(1000, [], WALL_MS - 9000), encode_batch(3000, [], WALL_MS - 7000)
    for snapshots, groups in (
        ({}, {1: recovered(early, late), 2: recovered(early)}),
        ({1: snapshot(3000, WALL_MS - 7000)}, {1: recovered(), 2: recovered(early)}),
        ({1: snapshot(1000, WALL_MS - 9000)}, {0: recovered(late)}),
    ):
        time = new_time()
        find_times(time, "d", snapshots, groups)
        assert time.now_ms() == 3000
        time.bridge()
        assert time.bridged_ms == 7000


def test_data_of_another_version_is_refused_with_both_numbers() -> None:
    old = bytes([0x92, 5, 0x90])
    time = new_time()
    with pytest.raises(WrongDataDir, match="version 1, which only development versions"):
        find_times(time, "d", {}, {1: recovered(old)})
    data = snapshot(1, 1).data.replace(b"-store\x02", b"-store\x01")
    with pytest.raises(WrongDataDir, match="version 1, which only development versions"):
        find_times(time, "d", {1: snapshot(1, 1)._replace(data=data)}, {})
