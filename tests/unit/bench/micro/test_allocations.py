"""Blocks are counted where they are allocated, and nothing is counted where it cannot be."""

from __future__ import annotations

import pytest

from quorumcache.bench.micro import allocations
from quorumcache.bench.micro.allocations import counting


def test_each_block_is_counted_also_if_it_is_gone_at_once() -> None:
    found = counting()
    if not found.is_real:
        pytest.skip("needs cc and the headers of Python")
    counts = []
    with found as counter:
        for blocks in (0, 1, 1000):
            before = counter.now()
            for _ in range(blocks):
                bytes(500)
            counts.append(counter.now() - before)
    assert counts[2] - counts[0] >= 1000
    assert counts[1] > counts[0]
    at_end = found.now()
    bytes(500)
    assert found.now() == at_end, "it counts outside of its block"


def test_it_may_begin_again() -> None:
    found = counting()
    for _ in range(2):
        with found:
            kept = [bytes(500) for _ in range(100)]
        assert len(kept) == 100


def test_without_a_compiler_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocations.shutil, "which", lambda name: None)
    with counting() as counter:
        assert (counter.is_real, counter.now()) == (False, 0)
