"""Goal: kinds of item cannot be confused, and a map item of another form is refused."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers import items
from quorumcache.node.peers.items import (
    ADDRESSES,
    ADDRESSES_MAX,
    ADOPTED,
    CHANGE_REPLY,
    CHANGE_REQUEST,
    CONSENSUS_KINDS,
    DIRECTORY_KINDS,
    FITNESS,
    FOUNDED,
    HEARTBEAT_REPLIES,
    HEARTBEATS,
    HOT_KEYS,
    MAP_EPOCH,
    MAP_REPLY,
    MAP_REQUEST,
    MEMORY,
    RARE_KINDS,
    REPORT,
    STARTED,
    STARTED_BYTES_MAX,
    TIME,
    WORD_CHARS_MAX,
    WORDS_MAX,
    check_directory_item,
    check_map_item,
)

MAP_ITEMS: list[tuple[Any, ...]] = [
    (MAP_REQUEST, 1),
    (MAP_REPLY, b"map"),
    (MAP_EPOCH, 2),
    (FOUNDED, 1),
    (STARTED, b"\1"),
    (ADOPTED, 2),
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
        (ADOPTED, b"2"),
        (STARTED, b"\0" * (STARTED_BYTES_MAX + 1)),
    ],
)
def test_any_other_form_of_a_map_item_is_refused(item: tuple[Any, ...]) -> None:
    with pytest.raises(PeerFrameError):
        check_map_item(item)


MOVING = (3, 7, 12, (1, 2), (4,), 100, 4000)

DIRECTORY_ITEMS: list[tuple[Any, ...]] = [
    (REPORT, (), b"", (), (), False, 5),
    (REPORT, (1, 2), b"\1", (MOVING,), ((3, 4000), (0, 12)), True, 5),
    (CHANGE_REQUEST, 1, False, ("drain", "c")),
    (CHANGE_REQUEST, 1, True, ("d", "h:1", "h:2", "", "", "1.0", "0" * 32)),
    (CHANGE_REPLY, 1, 0, b"{}"),
    (ADDRESSES, ((2, 1, "b:1"), (3, 9, "[::1]:7400"))),
]


@pytest.mark.parametrize("item", DIRECTORY_ITEMS)
def test_each_form_of_a_directory_item_is_taken(item: tuple[Any, ...]) -> None:
    check_directory_item(item)


@pytest.mark.parametrize(
    "item",
    [
        (REPORT, (), b"", (), ()),
        (REPORT, (), b"", (), (), 0, 5),
        (REPORT, [1], b"", (), (), False, 5),
        (REPORT, (True,), b"", (), (), False, 5),
        (REPORT, (-1,), b"", (), (), False, 5),
        (REPORT, (), b"\0" * (STARTED_BYTES_MAX + 1), (), (), False, 5),
        (REPORT, (), b"", (MOVING[:-1],), (), False, 5),
        (REPORT, (), b"", (5,), (), False, 5),
        (REPORT, (), b"", ((3, 7, 12, (1, "2"), (4,), 100, 4000),), (), False, 5),
        (REPORT, (), b"", ((3, 7, 12, (1, 2), ("4",), 100, 4000),), (), False, 5),
        (REPORT, (), b"", ((3, -7, 12, (1, 2), (4,), 100, 4000),), (), False, 5),
        (REPORT, (), b"", (), ((3, 4000, 5),), False, 5),
        (REPORT, (), b"", (), ((3, "4000"),), False, 5),
        (REPORT, (), b"", (), (3,), False, 5),
        (REPORT, (), b"", (), (), False),
        (REPORT, (), b"", (), (), False, -5),
        (CHANGE_REQUEST, 1, False, ()),
        (CHANGE_REQUEST, 1, 0, ("drain", "c")),
        (CHANGE_REQUEST, 1, False, ("drain", b"c")),
        (CHANGE_REQUEST, 1, False, ("x",) * (WORDS_MAX + 1)),
        (CHANGE_REQUEST, 1, False, ("x" * (WORD_CHARS_MAX + 1),)),
        (CHANGE_REPLY, 1, "0", b"{}"),
        (CHANGE_REPLY, 1, 0, "{}"),
        (ADDRESSES, ((1, 1, "nowhere"),)),
        (ADDRESSES, ((0, 1, "a:1"),)),
        (ADDRESSES, ((1, 0, "a:1"),)),
        (ADDRESSES, ((1, 1, b"a:1"),)),
        (ADDRESSES, ((1, 1),)),
        (ADDRESSES, (1,)),
        (ADDRESSES, ((1, 1, "a:1"),) * (ADDRESSES_MAX + 1)),
    ],
)
def test_any_other_form_of_a_directory_item_is_refused(item: tuple[Any, ...]) -> None:
    with pytest.raises(PeerFrameError):
        check_directory_item(item)


def test_no_two_kinds_have_the_same_number() -> None:
    numbers = [
        value
        for name, value in vars(items).items()
        if name.isupper() and type(value) is int and not name.endswith(("_MAX", "_KINDS"))
        if not name.startswith("_")
    ]
    assert len(numbers) == len(set(numbers)) > 12
    assert max(HEARTBEATS, HEARTBEAT_REPLIES) < CONSENSUS_KINDS <= min(RARE_KINDS)
    told = {item[0] for item in [*MAP_ITEMS, *DIRECTORY_ITEMS]}
    assert told | {TIME, FITNESS, MEMORY, HOT_KEYS} == RARE_KINDS
    assert {item[0] for item in DIRECTORY_ITEMS} == set(DIRECTORY_KINDS)
