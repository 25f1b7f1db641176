"""A sketch of the items that were hit: what it remembers, in how much."""

import pytest

from quorumcache.node.store.hot_keys import (
    SKETCH_BYTES_MAX,
    SKETCH_BYTES_MIN,
    HotKeys,
    hits_to_be_hot,
    is_sketch,
    new_sketch,
)
from quorumcache.ring import key_token


@pytest.mark.parametrize("items", [10, 1_000, 50_000])
def test_hot_keys_are_known_and_few_others_look_so(items: int) -> None:
    tokens = [key_token(b"key-%d" % number) for number in range(items)]
    sketch = new_sketch(items)
    for token in tokens[::2]:
        sketch.add(token)
    again = HotKeys(bytearray(sketch.bits))
    assert all(again.has(token) for token in tokens[::2])
    assert sum(again.has(token) for token in tokens[1::2]) < 0.2 * items // 2 + 3
    assert len(sketch.bits) <= items + SKETCH_BYTES_MIN


def test_a_sketch_has_a_bounded_size() -> None:
    assert len(new_sketch(0).bits) == SKETCH_BYTES_MIN
    assert len(new_sketch(1 << 30).bits) == SKETCH_BYTES_MAX
    assert all(is_sketch(bytes(1 << power)) for power in range(3, 16))
    assert not any(is_sketch(bytes(size)) for size in (0, 1, 7, 9, 24, 2 * SKETCH_BYTES_MAX))


def test_where_there_are_too_many_items_only_the_hottest_count() -> None:
    assert hits_to_be_hot(1000) == 1
    assert hits_to_be_hot(1 << 30) == 3
