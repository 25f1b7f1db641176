"""Cluster time and the trusted wall clock: some nodes, whose clocks are moved by hand."""

from __future__ import annotations

import pytest

from quorumcache.node.cluster_time import (
    LEAP_LASTS_MS,
    TELL_MS,
    TIME_MS_MAX,
    ClusterTime,
    is_told_well,
)
from quorumcache.node.peers.items import TIME

HOUR_MS = 3_600_000
TEN_YEARS_MS = 87_600 * HOUR_MS
START_MS = 1_700_000_000_000
YEAR_2000_MS = 946_684_800_000


class HandClock:
    """A machine: its monotonic clock starts anywhere."""

    def __init__(self, origin_ns: int, wall_ms: int) -> None:
        self.ns = origin_ns
        self.wall = wall_ms

    def monotonic_ns(self) -> int:
        return self.ns

    def wall_ms(self) -> int:
        return self.wall


class Nodes:
    """`times[i]` is the reading of node i; a node that is down has None."""

    def __init__(self, count: int, blank: bool = False) -> None:
        self.clocks = [HandClock(10**9 * (7 + 91 * i), START_MS) for i in range(count)]
        self.times = [ClusterTime(clock) for clock in self.clocks]
        self.disk = (0, 0)
        if not blank:
            self.times[0].bridge()
            self.exchange()

    def exchange(self) -> None:
        """Every node tells every other one, and looks at the wall clocks."""
        for me, time in enumerate(self.times):
            for other, heard in enumerate(self.times):
                if other != me:
                    heard.hear(me, *time.tell())
        for time in self.times:
            time.look()

    def run(self, ms: int) -> None:
        while ms > 0:
            step = min(ms, TELL_MS)
            ms -= step
            for clock in self.clocks:
                clock.ns += step * 1_000_000
                clock.wall += step
            self.exchange()

    def all_down(self, ms: int, *, restart: tuple[int, ...] | None = None) -> None:
        """Stop all nodes, let time pass, start them (or some) from what their disks hold."""
        self.disk = (self.times[0].now_ms(), self.times[0].wall_ms())
        for clock in self.clocks:
            clock.ns += 99
            clock.wall += ms
        self.times = []
        for clock in self.clocks:
            time = ClusterTime(clock)
            time.found(*self.disk)
            self.times.append(time)
        for me in restart or range(len(self.clocks)):
            for other in restart or range(len(self.clocks)):
                if other != me:
                    self.times[other].hear(me, *self.times[me].tell())
        first = (restart or (0,))[0]
        self.times[first].bridge()
        self.exchange()

    def readings(self) -> list[int]:
        return [time.now_ms() for time in self.times]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("leap_ms", [HOUR_MS, -HOUR_MS, TEN_YEARS_MS])
def test_no_leap_of_wall_clocks_moves_the_time(count: int, leap_ms: int) -> None:
    """Neither one that returns nor one for good, of one clock or of all."""
    nodes = Nodes(count)
    nodes.run(10_000)
    for leapers in (nodes.clocks[:1], nodes.clocks):
        before = nodes.readings()
        for clock in leapers:
            clock.wall += leap_ms
        nodes.run(1500)
        for clock in leapers:
            clock.wall -= leap_ms
        nodes.run(1500)
        for clock in leapers:
            clock.wall += leap_ms
        nodes.run(200_000)
        assert [after - old for after, old in zip(nodes.readings(), before, strict=True)] == (
            [203_000] * count
        )


@pytest.mark.parametrize("count", [3, 4, 5])
@pytest.mark.parametrize("leap_ms", [HOUR_MS, -HOUR_MS, TEN_YEARS_MS])
def test_a_clock_that_leaps_alone_is_outvoted(count: int, leap_ms: int) -> None:
    nodes = Nodes(count)
    nodes.clocks[0].wall += leap_ms
    nodes.run(2 * LEAP_LASTS_MS)
    right = nodes.clocks[1].wall
    assert {time.wall_ms() for time in nodes.times} == {right}
    assert f"{abs(leap_ms) // 1000} s" in nodes.times[0].look()
    assert nodes.times[1].look() == ""
    nodes.clocks[0].wall -= leap_ms
    nodes.run(TELL_MS)
    assert nodes.times[0].look() == ""


