"""Goal: a pause is found wherever it lies, and the pieces add up to the whole."""

from __future__ import annotations

import pytest

from quorumcache.bench.timeline import BIN_SECONDS, Sample, Span, bins, figures, rate_between

MS = 1_000_000


def samples(client: int, *ends_ms: int) -> list[Sample]:
    return [Sample(client, at * MS, 2 * MS) for at in ends_ms]


@pytest.mark.parametrize(
    ("ends_ms", "pause_ms"),
    [
        ((100, 200, 900, 1000), 700),  # Inside.
        ((700, 800, 900, 990), 700),  # Over its beginning: only the part in the span.
        ((100, 200, 1500), 800),  # Over its end.
        ((), 1000),  # No answer at all.
    ],
)
def test_the_pause_is_the_longest_wait_of_one_client(
    ends_ms: tuple[int, ...], pause_ms: int
) -> None:
    steady = samples(1, *range(10, 1000, 10))
    met = figures(
        [*steady, *samples(2, *ends_ms)],
        Span("s", 0, 1000 * MS),
        {1: (0, 1 << 62), 2: (0, 1 << 62)},
    )
    assert met.pause_ms == pause_ms


def test_a_client_is_missed_only_while_it_is_there() -> None:
    came_and_went = samples(2, 400, 450, 500)
    steady = samples(1, *range(10, 1000, 10))
    present = {1: (0, 1 << 62), 2: (350 * MS, 510 * MS)}
    met = figures([*steady, *came_and_went], Span("s", 0, 1000 * MS), present)
    assert met.pause_ms == 50


def test_rates_and_percentiles_are_those_of_the_span() -> None:
    span = Span("s", 1000 * MS, 3000 * MS)
    met = figures(samples(1, 500, 1000, 1500, 2999, 3000), span, {1: (0, 1 << 62)})
    assert met.ops_per_second == 1.5
    assert met.p50_ms == pytest.approx(2, rel=0.01)
    assert span.seconds == 2


def test_bins_hold_each_request_once() -> None:
    found = bins(samples(1, 0, 499, 500, 1700, 1800, 1900), Span("all", 0, 1800 * MS))
    assert [b.ops_per_second * BIN_SECONDS for b in found[:3]] == [2, 1, 0]
    assert found[3].ops_per_second == pytest.approx(1 / 0.3), "the last one is shorter"
    assert found[2].p99_ms is None, "without answers there is no latency"
    assert found[1].p99_ms == pytest.approx(2, rel=0.01)
    assert [b.at_seconds for b in found] == pytest.approx([0.25, 0.75, 1.25, 1.65])


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "rate"),
    [
        (1000, 1200, 200),  # Two whole steps: 10 and 30.
        (1050, 1150, 200),  # Half of each.
        (1100, 1125, 300),  # A part of one.
        (0, 1100, 100),  # What was before the timeline is not known.
        (1200, 9000, 500),  # And so is what came after it.
        (1300, 9000, 0),
        (0, 1000, 0),
        (1200, 1100, 0),
    ],
)
def test_rates_between_two_moments(from_ms: int, to_ms: int, rate: float) -> None:
    found = rate_between([10, 30, 50], 1000 * MS, 0.1, from_ms * MS, to_ms * MS)
    assert found == pytest.approx(rate)
