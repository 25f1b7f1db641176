"""The cluster as a picture: `quorumcache ring --svg FILE`. Pure: an overview in, SVG text out.

The ring is the circle of all keys, cut into its shards, clockwise from the top. Each node is a band
of it, and has a mark where it holds a replica of a shard. What a mark says is told by its colour
*and* by its lightness, so neither colour-blind people nor a black-and-white print lose anything.
With one band per node no node needs a colour of its own, and thirty are as clear as three.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

from quorumcache.ring import NodeInfo
from quorumcache.router.commands.progress import change_text, group_text
from quorumcache.router.overview import NodeStatus, Overview
from quorumcache.router.report import is_healthy, max_to_mean, state_text

MARGIN = 28
TITLE_HEIGHT = 62
HOLE = 108
"""Radius of the middle, which holds text."""
BAND_MIN, BAND_MAX = 13.0, 62.0
RADIUS_MIN = 300
"""Of the whole ring: three nodes have wide bands."""
GAP_MIN, GAP_MAX = 20.0, 56.0
"""Degrees left open at the top, for the names of the bands; longer names are cut."""
CHAR_WIDTH = 0.64
"""Of a letter, relative to the size of the font."""
LABEL_RING = 34
"""Around the ring: numbers of shards, and marks of shards in trouble."""
SEPARATED_MAX = 128
"""Up to so many shards each has an edge of its own; above, neighbours that are alike are one."""
PANEL_WIDTH = 470
ROW_MIN, ROW_MAX = 19.0, 26.0
BAR_WIDTH = 190
MOVES_MAX = 10
NAME_CHARS_MAX = 14

LEADER, REPLICA, ARRIVING, PLANNED, LEAVING, OFF = (
    "#0b4f8a",
    "#8fc1e3",
    "#e69f00",
    "#f9e2b0",
    "#c98bb1",
    "#bdbdbd",
)
TROUBLE, INK, FAINT, BAND, GOOD = "#b3261e", "#1c1c1c", "#5f6368", "#f3f4f5", "#1b6e3c"
LEGEND = (
    (LEADER, "leads the shard"),
    (REPLICA, "holds a replica"),
    (ARRIVING, "a replica is coming"),
    (PLANNED, "will come, waits"),
    (LEAVING, "will go"),
    (OFF, "on a node that is down"),
)


class _Ring(NamedTuple):
    """Where things are."""

    x: float
    y: float
    radius: float
    band: float
    shards: int
    gap: float

    @property
    def name_size(self) -> float:
        """Of the font of the bands' names."""
        return _name_size(self.band)

    def angle(self, shard: float) -> float:
        """Of the beginning of a shard, in degrees clockwise from the top."""
        return self.gap / 2 + (360 - self.gap) * shard / self.shards

    def point(self, degrees: float, radius: float) -> str:
        radians = math.radians(degrees - 90)
        return (
            f"{self.x + radius * math.cos(radians):.1f},{self.y + radius * math.sin(radians):.1f}"
        )

    def arc(self, start: float, end: float, outer: float, inner: float) -> str:
        """The path around an area between two shards (which may be parts) and two radii."""
        first, last = self.angle(start), self.angle(end)
        large = int(last - first > 180)
        return (
            f"M{self.point(first, outer)}A{outer:.1f},{outer:.1f} 0 {large} 1"
            f" {self.point(last, outer)}L{self.point(last, inner)}"
            f"A{inner:.1f},{inner:.1f} 0 {large} 0 {self.point(first, inner)}Z"
        )


def ring_svg(view: Overview) -> str:
    """The whole picture, as one SVG document."""
    nodes = sorted(view.nodes, key=lambda node: (node.info.zone, node.info.node_id))
    band = min(BAND_MAX, max(BAND_MIN, (RADIUS_MIN - HOLE) / len(nodes)))
    radius = HOLE + band * len(nodes)
    size = 2 * (radius + LABEL_RING)
    x, y = MARGIN + size / 2, TITLE_HEIGHT + size / 2
    ring = _Ring(x, y, radius, band, view.cluster_map.shard_count, _gap(nodes, band))
    left = MARGIN + size + 24
    panel, panel_height = _panel(view, nodes, left, TITLE_HEIGHT + 8)
    width = left + PANEL_WIDTH + MARGIN
    height = TITLE_HEIGHT + max(size, panel_height) + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
            f' viewBox="0 0 {width:.0f} {height:.0f}"'
            ' font-family="DejaVu Sans, Verdana, Arial, sans-serif" font-size="12">',
            f"<title>{escape(_heading(view))}</title>",
            f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
            *_title(view),
            *_bands(ring, nodes),
            *_marks(ring, view, nodes),
            *_numbers(ring, view),
            *_names(ring, nodes),
            *_middle(ring, view),
            *panel,
            "</svg>\n",
        ]
    )


