"""Hit ratios: how points are compared, and which promise they are held to."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.bench import hitratio
from quorumcache.bench.cluster import MEMCACHED
from quorumcache.bench.errors import TargetError
from quorumcache.bench.hitratio import Plan, Point, compare, goals, hit_ratio_table, ratio_at
from quorumcache.bench.measure import Progress
from quorumcache.bench.replay import Replay
from quorumcache.bench.traces import find_traces

MIB = 1 << 20


def point(
    server: str, items: int, percent: float, *, trace: str = "zipf-1.0", mib: int = 16
) -> Point:
    return Point(trace, server, mib * MIB, items, 5, Replay(requests=1000, hits=int(percent * 10)))


def test_a_ratio_is_read_between_the_neighbours() -> None:
    points = [point(MEMCACHED, 200, 60.0), point(MEMCACHED, 100, 40.0)]
    assert ratio_at(points, 150) == pytest.approx(50.0)
    assert ratio_at(points, 100) == pytest.approx(40.0)
    assert ratio_at(points, 50) == pytest.approx(20.0)
    assert ratio_at(points, 900) == pytest.approx(60.0)
    with pytest.raises(TargetError, match="nothing was measured"):
        ratio_at([], 5)


def test_points_are_compared_within_their_trace() -> None:
    ours = point("quorumcache", 100, 50.0)
    found = compare([ours, point(MEMCACHED, 200, 60.0), point(MEMCACHED, 9, 1.0, trace="loop")])
    assert found == [(ours, 60.0, pytest.approx(30.0))]
    assert compare([ours]) == [(ours, None, None)]
    mixed = point("quorumcache", 100, 50.0, trace="sizes")
    peer = point(MEMCACHED, 200, 60.0, trace="sizes")
    assert compare([mixed, peer]) == [(mixed, 60.0, None)], "equal numbers of items say nothing"


@pytest.mark.parametrize(
    ("trace", "ahead", "is_met"),
    [
        ("zipf-1.0", -0.4, True),
        ("zipf-1.0", -0.6, False),
        ("scan-mixed", 2.9, False),
        ("scan-mixed", 3.1, True),
    ],
)
def test_the_promise_is_another_one_with_scans(trace: str, ahead: float, is_met: bool) -> None:
    points = [
        point("quorumcache", 100, 50.0 + ahead, trace=trace),
        point(MEMCACHED, 100, 50.0, trace=trace),
    ]
    (goal,) = goals(points, find_traces(""))
    assert goal.is_met is is_met


def plan(names: str = "loop,sizes") -> Plan:
    return Plan(find_traces(names), keys=80, requests=1280, value_bytes=30, seed=1)


def test_the_table_tells_what_was_missed() -> None:
    table = hit_ratio_table(
        [point("quorumcache", 100, 48.0), point(MEMCACHED, 120, 60.0)], plan("zipf-1.0")
    )
    assert table.rows == (("zipf-1.0", "16m", "100", "120", "48.00", "-2.00", "-12.00", "0", "0"),)
    assert table.notes[1].startswith("GOAL MISSED: zipf-1.0, 16m: above memcached by -2 points")
    assert table.data["points"][0]["hit_ratio"] == 48.0


def test_without_memcached_there_is_nothing_to_compare() -> None:
    table = hit_ratio_table([point("quorumcache", 100, 48.0)], plan("zipf-1.0"))
    assert table.rows == (("zipf-1.0", "16m", "100", "-", "48.00", "-", "-", "0", "0"),)
    assert len(table.notes) == 1


class Client:
    """A server that keeps what fits, the oldest goes."""

    def __init__(self, address: tuple[str, int], timeout_seconds: float) -> None:
        self.room = address[1]
        self.held: dict[bytes, bytes] = {}
        self.evictions = 0

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None: ...

    def get_each(self, keys):  # type: ignore[no-untyped-def]
        return [self.held.get(key) for key in keys]

    def set_each(self, items):  # type: ignore[no-untyped-def]
        for key, value in items:
            self.held[key] = value
            while len(self.held) > self.room:
                del self.held[next(iter(self.held))]
                self.evictions += 1
            yield b"STORED"

    def lines(self, command: bytes) -> list[bytes]:
        return [b"STAT curr_items %d" % len(self.held), b"STAT evictions %d" % self.evictions]


class Started:
    """A target whose port is how many items it holds."""

    name, pids = "fake", ()

    def __init__(self, memory_bytes: int) -> None:
        self.addresses = [("", memory_bytes)]

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None: ...


def test_every_trace_meets_every_server_with_every_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hitratio, "TextClient", Client)
    ours: Any = ("quorumcache", Started)
    peer: Any = Started
    points = hitratio.measure_hit_ratios(plan("loop"), (5, 10), ours, peer, Progress(quiet=True))
    assert [(p.server, p.memory_bytes, p.items) for p in points] == [
        ("quorumcache", 5, 5),
        ("quorumcache", 10, 10),
        (MEMCACHED, 5, 5),
        (MEMCACHED, 10, 10),
    ]
    alone = hitratio.measure_hit_ratios(plan("loop"), (5,), ours, None, Progress(quiet=True))
    assert [(p.server, p.memory_bytes, p.items) for p in alone] == [("quorumcache", 5, 5)]
    # Ten keys go round: five of them are never enough for the one that is asked for next but in
    # a batch, which is asked for as a whole before anything is stored.
    assert points[0].replay.requests == 640
    assert points[0].hit_ratio < points[1].hit_ratio == points[3].hit_ratio == 100.0
    assert points[0].evictions > 0 == points[1].evictions


@pytest.mark.parametrize(
    ("items", "measured", "more"),
    [
        (1000, {8: 1750}, [4, 5]),
        (1000, {8: 1000}, []),
        (5000, {8: 1750}, [23, 22]),
        (1000, {8: 1750, 24: 5250}, [4, 5]),
        (2000, {8: 1750, 24: 5250}, [9, 10]),
        (10, {8: 1750}, [1]),
    ],
)
def test_memcached_is_measured_on_both_sides_of_as_many_items(
    items: int, measured: dict[int, int], more: list[int]
) -> None:
    """It holds about 219 items per megabyte."""
    ours = point("quorumcache", items, 50.0, mib=8)
    theirs = {m * MIB: point(MEMCACHED, held, 50.0, mib=m) for m, held in measured.items()}
    made = []
    while wanted := hitratio.next_memory(ours, theirs):
        assert wanted % MIB == 0
        assert wanted not in theirs
        made.append(wanted // MIB)
        theirs[wanted] = point(MEMCACHED, wanted // MIB * 219, 50.0, mib=wanted // MIB)
    assert made == more


def test_a_memcached_that_evicted_nothing_has_enough_memory() -> None:
    ours = point("quorumcache", 500, 100.0, mib=8)
    full = point(MEMCACHED, 499, 100.0, mib=8)._replace(evictions=0)
    assert hitratio.next_memory(ours, {8 * MIB: full}) == 0


def test_the_picture_has_a_panel_for_each_trace() -> None:
    points = [
        point("quorumcache", 100, 50.0),
        point(MEMCACHED, 120, 55.0),
        point("quorumcache", 90, 10.0, trace="loop"),
    ]
    picture = hitratio.hit_ratio_picture(points, "quorumcache-bench hitratio")
    assert ">zipf-1.0</text>" in picture
    assert ">loop</text>" in picture
    assert picture.count("<polyline") == 3
