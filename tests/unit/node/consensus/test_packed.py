"""Entries without an object each."""

from __future__ import annotations

from random import Random

import pytest

from quorumcache.node.consensus.packed import RUN_BYTES_GOAL, pack, run_of
from quorumcache.node.consensus.values import Entry


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
    runs = pack(entries)
    assert len({(run.term, run.kind) for run in runs}) > 1
    assert [e for run in runs for e in run.entries(run.first_index, run.last_index + 1)] == entries
    for entry in entries:
        run = runs[run_of(runs, entry.index)]
        assert run.entries(entry.index, entry.index + 1) == [entry]
        assert run.payload_bytes(entry.index, entry.index + 1) == len(entry.payload)


@pytest.mark.parametrize("seed", range(5))
def test_the_front_of_a_run_is_cut_off(seed: int) -> None:
    for run in pack(entries_of(seed)):
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
    assert [run.last_index for run in pack(entries)] == [1, 2, 3, 5]
    assert pack(()) == []


def test_a_run_is_of_bounded_size_and_a_large_payload_is_not_copied() -> None:
    large = b"x" * (RUN_BYTES_GOAL + 1)
    piece = b"y" * (RUN_BYTES_GOAL // 4)
    payloads = [piece, large, *[piece] * 9]
    runs = pack([Entry(n, 1, 0, payload) for n, payload in enumerate(payloads, 1)])
    assert [len(run.ends) for run in runs] == [1, 1, 4, 4, 1]
    assert runs[1].payloads is large
    assert runs[1].entries(2, 3)[0].payload is large
