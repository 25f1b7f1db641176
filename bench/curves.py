"""Curves in several panels, as SVG: small multiples with the same kinds of axes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from quorumcache.bench.chart import Axis, linear_axis

COLUMNS = 3
PANEL_WIDTH, PANEL_HEIGHT = 300, 200
LEFT, RIGHT, TOP, GAP_X, GAP_Y, BOTTOM = 70, 20, 100, 60, 70, 60
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


class Curve(NamedTuple):
    """`at`: (x, y), ascending in x."""

    name: str
    at: tuple[tuple[float, float], ...]


class Panel(NamedTuple):
    """One diagram. A curve keeps its colour by its place among all names of the picture."""

    title: str
    curves: tuple[Curve, ...]


def curves(title: str, panels: Sequence[Panel], *, x_name: str, y_name: str, note: str = "") -> str:
    """The SVG document. `note` stands small at its end.

    Both axes of every panel begin at 0 and end at a round number.
    """
    names = list(dict.fromkeys(curve.name for panel in panels for curve in panel.curves))
    columns = max(1, min(COLUMNS, len(panels)))
    lines = max(1, -(-len(panels) // columns))
    width = LEFT + columns * PANEL_WIDTH + (columns - 1) * GAP_X + RIGHT
    height = TOP + lines * PANEL_HEIGHT + (lines - 1) * GAP_Y + BOTTOM
    note_y = height - 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="15">{escape(title)}</text>',
        f'<text x="{LEFT}" y="44" fill="#555">{escape(y_name)} over {escape(x_name)}</text>',
        f'<text x="{LEFT}" y="{note_y}" font-size="9" fill="#555">{escape(note)}</text>',
    ]
    for number, name in enumerate(names):
        x = LEFT + 160 * number
        parts.append(
            f'<line x1="{x}" y1="62" x2="{x + 24}" y2="62" stroke="{_colour(number)}" '
            f'stroke-width="3"/><text x="{x + 30}" y="66">{escape(name)}</text>'
        )
    for number, panel in enumerate(panels):
        left = LEFT + (number % columns) * (PANEL_WIDTH + GAP_X)
        top = TOP + (number // columns) * (PANEL_HEIGHT + GAP_Y)
        parts += _panel(panel, names, left, top)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _panel(panel: Panel, names: Sequence[str], left: float, top: float) -> list[str]:
    points = [point for curve in panel.curves for point in curve.at]
    x_axis = linear_axis(max((x for x, _ in points), default=0.0))
    y_axis = linear_axis(max((y for _, y in points), default=0.0))
    parts = [
        f'<text x="{left}" y="{top - 8}" font-size="13" font-weight="bold">'
        f"{escape(panel.title)}</text>",
        *_grid(x_axis, y_axis, left, top),
    ]
    for curve in panel.curves:
        colour = _colour(names.index(curve.name))
        at = [
            (left + PANEL_WIDTH * x_axis.share(x), top + PANEL_HEIGHT * (1 - y_axis.share(y)))
            for x, y in curve.at
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in at]
    return parts


def _grid(x_axis: Axis, y_axis: Axis, left: float, top: float) -> list[str]:
    bottom = top + PANEL_HEIGHT
    parts = []
    for tick in y_axis.ticks:
        y = top + PANEL_HEIGHT * (1 - y_axis.share(tick))
        parts.append(
            f'<line x1="{left}" y1="{y:.1f}" x2="{left + PANEL_WIDTH}" y2="{y:.1f}" stroke="#ddd"/>'
            f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    for tick in x_axis.ticks:
        x = left + PANEL_WIDTH * x_axis.share(tick)
        parts.append(
            f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 4}" stroke="#444"/>'
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{_short(tick)}</text>'
        )
    return parts


def _short(number: float) -> str:
    return f"{number / 1000:g}k" if number >= 1000 else f"{number:g}"
