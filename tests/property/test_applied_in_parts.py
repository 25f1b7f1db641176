"""Much that is committed at one moment is applied over several turns, all of it and in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quorumcache.node.consensus.api import HANDED_OUT_MAX, Ready
from quorumcache.node.consensus.values import Entry, EntryKind
from quorumcache.node.state_machine import encode_batch
from tests.support.scripted_log import HostWorld

BACKLOG = 3 * HANDED_OUT_MAX + 1


def world_behind(seen: list[list[int]]) -> HostWorld:
    """Groups 1 and 2 have heard that a backlog is committed, of which their logs give as much as
    the real one at a time. `seen`: gets what both have applied whenever one is given more."""
    world = HostWorld(1, 2)
    for log in world.logs.values():
        script(log, lambda: seen.append(applied(world)))
    return world


def script(log: Any, look: Callable[[], None]) -> None:
    left = [
        Entry(index, 1, int(EntryKind.NORMAL), encode_batch(1000 + index, []))
        for index in range(1, BACKLOG + 1)
    ]

    def take_committed() -> list[Entry]:
        look()
        taken = left[:HANDED_OUT_MAX]
        del left[:HANDED_OUT_MAX]
        return taken

    def ready() -> Ready:
        made = Ready()
        made.committed_entries = take_committed()
        return made

    log.take_committed = take_committed
    log.has_ready = lambda: bool(left)
    log.ready = ready


def applied(world: HostWorld) -> list[int]:
    return [group.applied_index for group in world.groups.values()]


@pytest.mark.parametrize("way", ["turn", "answer", "bundle"])
def test_each_turn_applies_a_part_of_every_group(way: str) -> None:
    seen: list[list[int]] = []
    world = world_behind(seen)
    if way == "turn":
        world.turn(1, 2)
    else:
        if way == "answer":
            for group in world.groups.values():
                world.host.advance(group)
        else:
            new = Entry(1, 1, int(EntryKind.NORMAL), encode_batch(1000, []))
            world.host.take_bundle(2, 99, 1, [(number, 1, 0, 0, 0, [new]) for number in (1, 2)])
        assert applied(world) == [HANDED_OUT_MAX] * 2, "no more at once"
        world.turn()
    assert applied(world) == [BACKLOG] * 2, "without another reason for a turn"
    assert max(abs(one - two) for one, two in seen) == HANDED_OUT_MAX, "they take turns"
    assert not any(group.dirty for group in world.groups.values())
