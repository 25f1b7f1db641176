"""Who takes part in the directory, and from when on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.consensus.values import Configuration
from quorumcache.node.directory.seat import DirectorySeat
from quorumcache.node.errors import StartupError
from quorumcache.node.founding.data_dir import births_of
from tests.support.founding import record_of

RECORD = record_of(*"abcdefg")


class World:
    """A seat; `started` are the arguments of the replicas that it starts."""

    def __init__(
        self,
        node_id: int,
        births: dict[int, Configuration] | None = None,
        leaving: tuple[int, ...] = (),
    ) -> None:
        self.started: list[tuple[int, Configuration, bool]] = []
        starter: Any = self
        self.seat = DirectorySeat(
            node_id,
            RECORD,
            births=births_of(RECORD, node_id) if births is None else births,
            leaving=leaving,
            starter=starter,
        )
        self.asked: list[Any] = []
        steward: Any = SimpleNamespace(
            ask=self.asked.append,
            tick=lambda: None,
            started=lambda bits: None,
            close=lambda: self.asked.append("closed"),
        )
        self.seat.make_steward = lambda group, state: steward
        self.seat.on_map = lambda cluster_map: None

    def start(self, group_id: int, birth: Configuration, machine: Any, *, stands: bool) -> Any:
        self.started.append((group_id, birth, stands))
        return SimpleNamespace(is_leader=False)


@pytest.mark.parametrize("node_id", [1, 2, 5])
def test_a_voter_starts_group_0_once_and_the_first_one_stands(node_id: int) -> None:
    world = World(node_id)
    world.seat.take()
    world.seat.take()
    assert world.started == [(0, Configuration((1, 2, 3, 4, 5)), node_id == 1)]


def test_a_node_without_a_vote_has_no_seat() -> None:
    world = World(6)
    world.seat.take()
    world.seat.tick()
    world.seat.started(1)
    question: Any = "a question"
    assert not world.seat.ask(question)
    assert not world.started


def test_a_question_is_decided_where_there_is_a_seat() -> None:
    world = World(1)
    world.seat.take()
    question: Any = "a question"
    assert world.seat.ask(question)
    assert world.asked == [question]


def test_group_0_starts_with_its_whole_birth() -> None:
    birth = Configuration((1, 2), (3,), (1, 4))
    world = World(1, {0: birth})
    world.seat.take()
    assert world.started[0][1] == birth


def test_a_voter_without_a_birth_is_an_error_that_names_it() -> None:
    with pytest.raises(StartupError, match=r"node 1 votes in the directory.* no birth of group 0"):
        World(1, {}).seat.take()


def test_a_seat_that_is_being_taken_away_is_not_taken_again() -> None:
    """The map that said so is lost: what is left of the replica must not start."""
    world = World(1, {}, leaving=(0,))
    world.seat.take()
    assert not world.started
    with pytest.raises(StartupError):
        World(1, {}, leaving=(1,)).seat.take()


def test_a_map_that_names_the_directorys_nodes_starts_it_when_it_is_adopted() -> None:
    """By then it is certain that this node is one of them."""
    world = World(1)
    first = RECORD.first_map()
    world.seat.take(replace(first, epoch=2, form=2, directory=(2, 3, 4)))
    assert not world.started
    world.seat.take(first)
    assert len(world.started) == 1


def test_a_seat_can_be_taken_again_after_it_was_let_go() -> None:
    world = World(1)
    world.seat.take()
    world.seat.let_go()
    world.seat.tick()
    world.seat.start(Configuration(()), stands=False)
    assert world.started[1:] == [(0, Configuration(()), False)]