def test_an_honest_step_of_all_is_followed_at_once() -> None:
    """NTP sets all clocks right, one soon after the other."""
    nodes = Nodes(3)
    for clock in nodes.clocks:
        clock.wall += HOUR_MS
        nodes.run(TELL_MS)
    assert {time.wall_ms() for time in nodes.times} == {nodes.clocks[0].wall}


def test_a_leap_of_the_only_clock_is_believed_once_it_has_lasted() -> None:
    nodes = Nodes(1)
    right = nodes.clocks[0].wall
    nodes.clocks[0].wall += HOUR_MS
    nodes.run(LEAP_LASTS_MS - TELL_MS)
    assert nodes.times[0].wall_ms() == right + LEAP_LASTS_MS - TELL_MS
    assert "is not used" in nodes.times[0].look()
    nodes.run(2 * TELL_MS)
    assert nodes.times[0].wall_ms() == nodes.clocks[0].wall
    assert nodes.times[0].look() == ""


def test_a_leap_that_goes_on_leaping_begins_anew() -> None:
    nodes = Nodes(1)
    for _ in range(5):
        nodes.clocks[0].wall += HOUR_MS
        nodes.run(LEAP_LASTS_MS - 2 * TELL_MS)
    assert nodes.clocks[0].wall - nodes.times[0].wall_ms() == 5 * HOUR_MS


def test_of_two_that_disagree_the_one_that_has_not_moved_is_trusted_and_both_complain() -> None:
    nodes = Nodes(2)
    nodes.clocks[1].wall += HOUR_MS
    nodes.run(2 * LEAP_LASTS_MS)
    assert {time.wall_ms() for time in nodes.times} == {nodes.clocks[0].wall}
    assert "ahead" in nodes.times[1].look()
    assert "behind" in nodes.times[0].look()


def test_clocks_that_are_slewed_are_followed() -> None:
    nodes = Nodes(3)
    for _ in range(20):
        for clock in nodes.clocks:
            clock.wall -= 400
        nodes.run(TELL_MS)
    assert nodes.times[2].wall_ms() == nodes.clocks[2].wall


def test_a_node_that_starts_takes_the_time_of_those_that_run() -> None:
    """Whatever its own wall clock says, and however long it was away."""
    nodes = Nodes(3)
    nodes.run(5000)
    old = (nodes.times[2].now_ms(), nodes.times[2].wall_ms())
    nodes.run(60_000)
    nodes.clocks[2].wall += TEN_YEARS_MS
    time = nodes.times[2] = ClusterTime(nodes.clocks[2])
    time.found(*old)
    nodes.exchange()
    assert time.is_settled
    assert len(set(nodes.readings())) == 1
    assert time.wall_ms() == nodes.times[0].wall_ms()
    assert time.bridged_ms == 0
    assert not time.bridge()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_time_in_which_all_are_down_counts_by_wall_clocks(count: int) -> None:
    nodes = Nodes(count)
    nodes.run(5000)
    before = nodes.readings()[0]
    nodes.all_down(HOUR_MS)
    assert nodes.readings() == [before + HOUR_MS] * count
    assert nodes.times[0].wall_ms() == nodes.clocks[0].wall


@pytest.mark.parametrize("restart", [(0, 1), (1, 0), (0, 1, 2), (2, 0, 1)])
def test_one_clock_that_is_ahead_adds_nothing_to_it(restart: tuple[int, ...]) -> None:
    nodes = Nodes(3)
    nodes.run(5000)
    before = nodes.readings()[0]
    nodes.clocks[0].wall += TEN_YEARS_MS
    nodes.all_down(HOUR_MS, restart=restart)
    assert nodes.readings() == [before + HOUR_MS] * 3
    nodes.run(2 * TELL_MS)
    assert {time.wall_ms() for time in nodes.times} == {nodes.clocks[1].wall}


@pytest.mark.parametrize("restart", [(0, 1), (1, 0), (0, 1, 2), (2, 0, 1)])
def test_one_clock_that_is_behind_takes_at_most_the_time_that_all_were_down(
    restart: tuple[int, ...],
) -> None:
    nodes = Nodes(3)
    nodes.run(5000)
    before = nodes.readings()[0]
    nodes.clocks[0].wall = YEAR_2000_MS
    nodes.all_down(HOUR_MS, restart=restart)
    added = nodes.readings()[0] - before
    assert added == (HOUR_MS if len(restart) == 3 else 0)
    assert len(set(nodes.readings())) == 1


