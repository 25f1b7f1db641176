"""The histogram against exact percentiles, and its arithmetic."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumcache.bench.errors import BenchError
from quorumcache.bench.histogram import VALUE_MAX, Histogram, bucket_of, bucket_range

values = st.one_of(st.integers(0, 1000), st.integers(0, 10**7), st.integers(0, VALUE_MAX))
percents = st.sampled_from([0, 1, 25, 50, 75, 90, 99, 99.9, 99.99, 100])


def filled(numbers):
    histogram = Histogram()
    histogram.record_all(numbers)
    return histogram


def exact(numbers, percent):
    """Smallest value that `percent` % of all do not exceed."""
    rank = max(1, math.ceil(percent * len(numbers) / 100 - 1e-9))
    return sorted(numbers)[rank - 1]


@given(st.lists(values, min_size=1, max_size=300), percents)
@settings(max_examples=300, deadline=None)
def test_percentiles_are_exact_to_within_one_percent(numbers, percent):
    wanted = exact(numbers, percent)
    assert abs(filled(numbers).percentile(percent) - wanted) <= 0.01 * wanted


@given(st.lists(values, min_size=1, max_size=100))
@settings(max_examples=50, deadline=None)
def test_count_mean_minimum_and_maximum_are_exact(numbers):
    histogram = filled(numbers)
    assert histogram.count == len(numbers)
    assert histogram.mean() == sum(numbers) / len(numbers)
    assert (histogram.min_value, histogram.max_value) == (min(numbers), max(numbers))
    assert histogram.percentile(0) == min(numbers)
    assert histogram.percentile(100) == max(numbers)


@given(st.lists(values, max_size=80), st.lists(values, max_size=80))
@settings(max_examples=50, deadline=None)
def test_merging_is_recording_everything_in_one(left, right):
    merged = filled(left)
    merged.merge(filled(right))
    assert merged == filled(left + right)


@given(st.lists(values, max_size=80))
@settings(max_examples=50, deadline=None)
def test_the_json_form_comes_back_whole(numbers):
    assert Histogram.from_dict(filled(numbers).to_dict()) == filled(numbers)


@given(values)
def test_a_value_lies_in_its_bucket(value):
    lo, hi = bucket_range(bucket_of(value))
    assert lo <= value < hi
    assert hi - lo == 1 or (hi - lo) * 128 <= lo


def test_buckets_cover_everything_without_gaps():
    edge = 0
    for bucket in range(bucket_of(VALUE_MAX) + 1):
        lo, hi = bucket_range(bucket)
        assert lo == edge
        edge = hi
    assert edge == VALUE_MAX + 1


def test_recording_many_at_once_is_recording_each():
    together = Histogram()
    together.record(1234, 7)
    assert together == filled([1234] * 7)


def test_values_outside_are_clamped():
    histogram = filled([-5, VALUE_MAX + 1])
    assert (histogram.min_value, histogram.max_value) == (0, VALUE_MAX)


def test_an_empty_histogram_answers_zero():
    assert Histogram().percentile(99) == 0
    assert Histogram().mean() == 0.0


def test_clear_forgets():
    histogram = filled([1, 2, 3])
    histogram.clear()
    assert histogram == Histogram()


@pytest.mark.parametrize("percent", [-1, 100.1])
def test_percent_outside_is_refused(percent):
    with pytest.raises(ValueError, match="not in"):
        filled([1]).percentile(percent)


def test_counts_that_do_not_add_up_are_refused():
    data = filled([1, 2, 3]).to_dict()
    with pytest.raises(BenchError, match="histogram"):
        Histogram.from_dict({**data, "count": 4})
    with pytest.raises(BenchError, match="no bucket"):
        Histogram.from_dict({**data, "buckets": [[10**9, 3]]})
