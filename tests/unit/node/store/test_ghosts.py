"""The table of keys that were evicted lately: what it remembers, for how long, and in how much."""

import pytest

from quorumcache.node.store.ghosts import SLOTS_MAX, GhostTable
from quorumcache.ring import key_token


def token(number: int) -> int:
    return key_token(b"key-%d" % number)


def test_a_key_is_remembered_once() -> None:
    ghosts = GhostTable()
    assert not ghosts.take(token(1))
    ghosts.add(token(1), 100)
    assert not ghosts.take(token(2))
    assert ghosts.take(token(1))
    assert not ghosts.take(token(1))
    ghosts.add(token(1), 100)
    ghosts.clear()
    assert not ghosts.take(token(1))


@pytest.mark.parametrize("remembered", [300, 1000, 5000])
def test_most_of_the_last_keys_are_remembered_and_few_older_ones(remembered: int) -> None:
    ghosts = GhostTable()
    last = 8 * remembered
    for number in range(last):
        ghosts.add(token(number), remembered)
    young = sum(ghosts.take(token(last - 1 - each)) for each in range(remembered))
    old = sum(ghosts.take(token(each)) for each in range(last - 2 * remembered))
    assert young > 0.5 * remembered
    assert old < 0.02 * last


def test_what_was_added_before_the_table_grew_is_still_found() -> None:
    ghosts = GhostTable()
    for number in range(100):
        ghosts.add(token(number), 256)
    ghosts.add(token(1000), 16 * 256)
    assert sum(ghosts.take(token(number)) for number in range(100)) > 75


def test_a_key_takes_four_to_eight_bytes() -> None:
    ghosts = GhostTable()
    assert ghosts.memory_bytes < 200  # Nothing was evicted yet.
    for remembered in (1000, 10_000, 100_000):
        ghosts.add(token(1), remembered)
        assert ghosts.memory_bytes < 200 + 8 * max(remembered, 512)
    ghosts.add(token(1), 1 << 40)
    assert ghosts.memory_bytes < 200 + 4 * SLOTS_MAX
