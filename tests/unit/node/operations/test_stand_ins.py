"""Waiters of what a leader proposes in place of a client's command, or before it."""

from typing import Any

import pytest

from quorumcache.node.operations.failure import LEADERSHIP_CHANGED
from quorumcache.node.operations.stand_ins import AfterRemoval, OutOfMemory
from quorumcache.node.store.results import (
    DELETED,
    NOT_FOUND,
    NUMBER,
    OUT_OF_MEMORY,
    SESSION_GONE,
    STORED,
)
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
