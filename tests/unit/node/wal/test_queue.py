"""What waits for the disk, and what one frame takes of it."""

from __future__ import annotations

import pytest

from quorumcache.node.consensus.values import Entry
from quorumcache.node.wal.format import Mark, MarkKind, WalRecord
from quorumcache.node.wal.queue import (
    FRAME_ENTRIES_MAX,
    FRAME_PAYLOAD_BYTES,
    FRAME_RECORDS_UNCOUNTED,
    AppendQueue,
    payload_bytes,
)

LARGE = FRAME_PAYLOAD_BYTES // FRAME_RECORDS_UNCOUNTED
MARK = Mark(1, MarkKind.COMPACTED, 5, 1)


def record(index: int, size: int = 10) -> WalRecord:
    return WalRecord(1, None, (Entry(index, 1, 0, bytes(size)),))


def names(queue: AppendQueue, told: list[str]) -> list[str]:
    """Of the callbacks that are due, by calling them."""
    told.clear()
    for _, callback in queue.take_callbacks():
        callback()
    return list(told)


def test_callbacks_come_in_order_and_each_once() -> None:
    told: list[str] = []
    queue = AppendQueue([MARK])
    queue.add([record(1), record(2)], lambda: told.append("a"))
    queue.add([], lambda: told.append("b"))
    queue.add_mark(MARK, lambda: told.append("c"))
    queue.add_mark(MARK)
    assert queue.take() == [MARK, record(1), record(2), MARK, MARK]
    assert names(queue, told) == ["a", "b", "c"]
    assert names(queue, told) == []


def test_a_callback_waits_for_the_last_item_before_it() -> None:
    """The first frame ends in the middle of what was added together."""
    told: list[str] = []
    queue = AppendQueue([])
    queue.add([record(1)], lambda: told.append("first"))
    rest = [record(index, LARGE) for index in range(2, 2 + 2 * FRAME_RECORDS_UNCOUNTED)]
    queue.add(rest, lambda: told.append("rest"))
    taken = queue.take()
    assert taken == [record(1), *rest][: len(taken)]
    assert 1 < len(taken) < len(rest)
    assert names(queue, told) == ["first"]
    queue.take()
    queue.take()
    assert queue.items == []
    assert names(queue, told) == ["rest"]


def test_few_records_are_one_frame_whatever_they_hold() -> None:
    queue = AppendQueue([])
    records = [record(index, LARGE * 2) for index in range(1, 1 + FRAME_RECORDS_UNCOUNTED)]
    queue.add(records, lambda: None)
    assert queue.take() == records


@pytest.mark.parametrize("per_record", [1, 100])
def test_a_frame_takes_so_many_entries(per_record: int) -> None:
    """To make one of more would be a stall."""
    queue = AppendQueue([])
    count = 2 * FRAME_ENTRIES_MAX // per_record + 1
    entries = tuple(Entry(index, 1, 0, b"") for index in range(1, per_record + 1))
    queue.add([WalRecord(group, None, entries) for group in range(count)], lambda: None)
    while queue.items:
        taken = sum(len(item.entries) for item in queue.take() if isinstance(item, WalRecord))
        assert taken < FRAME_ENTRIES_MAX + per_record
        assert taken >= FRAME_ENTRIES_MAX or not queue.items


@pytest.mark.parametrize("is_weighed", [True, False])
def test_bytes_are_of_what_still_waits(is_weighed: bool) -> None:
    """Also where the rest of a frame was never weighed, as it found the disk idle."""
    queue = AppendQueue([])
    records = [record(index, LARGE) for index in range(1, 2 + 2 * FRAME_RECORDS_UNCOUNTED)]
    queue.add(records, lambda: None)
    if is_weighed:
        queue.weigh(records)
        assert queue.payload_bytes == len(records) * LARGE
    while queue.items:
        queue.take()
        assert queue.payload_bytes == len(queue.items) * LARGE
    assert queue.payload_bytes == 0


def test_a_mark_weighs_nothing() -> None:
    assert payload_bytes(MARK) == 0
    assert payload_bytes(record(1, 7)) == 7
    assert payload_bytes(WalRecord(1, None)) == 0
