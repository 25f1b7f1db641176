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
    """A short piece of the time; `at_seconds` is its middle. `p99_ms`: None without an answer."""

    at_seconds: float
    ops_per_second: float
    p99_ms: float | None


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
    """The whole time in pieces of `BIN_SECONDS`; the last may be shorter."""
    width_ns = round(BIN_SECONDS * 1e9)
    length_ns = max(1, whole.ended_ns - whole.began_ns)
    found = [Histogram() for _ in range(-(-length_ns // width_ns))]
    for sample in samples:
        if whole.began_ns <= sample.ended_ns < whole.ended_ns:
            found[(sample.ended_ns - whole.began_ns) // width_ns].record(sample.took_ns)
    made: list[Bin] = []
    for place, histogram in enumerate(found):
        began_ns = place * width_ns
        seconds = (min(began_ns + width_ns, length_ns) - began_ns) / 1e9
        p99_ms = histogram.percentile(99) / 1e6 if histogram.count else None
        made.append(Bin(began_ns / 1e9 + seconds / 2, histogram.count / seconds, p99_ms))
    return made


def rate_between(
    timeline: Sequence[int], began_ns: int, step_seconds: float, from_ns: int, to_ns: int
) -> float:
    """Completions per second from one moment to another. `timeline`: completions in each step since
    `began_ns`; of a step that lies partly within, that part counts. 0.0 outside of it.
    """
    step_ns = step_seconds * 1e9
    from_ns, to_ns = max(from_ns, began_ns), min(to_ns, began_ns + round(step_ns * len(timeline)))
    if from_ns >= to_ns:
        return 0.0
    total = 0.0
    for place, completed in enumerate(timeline):
        first = began_ns + place * step_ns
        share = (min(to_ns, first + step_ns) - max(from_ns, first)) / step_ns
        total += completed * max(0.0, share)
    return total / ((to_ns - from_ns) / 1e9)
