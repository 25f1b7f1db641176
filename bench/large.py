"""Measures what small gets notice of large values: their latency alone, and beside a stream of
large sets and gets.

Small gets go at a steady rate to every node in turn (`probe`). Beside them one or two clients,
processes of their own, set or get large values one after the other, as fast as they are answered.
The quiet time is measured before and after.
"""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from multiprocessing.synchronize import Event
from random import Random

from quorumcache.bench.cluster import Target
from quorumcache.bench.errors import TargetError
from quorumcache.bench.goals import Goal, goal_notes
from quorumcache.bench.histogram import Histogram
from quorumcache.bench.probe import TIMEOUT_SECONDS, probe, small_items
from quorumcache.bench.report import Table, milliseconds
from quorumcache.bench.text_client import TextClient

RATIO_MAX = 3.0
"""The p99 of small gets beside large values is at most so many times the quiet one."""

LARGE_KEYS = 4
"""Large values in turn; each replaces the one of the round before."""

SETTLE_SECONDS = 1.0
READ_BYTES = 1 << 20

QUIET = "quiet"
STREAMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (QUIET, ()),
    ("sets", ("set",)),
    ("gets", ("get",)),
    ("sets and gets", ("set", "get")),
    ("quiet again", ()),
)
"""What is measured, and what its clients do meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Small gets beside something. `large_values`: how many large ones were set or got."""

    what: str
    latency: Histogram
    seconds: float
    large_values: int
    failures: int

    @property
    def is_quiet(self) -> bool:
        """Nothing went on beside them."""
        return self.what.startswith(QUIET)


def measure_large(
    target: Target,
    *,
    value_bytes: int,
    rate: float,
    seconds: float,
    say: Callable[[str], None],
) -> list[Beside]:
    """Measure the started `target`, `seconds` for each row of STREAMS, with `rate` small gets per
    second.
    """
    with TextClient(target.addresses[0], TIMEOUT_SECONDS) as client:
        client.set_many(small_items())
        large = Random(2).randbytes(value_bytes)
        for number in range(LARGE_KEYS):
            line = client.set(b"large-%d" % number, large)
            if line != b"STORED":
                raise TargetError(f"a value of {value_bytes} bytes is not stored: {line.decode()}")
    found = []
    for what, kinds in STREAMS:
        found.append(_measure_one(target, what, kinds, value_bytes, rate, seconds))
        say(_line(found[-1]))
    return found


def _measure_one(
    target: Target,
    what: str,
    kinds: Sequence[str],
    value_bytes: int,
    rate: float,
    seconds: float,
) -> Beside:
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    counts = [context.Value("q", 0) for _ in kinds]
    failed = context.Value("q", 0)
    streams = [
        context.Process(target=stream, args=(kind, address, value_bytes, stop, count, failed))
        for kind, count, address in zip(kinds, counts, cycle(target.addresses), strict=False)
    ]
    for process in streams:
        process.start()
    try:
        time.sleep(SETTLE_SECONDS if not streams else 2 * SETTLE_SECONDS)
        before = sum(count.value for count in counts)
        latency, misses = probe(target.addresses, rate, seconds)
        done = sum(count.value for count in counts) - before
    finally:
        stop.set()
        for process in streams:
            process.join()
    return Beside(
        what=what,
        latency=latency,
        seconds=seconds,
        large_values=done,
        failures=misses + failed.value,
    )


def stream(
    kind: str,
    address: tuple[str, int],
    value_bytes: int,
    stop: Event,
    count: multiprocessing.Value,  # type: ignore[valid-type]
    failed: multiprocessing.Value,  # type: ignore[valid-type]
) -> None:
    """The body of a client process: large values one after the other until `stop`."""
    value = Random(4).randbytes(value_bytes)
    buffer = bytearray(READ_BYTES)
    with socket.create_connection(address, TIMEOUT_SECONDS) as connection:
        number = 0
        while not stop.is_set():
            key = b"large-%d" % (number % LARGE_KEYS)
            number += 1
            if kind == "set":
                connection.sendall(b"set %b 0 0 %d\r\n%b\r\n" % (key, value_bytes, value))
                is_good = connection.recv(READ_BYTES) == b"STORED\r\n"
            else:
                is_good = _get(connection, key, value_bytes, buffer)
            count.value += 1  # type: ignore[attr-defined]
            failed.value += not is_good  # type: ignore[attr-defined]


def _get(connection: socket.socket, key: bytes, value_bytes: int, buffer: bytearray) -> bool:
    """Read a value of that length and throw it away: a client that joined it would take a processor
    from the servers. False: the reply was another one.
    """
    connection.sendall(b"get %b\r\n" % key)
    head = b"VALUE %b 0 %d\r\n" % (key, value_bytes)
    left = len(head) + value_bytes + len(b"\r\nEND\r\n")
    is_first = True
    while left > 0:
        size = connection.recv_into(buffer)
        if is_first and not buffer.startswith(head[:size]):
            return False
        is_first = False
        if not size:
            return False
        left -= size
    return left == 0


def quiet_p99(rows: Sequence[Beside]) -> float:
    """Nanoseconds, of all quiet times together."""
    quiet = Histogram()
    for row in rows:
        if row.is_quiet:
            quiet.merge(row.latency)
    return quiet.percentile(99)


def goals(rows: Sequence[Beside]) -> list[Goal]:
    """Each kind of stream against the quiet time."""
    quiet = quiet_p99(rows)
    return [
        Goal(f"p99 of small gets beside {row.what}:", ratio, RATIO_MAX, "x")
        for row in rows
        if not row.is_quiet
        for ratio in [row.latency.percentile(99) / quiet]
    ]


def _line(row: Beside) -> str:
    p99 = milliseconds(row.latency.percentile(99) / 1000)
    return f"{row.what:14} p99 {p99} ms, {row.large_values / row.seconds:.1f} large values/s"


def large_table(rows: Sequence[Beside], value_bytes: int, rate: float) -> Table:
    """One row per stream."""
    quiet = quiet_p99(rows)
    body = []
    for row in rows:
        p50, p99, p999 = (row.latency.percentile(percent) for percent in (50, 99, 99.9))
        body.append(
            (
                row.what,
                "",
                *(milliseconds(value / 1000) for value in (p50, p99, p999, row.latency.max_value)),
                "" if row.is_quiet else f"{p99 / quiet:.2f}",
                f"{row.large_values / row.seconds:.1f}",
                f"{row.large_values * value_bytes / row.seconds / 2**20:.0f}",
                str(row.failures),
            )
        )
    return Table(
        title=f"Small gets beside large values of {value_bytes / 2**20:g} MiB",
        columns=(
            *("beside", "", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "p99 / quiet"),
            *("large/s", "MiB/s", "failures"),
        ),
        rows=tuple(body),
        notes=(
            f"{rate:g} small gets per second, to all nodes in turn, from when they were due.",
            "One client for each kind of stream, which waits for each answer.",
            *goal_notes(goals(rows)),
        ),
        data={"p99_ns": {row.what: row.latency.percentile(99) for row in rows}},
    )
