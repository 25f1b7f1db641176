"""Where the memory of an item is, as a table: a row for each part, a column for each process."""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass
from typing import Any, Final

from quorumcache.bench.cluster import MEMCACHED, LocalCluster
from quorumcache.bench.goals import Goal, goal_notes
from quorumcache.bench.memory import Look, MemoryUse
from quorumcache.bench.report import Table

KEY_BYTES: Final = 14
GOAL_VALUE_BYTES: Final = 100
"""The size of values for which there is a goal."""
PER_ITEM_MOST: Final = 180.0
"""Bytes of a node of ours at rest for one item, without the log, whose budget is a setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Bytes per item. None: the server does not tell."""

    payload: float | None = None
    head: float | None = None
    index: float | None = None
    sessions: float | None = None
    tables: float | None = None
    free: float | None = None
    rest: float | None = None
    without_log: float
    log: float = 0.0
    together: float


_ROWS: Final = (
    ("payload", "key and value"),
    ("head", "head of the item"),
    ("index", "index"),
    ("sessions", "sessions"),
    ("tables", "other tables"),
    ("free", "kept free"),
    ("rest", "rest"),
    ("without_log", "together"),
    ("log", "log in memory"),
    ("together", "with the log"),
)


def split(use: MemoryUse, look: Look, value_bytes: int) -> Split:
    """What has grown from the empty process up to a look, by parts. `rest` is what nobody counts:
    what allocators keep, buffers, objects of the interpreter."""
    resident = (look.rss - use.empty.rss) / use.items
    if look.parts is None or use.empty.parts is None:
        return Split(without_log=resident, together=resident)
    grown = [part / use.items for part in astuple(look.parts.since(use.empty.parts))]
    items, index, sessions, tables, free, log = grown
    payload = float(KEY_BYTES + value_bytes)
    return Split(
        payload=payload,
        head=items - payload,
        index=index,
        sessions=sessions,
        tables=tables,
        free=free,
        rest=resident - sum(grown),
        without_log=resident - log,
        log=log,
        together=resident,
    )


def memory_tables(uses: list[MemoryUse], value_bytes: int) -> list[Table]:
    """One of each look: when the last item was stored, and at rest, which has the goal."""
    of = f"14-byte keys, {value_bytes}-byte values, bytes per item"
    stored = _table(f"Memory when the last item is stored, {of}", uses, "stored", value_bytes)
    settled = _table(f"Memory at rest, {of}", uses, "settled", value_bytes)
    return [stored, settled]


def _table(title: str, uses: list[MemoryUse], moment: str, value_bytes: int) -> Table:
    looks: list[Look] = [getattr(use, moment) for use in uses]
    splits = [split(use, look, value_bytes) for use, look in zip(uses, looks, strict=True)]
    baseline = next(
        (s.without_log for use, s in zip(uses, splits, strict=True) if use.process == MEMCACHED),
        0.0,
    )
    rows = [(text, *(_number(getattr(s, name)) for s in splits)) for name, text in _ROWS]
    if baseline > 0:
        ratios = (f"{s.without_log / baseline:.2f}" for s in splits)
        rows.append(("together, x memcached", *ratios))
    rows.append(("items", *(f"{use.items:,}" for use in uses)))
    rows.append(("resident before, MiB", *(f"{use.empty.rss / 2**20:.1f}" for use in uses)))
    rows.append(("resident, MiB", *(f"{look.rss / 2**20:.1f}" for look in looks)))
    goals = _goals(uses, splits) if moment == "settled" and value_bytes == GOAL_VALUE_BYTES else []
    return Table(
        title=title,
        columns=("", *(use.process for use in uses)),
        rows=tuple(rows),
        notes=(
            "What a process has more than before the items. The rest is what it does not count:"
            " what its allocators keep, buffers, objects of the interpreter.",
            "A node counts an item of up to 2 KB as 8 bytes more than it takes, as malloc would"
            " have it, so its rest may be below zero.",
            *(goal_notes(goals) if goals else ()),
        ),
        data=_data(uses, looks, splits, goals),
    )


def _goals(uses: list[MemoryUse], splits: list[Split]) -> list[Goal]:
    return [
        Goal(f"{use.process}: an item takes", one.without_log, PER_ITEM_MOST, "bytes")
        for use, one in zip(uses, splits, strict=True)
        if use.process.startswith(LocalCluster.name)
    ]


def _data(
    uses: list[MemoryUse], looks: list[Look], splits: list[Split], goals: list[Goal]
) -> dict[str, Any]:
    return {
        "processes": [
            {
                "process": use.process,
                "items": use.items,
                "rss_before_bytes": use.empty.rss,
                "rss_bytes": look.rss,
                "bytes_per_item": asdict(one),
            }
            for use, look, one in zip(uses, looks, splits, strict=True)
        ],
        "goals": [goal._asdict() for goal in goals],
    }


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    text = f"{value:.1f}"
    return "0.0" if text == "-0.0" else text
