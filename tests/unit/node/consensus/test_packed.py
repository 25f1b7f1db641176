"""Entries without an object each."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from quorumcache.node.consensus.packed import (
    BYTES_PER_ENTRY,
    RUN_BYTES_GOAL,
    PackedRun,
    pack,
    run_of,
)
from quorumcache.node.consensus.values import Entry


def pack_all(entries: Sequence[Entry]) -> list[PackedRun]:
    return pack(entries, 1 << 60)[0]


def entries_of(seed: int) -> list[Entry]:
    random = Random(seed)
    term, made = 1, []
    for index in range(7, 107):
        term += random.random() < 0.05
        payload = bytes([random.randrange(256)]) * random.choice((0, 1, 9, 400))
        made.append(Entry(index, term, int(random.random() < 0.05), payload))
    return made


@pytest.mark.parametrize("seed", range(5))
def test_what_was_packed_is_the_same_again(seed: int) -> None:
    entries = entries_of(seed)
    runs = pack_all(entries)
    assert len({(run.term, run.kind) for run in runs}) > 1
    assert [e for run in runs for e in run.entries(run.first_index, run.last_index + 1)] == entries
    for entry in entries:
        run = runs[run_of(runs, entry.index)]
        assert run.entries(entry.index, entry.index + 1) == [entry]
        assert run.payload_bytes(entry.index, entry.index + 1) == len(entry.payload)


@pytest.mark.parametrize("seed", range(5))
def test_the_front_of_a_run_is_cut_off(seed: int) -> None:
    for run in pack_all(entries_of(seed)):
        for index in range(run.first_index, run.last_index):
            rest = run.after(index)
            assert (rest.first_index, rest.last_index) == (index + 1, run.last_index)
            lo, hi = index + 1, run.last_index + 1
            assert rest.entries(lo, hi) == run.entries(lo, hi)
            assert len(rest.payloads) == run.payload_bytes(lo, hi), "the rest of the block goes"


def test_terms_and_kinds_are_runs_of_their_own() -> None:
    entries = [
        Entry(1, 1, 0, b"a"),
        Entry(2, 1, 1, b""),
        Entry(3, 1, 0, b"b"),
        Entry(4, 2, 0, b"c"),
        Entry(5, 2, 0, b"d"),
    ]
    assert [run.last_index for run in pack_all(entries)] == [1, 2, 3, 5]
    assert pack_all(()) == []


def test_a_run_is_of_bounded_size_and_a_large_payload_is_not_copied() -> None:
    large = b"x" * (RUN_BYTES_GOAL + 1)
    piece = b"y" * (RUN_BYTES_GOAL // 4)
    payloads = [piece, large, *[piece] * 9]
    runs = pack_all([Entry(n, 1, 0, payload) for n, payload in enumerate(payloads, 1)])
    assert [len(run.ends) for run in runs] == [1, 1, 4, 4, 1]
    assert runs[1].payloads is large
    assert runs[1].entries(2, 3)[0].payload is large


@pytest.mark.parametrize("seed", range(5))
def test_no_more_is_unpacked_than_is_asked_for(seed: int) -> None:
    for run in pack_all(entries_of(seed)):
        for lo in range(run.first_index, run.last_index + 1):
            for bytes_max in (0, 1, 500, 1 << 20):
                end = run.beyond(lo, bytes_max)
                assert lo < end <= run.last_index + 1
                assert run.payload_bytes(lo, end - 1) <= bytes_max
                if end <= run.last_index:
                    assert run.payload_bytes(lo, end) > bytes_max


def test_what_is_packed_at_once_is_bounded_by_entries_and_by_what_is_copied() -> None:
    small = [Entry(n, 1, 0, b"") for n in range(1, 100)]
    runs, work = pack(small, 30)
    assert (runs[-1].last_index, work) == (30, 30)
    copied = [Entry(n, 1, 0, b"x" * 4 * BYTES_PER_ENTRY) for n in range(1, 100)]
    runs, work = pack(copied, 30)
    assert (runs[-1].last_index, work) == (6, 30)
    large = [Entry(n, 1, 0, b"x" * (RUN_BYTES_GOAL + 1)) for n in range(1, 100)]
    runs, work = pack(large, 30)
    assert (runs[-1].last_index, work) == (30, 30), "of these nothing is copied"
    assert pack(small, 1000)[1] == 99
