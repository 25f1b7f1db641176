"""The table of an item's memory: its parts, what nobody counts, and who is compared with whom."""

from __future__ import annotations

from dataclasses import astuple

from quorumcache.bench.memory import Look, MemoryUse
from quorumcache.bench.memory_parts import Parts
from quorumcache.bench.memory_report import PER_ITEM_MOST, memory_tables, split
from quorumcache.bench.report import Table

ITEMS = 1000
EMPTY = Look(1 << 20, Parts(items=152, index=4096, sessions=400, tables=100, free=0, log=300))


def grown(rss: int, *parts: int) -> Look:
    """A look when each has grown by so many bytes an item."""
    assert EMPTY.parts is not None
    now = Parts(*(was + ITEMS * by for was, by in zip(astuple(EMPTY.parts), parts, strict=True)))
    return Look(EMPTY.rss + ITEMS * rss, now)


def use(process: str, settled: Look, stored: Look = EMPTY, empty: Look = EMPTY) -> MemoryUse:
    return MemoryUse(process=process, items=ITEMS, empty=empty, stored=stored, settled=settled)


OURS = use(
    "quorumcache a",
    settled=grown(175, 152, 10, 1, 2, 3, 4),
    stored=grown(340, 152, 10, 1, 2, 5, 160),
)
MEMCACHED = use("memcached", settled=grown(200, 173, 8, 0, 0, 0, 0))
REDIS = use("redis", settled=Look((1 << 20) + ITEMS * 190), empty=Look(1 << 20))


def cells(table: Table) -> dict[str, tuple[str, ...]]:
    return {row[0]: row[1:] for row in table.rows}


def test_the_rest_is_what_nobody_counts() -> None:
    found = split(OURS, OURS.settled, 100)
    assert (found.payload, found.head, found.index, found.sessions) == (114, 38, 10, 1)
    assert (found.tables, found.free, found.rest) == (2, 3, 175 - 152 - 10 - 1 - 2 - 3 - 4)
    assert (found.without_log, found.log, found.together) == (171, 4, 175)


def test_all_parts_come_to_what_is_resident() -> None:
    for one in (OURS, MEMCACHED):
        found = split(one, one.settled, 100)
        *parts, without, log, together = astuple(found)
        assert len(parts) == 7
        assert sum(parts) == without
        assert without + log == together


def test_each_process_has_a_column_and_each_part_a_row() -> None:
    stored, settled = memory_tables([OURS, MEMCACHED, REDIS], 100)
    assert settled.columns == ("", "quorumcache a", "memcached", "redis")
    found = cells(settled)
    assert found["key and value"] == ("114.0", "114.0", "-")
    assert found["head of the item"] == ("38.0", "59.0", "-")
    assert found["together"] == ("171.0", "200.0", "190.0")
    assert found["log in memory"] == ("4.0", "0.0", "0.0")
    assert found["with the log"] == ("175.0", "200.0", "190.0")
    assert found["items"] == ("1,000",) * 3
    assert found["resident before, MiB"] == ("1.0",) * 3
    assert found["resident, MiB"][0] == "1.2"
    assert cells(stored)["log in memory"][0] == "160.0"
    assert all(len(row) == len(settled.columns) for row in settled.rows)


def test_what_is_hardly_less_than_nothing_is_nothing() -> None:
    shrunk = Look(EMPTY.rss + ITEMS * 160, Parts(152_152, 4096, 399, 100, 0, 300))
    _, settled = memory_tables([use("quorumcache", settled=shrunk)], 100)
    assert cells(settled)["sessions"] == ("0.0",)


def test_without_the_log_it_is_compared_with_memcached() -> None:
    _, settled = memory_tables([OURS, MEMCACHED, REDIS], 100)
    assert cells(settled)["together, x memcached"] == ("0.85", "1.00", "0.95")
    _, alone = memory_tables([OURS], 100)
    assert "together, x memcached" not in cells(alone)


def test_the_goal_is_of_our_nodes_at_rest_and_counts_no_log() -> None:
    heavy = use("quorumcache b", settled=grown(190, 152, 10, 1, 2, 3, 4), stored=OURS.stored)
    stored, settled = memory_tables([OURS, heavy, MEMCACHED], 100)
    assert [note for note in settled.notes if "GOAL" in note] == [
        "GOAL MISSED: quorumcache b: an item takes 186 bytes, goal: at most 180 bytes"
    ]
    assert not any("GOAL" in note for note in stored.notes)
    assert [goal["measured"] for goal in settled.data["goals"]] == [171, 186]
    _, met = memory_tables([OURS, MEMCACHED], 100)
    assert met.notes[-1] == "all 1 goals met"
    assert PER_ITEM_MOST == 180


def test_other_sizes_of_values_have_no_goal() -> None:
    _, settled = memory_tables([OURS], 50)
    assert settled.data["goals"] == []
    assert not any("goal" in note for note in settled.notes)
    assert cells(settled)["key and value"] == ("64.0",)


def test_programs_get_the_same_numbers() -> None:
    _, settled = memory_tables([OURS, REDIS], 100)
    ours, redis = settled.data["processes"]
    assert (ours["process"], ours["items"], ours["rss_bytes"]) == (
        "quorumcache a",
        ITEMS,
        OURS.settled.rss,
    )
    assert ours["rss_before_bytes"] == EMPTY.rss
    assert ours["bytes_per_item"]["index"] == 10
    assert redis["bytes_per_item"]["index"] is None
    assert redis["bytes_per_item"]["together"] == 190
