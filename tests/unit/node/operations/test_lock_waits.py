"""Waits for locks at the leader: what ends them, and how many there may be."""

from typing import Any

import pytest

from quorumcache.node.operations import lock_waits
from quorumcache.node.operations.lock_answers import (
    GONE,
    GRANTED,
    LOCK_SHOW,
    LOCK_WAIT,
    TOO_MANY,
    WAITS,
    read_lock,
    read_standing,
)
from quorumcache.node.operations.lock_reads import LockRead
from quorumcache.node.operations.lock_waits import PARK_MS, Waking
from quorumcache.node.peers.items import FORWARD_ITEMS, FORWARD_READ, FORWARD_REFUSED, FORWARD_WRITE
from quorumcache.node.store.commands import OP_LOCK_ACQUIRE, OP_LOCK_RELEASE
from tests.support.coordinator_world import GROUP, HERE, THERE, World

TTL_MS = 60_000


class LockWorld(World):
    """This node leads; `a` holds the lock, `b` and `c` wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.lead(HERE)
        for owner in (b"a", b"b", b"c"):
            self.apply(OP_LOCK_ACQUIRE, owner, TTL_MS, 0, 0, 1)

    @property
    def waits(self) -> lock_waits.LockWaits:
        return self.coordinator.serving.lock_waits

    def apply(self, op: int, *args: object) -> None:
        """Without anybody here who hears of it: another leader has proposed it."""
        machine = self.group.machine
        command = (0, 0, 0, op, b"lock", *args)
        machine.apply(machine.applied_index + 1, self.group.now_ms(), [command])

    def release(self, owner: bytes) -> None:
        """By a client of another node."""
        command = (0, 0, 0, OP_LOCK_RELEASE, b"lock", owner, 0)
        self.coordinator.on_forward(THERE, (FORWARD_WRITE, 1, GROUP, 9, False, command))
        self.group.commit()
        self.sent.clear()

    def wait(self, owner: bytes, park_ms: int = PARK_MS) -> LockRead:
        coordinator: Any = self.coordinator
        read = LockRead(
            *(coordinator, GROUP, coordinator.deadline_ns(), (b"lock", owner), LOCK_WAIT, park_ms),
            lambda outcome: self.outcomes.append((owner, *read_standing(outcome[0]))),
        )
        self.coordinator.begin(read, False)
        return read

    def wait_there(self, owner: bytes, park_ms: int = PARK_MS) -> None:
        """For a client of another node."""
        item = (FORWARD_READ, 77, GROUP, (b"lock", owner), park_ms, LOCK_WAIT)
        self.coordinator.on_forward(THERE, item)

    def told(self) -> tuple[int, int]:
        to, item = self.take()
        assert (to, item[0], item[1]) == (THERE, FORWARD_ITEMS, 77)
        return read_standing(item[2][0])


def test_whose_turn_it_is_hears_so_as_soon_as_the_release_is_applied() -> None:
    world = LockWorld()
    world.wait(b"c")
    world.wait(b"b")
    assert (world.outcomes, world.waits.count) == ([], 2)
    world.release(b"a")
    assert world.outcomes == [(b"b", GRANTED, 2)]
    world.release(b"b")
    assert world.outcomes[1:] == [(b"c", GRANTED, 3)]
    assert world.waits.count == 0


def test_another_node_is_told_in_the_same_moment() -> None:
    world = LockWorld()
    world.wait_there(b"b")
    assert not world.sent
    command = (0, 0, 0, OP_LOCK_RELEASE, b"lock", b"a", 0)
    world.coordinator.on_forward(THERE, (FORWARD_WRITE, 1, GROUP, 9, False, command))
    world.group.commit()
    world.sent.pop(0)  # The answer to the release.
    assert world.told() == (GRANTED, 2)


def test_who_waits_no_more_hears_so() -> None:
    world = LockWorld()
    world.wait(b"b")
    world.release(b"b")
    assert world.outcomes == [(b"b", GONE, 0)]


def test_the_answer_comes_at_once_if_there_is_nothing_to_wait_for() -> None:
    world = LockWorld()
    world.wait(b"a")
    world.wait(b"nobody")
    world.wait(b"c", park_ms=0)
    assert world.outcomes == [(b"a", GRANTED, 1), (b"nobody", GONE, 0), (b"c", WAITS, 2)]


@pytest.mark.parametrize("park_ms", [100, PARK_MS, PARK_MS + 5000])
def test_after_its_time_a_wait_is_told_its_place(park_ms: int) -> None:
    world = LockWorld()
    world.wait(b"c", park_ms)
    world.wait_there(b"b", park_ms)
    world.pass_ms(min(park_ms, PARK_MS) - 1)
    assert not world.outcomes
    assert not world.sent
    world.pass_ms(1)
    assert world.outcomes == [(b"c", WAITS, 2)]
    assert world.told() == (WAITS, 1)
    assert world.waits.count == 0


def test_a_grant_that_nobody_here_proposed_is_found_after_the_time() -> None:
    world = LockWorld()
    world.wait(b"b")
    world.apply(OP_LOCK_RELEASE, b"a", 0)
    assert not world.outcomes
    world.pass_ms(PARK_MS)
    assert world.outcomes == [(b"b", GRANTED, 2)]


def test_a_leader_that_is_none_any_more_gives_no_answer() -> None:
    world = LockWorld()
    world.wait(b"b")
    world.wait_there(b"c")
    world.lead(THERE)
    world.coordinator.sweep()
    (refused, forwarded) = sorted((item for _, item in world.sent), key=lambda i: -i[0])
    assert refused[:2] == (FORWARD_REFUSED, 77)
    assert forwarded[0] == FORWARD_READ, "the one of this node asks the next leader"
    assert forwarded[3] == (b"lock", b"b")
    assert not world.outcomes


def test_nor_does_one_that_lost_and_won_between_two_looks() -> None:
    world = LockWorld()
    world.wait_there(b"c")
    world.group.term += 1
    world.coordinator.sweep()
    assert world.take()[1][0] == FORWARD_REFUSED


def test_one_that_is_given_up_takes_no_place() -> None:
    world = LockWorld()
    read = world.wait(b"b")
    read.finished = True
    world.coordinator.sweep()
    assert world.waits.count == 0
    world.release(b"a")
    assert not world.outcomes


def test_a_command_that_changes_nothing_for_those_who_wait_costs_next_to_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of them renews its place now and then. To find the places of all with each renewal would
    keep a leader busy for good: a thousand waiters had that."""
    world = LockWorld()
    world.wait(b"b")
    world.wait(b"c")
    monkeypatch.setattr(lock_waits, "standing", lambda *_: pytest.fail("a place was looked for"))
    command = (0, 0, 0, OP_LOCK_ACQUIRE, b"lock", b"c", TTL_MS, 0, 0, 1)
    world.coordinator.on_forward(THERE, (FORWARD_WRITE, 1, GROUP, 9, False, command))
    world.group.commit()
    assert (world.outcomes, world.waits.count) == ([], 2)


