"""Goal: an item of any form that its kind does not have is refused before anybody reads it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.operations.forward_forms import check_forward
from quorumcache.node.operations.lock_answers import LOCK_SHOW, LOCK_WAIT
from quorumcache.node.peers.items import (
    FORWARD_ITEMS,
    FORWARD_LOST,
    FORWARD_READ,
    FORWARD_REFUSED,
    FORWARD_RELAY,
    FORWARD_RESULT,
    FORWARD_WRITE,
    FORWARD_WRITES,
    LEADERS_REPLY,
    LEADERS_REQUEST,
    TIME,
)
from quorumcache.node.store.commands import OP_DELETE, OP_SET
from tests.unit.node.peers.test_codec import values
from tests.unit.node.peers.test_items import MAP_ITEMS

WRITE = (FORWARD_WRITE, 7, 1, 20, False, (1, 2, 1, OP_SET, b"k", b" 0 1\r\nv\r\n", 0))
READ = (FORWARD_READ, 7, 1, (b"k",))
FORWARDS: list[tuple[Any, ...]] = [
    WRITE,
    READ,
    (*READ, 5_000_000),
    (*READ, 5_000_000, 3, 0),
    (FORWARD_READ, 7, 1, (b"lock", b"owner"), 500, LOCK_WAIT),
    (FORWARD_READ, 7, 1, (b"lock",), 0, LOCK_SHOW),
    (FORWARD_RESULT, 7, 1),
    (FORWARD_RESULT, 7, (1, b"5")),
    (FORWARD_ITEMS, 7, (b"item", None)),
    (FORWARD_REFUSED, 7, 2, "why"),
    (FORWARD_LOST, 7),
    (FORWARD_RELAY, 7, WRITE),
    (FORWARD_WRITES, (WRITE[1:], WRITE[1:])),
    (FORWARD_WRITES, ()),
    (FORWARD_RELAY, 7, READ),
    (LEADERS_REQUEST, (1, 2)),
    (LEADERS_REPLY, ((1, 2, 5),)),
]


@pytest.mark.parametrize("item", FORWARDS)
def test_each_form_of_a_forward_is_taken(item: tuple[Any, ...]) -> None:
    check_forward(item)


@pytest.mark.parametrize("item", MAP_ITEMS)
def test_a_map_item_is_no_forward(item: tuple[Any, ...]) -> None:
    with pytest.raises(PeerFrameError):
        check_forward(item)


@pytest.mark.parametrize(
    "item",
    [
        (*WRITE[:5], (1, 2, 1, OP_SET, b"k", b"v")),
        (*WRITE[:5], (1, 2, 1, OP_SET, b"k", b"v", 0, 0)),
        (*WRITE[:5], (1, 2, 1, OP_DELETE, "k")),
        (*WRITE[:5], (1, 2, 1, 99, b"k")),
        (*WRITE[:5], (1, 2, 1)),
        (*WRITE[:4], 0, WRITE[5]),
        (FORWARD_READ, 7, 1, ()),
        (FORWARD_READ, 7, 1, ("k",)),
        (*READ, "5"),
        (FORWARD_READ, 7, 1, (b"lock",), 500, LOCK_WAIT),
        (FORWARD_READ, 7, 1, (b"lock", b"owner", b"k"), 500, LOCK_WAIT),
        (FORWARD_READ, 7, 1, (b"lock", b"owner"), 500, LOCK_SHOW),
        (FORWARD_READ, 7, 1, (b"lock", b"owner"), 500, LOCK_WAIT | LOCK_SHOW),
        (FORWARD_READ, 7, 1, (b"lock", b"owner"), 500, LOCK_WAIT | 1),
        (FORWARD_RESULT, 7, (1, "5")),
        (FORWARD_RESULT, 7, (1, 2, 3)),
        (FORWARD_ITEMS, 7, (b"item", 5)),
        (FORWARD_RELAY, 8, READ),
        (FORWARD_RELAY, 7, (FORWARD_RELAY, 7, READ)),
        (FORWARD_RELAY, 7, (FORWARD_LOST, 7)),
        (FORWARD_RELAY, 7, ()),
        (LEADERS_REQUEST, (1, "2")),
        (LEADERS_REPLY, ((1, 2),)),
        (LEADERS_REPLY, (5,)),
        (99, 7),
        (TIME, True, 1, 2, 3),
    ],
)
def test_any_other_form_of_a_forward_is_refused(item: tuple[Any, ...]) -> None:
    with pytest.raises(PeerFrameError, match=f"kind {item[0]} of an unknown form"):
        check_forward(item)


@given(st.sampled_from(FORWARDS), st.integers(1, 5), values)
def test_a_member_of_any_value_is_refused_or_taken(
    item: tuple[Any, ...], place: int, value: object
) -> None:
    """Nothing else is raised."""
    with suppress(PeerFrameError):
        check_forward((*item[:place], value, *item[place + 1 :]))
