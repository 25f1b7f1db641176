"""The parts of a stamp do not overlap."""

from quorumcache.node.store.stamps import (
    FETCHED,
    HITS,
    HITS_MAX,
    MAIN,
    NOW_S_MAX,
    PLANNED,
    SECOND_SHIFT,
    SMALL,
)


def test_each_part_of_a_stamp_has_its_bits() -> None:
    second = NOW_S_MAX << SECOND_SHIFT
    assert HITS_MAX == HITS
    assert HITS & FETCHED == HITS & second == FETCHED & second == 0
    assert HITS | FETCHED | second == (1 << 32) - 1


def test_the_queues_have_numbers_of_their_own() -> None:
    assert sorted((SMALL, MAIN, PLANNED)) == [0, 1, 2]
