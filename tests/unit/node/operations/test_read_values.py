"""Values that are kept while another node reads them, within their bounds."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from quorumcache.node.operations import read_values
from quorumcache.node.operations.read_values import KEPT_NS, ReadValues
from quorumcache.node.store.commands import OP_DELETE, OP_PIECE, OP_SET, OP_STORE_PIECES
from quorumcache.node.store.item import value_id
from quorumcache.node.store.store import ShardStore
from tests.support.coordinator_world import ManualClock
from tests.support.item_tables import item_of

GROUP = 5


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = ShardStore()
        groups = {GROUP: SimpleNamespace(machine=self.store)}
        self.values = ReadValues(cast(Any, groups), cast(Any, self.clock))

    def stored(self, key: bytes, *pieces: bytes) -> bytes:
        total = sum(map(len, pieces))
        inner = (OP_SET, b" 0 %d\r\n" % total, 0)
        self.store.apply(
            1,
            1,
            [
                *((0, 0, 0, OP_PIECE, key, 1, at, total, p) for at, p in enumerate(pieces)),
                (0, 0, 0, OP_STORE_PIECES, key, 1, inner),
            ],
        )
        return item_of(self.store.items, key)

    def delete(self, key: bytes) -> None:
        self.store.apply(2, 1, [(0, 0, 0, OP_DELETE, key)])

    def piece(self, item: bytes, position: int) -> bytes | None:
        return self.values.piece(GROUP, value_id(item), position)


def test_pieces_of_a_value_in_a_replica() -> None:
    world = World()
    item = world.stored(b"k", b"ab", b"c")
    assert [world.piece(item, at) for at in (-1, 0, 1, 2)] == [None, b"ab", b"c", None]
    assert world.values.piece(GROUP, 4, 0) is None
    assert world.values.piece(9, value_id(item), 0) is None
    world.delete(b"k")
    assert world.piece(item, 0) is None


def test_a_value_that_is_kept_outlives_its_item() -> None:
    world = World()
    item = world.stored(b"k", b"ab", b"c")
    world.values.keep(GROUP, item)
    world.delete(b"k")
    assert [world.piece(item, at) for at in (-1, 0, 1, 2)] == [None, b"ab", b"c", None]
    assert world.values.kept_bytes == 3


def test_a_value_is_kept_for_a_while_after_it_was_asked_for_last() -> None:
    world = World()
    item = world.stored(b"k", b"ab", b"c")
    world.values.keep(GROUP, item)
    world.delete(b"k")
    world.clock.ns = KEPT_NS - 1
    world.values.sweep(world.clock.ns)
    assert world.piece(item, 0) == b"ab"
    world.clock.ns += KEPT_NS - 1
    world.values.sweep(world.clock.ns)
    assert world.piece(item, 1) == b"c"
    world.clock.ns += KEPT_NS
    world.values.sweep(world.clock.ns)
    assert world.piece(item, 0) is None
    assert world.values.kept_bytes == 0


def test_what_was_asked_for_longest_ago_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_values, "KEPT_BYTES_MAX", 6)
    world = World()
    items = [world.stored(b"%d" % number, b"abc") for number in range(3)]
    world.values.keep(GROUP, items[0])
    world.values.keep(GROUP, items[1])
    world.values.keep(GROUP, items[0])
    world.values.keep(GROUP, items[2])
    for number in range(3):
        world.delete(b"%d" % number)
    found = [world.piece(item, 0) for item in items]
    assert found == [b"abc", None, b"abc"]
    assert world.values.kept_bytes == 6


def test_one_value_may_be_larger_than_all_that_may_be_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(read_values, "KEPT_BYTES_MAX", 2)
    world = World()
    item = world.stored(b"k", b"abc")
    world.values.keep(GROUP, item)
    world.delete(b"k")
    assert world.piece(item, 0) == b"abc"


def test_an_ordinary_item_is_not_kept() -> None:
    world = World()
    world.store.apply(1, 1, [(0, 0, 0, OP_SET, b"k", b" 0 1\r\nx\r\n", 0)])
    world.values.keep(GROUP, item_of(world.store.items, b"k"))
    assert world.values.kept_bytes == 0
