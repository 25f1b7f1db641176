"""A picture of throughput and p99 over time, with what happened meanwhile, as SVG. Pure.

Changes are shaded bands, quiet times are not. Every band has its name and length above, every mark
its text along its line. The p99 has a logarithmic axis: a pause at a kill and an ordinary
millisecond both have to be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

from quorumcache.bench.timeline import Bin, Span

WIDTH = 1200
PANEL_HEIGHT = 230
LEFT, RIGHT, TOP, GAP, BOTTOM = 80, 20, 130, 50, 50
NAME_LINES = 3
"""Names of neighbouring bands stand on different lines: short bands are narrower than a name."""
NAME_WIDTH = 150
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_SHADE = "#f3ead2"
_DECADE = (1, 2, 5)
TICKS_MAX = 6


class Band(NamedTuple):
    """A time with a name; shaded while the cluster changes."""

    span: Span
    is_shaded: bool


class Axis(NamedTuple):
    """From the value at the bottom to that at the top of a panel, and where the lines are."""

    low: float
    high: float
    ticks: tuple[float, ...]
    is_log: bool

    def share(self, value: float) -> float:
        """How high a value stands: 0 at the bottom, 1 at the top."""
        if self.is_log:
            value = max(value, self.low)
            return log10(value / self.low) / log10(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def nice_step(largest: float, ticks: int = TICKS_MAX) -> float:
    """The distance of an axis' ticks: 1, 2 or 5 times a power of ten, for at most `ticks`."""
    if largest <= 0:
        return 1.0
    power: float = 10.0 ** floor(log10(largest / ticks))
    return next(power * m for m in (1, 2, 5, 10) if power * m * ticks >= largest)


def linear_axis(largest: float) -> Axis:
    """From 0 to a round number that is not below `largest`."""
    step = nice_step(largest)
    count = max(1, ceil(largest / step))
    return Axis(0.0, step * count, tuple(step * n for n in range(count + 1)), is_log=False)


