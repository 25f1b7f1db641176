"""How a node leaves: after its clients, or at once when the map does not name it any more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quorumcache.node.alarms import Alarms
from quorumcache.node.directory.departure import ASK_MS, Departure
from quorumcache.node.directory.question import LOST, OK, REFUSED, Done
from quorumcache.node.errors import NodeLeft
from quorumcache.ring import ClusterMap
from tests.support.fake_node import FakeClock
from tests.support.founding import record_of

FIRST = replace(record_of("a", "b", "c").first_map(), form=2, directory=(1, 2))
TIMEOUT_MS = 10_000


def with_state(state: str) -> ClusterMap:
    return FIRST.with_node(replace(FIRST.node(3), state=state))


def without() -> ClusterMap:
    sets = [(1, 2)] * FIRST.shard_count
    return FIRST.with_replica_sets(sets).without_node(3)


class World:
    """Node 3, c."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.alarms = Alarms()
        self.asked: list[Done] = []
        self.left: list[NodeLeft] = []
        self.clients = 2
        self.accepts = True
        self.departure = Departure(
            3,
            "c",
            clock=self.clock,
            alarms=self.alarms,
            timeout_ms=TIMEOUT_MS,
            leave=self.asked.append,
            on_left=self.left.append,
        )
        self.departure.count_clients = lambda: self.clients
        self.departure.stop_accepting = self.stop_accepting
        self.departure.serve = self.serve

    def stop_accepting(self) -> None:
        self.accepts = False

    def serve(self) -> None:
        self.accepts = True

    def start(self, stored: ClusterMap | None) -> None:
        """As a node does: it listens, then takes the map that it has stored for the newest."""
        self.accepts = self.departure.may_serve(stored)
        if stored is not None:
            self.departure.learned(stored)

    def pass_ms(self, ms: int) -> None:
        self.clock.now_ns += ms * 1_000_000
        self.departure.look()


@pytest.mark.parametrize("state", ["joining", "active", "draining", "down", "lost"])
def test_no_other_state_makes_a_node_leave(state: str) -> None:
    world = World()
    world.departure.learned(with_state(state))
    world.pass_ms(2 * TIMEOUT_MS)
    assert world.accepts
    assert not world.asked
    assert not world.left


def test_a_drained_node_waits_for_its_clients_then_asks_to_leave_then_ends() -> None:
    world = World()
    world.departure.learned(with_state("drained"))
    world.pass_ms(50)
    assert not world.accepts
    assert [alarm.name for alarm in world.alarms.raised()] == ["drained"]
    world.pass_ms(TIMEOUT_MS // 2)
    assert not world.asked
    world.clients = 0
    world.pass_ms(50)
    world.pass_ms(50)
    assert len(world.asked) == 1
    assert not world.left
    world.asked[0](OK, b"{}")
    world.departure.learned(without())
    (error,) = world.left
    assert error.was_drained
    assert "node c was drained and has left cluster" in str(error)


def test_clients_that_stay_do_not_keep_it_for_ever() -> None:
    world = World()
    world.departure.learned(with_state("drained"))
    world.pass_ms(50)
    world.pass_ms(TIMEOUT_MS - 1)
    assert not world.asked
    world.pass_ms(1)
    assert len(world.asked) == 1


@pytest.mark.parametrize("code", [LOST, REFUSED])
def test_an_answer_that_is_no_yes_is_asked_for_again(code: int) -> None:
    world = World()
    world.clients = 0
    world.departure.learned(with_state("drained"))
    world.pass_ms(50)
    world.asked[0](code, b"why")
    world.pass_ms(ASK_MS - 1)
    assert len(world.asked) == 1
    world.pass_ms(1)
    assert len(world.asked) == 2


def test_the_map_tells_a_drained_node_that_it_has_left_when_the_answer_is_lost() -> None:
    world = World()
    world.clients = 0
    world.departure.learned(with_state("drained"))
    world.pass_ms(50)
    world.departure.learned(without())
    assert world.left[0].was_drained
    world.asked[0](LOST, b"")
    world.pass_ms(5 * ASK_MS)
    assert len(world.left) == len(world.asked) == 1


@pytest.mark.parametrize("state", ["active", "draining", "lost"])
def test_a_node_that_was_removed_ends_at_once_and_says_so(state: str) -> None:
    world = World()
    world.departure.learned(with_state(state))
    world.departure.learned(without())
    (error,) = world.left
    assert not error.was_drained
    assert "node c is no member of cluster" in str(error)
    assert "--join" in str(error)


def test_a_drain_that_is_taken_back_asks_for_a_restart() -> None:
    world = World()
    world.departure.learned(with_state("drained"))
    world.pass_ms(50)
    world.departure.learned(with_state("active"))
    world.pass_ms(2 * TIMEOUT_MS)
    assert not world.asked
    assert "Restart it" in world.alarms.raised()[0].sentence


@pytest.mark.parametrize("state", ["joining", "active", "draining", "down", "lost"])
def test_a_start_in_any_other_state_takes_clients(state: str) -> None:
    world = World()
    world.start(with_state(state))
    assert world.accepts
    assert not world.alarms.raised()
    world.pass_ms(50)
    assert world.accepts


def test_a_start_without_a_map_takes_clients() -> None:
    world = World()
    world.start(None)
    assert world.accepts


def test_a_drained_node_that_is_started_again_takes_no_client_from_the_first_moment_on() -> None:
    world = World()
    assert not world.departure.may_serve(with_state("drained"))
    assert [alarm.name for alarm in world.alarms.raised()] == ["drained"]
    world.clients = 0
    world.start(with_state("drained"))
    world.pass_ms(50)
    assert not world.accepts
    assert len(world.asked) == 1


def test_a_removed_node_that_knows_it_takes_no_client_at_its_start() -> None:
    world = World()
    world.start(without())
    assert not world.accepts
    assert len(world.left) == 1


def test_a_drain_that_was_taken_back_while_the_node_was_down_lets_clients_in() -> None:
    world = World()
    world.start(with_state("drained"))
    world.pass_ms(50)
    world.departure.learned(with_state("active"))
    world.pass_ms(50)
    assert world.accepts
    assert not world.alarms.raised()


def test_a_node_that_missed_the_map_without_it_hears_of_it_by_a_refusal() -> None:
    world = World()
    world.departure.learned(with_state("active"))
    world.departure.removed(9)
    world.departure.removed(9)
    (error,) = world.left
    assert "map 9 does not name it" in str(error)
