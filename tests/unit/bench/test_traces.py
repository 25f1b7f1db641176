"""Traces: what each kind asks for, and that a seed always gives the same."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from quorumcache.bench.errors import WorkloadError
from quorumcache.bench.traces import (
    LARGE_BYTES,
    SCAN_EVERY,
    SCAN_LENGTH,
    SMALL_BYTES,
    TRACES,
    find_traces,
)

KEYS = 5_000
REQUESTS = 40_000


def made(name: str, seed: int = 1, requests: int = REQUESTS) -> list[int]:
    (trace,) = find_traces(name)
    return list(trace.keys(KEYS, requests, Random(seed)))


@pytest.mark.parametrize("trace", TRACES, ids=lambda trace: trace.name)
def test_a_trace_is_as_long_as_asked_and_follows_from_its_seed(trace) -> None:  # type: ignore[no-untyped-def]
    numbers = list(trace.keys(KEYS, 35_123, Random(3)))
    assert len(numbers) == 35_123
    assert numbers == list(trace.keys(KEYS, 35_123, Random(3)))
    if trace.name != "loop":
        assert numbers != list(trace.keys(KEYS, 35_123, Random(4)))


def test_a_larger_exponent_is_more_skewed() -> None:
    tops = [
        sum(count for _, count in Counter(made(name)).most_common(50))
        for name in ("zipf-0.8", "zipf-1.0", "zipf-1.2")
    ]
    assert tops == sorted(tops)
    assert tops[0] * 1.3 < tops[1] * 1.1 < tops[2]


def test_a_scan_is_asked_for_once_and_never_again() -> None:
    numbers = made("scan-mixed", requests=3 * (SCAN_EVERY + SCAN_LENGTH))
    scanned = [number for number in numbers if number >= KEYS]
    assert len(scanned) == len(set(scanned)) == 3 * SCAN_LENGTH
    assert all(number < KEYS for number in numbers[:SCAN_EVERY])


def test_a_loop_goes_round() -> None:
    numbers = made("loop")
    length = KEYS // 8
    assert numbers[: 2 * length] == [*range(length), *range(length)]


def test_popular_keys_of_a_shifting_trace_change() -> None:
    numbers = made("shifting")
    first, last = Counter(numbers[:2000]), Counter(numbers[-2000:])
    popular = {number for number, _ in first.most_common(10)}
    assert not popular & {number for number, _ in last.most_common(10)}


def test_a_key_has_one_size_and_some_are_large() -> None:
    (trace,) = find_traces("sizes")
    sizes = [trace.value_bytes(number, 7) for number in range(2000)]
    assert sizes == [trace.value_bytes(number, 7) for number in range(2000)]
    large = [size for size in sizes if size >= LARGE_BYTES[0]]
    assert 100 < len(large) < 350
    assert min(sizes) >= SMALL_BYTES[0]
    assert max(sizes) <= LARGE_BYTES[1]
    (plain,) = find_traces("zipf-1.0")
    assert plain.value_bytes(5, 7) == 7


def test_names_are_chosen_and_wrong_ones_are_named() -> None:
    assert find_traces("") == TRACES
    assert [trace.name for trace in find_traces("loop, zipf-1.0")] == ["loop", "zipf-1.0"]
    with pytest.raises(WorkloadError, match="no trace 'lop'; there are: "):
        find_traces("lop")
