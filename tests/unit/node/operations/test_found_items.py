"""Gets of other nodes, as a leader answers them in one pass."""

from typing import Any

import pytest

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.operations.found_items import FOUND_BYTES_MAX, answer_gets
from quorumcache.node.peers.items import (
    FORWARD_FOUND,
    FORWARD_GETS,
    GETS_MAX,
    NOT_LED,
    UNANSWERED,
)
from quorumcache.node.store.item import ENDS, PIECES, pack_header
from tests.support.coordinator_world import GROUP, THERE, World
from tests.support.item_tables import item_of

NOW_MS = 1_000_000
LEASE_NS = 1_000


class Leading(World):
    """A node that leads the group under a lease."""

    def __init__(self) -> None:
        super().__init__()
        self.group: Any = self.group
        self.group.lease_until_ns = LEASE_NS
        self.items = self.group.machine.items
        self.is_full = False

    def put(self, **items: bytes) -> None:
        for key, packed in items.items():
            self.items.put(key.encode(), packed, 1)

    def get(self, key: bytes) -> bytes:
        return item_of(self.items, key)

    def send_bulk(self, node_id: int, item: tuple[Any, ...]) -> bool:
        return not self.is_full and self.send(node_id, item)

    def ask(self, *keys: bytes, group_id: int = GROUP) -> tuple[Any, ...]:
        asked = tuple(each for key in keys for each in (group_id, key))
        answer_gets(self.coordinator.serving, THERE, (FORWARD_GETS, 9, asked))
        ((node_id, (kind, request_id, found)),) = self.sent
        self.sent.clear()
        assert (node_id, kind, request_id) == (THERE, FORWARD_FOUND, 9)
        return tuple(found)


@pytest.fixture
def world() -> Leading:
    return Leading()


def item(value: bytes = b"x", bits: int = 0, ends_ms: int = 0) -> bytes:
    return pack_header(bits, ends_ms, 1) + b" 0 %d\r\n%b\r\n" % (len(value), value)


def test_items_and_misses_are_answered_in_order_and_count_as_reads(world: Leading) -> None:
    world.put(a=item(), b=item(b"y"))
    assert world.ask(b"b", b"n", b"a") == (world.get(b"b"), None, world.get(b"a"))
    counters = world.coordinator.counters
    assert (counters.forwarded_in, counters.lease_reads) == (3, 3)


def test_an_answer_is_followed_by_a_flush(world: Leading) -> None:
    for world.is_full in (False, True):
        world.ask(b"a")
        assert not world.is_left_behind


def test_without_a_lease_nothing_is_answered(world: Leading) -> None:
    world.put(a=item())
    world.clock.ns = LEASE_NS - 1
    assert world.ask(b"a") == (world.get(b"a"),)
    world.clock.ns = LEASE_NS
    assert world.ask(b"a", b"n") == (NOT_LED, NOT_LED)
    assert world.ask(b"a", group_id=GROUP + 1) == (NOT_LED,)
    assert world.coordinator.counters.forwarded_in == 1


def test_what_has_an_end_is_answered_until_then(world: Leading) -> None:
    world.put(a=item(bits=ENDS, ends_ms=NOW_MS + 1))
    assert world.ask(b"a") == (world.get(b"a"),)
    world.put(a=item(bits=ENDS, ends_ms=NOW_MS))
    world.put(b=item(b"p", PIECES))
    world.put(c=item())
    assert world.ask(b"a", b"b", b"c") == (UNANSWERED, UNANSWERED, world.get(b"c"))
    assert not world.group.submitted, "the general way removes what has ended"


def test_an_answer_has_a_bound(world: Leading) -> None:
    half = item(b"x" * (FOUND_BYTES_MAX // 2))
    world.put(a=half, b=item())
    assert world.ask(b"a", b"a", b"b", b"n") == (half, UNANSWERED, world.get(b"b"), None)


def test_if_too_much_is_queued_all_are_to_be_asked_again(world: Leading) -> None:
    world.put(a=item())
    world.is_full = True
    assert world.ask(b"a", b"a") == ()


@pytest.mark.parametrize(
    "rest",
    [
        (),
        (1,),
        (1, b"x"),
        ("x", (GROUP, b"k")),
        (1, ()),
        (1, (GROUP,)),
        (1, (GROUP, "text")),
        (1, (b"k", GROUP)),
        (1, (0, b"k")),
        (1, (GROUP, b"k") * (GETS_MAX + 1)),
        (1, (GROUP, b"k"), 2),
    ],
)
def test_another_form_ends_the_connection(world: Leading, rest: tuple[Any, ...]) -> None:
    with pytest.raises(PeerFrameError):
        answer_gets(world.coordinator.serving, THERE, (FORWARD_GETS, *rest))
    assert not world.sent
