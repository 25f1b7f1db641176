"""Waiters of commands that a leader proposes in place of what a client asked, or before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quorumcache.node.operations.failure import LEADERSHIP_CHANGED
from quorumcache.node.state_machine import KEY, OP, SESSION, Command, ReadWaiter, Result
from quorumcache.node.store.commands import (
    OP_DELETE,
    OP_META_ARITHMETIC,
    OP_META_GET,
    OP_META_SET,
    OP_REFUSE,
    OP_SET,
    in_place_of,
    refenced,
    unfenced,
    without_growth,
)
from quorumcache.node.store.results import DELETED, NOT_FOUND, OUT_OF_MEMORY, removed_items
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN

if TYPE_CHECKING:
    from quorumcache.node.replica.group import ReplicaGroup
    from quorumcache.node.telemetry.counters import Counters


class AfterRemoval:
    """Reads again once the expired items are out of the log's state."""

    __slots__ = ("counters", "reader")

    def __init__(self, reader: ReadWaiter, counters: Counters) -> None:
        self.reader = reader
        self.counters = counters

    def on_result(self, result: Result) -> None:
        self.counters.reclaimed += removed_items(result)
        # The removal was committed after the read began, so the state is current as of then.
        self.reader.on_readable()

    def on_refused(self, why: str) -> None:
        self.reader.on_refused(why)

    def on_lost(self) -> None:
        self.reader.on_refused(LEADERSHIP_CHANGED)


class OutOfMemory:
    """Turns the result of the delete that stands in for a refused set into the refusal."""

    __slots__ = ("waiter",)

    def __init__(self, waiter: Any) -> None:
        self.waiter = waiter

    def on_result(self, result: Result) -> None:
        # Anything else is no result of a delete: the session's state, or what an earlier attempt of
        # the client had as its first answer.
        self.waiter.on_result(OUT_OF_MEMORY if result in (DELETED, NOT_FOUND) else result)

    def on_refused(self, why: str) -> None:
        self.waiter.on_refused(why)

    def on_lost(self) -> None:
        self.waiter.on_lost()


def submit_without_growth(group: ReplicaGroup, command: Command, size: int, waiter: Any) -> bool:
    """There is no memory for an OP_FENCED: propose in its place what `Serving.submit` proposes for
    its inner command. The fence counts all the same: who holds it no more deletes nothing. False:
    it was refused.
    """
    inner = unfenced(command)
    if inner[OP] in (OP_META_GET, OP_META_ARITHMETIC):
        return group.submit(refenced(command, without_growth(inner)), size, waiter)
    if inner[OP] in (OP_SET, OP_META_SET):
        delete = refenced(command, in_place_of(inner, OP_DELETE))
        return group.submit(delete, len(command[KEY]), OutOfMemory(waiter))
    if command[SESSION] >= CLIENT_SESSION_MIN:
        return group.submit(in_place_of(command, OP_REFUSE), len(command[KEY]), waiter)
    waiter.on_result(OUT_OF_MEMORY)
    return True
