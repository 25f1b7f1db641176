"""An overview of the cluster as text and as JSON. Pure: values in, lines out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import NamedTuple

from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.ring.node_info import ACTIVE, DOWN, LOST
from quorumcache.router.overview import NodeStatus, Overview, ShardStatus

BAR_WIDTH = 10
STRIP_WIDTH = 64
SYMBOLS = "123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Look(NamedTuple):
    """How to draw. `has_colour`: ANSI colours; `block`: the character bars are made of."""

    has_colour: bool
    block: str

    def paint(self, colour: str, text: str) -> str:
        code = {"green": "32", "yellow": "33", "red": "31", "bold": "1", "dim": "2"}[colour]
        return f"\x1b[{code}m{text}\x1b[0m" if self.has_colour else text


def status_lines(view: Overview, look: Look) -> list[str]:
    """Is it well? Which nodes, who leads how much, what is wrong."""
    lines = [_title(view.cluster_map, look), _health(view, look), ""]
    leaders = [node.leader_count for node in view.nodes]
    replicas = [node.replica_count for node in view.nodes]
    has_lag = any(node.lag_ms is not None for node in view.nodes)
    lag_column = ("LAG",) if has_lag else ()
    rows: list[tuple[str, ...]] = [
        (
            *("NODE", "STATE", "ZONE", "WEIGHT", "CLIENT", "PEER", "HTTP", "LEADERS", "REPLICAS"),
            *lag_column,
        )
    ]
    for node in view.nodes:
        info = node.info
        lag = "-" if node.lag_ms is None else f"{node.lag_ms} ms"
        rows.append(
            (
                *(info.name, state_text(node), info.zone or "-", f"{info.weight:g}"),
                *(info.client_address, info.peer_address, info.http_address or "-"),
                _gauge(node.leader_count, max(leaders), look),
                _gauge(node.replica_count, max(replicas), look),
                *((lag,) if has_lag else ()),
            )
        )
    weights = _weights(view)
    ratios = (_leader_balance(view), max_to_mean(replicas, weights))
    shown = [f"{ratio:.2f}" for ratio in ratios]
    rows.append(("max/mean", "", "", "", "", "", "", *shown, *("" for _ in lag_column)))
    lines += _table(rows, lambda row, line: _paint_state(rows[row][1], line, look))
    for node in view.nodes:
        if not node.answers:
            note = "up for the others, but not reachable from here" if node.is_up else "down"
            lines.append(f"{node.info.name}: {note} ({node.error or 'no answer'})")
    lines += _complaints(view, look)
    lines += _zone_lines(view)
    lines += _trouble(view, look)
    return lines


def state_text(node: NodeStatus) -> str:
    """`up`, `up*` (for the others only), `DOWN`, and what else the map says of it."""
    text = "up" if node.answers else "up*" if node.is_up else "DOWN"
    if node.info.state == ACTIVE or (node.info.state == DOWN and not node.is_up):
        return text
    return f"{text}, {'returning' if node.info.state == DOWN else node.info.state}"


def ring_lines(view: Overview, look: Look) -> list[str]:
    """How shards and leaders are spread over nodes and zones."""
    cluster_map = view.cluster_map
    total_weight = sum(node.weight for node in cluster_map.nodes if node.is_placeable)
    total = sum(len(replicas) for replicas in cluster_map.replica_sets)
    preferred = [cluster_map.preferred_leader(s) for s in range(cluster_map.shard_count)]
    rows: list[tuple[str, ...]] = [
        ("", "NODE", "ZONE", "WEIGHT", "REPLICAS", "FAIR", "PREFERRED", "LEADERS NOW")
    ]
    symbols = _symbols(cluster_map.nodes)
    most = max(node.replica_count for node in view.nodes)
    most_leaders = max(
        max(node.leader_count, preferred.count(node.info.node_id)) for node in view.nodes
    )
    for node in view.nodes:
        info = node.info
        wanted = preferred.count(info.node_id)
        rows.append(
            (
                *(symbols[info.node_id], info.name, info.zone or "-", f"{info.weight:g}"),
                _gauge(node.replica_count, most, look),
                f"{total * info.weight / total_weight if info.is_placeable else 0:.1f}",
                _gauge(wanted, most_leaders, look),
                _gauge(node.leader_count, most_leaders, look),
            )
        )
    weights = _weights(view)
    ratios = (
        max_to_mean([node.replica_count for node in view.nodes], weights),
        max_to_mean([preferred.count(node.info.node_id) for node in view.nodes], weights),
        _leader_balance(view),
    )
    shown = [f"{ratio:.2f}" for ratio in ratios]
    rows.append(("", "max/mean", "", "", shown[0], "", shown[1], shown[2]))
    lines = [_title(cluster_map, look), "", *_table(rows, lambda _, line: line)]
    lines += _zone_lines(view)
    away = sum(shard.leader_id not in (0, shard.replicas[0]) for shard in view.shards)
    lines.append(
        f"Leaders  {away} of {len(view.shards)} shards are not led by their preferred leader"
    )
    lines += ["", "Leader of each shard (. = none):"]
    strip = "".join(symbols.get(shard.leader_id, ".") for shard in view.shards)
    for start in range(0, len(strip), STRIP_WIDTH):
        part = strip[start : start + STRIP_WIDTH]
        spaced = " ".join(part[at : at + 8] for at in range(0, len(part), 8))
        lines.append(f"{start:>5}  {spaced}")
    return lines + _trouble(view, look)


def map_lines(cluster_map: ClusterMap, look: Look) -> list[str]:
    """The map itself: nodes, and the replicas of each shard, preferred leader first."""
    rows: list[tuple[str, ...]] = [
        ("ID", "NODE", "STATE", "ZONE", "WEIGHT", "CLIENT", "PEER", "HTTP")
    ]
    for node in cluster_map.nodes:
        rows.append(
            (
                *(str(node.node_id), node.name, node.state, node.zone or "-"),
                f"{node.weight:g}",
                *(node.client_address, node.peer_address, node.http_address or "-"),
            )
        )
    names = {node.node_id: node.name for node in cluster_map.nodes}
    shards: list[tuple[str, ...]] = [("SHARD", "REPLICAS (preferred leader first)")]
    for shard, replicas in enumerate(cluster_map.replica_sets):
        shards.append((str(shard), " ".join(names[node_id] for node_id in replicas)))
    plain: Callable[[int, str], str] = lambda _, line: line  # noqa: E731
    return [_title(cluster_map, look), "", *_table(rows, plain), "", *_table(shards, plain)]


def map_json(cluster_map: ClusterMap) -> dict[str, object]:
    """The map as JSON values."""
    return {
        "epoch": cluster_map.epoch,
        "cluster_id": cluster_map.cluster_id,
        "shard_count": cluster_map.shard_count,
        "replication": cluster_map.replication,
        "nodes": [asdict(node) for node in cluster_map.nodes],
        "replica_sets": [list(replicas) for replicas in cluster_map.replica_sets],
        "form": cluster_map.form,
        "directory": list(cluster_map.directory),
        "moves": [move._asdict() for move in cluster_map.moves],
        "change": cluster_map.change,
        "is_paused": cluster_map.is_paused,
        "settings": dict(cluster_map.settings),
    }


def overview_json(view: Overview) -> dict[str, object]:
    """The overview as JSON values; node ids as in the map, leader 0 for none."""
    return {
        "epoch": view.cluster_map.epoch,
        "cluster_id": view.cluster_map.cluster_id,
        "shard_count": view.cluster_map.shard_count,
        "replication": view.cluster_map.replication,
        "healthy": is_healthy(view),
        "nodes": [
            {
                **asdict(node.info),
                "is_up": node.is_up,
                "answers": node.answers,
                "error": node.error,
                "problems": list(node.health.problems),
                "warnings": list(node.health.warnings),
                "replicas": node.replica_count,
                "leaders": node.leader_count,
                "lag_ms": node.lag_ms,
            }
            for node in view.nodes
        ],
        "shards": [
            {
                "shard": shard.shard,
                "leader": shard.leader_id,
                "replicas": list(shard.replicas),
                "up": shard.up_count,
            }
            for shard in view.shards
        ],
        "leaderless_shards": [shard.shard for shard in view.leaderless],
        "degraded_shards": [shard.shard for shard in view.degraded],
        "change": view.cluster_map.change,
        "is_paused": view.cluster_map.is_paused,
        "moves": view.moves["moves"] if view.moves is not None else [],
    }


def is_healthy(view: Overview) -> bool:
    """Every node up and well, every shard led and with all its replicas."""
    return (
        not view.leaderless
        and not view.degraded
        and all(node.is_up and not node.health.problems for node in view.nodes)
    )


def max_to_mean(counts: Sequence[int], weights: Sequence[float]) -> float:
    """Largest load per weight over the mean load per weight; 1 is a perfect balance. What a node
    without weight still holds does not count: it is on its way elsewhere."""
    pairs = [(count, weight) for count, weight in zip(counts, weights, strict=True) if weight > 0]
    total = sum(count for count, _ in pairs)
    if not total:
        return 0.0
    mean = total / sum(weight for _, weight in pairs)
    return max(count / weight for count, weight in pairs) / mean


def _weights(view: Overview) -> list[float]:
    """By node; 0 for one that is to hold nothing."""
    return [node.info.weight if node.info.is_placeable else 0.0 for node in view.nodes]


def _leader_balance(view: Overview) -> float:
    """Over the nodes that are up: the others can not lead."""
    up = [node for node in view.nodes if node.is_up and node.info.is_placeable]
    return max_to_mean([node.leader_count for node in up], [node.info.weight for node in up])


def ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers in short: `0-3 7 9-10`."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return " ".join(f"{low}-{high}" if high > low else str(low) for low, high in parts)


def _title(cluster_map: ClusterMap, look: Look) -> str:
    zones = len({node.zone for node in cluster_map.nodes if node.zone})
    holders = sum(node.is_placeable for node in cluster_map.nodes)
    replication = min(cluster_map.replication, max(1, holders))
    text = (
        f"Cluster  {cluster_map.cluster_id}  epoch {cluster_map.epoch}, "
        f"{_count(len(cluster_map.nodes), 'node')}"
        + (f" in {_count(zones, 'zone')}" if zones else "")
        + f", {_count(cluster_map.shard_count, 'shard')} x {_count(replication, 'replica')}"
    )
    return look.paint("bold", text)


def _health(view: Overview, look: Look) -> str:
    if is_healthy(view):
        good = "good: all nodes up, every shard has a leader and all its replicas"
        return "Health   " + look.paint("green", good)
    parts = []
    down = sum(not node.is_up for node in view.nodes)
    if down:
        parts.append(f"{_count(down, 'node')} down")
    unwell = sum(bool(node.health.problems) for node in view.nodes)
    if unwell:
        parts.append(f"{_count(unwell, 'node')} with problems")
    if view.leaderless:
        parts.append(f"{_count(len(view.leaderless), 'shard')} without leader")
    if view.degraded:
        parts.append(f"{_count(len(view.degraded), 'shard')} degraded")
    colour = "red" if view.leaderless else "yellow"
    return "Health   " + look.paint(colour, ", ".join(parts))


def _complaints(view: Overview, look: Look) -> list[str]:
    """What the nodes say of themselves: problems first."""
    lines = []
    for title, colour in (("problem", "red"), ("warning", "yellow")):
        for node in view.nodes:
            sentences = getattr(node.health, f"{title}s")
            lines += [
                f"{node.info.name}: {look.paint(colour, title)}: {sentence}"
                for sentence in sentences
            ]
    return lines


def _zone_lines(view: Overview) -> list[str]:
    nodes = {node.info.node_id: node for node in view.nodes}
    zones: dict[str, list[int]] = {}
    for node in view.nodes:
        zones.setdefault(node.info.zone, []).append(node.info.node_id)
    if list(zones) == [""]:
        return ["", "Zones    none: give nodes a zone to keep replicas apart"]
    parts = []
    for zone in sorted(zones):
        up = sum(nodes[node_id].is_up for node_id in zones[zone])
        replicas = sum(nodes[node_id].replica_count for node_id in zones[zone])
        parts.append(f"{zone or '(no zone)'}: {up}/{len(zones[zone])} up, {replicas} replicas")
    wanted = min(view.cluster_map.replication, len(zones))
    spread = sum(
        len({nodes[node_id].info.zone for node_id in shard.replicas}) >= wanted
        for shard in view.shards
    )
    return [
        "",
        "Zones    " + "; ".join(parts),
        f"Spread   {spread} of {len(view.shards)} shards have replicas in {wanted} zones",
    ]


def _trouble(view: Overview, look: Look) -> list[str]:
    lines = []
    if view.leaderless:
        lines.append("")
        text = f"Shards without leader ({len(view.leaderless)}), not served now: "
        lines.append(look.paint("red", text) + ranges(s.shard for s in view.leaderless))
        lost = [shard for shard in view.leaderless if not shard.has_quorum]
        if lost:
            why = f"  {len(lost)} of them have no majority of replicas up"
            missing = _missing(view, lost)
            lines.append(f"{why}: {missing}" if missing else why)
    if view.degraded:
        lines.append("")
        text = f"Degraded shards ({len(view.degraded)}), served with fewer replicas: "
        lines.append(look.paint("yellow", text) + ranges(s.shard for s in view.degraded))
        missing = _missing(view, view.degraded)
        if missing:
            lines.append(f"  {missing}")
    return lines


def _missing(view: Overview, shards: Sequence[ShardStatus]) -> str:
    """Which nodes that are down, and may come back, hold replicas of these shards."""
    held = {node_id for shard in shards for node_id in shard.replicas}
    away = [node for node in view.nodes if not node.is_up and node.info.state != LOST]
    down = [node.info.name for node in away if node.info.node_id in held]
    return f"start {', '.join(down)} again" if down else ""


def _symbols(nodes: Sequence[NodeInfo]) -> dict[int, str]:
    """One character per node; beyond 61 nodes they repeat as `?`."""
    return {
        node.node_id: SYMBOLS[at] if at < len(SYMBOLS) else "?" for at, node in enumerate(nodes)
    }


def _gauge(count: int, full: int, look: Look) -> str:
    filled = round(BAR_WIDTH * count / full) if full else 0
    if count and not filled:
        filled = 1
    return f"{count:>4} {look.block * filled:<{BAR_WIDTH}}"


def _table(rows: Sequence[tuple[str, ...]], paint: Callable[[int, str], str]) -> list[str]:
    """Aligned columns; numbers to the right, text to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    is_number = [
        all(row[column].replace(".", "", 1).isdigit() or not row[column] for row in rows[1:])
        for column in range(len(rows[0]))
    ]
    lines = []
    for number, row in enumerate(rows):
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_number, strict=True)
        ]
        lines.append(paint(number, "  ".join(cells).rstrip()))
    return lines


def table_lines(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of words as aligned columns; the first one has the names of the columns."""
    return _table(rows, lambda _, line: line)


def _paint_state(state: str, line: str, look: Look) -> str:
    colours = {"up": "green", "up*": "yellow", "DOWN": "red", "STATE": "dim"}
    colour = colours.get(state) or ("yellow" if state.startswith("up") else None)
    colour = colour or ("red" if state.startswith("DOWN, ") else None)
    if colour is None:
        return line
    if state == "STATE":
        return look.paint(colour, line)
    before, found, after = line.partition(f" {state} ")
    return f"{before} {look.paint(colour, state)} {after}" if found else line


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
