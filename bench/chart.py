"""A picture of throughput and p99 over time, with what happened meanwhile, as SVG. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10

from quorumcache.bench.timeline import Bin, Span

WIDTH = 1100
PANEL_HEIGHT = 220
LEFT, RIGHT, TOP, GAP, BOTTOM = 70, 20, 90, 60, 50
_BLUE, _ORANGE, _BANDS = "#0072b2", "#d55e00", ("#eef3f8", "#e3ebd9")
TICKS_MAX = 6


def nice_step(largest: float, ticks: int = TICKS_MAX) -> float:
    """The distance of an axis' ticks: 1, 2 or 5 times a power of ten, for at most `ticks`."""
    if largest <= 0:
        return 1.0
    power: float = 10.0 ** floor(log10(largest / ticks))
    return next(power * m for m in (1, 2, 5, 10) if power * m * ticks >= largest)


def chart(
    title: str,
    bins: Sequence[Bin],
    spans: Sequence[Span],
    marks: Sequence[tuple[str, int]],
    began_ns: int,
) -> str:
    """The SVG document. `spans` are shown as bands, `marks` (text, moment) as lines."""
    seconds = max((b.at_seconds for b in bins), default=1.0) * 1.01
    height = TOP + 2 * PANEL_HEIGHT + GAP + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="24" font-size="16">{escape(title)}</text>',
    ]

    def x_of(at_seconds: float) -> float:
        return LEFT + at_seconds / seconds * (WIDTH - LEFT - RIGHT)

    bottom = TOP + 2 * PANEL_HEIGHT + GAP
    for number, span in enumerate(spans):
        left = x_of((span.began_ns - began_ns) / 1e9)
        right = x_of((span.ended_ns - began_ns) / 1e9)
        parts.append(
            f'<rect x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" height="{bottom - TOP}" '
            f'fill="{_BANDS[number % 2]}"/>'
        )
        line = 44 + 14 * (number % 3)  # Names of short spans would cover each other on one line.
        parts.append(f'<text x="{left:.1f}" y="{line}" fill="#555">{escape(span.name)}</text>')
        parts.append(
            f'<line x1="{left:.1f}" y1="{line + 2}" x2="{left:.1f}" y2="{TOP}" stroke="#bbb"/>'
        )
    for panel, (name, colour, values) in enumerate(
        (
            ("requests per second", _BLUE, [b.ops_per_second for b in bins]),
            ("p99, ms", _ORANGE, [b.p99_ms for b in bins]),
        )
    ):
        top = TOP + panel * (PANEL_HEIGHT + GAP)
        step = nice_step(max(values, default=0.0))
        ticks = max(1, ceil(max(values, default=0.0) / step))
        largest = step * ticks
        for tick in range(ticks + 1):
            y = top + PANEL_HEIGHT * (1 - tick / ticks)
            parts.append(
                f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>'
                f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick * step:g}</text>'
            )
        parts.append(f'<text x="{LEFT}" y="{top - 6}" fill="{colour}">{name}</text>')
        points = " ".join(
            f"{x_of(b.at_seconds):.1f},{top + PANEL_HEIGHT * (1 - value / largest):.1f}"
            for b, value in zip(bins, values, strict=True)
        )
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
    for text, at_ns in marks:
        x = x_of((at_ns - began_ns) / 1e9)
        parts.append(
            f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" stroke="black" '
            f'stroke-dasharray="4 3"/><text x="{x + 4:.1f}" y="{bottom - 6}">{escape(text)}</text>'
        )
    step = nice_step(seconds, 10)
    tick = 0
    while tick * step <= seconds:
        parts.append(
            f'<text x="{x_of(tick * step):.1f}" y="{bottom + 18}" text-anchor="middle">'
            f"{tick * step:g}</text>"
        )
        tick += 1
    parts.append(f'<text x="{WIDTH / 2}" y="{bottom + 38}" text-anchor="middle">seconds</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"
