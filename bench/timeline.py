"""Requests over time, and what happened meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from quorumcache.bench.histogram import Histogram

BIN_SECONDS = 0.5


class Sample(NamedTuple):
    """A request that ended with an answer. Times in nanoseconds of one monotonic clock.

    `client`: number of the client that waited for it.
    """

    client: int
    ended_ns: int
    took_ns: int


class Span(NamedTuple):
    """A time in which something went on."""

    name: str
    began_ns: int
    ended_ns: int

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.ended_ns - self.began_ns) / 1e9


class Figures(NamedTuple):
    """What clients met in a span. `pause_ms`: longest time between two answers to one client."""

    ops_per_second: float
    p50_ms: float
    p99_ms: float
    pause_ms: float


class Bin(NamedTuple):
    """A short piece of the time; `at_seconds` is its middle."""

    at_seconds: float
    ops_per_second: float
    p99_ms: float


def figures(
    samples: Sequence[Sample], span: Span, present: Mapping[int, tuple[int, int]]
) -> Figures:
    """Of the requests that ended within the span. `present`: from when to when each client was
    there. A pause counts with its part in the span: one that lasts over its end counts there, too.
    """
    histogram = Histogram()
    last = {client: max(began, span.began_ns) for client, (began, _) in present.items()}
    pause_ns = 0
    for client, ended_ns, took_ns in sorted(samples, key=_end_of):
        if not span.began_ns <= ended_ns < span.ended_ns:
            continue
        histogram.record(took_ns)
        pause_ns = max(pause_ns, ended_ns - last[client])
        last[client] = ended_ns
    for client, (_, left_ns) in present.items():
        pause_ns = max(pause_ns, min(left_ns, span.ended_ns) - last[client])
    return Figures(
        histogram.count / span.seconds if span.seconds else 0.0,
        histogram.percentile(50) / 1e6,
        histogram.percentile(99) / 1e6,
        pause_ns / 1e6,
    )


def _end_of(sample: Sample) -> int:
    return sample.ended_ns


def bins(samples: Sequence[Sample], whole: Span) -> list[Bin]:
    """The whole time in pieces of `BIN_SECONDS`. A piece without an answer has 0 requests, and the
    p99 of the piece before it.
    """
    width_ns = round(BIN_SECONDS * 1e9)
    count = max(1, -(-(whole.ended_ns - whole.began_ns) // width_ns))
    found = [Histogram() for _ in range(count)]
    for sample in samples:
        place = (sample.ended_ns - whole.began_ns) // width_ns
        if 0 <= place < count:
            found[place].record(sample.took_ns)
    made: list[Bin] = []
    p99_ms = 0.0
    for place, histogram in enumerate(found):
        if histogram.count:
            p99_ms = histogram.percentile(99) / 1e6
        middle = (place + 0.5) * BIN_SECONDS
        made.append(Bin(middle, histogram.count / BIN_SECONDS, p99_ms))
    return made
