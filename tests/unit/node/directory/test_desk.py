"""Where questions about the cluster go, and that each of them gets exactly one answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from quorumcache.node.directory.desk import (
    DEADLINE_MS,
    RETRY_MS,
    SILENCE_MS,
    WAITING_MAX,
    ChangeDesk,
)
from quorumcache.node.directory.question import (
    ELSEWHERE,
    LOST,
    OK,
    REFUSED,
    Question,
    joiner_texts,
)
from quorumcache.node.peers.items import CHANGE_REPLY, CHANGE_REQUEST, WORDS_MAX
from quorumcache.ring import NodeInfo
from tests.support.fake_node import FakeClock

INFO = NodeInfo(1, "d", "hostd:1", "hostd:2", "", "z", 2.0, "d" * 32)


class World:
    """The desk of node 9. The directory is on 1, 2 and 3."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.up = {1, 2, 3}
        self.forms = {1: 2, 2: 2, 3: 2}
        self.directory: Sequence[int] = (1, 2, 3)
        self.leader = 0
        self.sent: list[tuple[int, tuple[Any, ...]]] = []
        self.decided: list[Question] = []
        self.has_seat = False
        self.answers: list[tuple[int, bytes]] = []
        self.desk = ChangeDesk(
            9,
            clock=self.clock,
            first_id=100,
            peers=self,
            directory=lambda: self.directory,
            leader=lambda: self.leader,
            decide=self.decide,
            flush=lambda: None,
            moves_json=lambda: b"{}",
        )

    def is_up(self, node_id: int) -> bool:
        return node_id in self.up

    def form_of(self, node_id: int) -> int:
        return self.forms[node_id]

    def send(self, node_id: int, item: tuple[Any, ...]) -> bool:
        if node_id in self.up:
            self.sent.append((node_id, item))
        return node_id in self.up

    def decide(self, question: Question) -> bool:
        if self.has_seat:
            self.decided.append(question)
        return self.has_seat

    def ask(self, *words: str) -> None:
        self.desk.ask(words, lambda *answer: self.answers.append(answer))

    def join(self) -> None:
        self.desk.join(INFO, lambda *answer: self.answers.append(answer))

    def pass_ms(self, ms: int, *, step_ms: int = 50) -> None:
        for _ in range(ms // step_ms):
            self.clock.now_ns += step_ms * 1_000_000
            self.desk.sweep()

    def reply(self, code: int, payload: bytes = b"") -> None:
        """The node that was asked last answers."""
        node_id, item = self.sent[-1]
        self.desk.on_reply(node_id, item[1], code, payload)


def test_a_question_goes_to_the_leader_and_its_answer_comes_back() -> None:
    world = World()
    world.leader = 3
    world.ask("drain", "c")
    assert world.sent == [(3, (CHANGE_REQUEST, 100, False, ("drain", "c")))]
    world.reply(OK, b"{}")
    world.reply(OK, b"again")
    world.pass_ms(2 * DEADLINE_MS)
    assert world.answers == [(OK, b"{}")]
    assert len(world.sent) == 1


def test_a_node_that_does_not_lead_says_who_does() -> None:
    world = World()
    world.ask("drain", "c")
    asked = world.sent[-1][0]
    leader = 1 if asked != 1 else 3
    world.reply(ELSEWHERE, b"%d" % leader)
    world.pass_ms(RETRY_MS)
    assert [node_id for node_id, _ in world.sent] == [asked, leader]
    world.reply(REFUSED, b"no")
    assert world.answers == [(REFUSED, b"no")]


def test_nodes_of_the_directory_are_asked_in_turn_while_none_knows_a_leader() -> None:
    world = World()
    world.up = {1, 2}
    world.ask("drain", "c")
    for _ in range(4):
        world.reply(ELSEWHERE, b"0")
        world.pass_ms(RETRY_MS)
    assert {node_id for node_id, _ in world.sent} == {1, 2}
    world.reply(ELSEWHERE, b"0")
    world.up = set()
    world.pass_ms(DEADLINE_MS)
    assert world.answers[0][0] == REFUSED
    assert b"nothing was changed" in world.answers[0][1]


def test_a_node_of_the_first_form_is_not_asked() -> None:
    world = World()
    world.forms = {1: 1, 2: 1, 3: 2}
    world.ask("drain", "c")
    world.reply(ELSEWHERE, b"1")
    world.pass_ms(RETRY_MS)
    assert [node_id for node_id, _ in world.sent] == [3, 3]


def test_an_operator_hears_that_the_directory_is_led_by_an_earlier_version() -> None:
    world = World()
    world.forms = {1: 1, 2: 1, 3: 1}
    for world.leader, expected in ((1, b"runs an earlier version"), (0, b"has no leader")):
        world.ask("drain", "c")
        world.pass_ms(DEADLINE_MS)
        code, sentence = world.answers.pop()
        assert code == REFUSED
        assert expected in sentence
    assert not world.sent


def test_a_change_is_never_sent_twice_once_it_may_have_been_decided() -> None:
    world = World()
    world.ask("drain", "c")
    world.pass_ms(DEADLINE_MS)
    assert len(world.sent) == 1
    assert [code for code, _ in world.answers] == [LOST]
    world.reply(OK)
    assert len(world.answers) == 1


def test_a_change_whose_way_is_cut_is_lost_at_once() -> None:
    world = World()
    world.ask("drain", "c")
    asked = world.sent[-1][0]
    world.desk.peer_down(asked % 3 + 1)
    assert not world.answers
    world.desk.peer_down(asked)
    assert world.answers[0][0] == LOST
    world.pass_ms(DEADLINE_MS)
    assert len(world.sent) == len(world.answers) == 1


@pytest.mark.parametrize("is_join", [True, False])
def test_what_may_be_asked_twice_is_asked_again(is_join: bool) -> None:
    """A node that joins gets the same id again; a dry run changes nothing."""
    world = World()
    if is_join:
        world.join()
    else:
        world.ask("drain", "c", "dry")
    first = world.sent[-1][0]
    world.desk.peer_down(first)
    world.pass_ms(RETRY_MS)
    second = world.sent[-1][0]
    assert second != first
    world.pass_ms(SILENCE_MS)
    third = world.sent[-1][0]
    assert third not in (first, second)
    world.desk.on_reply(second, 100, OK, b"late")
    assert not world.answers, "the one that is asked now may answer otherwise"
    world.reply(OK, b"yes")
    assert world.answers == [(OK, b"yes")]


def test_a_node_that_cannot_join_now_is_told_to_ask_again() -> None:
    world = World()
    world.up = set()
    world.join()
    world.pass_ms(DEADLINE_MS)
    assert world.answers[0][0] == LOST
    world.up = {1}
    world.join()
    assert world.sent == [(1, (CHANGE_REQUEST, 101, True, joiner_texts(INFO)))]


def test_the_node_that_leads_asks_itself() -> None:
    world = World()
    world.leader, world.has_seat = 9, True
    world.ask("drain", "c")
    assert [question.texts for question in world.decided] == [("drain", "c")]
    world.decided[0].done(ELSEWHERE, b"2")
    world.leader = 2
    world.pass_ms(RETRY_MS)
    assert world.sent[-1][0] == 2
    world.reply(OK, b"{}")
    assert world.answers == [(OK, b"{}")]


def test_questions_have_a_bound_in_number_and_form() -> None:
    world = World()
    world.ask()
    world.ask(*["x"] * (WORDS_MAX + 1))
    world.ask("drain", "x" * 1000)
    assert [code for code, _ in world.answers] == [REFUSED] * 3
    for _ in range(WAITING_MAX + 1):
        world.ask("drain", "c")
    world.join()
    assert [code for code, _ in world.answers[3:]] == [REFUSED, LOST]
    world.pass_ms(DEADLINE_MS)
    assert len(world.answers) == 3 + 2 + WAITING_MAX


# -- questions of other nodes ----------------------------------------------------------------------


def test_a_question_of_another_node_is_decided_here_and_answered_there() -> None:
    world = World()
    world.has_seat = True
    world.desk.on_request(2, 55, True, joiner_texts(INFO))
    assert world.decided[0].asks_to_join
    world.decided[0].done(OK, b"map")
    assert world.sent == [(2, (CHANGE_REPLY, 55, OK, b"map"))]


@pytest.mark.parametrize(("leader", "told"), [(3, b"3"), (0, b"0"), (9, b"0")])
def test_a_node_without_a_seat_names_the_leader(leader: int, told: bytes) -> None:
    world = World()
    world.leader = leader
    world.desk.on_request(2, 55, False, ("drain", "c"))
    assert world.sent == [(2, (CHANGE_REPLY, 55, ELSEWHERE, told))]