def _name_size(band: float) -> float:
    return min(13.0, max(9.0, band * 0.75))


def _gap(nodes: Sequence[NodeStatus], band: float) -> float:
    """Degrees that the longest name needs in the innermost band, which has the least room."""
    chars = max(len(node.info.name) for node in nodes)
    half = (chars * CHAR_WIDTH * _name_size(band) + 12) / 2
    gap = 2 * math.degrees(math.asin(min(1.0, half / (HOLE + band / 2))))
    return min(GAP_MAX, max(GAP_MIN, gap))


def _heading(view: Overview) -> str:
    cluster_map = view.cluster_map
    zones = len({node.zone for node in cluster_map.nodes if node.zone})
    parts = [
        f"epoch {cluster_map.epoch}",
        _count(len(cluster_map.nodes), "node") + (f" in {_count(zones, 'zone')}" if zones else ""),
        _count(cluster_map.shard_count, "shard"),
        f"replication {cluster_map.replication}",
    ]
    return f"QuorumCache cluster {cluster_map.cluster_id[:12]}: {', '.join(parts)}"


def _title(view: Overview) -> list[str]:
    problems = []
    down = [node.info.name for node in view.nodes if not node.is_up]
    if down:
        problems.append(f"down: {_listed(down)}")
    unwell = [node.info.name for node in view.nodes if node.is_up and node.health.problems]
    if unwell:
        problems.append(f"with problems: {_listed(unwell)}")
    if view.leaderless:
        problems.append(f"{_count(len(view.leaderless), 'shard')} without leader")
    if view.degraded:
        problems.append(f"{_count(len(view.degraded), 'shard')} with a replica down")
    text = "; ".join(problems) or "all nodes are up, every shard has a leader and all its replicas"
    colour = GOOD if is_healthy(view) else TROUBLE
    return [
        _text(MARGIN, 30, _heading(view), size=16, weight="bold"),
        _text(MARGIN, 51, text, size=13, fill=colour),
    ]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return ", ".join(names[:6]) + more


def _bands(ring: _Ring, nodes: Sequence[NodeStatus]) -> Iterator[str]:
    """What the marks stand on. Zones have a line between them."""
    for place, node in enumerate(nodes):
        outer = ring.radius - place * ring.band
        inner = outer - ring.band + min(2.0, ring.band / 6)
        yield f'<path d="{ring.arc(0, ring.shards, outer, inner)}" fill="{BAND}"/>'
        if place and node.info.zone != nodes[place - 1].info.zone:
            start, end = ring.angle(0), ring.angle(ring.shards)
            yield (
                f'<path d="M{ring.point(start, outer + 1)}A{outer + 1:.1f},{outer + 1:.1f} 0 1 1'
                f' {ring.point(end, outer + 1)}" fill="none" stroke="{FAINT}"'
                ' stroke-width="1.2" stroke-dasharray="5 4"/>'
            )


def _marks(ring: _Ring, view: Overview, nodes: Sequence[NodeStatus]) -> Iterator[str]:
    """One mark per replica; many small ones that are alike and neighbours are drawn as one."""
    is_separated = ring.shards <= SEPARATED_MAX
    edge = ' stroke="#ffffff" stroke-width="0.8"' if is_separated else ""
    for place, node in enumerate(nodes):
        outer = ring.radius - place * ring.band
        inner = outer - ring.band + min(2.0, ring.band / 6)
        kinds = kinds_of(view, node)
        start = 0
        for shard in range(1, ring.shards + 1):
            if shard < ring.shards and kinds[shard] == kinds[start] and not is_separated:
                continue
            if kinds[start]:
                path = ring.arc(start, shard, outer, inner)
                tip = f"shard {start}" if shard == start + 1 else f"shards {start}-{shard - 1}"
                what = dict(LEGEND)[kinds[start]]
                yield (
                    f'<path d="{path}" fill="{kinds[start]}"{edge}>'
                    f"<title>{escape(f'{node.info.name}, {tip}: {what}')}</title></path>"
                )
            start = shard


def kinds_of(view: Overview, node: NodeStatus) -> list[str]:
    """By shard: the colour of a node's mark; "": it has none."""
    cluster_map, node_id = view.cluster_map, node.info.node_id
    kinds = []
    for shard in view.shards:
        move = cluster_map.move_of(shard.shard + 1) if cluster_map.moves else None
        holds = node_id in shard.replicas
        if shard.leader_id == node_id:
            kinds.append(LEADER)
        elif move is not None and node_id in move.added:
            kinds.append(ARRIVING if move.decided else PLANNED)
        elif move is not None and node_id in move.removed:
            kinds.append(LEAVING)
        else:
            kinds.append((REPLICA if node.is_up else OFF) if holds else "")
    return kinds


