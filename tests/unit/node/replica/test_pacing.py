"""A rate gives what it promises over any length of time, and never more than a burst above."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quorumcache.node.consensus.values import Configuration, SnapshotMeta, SnapshotSource
from quorumcache.node.replica.pacing import (
    DEPTH_MS,
    DOUBLINGS_MAX,
    PIECE_BYTES_MIN,
    PacedSource,
    Rate,
)
from tests.support.scripted_log import ManualClock

SECOND_NS = 1_000_000_000
MIB = 1 << 20


def test_without_a_bound_everything_goes() -> None:
    assert Rate().take(1 << 40, 5) == 1 << 40


@given(
    st.integers(1, 1 << 32),
    st.lists(st.tuples(st.integers(0, SECOND_NS), st.integers(1, MIB)), max_size=50),
)
def test_no_stretch_of_time_has_more_than_the_rate_and_a_burst(
    bytes_per_second: int, asked: list[tuple[int, int]]
) -> None:
    rate = Rate(bytes_per_second)
    now_ns = 7 * SECOND_NS
    burst = max(bytes_per_second * DEPTH_MS // 1000, 1)
    given_at: list[tuple[int, int]] = []
    for wait_ns, wanted in asked:
        now_ns += wait_ns
        granted = rate.take(wanted, now_ns)
        assert 0 <= granted <= wanted
        given_at.append((now_ns, granted))
    for start in range(len(given_at)):
        total = 0
        for at_ns, granted in given_at[start:]:
            total += granted
            passed = at_ns - given_at[start][0]
            assert total <= burst + bytes_per_second * passed // SECOND_NS + 1


def test_a_receiver_that_asks_again_and_again_gets_the_rate() -> None:
    """Neither less over time, nor pieces that are too small to be worth a message."""
    for bytes_per_second in (1000, 100_000, 10_000_000):
        rate = Rate(bytes_per_second)
        total = 0
        for step in range(1, 601):
            granted = rate.take(256 << 10, 60 * SECOND_NS + step * SECOND_NS // 10)
            assert granted == 0 or granted >= min(PIECE_BYTES_MIN, bytes_per_second // 10)
            while granted:
                total += granted
                granted = rate.take(256 << 10, 60 * SECOND_NS + step * SECOND_NS // 10)
        assert abs(total - 60 * bytes_per_second) < bytes_per_second


def test_a_change_of_the_rate_is_in_force_at_once() -> None:
    rate = Rate(1000)
    rate.take(MIB, SECOND_NS)
    assert rate.take(MIB, SECOND_NS) == 0
    rate.bytes_per_second = 0
    assert rate.take(MIB, SECOND_NS) == MIB
    rate.bytes_per_second = MIB
    assert rate.take(MIB, 100 * SECOND_NS) == MIB * DEPTH_MS // 1000


def test_a_paced_source_reads_what_the_rate_allows() -> None:
    meta = SnapshotMeta(9, 2, Configuration((1, 2, 3)))
    clock = ManualClock()
    data = bytes(range(256)) * 4096
    source = PacedSource(
        SnapshotSource(meta, [data[:1000], data[1000:]]), Rate(MIB), clock.monotonic_ns
    )
    read = b""
    reads = empty = 0
    while len(read) < len(data):
        part = source.read(len(read), 256 << 10)
        read += part
        reads += 1
        empty += not part
        clock.ns += SECOND_NS // 100
    assert read == data
    assert source.total_bytes == len(data)
    assert 70 <= reads <= 130
    assert empty > 5
    assert source.read(len(data), 10) == b""


def test_a_copy_that_is_made_again_goes_faster() -> None:
    meta = SnapshotMeta(9, 2, Configuration((1, 2, 3)))
    source = SnapshotSource(meta, [bytes(50_000_000)])
    seconds = []
    for doublings in (0, 1, 3, DOUBLINGS_MAX, DOUBLINGS_MAX + 5):
        clock = ManualClock()
        paced = PacedSource(source, Rate(MIB), clock.monotonic_ns, doublings)
        offset = 0
        while offset < source.total_bytes:
            part = paced.read(offset, 256 << 10)
            assert part == source.read(offset, len(part))
            offset += len(part)
            clock.ns += SECOND_NS // 1000
        seconds.append(clock.ns / SECOND_NS)
    assert seconds[0] > 1.8 * seconds[1] > 6 * seconds[2] > 20 * seconds[3]
    assert seconds[3] == seconds[4]


def test_doubled_bytes_count_as_one() -> None:
    rate = Rate(1000)
    assert rate.take(100, SECOND_NS) == 100
    assert rate.take(1200, SECOND_NS, 3) == 1200
    assert rate.take(MIB, SECOND_NS) == 0
    assert rate.take(MIB, 2 * SECOND_NS, 2) == 1000
    assert rate.take(3, 3 * SECOND_NS, DOUBLINGS_MAX + 9) == 3
    assert rate.take(MIB, 3 * SECOND_NS) == 249, "less than one counts as one"


def test_what_was_not_needed_goes_later_and_what_was_too_much_is_waited_for() -> None:
    rate = Rate(1000)
    assert rate.take(MIB, SECOND_NS) == 250
    rate.give_back(150)
    assert rate.take(MIB, SECOND_NS) == 150
    rate.give_back(-500)
    for tenths in range(11, 16):
        assert rate.take(MIB, tenths * SECOND_NS // 10) == 0
    assert rate.take(MIB, 17 * SECOND_NS // 10) == 200
    assert rate.take(MIB, 2 * SECOND_NS, 1) == 500
    rate.give_back(-1, 1)
    assert rate.take(MIB, 3 * SECOND_NS) == 250, "no more than a burst gathers"
    unbound = Rate()
    unbound.give_back(-MIB)
    unbound.bytes_per_second = 1000
    assert unbound.take(MIB, SECOND_NS) == 250


def test_an_older_reading_of_the_clock_gives_nothing_twice() -> None:
    """A log goes by its last tick, a snapshot by the moment."""
    rate = Rate(1000)
    total = 0
    for _ in range(1000):
        total += rate.take(10, 10 * SECOND_NS)
        total += rate.take(10, 10 * SECOND_NS - SECOND_NS // 100)
    assert total == 250
