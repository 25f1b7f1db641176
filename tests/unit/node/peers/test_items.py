"""Goal: kinds of item cannot be confused, and a map item of another form is refused."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers import items
from quorumcache.node.peers.items import (
    CONSENSUS_KINDS,
    FITNESS,
    FOUNDED,
    HEARTBEAT_REPLIES,
    HEARTBEATS,
    MAP_EPOCH,
    MAP_REPLY,
    MAP_REQUEST,
    RARE_KINDS,
    STARTED,
    STARTED_BYTES_MAX,
    TIME,
    check_map_item,
)

MAP_ITEMS: list[tuple[Any, ...]] = [
    (MAP_REQUEST, 1),
    (MAP_REPLY, b"map"),
    (MAP_EPOCH, 2),
    (FOUNDED, 1),
    (STARTED, b"\1"),
]


@pytest.mark.parametrize("item", MAP_ITEMS)
def test_each_form_of_a_map_item_is_taken(item: tuple[Any, ...]) -> None:
    check_map_item(item)


@pytest.mark.parametrize(
    "item",
    [
        (MAP_REQUEST, "1"),
        (MAP_REPLY, 5),
        (MAP_EPOCH, 2, 3),
        (FOUNDED,),
        (STARTED, b"\0" * (STARTED_BYTES_MAX + 1)),
    ],
)
def test_any_other_form_of_a_map_item_is_refused(item: tuple[Any, ...]) -> None:
    with pytest.raises(PeerFrameError):
        check_map_item(item)


def test_no_two_kinds_have_the_same_number() -> None:
    numbers = [
        value
        for name, value in vars(items).items()
        if name.isupper() and type(value) is int and not name.endswith(("_MAX", "_KINDS"))
        if not name.startswith("_")
    ]
    assert len(numbers) == len(set(numbers)) > 12
    assert max(HEARTBEATS, HEARTBEAT_REPLIES) < CONSENSUS_KINDS <= min(RARE_KINDS)
    assert {item[0] for item in MAP_ITEMS} | {TIME, FITNESS} == RARE_KINDS
