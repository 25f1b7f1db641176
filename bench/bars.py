"""Ratios as horizontal bars, as SVG: to the right of the line 1 is more than the other, to the left
less. The axis is logarithmic, so twice as much and half as much are equally long. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

NAMES_WIDTH, BARS_WIDTH, RIGHT, TOP, BOTTOM = 230, 560, 60, 90, 60
BAR_HEIGHT, GROUP_GAP = 14, 12
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_ROOM = 0.8
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


class Bar(NamedTuple):
    """`ratio` to the one called `name`; `goal`: where a mark stands, 0 = nowhere."""

    name: str
    ratio: float
    goal: float = 0.0


class Group(NamedTuple):
    """Bars with one title."""

    title: str
    bars: tuple[Bar, ...]


def bars(title: str, groups: Sequence[Group], *, note: str = "") -> str:
    """The SVG document. `note` stands small at its end."""
    names = list(dict.fromkeys(bar.name for group in groups for bar in group.bars))
    values = [v for g in groups for b in g.bars for v in (b.ratio, b.goal) if v > 0]
    ticks = _ticks(values)
    low, high = math.log(ticks[0]), math.log(ticks[-1])

    def x_of(value: float) -> float:
        share = (math.log(value) - low) / (high - low)
        return NAMES_WIDTH + BARS_WIDTH * min(1.0, max(0.0, share))

    lines = sum(len(group.bars) for group in groups)
    bottom = TOP + lines * BAR_HEIGHT + len(groups) * GROUP_GAP
    width, height = NAMES_WIDTH + BARS_WIDTH + RIGHT, bottom + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="16" y="24" font-size="15">{escape(title)}</text>',
        f'<text x="16" y="{height - 10}" font-size="9" fill="#555">{escape(note)}</text>',
        *_legend(names),
    ]
    for tick in ticks:
        colour = "#444" if tick == 1 else "#ddd"
        parts.append(
            f'<line x1="{x_of(tick):.1f}" y1="{TOP}" x2="{x_of(tick):.1f}" y2="{bottom}" '
            f'stroke="{colour}"/>'
            f'<text x="{x_of(tick):.1f}" y="{bottom + 16}" text-anchor="middle">{tick:g} x</text>'
        )
    y = float(TOP)
    for group in groups:
        y += GROUP_GAP / 2
        middle = y + len(group.bars) * BAR_HEIGHT / 2 + 4
        parts.append(
            f'<text x="{NAMES_WIDTH - 10}" y="{middle:.1f}" text-anchor="end">'
            f"{escape(group.title)}</text>"
        )
        for bar in group.bars:
            parts += _bar(bar, _COLOURS[names.index(bar.name) % len(_COLOURS)], x_of, y)
            y += BAR_HEIGHT
        y += GROUP_GAP / 2
    return "\n".join([*parts, "</svg>"]) + "\n"


def _ticks(values: Sequence[float]) -> list[float]:
    """From the last one below all values to the first one above them, with room for a number beside
    each bar; 1 is among them."""
    least, most = _ROOM * min([1.0, *values]), max([1.0, *values]) / _ROOM
    below = [tick for tick in _TICKS if tick <= least] or [_TICKS[0]]
    above = [tick for tick in _TICKS if tick >= most] or [_TICKS[-1]]
    return [tick for tick in _TICKS if below[-1] <= tick <= above[0]]


def _legend(names: Sequence[str]) -> list[str]:
    parts = []
    for number, name in enumerate(names):
        x, colour = NAMES_WIDTH + 130 * number, _COLOURS[number % len(_COLOURS)]
        parts.append(
            f'<rect x="{x}" y="48" width="18" height="10" fill="{colour}"/>'
            f'<text x="{x + 24}" y="57">x {escape(name)}</text>'
        )
    x = NAMES_WIDTH + 130 * len(names)
    parts.append(
        f'<line x1="{x}" y1="46" x2="{x}" y2="60" stroke="black" stroke-width="2"/>'
        f'<text x="{x + 8}" y="57">goal</text>'
    )
    return parts


def _bar(bar: Bar, colour: str, x_of: Callable[[float], float], y: float) -> list[str]:
    if not bar.ratio > 0:
        return []
    left, right = sorted((x_of(1.0), x_of(bar.ratio)))
    end, anchor = (right + 4, "start") if bar.ratio >= 1 else (left - 4, "end")
    middle = y + BAR_HEIGHT - 4
    parts = [
        f'<rect x="{left:.1f}" y="{y + 1:.1f}" width="{right - left:.1f}" '
        f'height="{BAR_HEIGHT - 2}" fill="{colour}"/>',
        f'<text x="{end:.1f}" y="{middle:.1f}" text-anchor="{anchor}" font-size="10" '
        f'stroke="white" stroke-width="3" paint-order="stroke">{bar.ratio:.2f}</text>',
    ]
    if bar.goal > 0:
        x = x_of(bar.goal)
        parts.append(
            f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x:.1f}" y2="{y + BAR_HEIGHT:.1f}" '
            f'stroke="black" stroke-width="2"/>'
        )
    return parts
