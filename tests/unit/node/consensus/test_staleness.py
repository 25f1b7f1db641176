"""Goal: a stamp is told from those of other lives and of the future; an age is never understated.

Method: statements in any order against a model that keeps all of them.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumcache.node.consensus.lease import NEVER_NS
from quorumcache.node.consensus.staleness import (
    CLOCK_BITS,
    LIFE_BITS,
    NO_STAMP,
    UNIT_BITS,
    Freshness,
    make_stamp,
    stamp_ns,
)

LIFE = 77


@given(st.integers(0, (1 << CLOCK_BITS + UNIT_BITS) - 1), st.integers(0, 1 << 40))
def test_a_stamp_tells_its_reading_rounded_down(now_ns: int, later_ns: int) -> None:
    stamp = make_stamp(LIFE, now_ns)
    assert 0 < stamp < 1 << 64
    read_ns = stamp_ns(stamp, LIFE, now_ns + later_ns)
    assert now_ns - (1 << UNIT_BITS) < read_ns <= now_ns


@pytest.mark.parametrize(
    "stamp",
    [
        NO_STAMP,
        make_stamp(LIFE + 1, 5 << UNIT_BITS),
        make_stamp(LIFE, 11 << UNIT_BITS),  # not read yet
    ],
)
def test_a_stamp_of_another_life_or_of_the_future_is_none(stamp: int) -> None:
    assert stamp_ns(stamp, LIFE, 10 << UNIT_BITS) == NEVER_NS


def test_a_life_fits_into_a_stamp_whatever_number_it_was() -> None:
    life = Freshness((1 << 63) - 1).life
    assert 0 <= life < 1 << LIFE_BITS
    assert make_stamp(life, (1 << CLOCK_BITS + UNIT_BITS) - 1) < 1 << 64


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30), st.integers(1, 30)), max_size=60))
def test_no_more_is_claimed_than_the_statements_say(steps: list[tuple[bool, int, int]]) -> None:
    freshness = Freshness(LIFE)
    told: list[tuple[int, int]] = []
    applied, known = 0, NEVER_NS
    for learns, first, second in steps:
        if learns:
            freshness.learn(first, second)
            told.append((first, second))
            continue
        applied = max(applied, first)
        found = freshness.known_ns(applied)
        allowed = [read_ns for read_ns, index in told if index <= applied]
        assert found in (NEVER_NS, *allowed)
        assert found >= known
        known = found


def test_the_newest_statement_counts_once_its_index_is_applied() -> None:
    freshness = Freshness(LIFE)
    freshness.learn(100, 5)
    freshness.learn(200, 7)
    freshness.learn(150, 9)  # older than what is known to come
    assert [freshness.known_ns(index) for index in (4, 5, 6, 7)] == [NEVER_NS, 100, 100, 200]