def _numbers(ring: _Ring, view: Overview) -> Iterator[str]:
    """Shard numbers around the ring, and red marks at shards that are in trouble."""
    step = max(1, ring.shards // 16)
    for shard in range(0, ring.shards, step):
        angle = ring.angle(shard + (0.5 if step == 1 else 0))
        x, y = ring.point(angle, ring.radius + 24).split(",")
        yield _text(float(x), float(y) + 4, str(shard), size=11, fill=FAINT, anchor="middle")
        if step > 1:
            ends = ring.point(angle, ring.radius + 3), ring.point(angle, ring.radius + 9)
            yield f'<path d="M{ends[0]}L{ends[1]}" stroke="{FAINT}" stroke-width="1"/>'
    for shards, fill in ((view.degraded, "none"), (view.leaderless, TROUBLE)):
        for start, end in _runs([shard.shard for shard in shards]):
            path = ring.arc(start, end, ring.radius + 9, ring.radius + 4)
            yield f'<path d="{path}" fill="{fill}" stroke="{TROUBLE}" stroke-width="1"/>'


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as ranges, their ends not included."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number:
            runs[-1] = (runs[-1][0], number + 1)
        else:
            runs.append((number, number + 1))
    return runs


def _names(ring: _Ring, nodes: Sequence[NodeStatus]) -> Iterator[str]:
    """At the top, where the ring is open."""
    size = ring.name_size
    for place, node in enumerate(nodes):
        middle = ring.radius - (place + 0.5) * ring.band
        # The inner bands have less room: a name that is too long is cut.
        room = 2 * middle * math.sin(math.radians(ring.gap / 2)) - 8
        name = _short(node.info.name, max(2, int(room / (size * CHAR_WIDTH))))
        fill = INK if node.is_up else TROUBLE
        yield _text(
            ring.x, ring.y - middle + size * 0.36, name, size=size, fill=fill, anchor="middle"
        )


def _middle(ring: _Ring, view: Overview) -> list[str]:
    cluster_map = view.cluster_map
    led = sum(bool(shard.leader_id) for shard in view.shards)
    away = sum(shard.leader_id not in (0, shard.replicas[0]) for shard in view.shards)
    lines = [f"{led} of {ring.shards}", "shards are led"]
    lines += (
        [f"{away} not by the", "preferred node"] if away else ["all by their", "preferred node"]
    )
    if cluster_map.moves:
        started = sum(move.decided > 0 for move in cluster_map.moves)
        lines += [_count(len(cluster_map.moves), "move") + ",", f"{started} under way"]
    top = ring.y - 8.5 * (len(lines) - 1) + 4
    return [
        _text(
            *(ring.x, top + 17 * place, line),
            size=13,
            fill=INK if place < 2 else FAINT,
            weight="bold" if place < 2 else "normal",
            anchor="middle",
        )
        for place, line in enumerate(lines)
    ]


def _panel(
    view: Overview, nodes: Sequence[NodeStatus], left: float, top: float
) -> tuple[list[str], float]:
    """The table of nodes, the balance, the legend and the moves; and how high all that is."""
    row = min(ROW_MAX, max(ROW_MIN, 560 / len(nodes)))
    most = max(1.0, *(float(max(n.replica_count, _fair(view, n.info))) for n in nodes))
    columns = (left, left + 108, left + 190, left + 190 + BAR_WIDTH + 12)
    out = [
        _text(columns[0], top + 12, "node", size=11, fill=FAINT),
        _text(columns[1], top + 12, "state", size=11, fill=FAINT),
        _text(columns[2], top + 12, "leaders + replicas  (| fair share)", size=11, fill=FAINT),
        _text(columns[3], top + 12, "led / held", size=11, fill=FAINT),
    ]
    at = top + 20
    zone = None
    for node in nodes:
        if node.info.zone != zone:
            zone = node.info.zone
            if zone:
                at += 15
                out.append(_text(columns[0], at, f"zone {_short(zone, 40)}", size=11, fill=FAINT))
                at += 4
        out += _row(view, node, columns, at, row, BAR_WIDTH / most)
        at += row
    out.append(_text(left, at + 18, _balance(view), size=12, fill=INK))
    at += 34
    for place, (colour, meaning) in enumerate(LEGEND):
        x, y = left + (place % 2) * 200, at + (place // 2) * 20
        out.append(f'<rect x="{x:.0f}" y="{y:.0f}" width="14" height="12" fill="{colour}"/>')
        out.append(_text(x + 21, y + 11, meaning, size=12))
    at += 20 * ((len(LEGEND) + 1) // 2) + 6
    if view.leaderless or view.degraded:
        out.append(
            f'<rect x="{left:.0f}" y="{at + 3:.0f}" width="14" height="6" fill="{TROUBLE}"/>'
            f'<rect x="{left + 200.5:.1f}" y="{at + 3.5:.1f}" width="13" height="5" fill="none"'
            f' stroke="{TROUBLE}"/>'
        )
        out.append(_text(left + 21, at + 11, "shard without leader", size=12))
        out.append(_text(left + 221, at + 11, "shard with a replica down", size=12))
        at += 24
    lines = move_texts(view)
    for place, line in enumerate(lines):
        weight = "bold" if place == 0 else "normal"
        out.append(_text(left, at + 16 + 18 * place, line, size=12, weight=weight))
    return out, at + 18 * len(lines) + 16 - TITLE_HEIGHT


def _row(
    view: Overview,
    node: NodeStatus,
    columns: Sequence[float],
    at: float,
    row: float,
    scale: float,
) -> Iterator[str]:
    base, bar = at + row / 2 + 4, min(14.0, row - 6)
    y = at + (row - bar) / 2
    yield _text(columns[0], base, _short(node.info.name, NAME_CHARS_MAX), size=12, weight="bold")
    state = state_text(node)
    yield _text(columns[1], base, state, size=11, fill=FAINT if state == "up" else TROUBLE)
    held, led = node.replica_count * scale, min(node.leader_count, node.replica_count) * scale
    fill = REPLICA if node.is_up else OFF
    yield (
        f'<rect x="{columns[2]:.0f}" y="{y:.1f}" width="{BAR_WIDTH}" height="{bar:.1f}"'
        f' fill="{BAND}"/>'
        f'<rect x="{columns[2]:.0f}" y="{y:.1f}" width="{held:.1f}" height="{bar:.1f}"'
        f' fill="{fill}"/>'
        f'<rect x="{columns[2]:.0f}" y="{y:.1f}" width="{led:.1f}" height="{bar:.1f}"'
        f' fill="{LEADER}"/>'
    )
    x = columns[2] + _fair(view, node.info) * scale
    if node.info.is_placeable:
        yield (
            f'<path d="M{x:.1f},{y - 2:.1f}V{y + bar + 2:.1f}" stroke="{INK}" stroke-width="1.5"/>'
        )
    yield _text(columns[3], base, f"{node.leader_count} / {node.replica_count}", size=12)


def _fair(view: Overview, node: NodeInfo) -> float:
    """Replicas that a node would hold if each held as much as its weight says."""
    if not node.is_placeable:
        return 0.0
    total = sum(other.replica_count for other in view.nodes)
    weights = sum(other.info.weight for other in view.nodes if other.info.is_placeable)
    return total * node.weight / weights


def _balance(view: Overview) -> str:
    weights = [node.info.weight if node.info.is_placeable else 0.0 for node in view.nodes]
    replicas = max_to_mean([node.replica_count for node in view.nodes], weights)
    leaders = max_to_mean([node.leader_count for node in view.nodes], weights)
    return f"fullest node / mean: {replicas:.2f} in replicas, {leaders:.2f} in leaders"


def move_texts(view: Overview) -> list[str]:
    """The moves: what the nodes tell of those that have begun, and how many wait."""
    told = view.moves["moves"] if view.moves is not None else []
    if not told:
        return []
    begun = [move for move in told if move["state"] != "waiting"]
    change = view.cluster_map.change
    paused = ", paused" if view.cluster_map.is_paused else ""
    waiting = len(told) - len(begun)
    title = f"{change}: " if change else ""
    lines = [f"{title}{_count(len(begun), 'move')} under way, {waiting} waiting{paused}"]
    for move in begun[:MOVES_MAX]:
        part = f", {min(1.0, move['bytes_done'] / move['bytes']):.0%}" if move["bytes"] else ""
        lines.append(f"{group_text(move)}: {change_text(move)}, {move['state']}{part}")
    if len(begun) > MOVES_MAX:
        lines.append(f"and {len(begun) - MOVES_MAX} more under way")
    return [_short(line, 64) for line in lines]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _short(text: str, chars: int) -> str:
    return text if len(text) <= chars else f"{text[: chars - 1]}…"


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: float = 12,
    fill: str = INK,
    weight: str = "normal",
    anchor: str = "start",
) -> str:
    bold = f' font-weight="{weight}"' if weight != "normal" else ""
    place = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill={quoteattr(fill)}{bold}{place}>'
        f"{escape(text)}</text>"
    )
