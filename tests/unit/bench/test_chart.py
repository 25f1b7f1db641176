"""Goal: the picture is an SVG that shows what was measured, where it was measured."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from quorumcache.bench.chart import LEFT, RIGHT, TICKS_MAX, WIDTH, chart, nice_step
from quorumcache.bench.timeline import Bin, Span

SECOND = 1_000_000_000
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("largest", "step"), [(0, 1.0), (6, 1.0), (6.1, 2.0), (1200, 200), (1201, 500), (0.05, 0.01)]
)
def test_ticks_are_round_and_few(largest: float, step: float) -> None:
    assert nice_step(largest) == pytest.approx(step)
    assert step * TICKS_MAX >= largest


def test_curves_bands_and_marks_are_drawn() -> None:
    bins = [Bin(0.5, 100, 2.0), Bin(1.5, 50, 9.0), Bin(2.5, 100, 2.0)]
    spans = [Span("3 <nodes>", 0, SECOND), Span("grow", SECOND, 2 * SECOND)]
    root = ElementTree.fromstring(chart("a & b", bins, spans, [("kill", 2 * SECOND)], 0))
    lines = root.findall(f"{SVG}polyline")
    assert len(lines) == 2
    rates = [tuple(map(float, p.split(","))) for p in lines[0].get("points", "").split()]
    assert [x for x, _ in rates] == sorted(x for x, _ in rates)
    assert all(LEFT <= x <= WIDTH - RIGHT for x, _ in rates)
    assert rates[1][1] > rates[0][1], "fewer requests are drawn lower"
    texts = [text.text for text in root.findall(f"{SVG}text")]
    assert {"a & b", "3 <nodes>", "grow", "kill", "seconds"} <= set(texts)


def test_nothing_measured_is_drawn_too() -> None:
    ElementTree.fromstring(chart("empty", [], [], [], 0))
