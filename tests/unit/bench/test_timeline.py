"""Goal: a pause is found wherever it lies, and the pieces add up to the whole."""

from __future__ import annotations

import pytest

from quorumcache.bench.timeline import BIN_SECONDS, Sample, Span, bins, figures

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
    found = bins(samples(1, 0, 499, 500, 1700), Span("all", 0, 2000 * MS))
    assert [b.ops_per_second * BIN_SECONDS for b in found] == [2, 1, 0, 1]
    assert found[2].p99_ms == found[1].p99_ms, "without answers the line goes on"
    assert [b.at_seconds for b in found] == [0.25, 0.75, 1.25, 1.75]
