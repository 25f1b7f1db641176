"""Goal: the picture is an SVG that shows what was measured, where it was measured."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from quorumcache.bench.chart import (
    LEFT,
    PANEL_HEIGHT,
    RIGHT,
    TICKS_MAX,
    TOP,
    WIDTH,
    Band,
    chart,
    linear_axis,
    log_axis,
    nice_step,
)
from quorumcache.bench.timeline import Bin, Span

SECOND = 1_000_000_000
SVG = "{http://www.w3.org/2000/svg}"
BINS = [Bin(0.5, 100, 2.0), Bin(1.5, 50, 90.0), Bin(2.5, 100, 2.0)]


def points(line: ElementTree.Element) -> list[tuple[float, float]]:
    pairs = [tuple(map(float, p.split(","))) for p in line.get("points", "").split()]
    return [(x, y) for x, y in pairs]


@pytest.mark.parametrize(
    ("largest", "step"), [(0, 1.0), (6, 1.0), (6.1, 2.0), (1200, 200), (1201, 500), (0.05, 0.01)]
)
def test_ticks_are_round_and_few(largest: float, step: float) -> None:
    assert nice_step(largest) == pytest.approx(step)
    assert step * TICKS_MAX >= largest


def test_an_axis_holds_all_values() -> None:
    axis = linear_axis(950)
    assert (axis.low, axis.high, axis.share(0), axis.share(axis.high)) == (0, 1000, 0, 1)
    axis = log_axis([0.7, 3, 420])
    assert (axis.low, axis.high) == (pytest.approx(0.1), pytest.approx(1000))
    assert axis.ticks == pytest.approx((0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000))
    assert axis.share(10) == pytest.approx(0.5)
    assert axis.share(0) == 0, "a value that has no logarithm stands at the bottom"
    assert log_axis([]).share(1) == 0
    assert log_axis([10]).high > log_axis([10]).low


def test_curves_bands_and_marks_are_drawn() -> None:
    bands = [
        Band(Span("3 <nodes>", 0, SECOND), is_shaded=False),
        Band(Span("grow", SECOND, 2 * SECOND), is_shaded=True),
    ]
    series = {"ours": BINS, "plain & old": BINS[:2]}
    root = ElementTree.fromstring(chart("a & b", series, bands, [("kill", 2 * SECOND)], 0))
    lines = root.findall(f"{SVG}polyline")
    assert len(lines) == 4
    assert len({line.get("stroke") for line in lines}) == 2, "a colour for each series"
    upper, lower = points(lines[0]), points(lines[1])
    assert [x for x, _ in upper] == sorted(x for x, _ in upper)
    assert all(LEFT <= x <= WIDTH - RIGHT for x, _ in upper + lower)
    assert all(TOP <= y <= TOP + PANEL_HEIGHT for _, y in upper)
    assert all(y > TOP + PANEL_HEIGHT for _, y in lower)
    assert upper[1][1] > upper[0][1], "fewer requests are drawn lower"
    assert lower[1][1] < lower[0][1], "a longer p99 is drawn higher"
    texts = {text.text for text in root.findall(f"{SVG}text")}
    assert {"a & b", "3 <nodes>, 1.0 s", "grow, 1.0 s", "kill", "ours", "plain & old"} <= texts
    assert {"requests per second", "p99, ms"} <= texts
    rectangles = root.findall(f"{SVG}rect")
    shaded = [r for r in rectangles if r.get("fill") not in ("white", None)]
    assert len(shaded) == 1, "the change"


def test_the_name_of_a_short_band_at_the_end_is_not_cut_off() -> None:
    bands = [
        Band(Span("long", 0, 99 * SECOND), is_shaded=True),
        Band(Span("short", 99 * SECOND, 100 * SECOND), is_shaded=False),
    ]
    root = ElementTree.fromstring(chart("t", {}, bands, [], 0))
    names = {text.text: text for text in root.findall(f"{SVG}text")}
    assert names["long, 99.0 s"].get("text-anchor") is None
    last = names["short, 1.0 s"]
    assert (last.get("text-anchor"), last.get("x")) == ("end", str(WIDTH - RIGHT))


def test_without_an_answer_the_curve_has_a_gap_and_a_lone_value_is_a_dot() -> None:
    gap = [BINS[0], Bin(1.5, 0, None), BINS[2], Bin(3.5, 100, 2.0)]
    root = ElementTree.fromstring(chart("t", {"a": gap}, [], [], 0))
    rate, *p99 = root.findall(f"{SVG}polyline")
    assert len(points(rate)) == 4, "no requests are 0 requests"
    assert [len(points(line)) for line in p99] == [2, 2]
    assert len(set(points(p99[0]))) == 1


def test_nothing_measured_is_drawn_too() -> None:
    ElementTree.fromstring(chart("empty", {}, [], [], 0))
    ElementTree.fromstring(chart("empty", {"a": []}, [], [], 0))
