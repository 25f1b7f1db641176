"""Waiters of what a leader proposes in place of a client's command, or before it."""

from typing import Any

import pytest

from quorumcache.node.operations.failure import LEADERSHIP_CHANGED
from quorumcache.node.operations.stand_ins import (
    AfterRemoval,
    OutOfMemory,
    submit_without_growth,
)
from quorumcache.node.store.commands import (
    ARGS,
    OP_ADD,
    OP_DELETE,
    OP_FENCED,
    OP_META_ARITHMETIC,
    OP_META_GET,
    OP_META_SET,
    OP_REFUSE,
    OP_SET,
)
from quorumcache.node.store.results import (
    DELETED,
    NOT_FOUND,
    NUMBER,
    OUT_OF_MEMORY,
    SESSION_GONE,
    STORED,
)
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN
from quorumcache.node.telemetry.counters import Counters


class Waiting:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_result(self, result: Any) -> None:
        self.heard.append(result)

    def on_readable(self) -> None:
        self.heard.append("readable")

    def on_refused(self, why: str) -> None:
        self.heard.append(why)

    def on_lost(self) -> None:
        self.heard.append("lost")


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (DELETED, OUT_OF_MEMORY),
        (NOT_FOUND, OUT_OF_MEMORY),
        (STORED, STORED),
        (SESSION_GONE, SESSION_GONE),
    ],
)
def test_the_delete_in_place_of_a_set_is_told_as_a_refusal(result: int, told: int) -> None:
    waiter = Waiting()
    OutOfMemory(waiter).on_result(result)
    OutOfMemory(waiter).on_refused("why")
    OutOfMemory(waiter).on_lost()
    assert waiter.heard == [told, "why", "lost"]


def test_a_read_goes_on_when_the_expired_are_removed() -> None:
    waiter, counters = Waiting(), Counters()
    AfterRemoval(waiter, counters).on_result((NUMBER, 3))
    AfterRemoval(waiter, counters).on_refused("why")
    AfterRemoval(waiter, counters).on_lost()
    assert waiter.heard == ["readable", "why", LEADERSHIP_CHANGED]
    assert counters.reclaimed == 3


DATA = b" 0 1\r\nx\r\n"
MADE = (b"N", 0, 60, 0, 0)


@pytest.mark.parametrize(
    ("session", "inner", "proposed"),
    [
        (7, (OP_SET, DATA, 0), (OP_FENCED, b"lock", 8, (OP_DELETE,))),
        (
            *(7, (OP_META_SET, b"", OP_ADD, DATA, 0, 0, 0, 0, 0)),
            (OP_FENCED, b"lock", 8, (OP_DELETE,)),
        ),
        (7, (OP_META_GET, *MADE), (OP_FENCED, b"lock", 8, (OP_META_GET, b"n", *MADE[1:]))),
        (
            *(7, (OP_META_ARITHMETIC, b"N-", 1, 0, 60, 0, 0, 0)),
            (OP_FENCED, b"lock", 8, (OP_META_ARITHMETIC, b"n-", 1, 0, 60, 0, 0, 0)),
        ),
        (7, (OP_ADD, DATA, 0), None),
        (CLIENT_SESSION_MIN, (OP_ADD, DATA, 0), (OP_REFUSE,)),
    ],
)
def test_what_a_leader_without_memory_makes_of_a_fenced_command(
    session: int, inner: tuple[Any, ...], proposed: tuple[Any, ...] | None
) -> None:
    submitted: list[Any] = []

    class Group:
        def submit(self, command: Any, size: int, waiter: Any) -> None:
            submitted.append(command)
            waiter.on_result(DELETED)

    group: Any = Group()
    waiter = Waiting()
    command = (session, 3, 2, OP_FENCED, b"k", b"lock", 8, inner)
    submit_without_growth(group, command, 20, waiter)
    if proposed is None:
        assert not submitted
        assert waiter.heard == [OUT_OF_MEMORY]
        return
    (found,) = submitted
    assert (found[3], *found[ARGS:]) == proposed
    assert (*found[:3], found[4]) == (session, 3, 2, b"k"), "under the identity of the first"
    stands_for_a_set = proposed[0] == OP_FENCED and proposed[3] == (OP_DELETE,)
    assert waiter.heard == [OUT_OF_MEMORY if stands_for_a_set else DELETED]