def log_axis(values: Sequence[float]) -> Axis:
    """From a power of ten to another that hold all `values` above 0 between them."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = floor(log10(min(positive))), ceil(log10(max(positive)))
    high = max(high, low + 1)
    ticks = [10.0**power * m for power in range(low, high) for m in _DECADE]
    return Axis(10.0**low, 10.0**high, (*ticks, 10.0**high), is_log=True)


def chart(
    title: str,
    series: Mapping[str, Sequence[Bin]],
    bands: Sequence[Band],
    marks: Sequence[tuple[str, int]],
    began_ns: int,
) -> str:
    """The SVG document. `series` by name, each with a colour of its own; `marks`: text, moment."""
    ends = [bins[-1].at_seconds for bins in series.values() if bins]
    ends += [(band.span.ended_ns - began_ns) / 1e9 for band in bands]
    seconds = max(ends, default=1.0) or 1.0
    height = TOP + 2 * PANEL_HEIGHT + GAP + BOTTOM
    bottom = TOP + 2 * PANEL_HEIGHT + GAP

    def x_of(at_seconds: float) -> float:
        return LEFT + at_seconds / seconds * (WIDTH - LEFT - RIGHT)

    def x_at(at_ns: int) -> float:
        return x_of((at_ns - began_ns) / 1e9)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="16">{escape(title)}</text>',
        *_legend(list(series)),
        *_bands(bands, [(x_at(b.span.began_ns), x_at(b.span.ended_ns)) for b in bands], bottom),
    ]
    rates = [b.ops_per_second for bins in series.values() for b in bins]
    p99s = [b.p99_ms for bins in series.values() for b in bins if b.p99_ms is not None]
    lower = TOP + PANEL_HEIGHT + GAP
    upper_axis, lower_axis = linear_axis(max(rates, default=0.0)), log_axis(p99s)
    parts += _axis(upper_axis, "requests per second", TOP)
    parts += _axis(lower_axis, "p99, ms", lower)
    for number, bins in enumerate(series.values()):
        colour = _COLOURS[number % len(_COLOURS)]
        at = [x_of(b.at_seconds) for b in bins]
        parts += _line(upper_axis, TOP, at, [b.ops_per_second for b in bins], colour)
        parts += _line(lower_axis, lower, at, [b.p99_ms for b in bins], colour)
    for text, at_ns in marks:
        x = x_at(at_ns)
        parts.append(
            f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#444" '
            f'stroke-dasharray="4 3"/><text x="{x + 12:.1f}" y="{TOP + PANEL_HEIGHT - 6}" '
            f'transform="rotate(-90 {x + 12:.1f} {TOP + PANEL_HEIGHT - 6})" stroke="white" '
            f'stroke-width="3" paint-order="stroke" fill="#222">{escape(text)}</text>'
        )
    step = nice_step(seconds, 10)
    for tick in range(int(seconds / step) + 1):
        x = x_of(tick * step)
        parts.append(
            f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 5}" stroke="#444"/>'
            f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick * step:g}</text>'
        )
    parts.append(
        f'<text x="{WIDTH / 2}" y="{bottom + 38}" text-anchor="middle">seconds since the first '
        "quiet time began</text></svg>"
    )
    return "\n".join(parts) + "\n"


def _legend(names: Sequence[str]) -> list[str]:
    parts = []
    for number, name in enumerate(names):
        x, colour = LEFT + 160 * number, _COLOURS[number % len(_COLOURS)]
        parts.append(
            f'<line x1="{x}" y1="44" x2="{x + 24}" y2="44" stroke="{colour}" stroke-width="3"/>'
            f'<text x="{x + 30}" y="48">{escape(name)}</text>'
        )
    return parts


def _bands(bands: Sequence[Band], edges: Sequence[tuple[float, float]], bottom: float) -> list[str]:
    parts = []
    for number, (band, (left, right)) in enumerate(zip(bands, edges, strict=True)):
        fill = _SHADE if band.is_shaded else "white"
        line = 74 + 16 * (number % NAME_LINES)
        weight = ' font-weight="bold"' if band.is_shaded else ' fill="#555"'
        # The last names end where the picture ends.
        at = f'x="{left + 3:.1f}"'
        if left > WIDTH - RIGHT - NAME_WIDTH:
            at = f'x="{WIDTH - RIGHT}" text-anchor="end"'
        parts.append(
            f'<rect x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" height="{bottom - TOP}" '
            f'fill="{fill}"/>'
            f'<line x1="{left:.1f}" y1="{line - 10}" x2="{left:.1f}" y2="{TOP}" stroke="#bbb"/>'
            f'<text {at} y="{line}"{weight}>{escape(band.span.name)}, '
            f"{band.span.seconds:.1f} s</text>"
        )
    return parts


def _axis(axis: Axis, name: str, top: float) -> list[str]:
    middle = top + PANEL_HEIGHT / 2
    parts = [
        f'<text x="20" y="{middle}" text-anchor="middle" transform="rotate(-90 20 {middle})">'
        f"{name}</text>"
    ]
    for tick in axis.ticks:
        y = top + PANEL_HEIGHT * (1 - axis.share(tick))
        parts.append(
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    return parts


def _line(
    axis: Axis, top: float, at: Sequence[float], values: Sequence[float | None], colour: str
) -> list[str]:
    """A curve, with a gap where there is no value. A lone value is drawn as a dot."""
    pieces: list[list[str]] = [[]]
    for x, value in zip(at, values, strict=True):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append(f"{x:.1f},{top + PANEL_HEIGHT * (1 - axis.share(value)):.1f}")
    style = f'fill="none" stroke="{colour}" stroke-width="1.5" stroke-linecap="round"'
    return [
        f'<polyline points="{" ".join(piece if len(piece) > 1 else piece * 2)}" {style}/>'
        for piece in pieces
        if piece
    ]
