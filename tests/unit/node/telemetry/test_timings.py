"""Histograms: which bucket a value falls into, and how Prometheus is told."""

from __future__ import annotations

from quorumcache.node.telemetry.timings import LATENCY_BOUNDS, Histogram, Timings


def test_a_value_falls_into_the_first_bucket_that_holds_it() -> None:
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.0, 0.1, 0.5, 1.0, 1.1, 1e9):
        histogram.observe(seconds)
    assert histogram.counts == [2, 2, 2]
    assert histogram.count == 6
    assert histogram.total == 0.0 + 0.1 + 0.5 + 1.0 + 1.1 + 1e9


def test_the_bucket_of_the_value_before_makes_no_difference() -> None:
    values = (0.05, 0.1, 0.5, 1.0, 5.0, -1.0)
    for before in values:
        for seconds in values:
            alone, behind = Histogram((0.1, 1.0)), Histogram((0.1, 1.0))
            alone.observe_many(seconds, 3)
            behind.observe(before)
            start = list(behind.counts)
            behind.observe_many(seconds, 3)
            assert [a - b for a, b in zip(behind.counts, start, strict=True)] == alone.counts


def test_prometheus_counts_at_or_below_each_bound() -> None:
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.05, 0.5, 5.0):
        histogram.observe(seconds)
    assert histogram.cumulative() == [("0.1", 1.0), ("1.0", 2.0), ("+Inf", 3.0)]


def test_every_timing_has_a_histogram_of_its_own() -> None:
    timings = Timings()
    histograms = [getattr(timings, name) for name in Timings.__slots__]
    assert len({id(histogram) for histogram in histograms}) == len(histograms)
    assert all(histogram.bounds == LATENCY_BOUNDS for histogram in histograms)