def test_one_wait_too_many_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_waits, "PARKED_MAX", 1)
    world = LockWorld()
    world.wait(b"b")
    world.wait(b"c")
    assert world.outcomes == [(b"c", TOO_MANY, 2)]


def test_without_a_lease_the_leader_makes_sure_first() -> None:
    world = LockWorld()
    world.group.lease = False
    world.wait_there(b"b")
    (forwarded,) = world.group.reading
    world.wait(b"c")
    assert world.waits.count == 0
    for reading in world.group.reading:
        reading.on_readable()
    assert world.waits.count == 2
    forwarded.on_refused("why")
    assert world.take()[1][0] == FORWARD_REFUSED


def test_who_is_no_leader_refuses() -> None:
    world = LockWorld()
    world.lead(THERE)
    world.wait_there(b"b")
    assert world.take()[1][0] == FORWARD_REFUSED


def test_a_lock_is_shown() -> None:
    world = LockWorld()
    world.coordinator.on_forward(THERE, (FORWARD_READ, 77, GROUP, (b"lock",), 0, LOCK_SHOW))
    kind, holders, waiters = read_lock(world.take()[1][2][0])
    assert (kind, len(holders), len(waiters)) == (0, 1, 2)


@pytest.mark.parametrize("call", ["on_refused", "on_lost"])
def test_a_command_that_came_to_nothing_wakes_nobody(call: str) -> None:
    world = LockWorld()
    world.wait(b"b")
    heard: list[str] = []

    class Waiter:
        def on_result(self, result: Any) -> None:
            raise AssertionError

        def on_refused(self, why: str) -> None:
            heard.append("on_refused")

        def on_lost(self) -> None:
            heard.append("on_lost")

    waking = Waking(world.waits, GROUP, b"lock", Waiter())
    getattr(waking, call)(*(["why"] if call == "on_refused" else []))
    assert heard == [call]
    assert not world.outcomes
