"""Latency histogram: log-linear buckets, at most 0.8 % wide, that can be merged.

A value v (nanoseconds) below 256 has its own bucket. Above, each power of two is cut into 128
equal buckets:

    shift  = bit_length(v) - 8            v >> shift is in [128, 256)
    bucket = shift * 128 + (v >> shift)

so a bucket's width is below 1/128 of its values, and its midpoint is off by at most 0.4 %. Counts
are kept in one flat list: recording costs two shifts and an addition. Minimum, maximum and sum are
exact. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

from quorumcache.bench.errors import BenchError

_LINEAR_BITS = 8
_HALF = 1 << (_LINEAR_BITS - 1)
VALUE_MAX = (1 << 42) - 1  # 73 minutes in nanoseconds; longer is counted as this
_BUCKET_COUNT = (42 - _LINEAR_BITS) * _HALF + (1 << _LINEAR_BITS)


def bucket_of(value: int) -> int:
    """Bucket of `value`, which is in [0, VALUE_MAX]."""
    shift = value.bit_length() - _LINEAR_BITS
    if shift <= 0:
        return value
    return shift * _HALF + (value >> shift)


def bucket_range(bucket: int) -> tuple[int, int]:
    """Values [lo, hi) of `bucket`."""
    if bucket < 1 << _LINEAR_BITS:
        return bucket, bucket + 1
    shift = bucket // _HALF - 1
    top = bucket - shift * _HALF
    return top << shift, (top + 1) << shift


class Histogram:
    """Counts of values in nanoseconds.

    Invariant: `count` is the sum of all buckets; `min_value` <= `max_value` when `count` > 0, both
    0 when it is empty.
    """

    __slots__ = ("_buckets", "count", "max_value", "min_value", "total")

    def __init__(self) -> None:
        self._buckets = [0] * _BUCKET_COUNT
        self.count = 0
        self.total = 0
        self.min_value = 0
        self.max_value = 0

    def record(self, value: int, times: int = 1) -> None:
        """Add `value` (nanoseconds, clamped to [0, VALUE_MAX]) `times` times."""
        if value < 0:
            value = 0
        elif value > VALUE_MAX:
            value = VALUE_MAX
        # bucket_of, inlined: this line runs once per request of the load.
        shift = value.bit_length() - 8
        self._buckets[value if shift <= 0 else shift * 128 + (value >> shift)] += times
        if value > self.max_value:
            self.max_value = value
        if value < self.min_value or not self.count:
            self.min_value = value
        self.count += times
        self.total += value * times

    def record_all(self, values: Iterable[int]) -> None:
        """Add each of `values`."""
        for value in values:
            self.record(value)

    def clear(self) -> None:
        """Forget everything; the object stays the same, so its holders need not be told."""
        self._buckets[:] = [0] * _BUCKET_COUNT
        self.count = self.total = self.min_value = self.max_value = 0

    def merge(self, other: Histogram) -> None:
        """Add all of `other`'s values to this one."""
        if not other.count:
            return
        self.min_value = min(self.min_value, other.min_value) if self.count else other.min_value
        self.max_value = max(self.max_value, other.max_value)
        self.count += other.count
        self.total += other.total
        mine = self._buckets
        for bucket, times in enumerate(other._buckets):
            if times:
                mine[bucket] += times

    def mean(self) -> float:
        """Arithmetic mean in nanoseconds (exact), 0.0 when empty."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: float) -> int:
        """Smallest recorded value that `percent` % of all values do not exceed, within 0.4 %.

        `percent` is in [0, 100]; 0 gives the minimum and 100 the maximum, both exactly. 0 when
        empty.
        """
        if not 0 <= percent <= 100:
            raise ValueError(f"percent {percent} is not in [0, 100]")
        if not self.count or percent == 0:
            return self.min_value
        # The rank is 1-based: ceil(percent % of count). The tiny term keeps 99.9 % of 1000 at
        # 999 in spite of binary fractions.
        rank = max(1, -int(-(percent * self.count / 100 - 1e-9) // 1))
        if rank >= self.count:
            return self.max_value
        seen = 0
        for bucket, times in enumerate(self._buckets):
            seen += times
            if seen >= rank:
                lo, hi = bucket_range(bucket)
                return min(max((lo + hi - 1) // 2, self.min_value), self.max_value)
        raise AssertionError("count does not match the buckets")

    def to_dict(self) -> dict[str, Any]:
        """Sparse JSON form."""
        return {
            "count": self.count,
            "total": self.total,
            "min": self.min_value,
            "max": self.max_value,
            "buckets": [[b, n] for b, n in enumerate(self._buckets) if n],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`. BenchError when the counts do not add up."""
        histogram = cls()
        for bucket, times in data["buckets"]:
            if not 0 <= bucket < _BUCKET_COUNT or times < 0:
                raise BenchError(f"histogram: no bucket {bucket} x {times}")
            histogram._buckets[bucket] = times
        histogram.count = data["count"]
        histogram.total = data["total"]
        histogram.min_value = data["min"]
        histogram.max_value = data["max"]
        if sum(histogram._buckets) != histogram.count:
            raise BenchError(f"histogram: {histogram.count} values, other number in the buckets")
        return histogram

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]
