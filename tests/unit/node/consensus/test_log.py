"""The log view against a list model, and its limits by hand."""

from __future__ import annotations

from random import Random

import pytest

from quorumcache.node.consensus.log import (
    DROPPED_AT_ONCE_MAX,
    ENTRY_OVERHEAD_BYTES,
    LOOSE_ENTRIES_MAX,
    RUN_BYTES_PER_WORK,
    RUNS_AT_ONCE_MAX,
    EntryLog,
)
from quorumcache.node.consensus.packed import PACKED_OVERHEAD_BYTES, RUN_BYTES_GOAL
from quorumcache.node.consensus.values import Entry
from tests.support.raft_solo import log_of


class Model:
    """The same log as a plain list from index 1 on, of which a prefix counts as compacted, and one
    as packed."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.compacted = 0
        self.packed = 0
        self.taken = 0

    def term_at(self, index: int) -> int | None:
        if index == 0:
            return 0 if self.compacted == 0 else None
        if self.compacted <= index <= len(self.entries):
            return self.entries[index - 1].term
        return None

    def conflict_hint(self, index: int, term: int) -> tuple[int, int]:
        index = min(index, len(self.entries))
        below = self.entries[self.compacted : max(index, self.compacted)]
        fitting = [e for e in below if e.term <= term]
        if fitting:
            return fitting[-1].index, fitting[-1].term
        if index < self.compacted:
            return index, 0
        return self.compacted, self.entries[self.compacted - 1].term if self.compacted else 0


def check(log: EntryLog, model: Model) -> None:
    count = len(model.entries)
    assert log.last_index == count
    assert log.first_index == model.compacted + 1
    assert log.last_term == (model.entries[-1].term if count else 0)
    held = model.entries[model.compacted :]
    assert log.slice(log.first_index, log.last_index + 1) == held
    packed = log.loose_index - log.first_index
    assert log.entries == held[packed:]
    overhead = packed * PACKED_OVERHEAD_BYTES + len(log.entries) * ENTRY_OVERHEAD_BYTES
    assert log.bytes == sum(len(e.payload) for e in held) + overhead
    for index in range(model.compacted, count + 1):
        kept = held[index - model.compacted :]
        is_packed = [e for e in kept if e.index < log.loose_index]
        overhead = ENTRY_OVERHEAD_BYTES * (len(kept) - len(is_packed))
        overhead += PACKED_OVERHEAD_BYTES * len(is_packed)
        assert log.bytes_after(index) == sum(len(e.payload) for e in kept) + overhead
    assert log.unstable_index == model.taken + 1
    for index in range(count + 3):
        assert log.term_at(index) == model.term_at(index)
        for hint_term in (0, 1, log.last_term // 2, log.last_term):
            assert log.conflict_hint(index, hint_term) == model.conflict_hint(index, hint_term)


@pytest.mark.parametrize("seed", range(30))
def test_random_operations_agree_with_a_list(seed: int) -> None:
    random = Random(seed)
    log, model = EntryLog(), Model()
    term = 1
    for _ in range(300):
        operation = random.randrange(8) if random.random() < 0.97 else 8
        count = len(model.entries)
        if operation <= 1:
            term += random.random() < 0.2
            payload = bytes([random.randrange(256)]) * random.randrange(5)
            entry = Entry(count + 1, term, int(random.random() < 0.1), payload)
            log.append(entry)
            model.entries.append(entry)
        elif operation == 6 and model.taken == count:
            entry = log.append_own(term, b"y" * random.randrange(5))
            assert entry == (count + 1, term, 0, entry.payload)
            model.entries.append(entry)
            model.taken += 1
        elif operation == 2 and count > (fixed := max(model.compacted, model.packed)):
            index = random.randrange(fixed + 1, count + 1)
            log.truncate_suffix(index)
            del model.entries[index - 1 :]
            model.taken = min(model.taken, index - 1)
            term += 1
        elif operation == 3:
            assert log.take_unstable() == model.entries[model.taken :]
            model.taken = count
        elif operation == 4 and model.taken > model.compacted:
            index = random.randrange(model.compacted, model.taken + 1)
            log.compact(index)
            model.compacted = max(model.compacted, index)
        elif operation == 7 and model.taken > max(model.compacted, model.packed):
            before = max(model.compacted, model.packed)
            index = random.randrange(before, model.taken + 1)
            work_max = random.choice((1, 3, 1000))
            expected = min(index - before, work_max) if index - before >= 2 else 0
            assert log.pack(index, work_max, 2) == expected
            model.packed = before + expected if expected else model.packed
            assert log.loose_index == max(model.compacted, model.packed) + 1
        elif operation == 8:
            index = max(count, model.compacted) + random.randrange(3)
            log.restore(index, term)
            model.entries = [Entry(n, term, 0, b"") for n in range(1, index + 1)]
            model.compacted = model.packed = model.taken = index
            assert not log.packed, "runs of before are not kept"
        elif count > model.compacted:
            lo = random.randrange(model.compacted + 1, count + 1)
            hi = random.randrange(lo, count + 2)
            assert log.slice(lo, hi) == model.entries[lo - 1 : hi - 1]
            held = sum(len(e.payload) for e in model.entries[lo - 1 : hi - 1])
            assert log.payload_bytes(lo, hi) == held
            bytes_max = random.randrange(12)
            batch, size = log.batch(lo, bytes_max)
            assert list(batch) == model.entries[lo - 1 : lo - 1 + len(batch)]
            assert size == sum(len(e.payload) for e in batch)
            assert size <= bytes_max or len(batch) == 1
            after = lo + len(batch)
            if after <= count:
                assert size + len(model.entries[after - 1].payload) > bytes_max
        check(log, model)


def test_a_batch_holds_at_least_one_entry_and_none_beyond_the_end() -> None:
    log = EntryLog(0, 0, [Entry(1, 1, 0, b"x" * 50), Entry(2, 1, 0, b"y")])
    assert log.batch(1, 10) == ((log.entries[0],), 50)
    assert log.batch(2, 0) == ((log.entries[1],), 1)
    assert log.batch(3, 10) == ((), 0)


def test_entries_below_the_compaction_point_are_skipped_at_start() -> None:
    log = EntryLog(2, 1, log_of((1, 1, 2)))
    assert (log.first_index, log.last_index, log.unstable_index) == (3, 3, 4)
    assert (log.term_at(1), log.term_at(2), log.term_at(3)) == (None, 1, 2)


def test_gaps_and_falling_terms_are_our_bugs() -> None:
    log = EntryLog(0, 0, log_of((1, 2)))
    with pytest.raises(AssertionError):
        log.append(Entry(4, 2, 0, b""))
    with pytest.raises(AssertionError):
        log.append(Entry(3, 1, 0, b""))
    with pytest.raises(AssertionError):
        log.append_own(1, b"")
    with pytest.raises(AssertionError):
        EntryLog(0, 0, [Entry(2, 1, 0, b"")])


def test_no_entry_is_handed_out_before_those_in_front_of_it() -> None:
    log = EntryLog(0, 0, log_of((1,)))
    log.append(Entry(2, 1, 0, b""))
    with pytest.raises(AssertionError):
        log.append_own(1, b"")


def test_what_was_not_handed_out_is_never_compacted() -> None:
    log = EntryLog()
    log.append(Entry(1, 1, 0, b""))
    with pytest.raises(AssertionError):
        log.compact(1)
    log.take_unstable()
    log.compact(1)
    log.compact(1)
    assert log.first_index == 2


def test_few_entries_stay_as_they_are_and_what_is_new_is_never_packed() -> None:
    log = EntryLog(0, 0, log_of((1,) * LOOSE_ENTRIES_MAX))
    assert log.pack(LOOSE_ENTRIES_MAX - 1, 1000) == 0
    assert log.packed == []
    assert log.pack(LOOSE_ENTRIES_MAX, 1000) >= LOOSE_ENTRIES_MAX
    assert log.pack(LOOSE_ENTRIES_MAX, 1000) == 0
    assert (log.entries, log.loose_index) == ([], LOOSE_ENTRIES_MAX + 1)
    log.append(Entry(LOOSE_ENTRIES_MAX + 1, 1, 0, b""))
    with pytest.raises(AssertionError):
        log.pack(LOOSE_ENTRIES_MAX + 1, 1000, 1)
    with pytest.raises(AssertionError):
        log.truncate_suffix(LOOSE_ENTRIES_MAX)


def test_a_batch_goes_on_from_what_is_packed_to_what_is_not() -> None:
    log = EntryLog(0, 0, [Entry(n, 1, 0, b"x" * 10) for n in range(1, 7)])
    log.pack(2, 1000, 1)
    log.pack(4, 1000, 1)
    assert [run.first_index for run in log.packed] == [1, 3]
    assert log.batch(2, 45) == (tuple(log.slice(2, 6)), 40)
    assert log.batch(2, 1000) == (tuple(log.slice(2, 7)), 50)
    assert log.batch(2, 9) == ((Entry(2, 1, 0, b"x" * 10),), 10)


def test_restore_replaces_everything() -> None:
    log = EntryLog(0, 0, log_of((1, 1, 1)))
    log.pack(2, 1000, 1)
    log.restore(10, 4)
    assert (log.first_index, log.last_index, log.last_term, log.bytes) == (11, 10, 4, 0)
    assert log.take_unstable() == []
    assert log.matches(10, 4)
    assert not log.matches(9, 1)


@pytest.mark.parametrize(
    ("index", "term", "hint"),
    [
        (9, 9, (6, 5)),
        (6, 4, (4, 2)),
        (5, 2, (4, 2)),
        (4, 1, (2, 1)),
        (6, 0, (0, 0)),
        (2, 1, (2, 1)),
    ],
)
def test_conflict_hint_skips_whole_terms(index: int, term: int, hint: tuple[int, int]) -> None:
    log = EntryLog(0, 0, log_of((1, 1, 2, 2, 5, 5)))
    assert log.conflict_hint(index, term) == hint


def test_conflict_hint_knows_nothing_below_the_compaction_point() -> None:
    log = EntryLog(4, 2, log_of((5, 5), 4))
    assert log.conflict_hint(6, 3) == (4, 2)
    assert log.conflict_hint(2, 9) == (2, 0)


@pytest.mark.parametrize(
    ("last_index", "last_term", "expected"),
    [(2, 3, True), (2, 2, False), (1, 3, False), (1, 4, True), (9, 2, False)],
)
def test_is_up_to_date(last_index: int, last_term: int, expected: bool) -> None:
    assert EntryLog(0, 0, log_of((1, 3))).is_up_to_date(last_index, last_term) is expected


@pytest.mark.parametrize("way", ["compacted", "restored"])
def test_many_entries_that_are_dropped_are_let_go_bit_by_bit(way: str) -> None:
    count = DROPPED_AT_ONCE_MAX + 10
    log = EntryLog(entries=log_of((1,) * count))
    if way == "compacted":
        log.compact(count)
    else:
        log.restore(count + 5, 2)
    assert (log.bytes, log.entries) == (0, [])
    assert log.let_go(count - 3) == count - 3
    assert log.let_go(count) == 3
    assert log.let_go(count) == 0


def test_few_entries_go_at_once_and_leave_those_of_before_to_be_let_go() -> None:
    few, many = DROPPED_AT_ONCE_MAX, DROPPED_AT_ONCE_MAX + 1
    log = EntryLog(entries=log_of((1,) * (many + few)))
    log.compact(many)
    log.compact(many + few)
    assert log.let_go(2 * many) == many


@pytest.mark.parametrize("rest", [0, 1])
def test_there_is_never_more_to_let_go_than_a_log(rest: int) -> None:
    """`rest`: of what the log keeps the last time."""
    many = DROPPED_AT_ONCE_MAX + 1
    log = EntryLog(entries=log_of((1,) * (5 * many + rest)))
    log.compact(2 * many)
    log.compact(3 * many)
    assert len(log.dropped) == 2 * many
    log.compact(5 * many)
    assert len(log.dropped) == 2 * many
    assert {entry.index for entry in log.dropped} == set(range(3 * many + 1, 5 * many + 1))
    assert len(log.entries) == rest


def packed_log(runs: int) -> EntryLog:
    """So many runs, each of an entry, and a loose entry behind them."""
    log = EntryLog()
    for index in range(1, runs + 2):
        log.append(Entry(index, 1, 0, bytes(RUN_BYTES_GOAL)))
    log.take_unstable()
    log.pack(runs, 1 << 30, 1)
    assert (len(log.packed), len(log.entries)) == (runs, 1)
    return log


@pytest.mark.parametrize("way", ["compacted", "in part", "restored"])
def test_many_packed_runs_that_are_dropped_are_let_go_bit_by_bit(way: str) -> None:
    runs = RUNS_AT_ONCE_MAX + 1
    log = packed_log(runs + 1)
    if way == "compacted":
        log.compact(runs + 1)
        assert (log.packed, len(log.entries)) == ([], 1)
    elif way == "in part":
        log.compact(runs)
        assert [run.first_index for run in log.packed] == [runs + 1]
    else:
        log.restore(runs + 5, 2)
        assert log.packed == []
    dropped = runs if way == "in part" else runs + 1
    each = 1 + RUN_BYTES_GOAL // RUN_BYTES_PER_WORK
    assert log.let_go(each + 1) == 2 * each, "until it is too much"
    assert log.let_go(1) == each
    assert log.let_go(1 << 30) == (dropped - 3) * each
    assert log.let_go(1) == 0


def test_few_packed_runs_go_at_once_and_of_many_there_is_never_more_than_a_log() -> None:
    few, many = RUNS_AT_ONCE_MAX, RUNS_AT_ONCE_MAX + 1
    log = packed_log(3 * many + few)
    log.compact(2 * many)
    log.compact(2 * many + few)
    assert len(log.dropped_runs) == 2 * many
    log.compact(3 * many + few)
    assert len(log.dropped_runs) == 2 * many
    assert log.packed == []


@pytest.mark.parametrize("packed", [0, 3])
def test_the_first_of_some_entries_are_those_that_fit(packed: int) -> None:
    log = EntryLog()
    for index, size in enumerate((4, 4, 4, 90, 1, 1), 1):
        log.append(Entry(index, 1, 0, bytes(size)))
    log.unstable_index = 7
    if packed:
        log.pack(packed, 100, 1)

    def first(lo: int, hi: int, bytes_max: int) -> list[int]:
        return [entry.index for entry in log.first_of(lo, hi, bytes_max)]

    assert first(1, 7, 12) == [1, 2, 3]
    assert first(1, 7, 11) == [1, 2]
    assert first(1, 3, 100) == [1, 2]
    assert first(4, 7, 8) == [4], "at least one"
    assert first(5, 7, 8) == [5, 6]
    assert first(7, 7, 8) == []