def test_a_glitch_before_all_went_down_takes_no_more_than_that_time() -> None:
    nodes = Nodes(1)
    nodes.clocks[0].wall += HOUR_MS
    nodes.run(2 * LEAP_LASTS_MS)  # It was believed: the log says so.
    before = nodes.readings()[0]
    nodes.clocks[0].wall -= HOUR_MS
    nodes.all_down(60_000)
    assert nodes.readings()[0] == before
    nodes.run(10_000)
    assert nodes.readings()[0] == before + 10_000, "and then it goes on"


def test_what_the_disk_holds_ahead_of_us_is_where_we_go_on_from() -> None:
    nodes = Nodes(3)
    nodes.times[1].found(nodes.times[1].now_ms() + TEN_YEARS_MS, START_MS)
    walls = [time.wall_ms() for time in nodes.times]
    before = nodes.times[1].now_ms()
    nodes.run(1000)
    assert nodes.readings() == [before + 1000] * 3
    assert [time.wall_ms() for time in nodes.times] == [wall + 1000 for wall in walls]


def test_a_later_disk_of_another_node_counts_before_anybody_is_settled() -> None:
    late, early = Nodes(1, blank=True), Nodes(1, blank=True)
    late.times[0].found(9000, START_MS - 60_000)
    early.times[0].found(2000, START_MS - 900_000)
    early.times[0].hear(1, *late.times[0].tell())
    early.times[0].bridge()
    assert early.times[0].now_ms() == 9000 + 60_000


def test_a_blank_node_has_nothing_to_say_of_the_wall_clock_then() -> None:
    """It has waited for others for longer than the young cluster had run."""
    blank, young = Nodes(1, blank=True), Nodes(1, blank=True)
    blank.clocks[0].ns += 600_000_000_000
    young.times[0].found(5000, START_MS - HOUR_MS)
    young.times[0].hear(1, *blank.times[0].tell())
    young.times[0].bridge()
    assert young.times[0].now_ms() == 5000 + HOUR_MS


def test_a_new_cluster_begins_with_nothing() -> None:
    nodes = Nodes(3)
    assert nodes.readings() == [0, 0, 0]
    assert nodes.times[0].bridged_ms == 0
    assert nodes.times[2].wall_ms() == START_MS
    nodes.run(1000)
    assert nodes.times[1].wall_of(500) == START_MS + 500


def test_a_node_that_stood_still_while_its_wall_clock_went_on() -> None:
    """A suspended machine: its monotonic clock has not counted. The others have."""
    nodes = Nodes(3)
    for clock in nodes.clocks[1:]:
        clock.ns += HOUR_MS * 1_000_000
        clock.wall += HOUR_MS
    nodes.clocks[0].wall += HOUR_MS
    nodes.exchange()
    assert nodes.readings() == [HOUR_MS] * 3
    nodes.run(TELL_MS)
    assert {time.wall_ms() for time in nodes.times} == {nodes.clocks[0].wall}


def test_words_that_were_on_their_way_for_long_do_no_harm() -> None:
    nodes = Nodes(3)
    old = nodes.times[1].tell()
    nodes.run(30_000)
    before = nodes.times[0].tell()
    nodes.times[0].hear(1, *old)
    nodes.times[0].hear(2, *old)
    nodes.times[0].look()
    assert nodes.times[0].tell() == before


def test_a_node_that_is_not_heard_of_any_more_does_not_count() -> None:
    nodes = Nodes(3)
    nodes.clocks[0].wall += HOUR_MS
    time = nodes.times[0]
    nodes.run(5000)
    assert "is not used" in time.look()
    time.lost(1)
    time.lost(2)
    assert nodes.clocks[0].wall - time.wall_ms() == HOUR_MS
    nodes.clocks[0].ns += 3_000_000_000
    time.look()
    assert time.wall_ms() < nodes.clocks[0].wall


@pytest.mark.parametrize(
    "item",
    [
        (TIME,),
        (TIME, 1, 1, 1, 1),
        (TIME, True, -1, 1, 1),
        (TIME, True, TIME_MS_MAX + 1, 1, 1),
        (TIME, True, 1, TIME_MS_MAX + 1, 1),
        (TIME, True, 1, 1, -TIME_MS_MAX - 1),
        (TIME, True, 1, 1, 1, 1),
        (TIME, True, 1.0, 1, 1),
    ],
)
def test_what_is_no_time(item: tuple[object, ...]) -> None:
    assert not is_told_well(item)
    assert is_told_well((TIME, True, 1, START_MS, -5))
