"""Small gets beside large values: what is counted, and what is held against the goal."""

import threading
import time
from random import Random
from typing import Any

import pytest

from quorumcache.bench import large
from quorumcache.bench.cluster import wait_for
from quorumcache.bench.errors import TargetError
from quorumcache.bench.histogram import Histogram
from quorumcache.bench.large import (
    LARGE_KEYS,
    Beside,
    goals,
    large_table,
    measure_large,
    stream,
)
from quorumcache.bench.probe import SMALL_KEYS, probe
from quorumcache.bench.text_client import TextClient
from tests.support.tiny_memcached import TinyMemcached


def row(what: str, *milliseconds: float, large: int = 0, failures: int = 0) -> Beside:
    latency = Histogram()
    for value in milliseconds:
        latency.record(int(value * 1e6))
    return Beside(what=what, latency=latency, seconds=2.0, large_values=large, failures=failures)


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
    assert any(
        note.startswith("GOAL MISSED: p99 of small gets beside gets") for note in table.notes
    )


class Cluster:
    """So many nodes that are one server."""

    def __init__(self, address: tuple[str, int], nodes: int = 2) -> None:
        self.name = "tiny"
        self.addresses = [address] * nodes
        self.pids: list[int] = []


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_whole_measurement_of_a_tiny_server(nodes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stream runs beside its gets, in a process of its own."""
    asked = 0
    rows_to_come = iter([False, True, True, True, False])

    def hook(line: bytes) -> None:
        nonlocal asked
        asked += b" large-" in line

    def until_streams_have_run(*arguments: Any) -> tuple[Histogram, int]:
        """However slow the machine is: the third request of two streams is behind an answer."""
        before = asked
        found = probe(*arguments)
        if next(rows_to_come):
            wait_for("requests of the streams", lambda: asked >= before + 3)
        return found

    monkeypatch.setattr(large, "probe", until_streams_have_run)
    with TinyMemcached(hook) as server:
        told: list[str] = []
        rows = measure_large(
            Cluster(server.address, nodes),  # type: ignore[arg-type]
            value_bytes=50_000,
            rate=100,
            seconds=0.3,
            say=told.append,
        )
        assert len(server.items) == SMALL_KEYS + LARGE_KEYS
    assert [row.what for row in rows] == ["quiet", "sets", "gets", "sets and gets", "quiet again"]
    assert [row.latency.count for row in rows] == [30] * 5
    assert [row.failures for row in rows] == [0] * 5
    assert [row.large_values > 0 for row in rows] == [False, True, True, True, False]
    assert len(told) == 5


def test_a_server_that_takes_no_such_value_is_told_at_once() -> None:
    def hook(line: bytes) -> bytes | None:
        refusal = b"SERVER_ERROR object too large for cache\r\n"
        return refusal if line.startswith(b"set large") else None

    with TinyMemcached(hook) as server, pytest.raises(TargetError, match="object too large"):
        measure_large(
            Cluster(server.address),  # type: ignore[arg-type]
            value_bytes=5000,
            rate=100,
            seconds=0.1,
            say=print,
        )


def test_values_that_are_wrong_are_counted() -> None:
    class Count:
        value = 0

    with TinyMemcached() as server, TextClient(server.address) as client:
        client.set(b"large-0", Random(1).randbytes(10))
        stop = threading.Event()
        count, failed = Count(), Count()
        body = threading.Thread(
            target=stream,
            args=("get", server.address, 11, stop, count, failed),
        )
        body.start()
        while count.value < 5:
            time.sleep(0.01)
        stop.set()
        body.join()
    assert failed.value == count.value
