"""What a node does for its cluster time: at the start, on a new connection, and regularly."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.alarms import Alarms
from quorumcache.node.cluster_time import TELL_MS, ClusterTime
from quorumcache.node.consensus.values import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Snapshot,
    SnapshotMeta,
)
from quorumcache.node.errors import PeerFrameError, WrongDataDir
from quorumcache.node.housekeeping.timekeeper import Timekeeper, find_times
from quorumcache.node.node import Node
from quorumcache.node.peers.items import MAP_REQUEST, TIME
from quorumcache.node.state_machine import encode_batch
from quorumcache.node.store.store import ShardStore
from quorumcache.node.wal.recovery import RecoveredGroup
from tests.support.scripted_log import ManualClock

WALL_MS = 1_700_000_000_000
HOUR_MS = 3_600_000


class World:
    """A timekeeper; `sent` is what it told whom."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.clock.wall = WALL_MS
        self.time = ClusterTime(self.clock)
        self.alarms = Alarms()
        self.sent: list[tuple[int, tuple[Any, ...]]] = []
        peers: Any = self
        self.keeper = Timekeeper(self.time, self.alarms, peers, lambda: [2, 3])

    def send(self, node_id: int, item: tuple[Any, ...]) -> bool:
        self.sent.append((node_id, item))
        return True

    def flush(self) -> None: ...

    def pass_ms(self, ms: int) -> None:
        self.clock.ns += ms * 1_000_000
        self.clock.wall += ms

    def told(self) -> list[tuple[int, tuple[Any, ...]]]:
        sent, self.sent = self.sent, []
        return sent


def test_the_others_are_told_at_once_regularly_and_when_it_is_settled() -> None:
    world = World()
    world.keeper.sweep()
    assert world.told() == [(node, (TIME, False, 0, WALL_MS, 0)) for node in (2, 3)]
    world.pass_ms(TELL_MS - 1)
    world.keeper.sweep()
    assert world.told() == []
    world.time.bridge()
    world.keeper.sweep()
    now_ms = TELL_MS - 1
    wall_ms = WALL_MS + now_ms
    assert world.told() == [(node, (TIME, True, now_ms, wall_ms, wall_ms)) for node in (2, 3)]
    world.keeper.sweep()
    assert world.told() == []
    world.pass_ms(TELL_MS)
    world.keeper.sweep()
    assert len(world.told()) == 2


def test_a_clock_that_leaps_raises_the_alarm_until_it_is_right_again() -> None:
    world = World()
    world.time.bridge()
    for leap_ms in (HOUR_MS, -HOUR_MS):
        world.clock.wall += leap_ms
        world.pass_ms(TELL_MS)
        world.keeper.sweep()
        names = [alarm.name for alarm in world.alarms.raised()]
        assert names == (["clock_distrusted"] if leap_ms > 0 else [])


def test_what_another_node_tells_is_heard() -> None:
    world = World()
    world.keeper.heard(2, (TIME, True, 5000, WALL_MS, WALL_MS))
    assert world.time.is_settled
    assert world.time.now_ms() == 5000
    assert [(node, item[1]) for node, item in world.told()] == [(2, True), (3, True)], "at once"
    with pytest.raises(PeerFrameError):
        world.keeper.heard(2, (TIME, True, -1, WALL_MS, WALL_MS))


def test_the_first_item_on_a_connection_tells_the_time() -> None:
    """So that whoever is elected by the other side's votes has heard of its time before."""
    world = World()
    node: Any = SimpleNamespace(
        timekeeper=world.keeper,
        counters=SimpleNamespace(peer_connects=0),
        map=None,
        peers=world,
        host=SimpleNamespace(flush_soon=lambda: None),
        coordinator=SimpleNamespace(peer_up=lambda node_id: None),
        follower=SimpleNamespace(ask=lambda node_id: world.send(node_id, (MAP_REQUEST, 0))),
    )
    Node.on_peer_up(node, 2)
    assert [item[0] for _, item in world.told()] == [TIME, MAP_REQUEST]


@pytest.mark.parametrize("is_heard", [False, True])
def test_the_clock_of_a_node_counts_as_long_as_it_is_heard(is_heard: bool) -> None:
    """Its votes still come, so this node may come to lead and decide on the time."""
    lost: list[int] = []
    node: Any = SimpleNamespace(
        _stopping=False,
        time=SimpleNamespace(lost=lost.append),
        peers=SimpleNamespace(is_heard=lambda node_id: is_heard),
        host=SimpleNamespace(peer_unreachable=lambda node_id: None),
        coordinator=SimpleNamespace(peer_down=lambda node_id: None),
    )
    Node.on_peer_down(node, 2, "the connection was reset")
    assert lost == ([] if is_heard else [2])


# -- the disk --------------------------------------------------------------------------------------


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
        world = World()
        find_times(world.time, "d", snapshots, groups)
        assert world.time.now_ms() == 3000
        world.time.bridge()
        assert world.time.bridged_ms == 7000


def test_data_of_another_version_is_refused_with_both_numbers() -> None:
    old = bytes([0x92, 5, 0x90])
    world = World()
    with pytest.raises(WrongDataDir, match="version 1, which only development versions"):
        find_times(world.time, "d", {}, {1: recovered(old)})
    data = snapshot(1, 1).data.replace(b"-store\x02", b"-store\x01")
    with pytest.raises(WrongDataDir, match="version 1, which only development versions"):
        find_times(world.time, "d", {1: snapshot(1, 1)._replace(data=data)}, {})
