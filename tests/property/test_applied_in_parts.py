"""Much that is committed at one moment is applied over several turns, all of it and in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quorumcache.node.consensus.api import HANDED_OUT_MAX, Ready
from quorumcache.node.consensus.values import Entry, EntryKind
from quorumcache.node.replica.turn_bounds import APPLY_WORK_MAX
from quorumcache.node.state_machine import encode_batch
from tests.support.scripted_log import HostWorld

BACKLOG = 3 * HANDED_OUT_MAX + 1


def world_behind(seen: list[list[int]], groups: int = 2, backlog: int = BACKLOG) -> HostWorld:
    """Groups that have heard that a backlog is committed, of which their logs give as much as the
    real one at a time. `seen`: gets what all have applied whenever one is given more."""
    world = HostWorld(*range(1, groups + 1))
    for log in world.logs.values():
        script(log, lambda: seen.append(applied(world)), backlog)
    return world


def script(log: Any, look: Callable[[], None], backlog: int) -> None:
    log.commit_index = backlog
    left = [
        Entry(index, 1, int(EntryKind.NORMAL), encode_batch(1000 + index, []))
        for index in range(1, backlog + 1)
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


MANY = 2 * APPLY_WORK_MAX // HANDED_OUT_MAX + 1
"""Groups that have more to apply together than a turn applies, if each is given its part once."""

MOST = APPLY_WORK_MAX + HANDED_OUT_MAX
"""Of entries without payload that count: a group is not stopped within its part."""


@pytest.mark.parametrize("way", ["turn", "answers", "bundle"])
def test_no_turn_applies_more_than_a_bound_for_all_groups(way: str) -> None:
    world = world_behind([], MANY)
    groups = list(world.groups.values())
    if way == "turn":
        for group in groups:
            world.host.mark_dirty(group)
    elif way == "answers":
        for group in groups:
            world.host.advance(group)
    else:
        new = Entry(1, 1, int(EntryKind.NORMAL), encode_batch(1000, []))
        world.host.take_bundle(2, 99, 1, [(number, 1, 0, 0, 0, [new]) for number in world.groups])
    assert sum(applied(world)) <= MOST
    while sum(applied(world)) < MANY * BACKLOG:
        before = sum(applied(world))
        assert world.loop.run(steps_max=1), "there is another turn as long as there is more"
        assert sum(applied(world)) - before <= MOST
    world.turn()
    assert not any(group.dirty for group in groups)


def test_groups_that_are_held_over_come_first_in_the_next_turn() -> None:
    seen: list[list[int]] = []
    world = world_behind(seen, MANY)
    world.turn(*world.groups)
    assert applied(world) == [BACKLOG] * MANY
    assert max(max(parts) - min(parts) for parts in seen) == HANDED_OUT_MAX, "they take turns"


def test_a_group_that_has_nothing_to_apply_is_not_held_over() -> None:
    world = world_behind([], MANY)
    other: Any = world.logs[MANY]
    asked: list[int] = []
    other.commit_index = 0
    other.has_ready = lambda: bool(asked.append(sum(applied(world))))
    for group in world.groups.values():
        world.host.mark_dirty(group)
    while not asked:
        world.loop.run(steps_max=1)
    assert APPLY_WORK_MAX <= asked[0] <= MOST, "in the first turn"
