"""Small gets beside large values: what is counted, and what is held against the goal."""

import threading
import time
from random import Random

import pytest

from quorumcache.bench.errors import TargetError
from quorumcache.bench.histogram import Histogram
from quorumcache.bench.large import (
    LARGE_KEYS,
    SMALL_BYTES,
    SMALL_KEYS,
    Beside,
    goals,
    large_table,
    measure_large,
    probe,
    stream,
)
from quorumcache.bench.text_client import TextClient
from tests.support.tiny_memcached import TinyMemcached


def row(what: str, *milliseconds: float, large: int = 0, failures: int = 0) -> Beside:
    latency = Histogram()
    for value in milliseconds:
        latency.record(int(value * 1e6))
    return Beside(
        what=what, latency=latency, seconds=2.0, large_values=large, failures=failures
    )


def test_each_stream_is_held_against_all_quiet_time() -> None:
    rows = [
        row("quiet", 1.0),
        row("sets", 2.9, large=10),
        row("gets", 7.0, large=3),
        row("quiet again", 1.0),
    ]
    sets, gets = goals(rows)
    assert (sets.is_met, gets.is_met) == (True, False)
    assert sets.bound == gets.bound == 3.0
    table = large_table(rows, 16 << 20, 500)
    assert [line[6] for line in table.rows] == ["", "2.90", "7.00", ""]
    assert table.rows[1][7:] == ("5.0", "80", "0")
    assert any(note.startswith("GOAL MISSED: p99 of small gets beside gets") for note in table.notes)
