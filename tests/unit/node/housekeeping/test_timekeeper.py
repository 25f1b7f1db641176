"""What a node does for its cluster time: at the start, on a new connection, and regularly."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.alarms import Alarms
from quorumcache.node.cluster_time import TELL_MS, ClusterTime
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.housekeeping.timekeeper import Timekeeper
from quorumcache.node.peers.items import TIME
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
