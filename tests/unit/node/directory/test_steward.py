"""What the leader of group 0 decides."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.directory import steward as module
from quorumcache.node.directory.question import ELSEWHERE, LOST, REFUSED, Answer, Question
from quorumcache.node.directory.question import OK as DONE
from quorumcache.node.directory.reports import Ledger
from quorumcache.node.directory.state import DirectoryState
from quorumcache.node.directory.steward import (
    BUG_TICKS,
    FIRST_MAP_TICKS,
    QUESTION_TICKS,
    QUESTIONS_MAX,
    SHARDS_PER_STEP,
    STARTED_TICKS,
    STEP_TICKS,
    STEP_TICKS_MIN,
    Steward,
)
from quorumcache.node.peers.items import REPORT
from quorumcache.node.store.results import EXISTS, OK
from quorumcache.node.telemetry.counters import Counters
from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.ring.errors import ChangeRefused, MapError
from quorumcache.ring.node_info import DOWN
from tests.support.directory import IDS, MEMBERS, RECORD, first_map, info, set_map
from tests.support.fake_node import FakeClock


class World:
    """A steward whose group is a list of proposals. It has waited for founders that read the second
    form, unless it `waits` still.
    """

    def __init__(self, *known: str, waits: bool = False) -> None:
        self.state = DirectoryState(lambda m: None)
        self.known = {IDS[name]: info(name) for name in known}
        self.is_leader = True
        self.applied_index = 1
        self.log = SimpleNamespace(term_start_index=1)
        self.submitted: list[tuple[Any, ...]] = []
        self.leader_id = 1
        self.clock = FakeClock()
        self.forms = dict.fromkeys(IDS.values(), 1)
        self.counters = Counters()
        self.heard = {2, 3}
        self.bugs: list[str] = []
        self.proven: set[int] = set()
        group: Any = self
        self.steward = Steward(
            own_id=1,
            record=RECORD,
            group=group,
            state=self.state,
            known=self.known,
            ledger=Ledger(1, self.clock, lambda node_id: node_id in self.heard),
            form_of=lambda node_id: self.forms[node_id],
            proven=lambda: self.proven,
            first_settings={"dead_after_ms": "60000", "move_rate": "1000"},
            counters=self.counters,
            on_bug=lambda text, error: self.bugs.append(text),
        )
        for _ in range(0 if waits else FIRST_MAP_TICKS):
            self.tick()

    def submit(self, command: tuple[Any, ...], size: int, waiter: Any) -> None:
        self.submitted.append(command)

    def tick(self) -> None:
        """50 ms pass."""
        self.clock.now_ns += 50_000_000
        self.steward.tick()

    def step(self) -> list[Any]:
        """The steward looks, and what it submits is committed. The results."""
        self.steward.tick()
        return self.commit()

    def ask(self, *words: str, **kwargs: Any) -> list[tuple[int, bytes]]:
        """Ask for a change; the answers, which come later."""
        answers: list[tuple[int, bytes]] = []
        self.steward.ask(Question(words, lambda *answer: answers.append(answer), **kwargs))
        return answers

    def use_form_2(self) -> ClusterMap:
        """Each node reads it: the map of form 2 that follows."""
        self.tick()
        self.commit()
        self.forms = dict.fromkeys(IDS.values(), 2)
        self.tick()
        assert self.commit() == [OK]
        return self.map

    @property
    def map(self) -> ClusterMap:
        assert self.state.cluster_map is not None
        return self.state.cluster_map

    def commit(self) -> list[Any]:
        results = [self.state.apply(1, 1, [command])[0] for command in self.submitted]
        self.submitted.clear()
        for result in results:
            self.steward.on_result(result)
        return results


def test_the_first_map_is_of_the_second_form_if_all_founders_read_it() -> None:
    world = World("a", waits=True)
    world.forms = {2: 2, 3: 1}
    world.tick()
    assert not world.submitted
    world.forms[3] = 2
    world.tick()
    world.tick()
    assert len(world.submitted) == 1
    assert world.commit() == [OK]
    first = world.map
    assert (first.form, first.epoch, first.directory) == (2, 1, (1, 2, 3))
    assert (first.setting("dead_after_ms"), first.setting("move_rate")) == ("60000", "1000")
    assert replace(first, form=1, directory=(), settings=first_map().settings) == first_map()
    world.tick()
    assert not world.submitted


def test_the_first_map_does_not_wait_for_ever_for_founders_that_are_not_heard() -> None:
    """It follows from the record alone then."""
    world = World("a", waits=True)
    for _ in range(FIRST_MAP_TICKS):
        world.tick()
        assert not world.submitted
    world.tick()
    world.tick()
    assert len(world.submitted) == 1
    assert world.commit() == [OK]
    assert world.state.cluster_map == first_map()
    world.tick()
    assert not world.submitted


@pytest.mark.parametrize("names", ["ab", "abc"])
def test_nodes_that_rotate_their_addresses_change_together(names: str) -> None:
    """Each takes the peer and the client address that the next one has just left."""
    world = World("a", "b", "c")
    world.step()
    olds = [world.known[IDS[name]] for name in names]
    for old, new in zip(olds, olds[1:] + olds[:1], strict=True):
        world.known[old.node_id] = replace(
            old, peer_address=new.peer_address, client_address=new.client_address
        )
    assert world.step() == [OK]
    assert world.state.cluster_map is not None
    assert world.state.cluster_map.nodes == tuple(world.known[n] for n in (1, 2, 3))


def test_an_address_is_not_taken_from_a_node_that_was_not_heard_of() -> None:
    """a has b's old address and b is silent: only a's change waits, until b comes."""
    world = World("a", "c")
    world.step()
    world.known[1] = replace(info("a"), peer_address=MEMBERS["b"])
    world.known[3] = info("c", "moved:1")
    assert world.step() == [OK]
    after = world.state.cluster_map
    assert after is not None
    assert (after.node(1), after.node(3)) == (info("a"), info("c", "moved:1"))
    world.steward.tick()
    assert not world.submitted
    world.known[2] = replace(info("b"), peer_address="elsewhere:1")
    assert world.step() == [OK]
    assert world.state.cluster_map is not None
    assert world.state.cluster_map.nodes == tuple(world.known[n] for n in (1, 2, 3))


def test_a_chain_of_claims_on_a_silent_nodes_address_waits_as_a_whole() -> None:
    """b claims the address of c, which is silent, and a the one that b would leave."""
    world = World("a", "b")
    world.step()
    world.known[2] = replace(info("b"), peer_address=MEMBERS["c"])
    world.known[1] = replace(info("a"), peer_address=MEMBERS["b"])
    world.steward.tick()
    assert not world.submitted


def test_groups_that_have_started_are_told_together_with_what_else_changed() -> None:
    world = World("a", "b", "c")
    world.step()
    world.steward.started(0b0101)
    world.steward.tick()
    world.steward.started(0b1000)
    assert not world.submitted
    world.known[2] = info("b", "elsewhere:1")
    for _ in range(STARTED_TICKS):
        world.step()
    after = world.state.cluster_map
    assert after is not None
    assert after.started == 0b1101
    assert after.node(2) == info("b", "elsewhere:1")
    assert after.epoch <= 3
    world.steward.started(0b0101 | 1 << 40)
    for _ in range(3 * STARTED_TICKS):
        world.steward.tick()
    assert not world.submitted


def test_only_a_leader_that_has_applied_its_first_entry_acts() -> None:
    world = World("a", "b", "c")
    world.is_leader = False
    world.steward.tick()
    world.is_leader, world.applied_index = True, 0
    world.steward.tick()
    assert not world.submitted
    world.applied_index = 1
    world.steward.tick()
    assert len(world.submitted) == 1


def test_a_changed_address_becomes_the_next_epoch_and_placement_stays() -> None:
    world = World("a", "b", "c")
    world.step()
    before = world.state.cluster_map
    assert before is not None
    world.known[2] = info("b", "elsewhere:1")
    assert world.step() == [OK]
    after = world.state.cluster_map
    assert after is not None
    assert (after.epoch, after.node(2).client_address) == (2, "elsewhere:1")
    assert after.replica_sets == before.replica_sets


def test_a_stranger_does_not_get_into_the_map() -> None:
    world = World("a", "b", "c")
    world.step()
    world.known[9] = NodeInfo(9, "z", "z:1", "z:2", "", "", 1.0)
    world.steward.tick()
    assert not world.submitted


def test_a_proposal_that_was_overtaken_changes_nothing_and_is_looked_at_again() -> None:
    world = World("a", "b", "c")
    world.steward.tick()
    other = first_map()
    world.state.apply(1, 1, [set_map(0, other)])
    world.known[1] = info("a", "moved:1")
    assert world.commit() == [EXISTS]
    assert world.state.cluster_map == other
    assert world.step() == [OK]
    assert world.state.epoch == 2


@pytest.mark.parametrize("end", ["on_lost", "on_refused"])
def test_a_proposal_without_an_answer_is_made_again(end: str) -> None:
    world = World("a", "b", "c")
    world.steward.tick()
    world.submitted.clear()
    getattr(world.steward, end)(*(["why"] if end == "on_refused" else []))
    world.steward.tick()
    assert len(world.submitted) == 1


# -- the second form ----------------------------------------------------------------------------


def test_the_map_gets_its_second_form_once_each_node_reads_it() -> None:
    world = World("a", "b", "c")
    world.tick()
    world.commit()
    world.forms = {2: 2, 3: 1}
    world.tick()
    assert not world.submitted
    world.forms[3] = 2
    world.tick()
    assert world.commit() == [OK]
    after = world.map
    assert (after.form, after.epoch, after.directory) == (2, 2, (1, 2, 3))
    assert (after.setting("dead_after_ms"), after.setting("move_rate")) == ("60000", "1000")
    assert after.setting("shards") == first_map().setting("shards")
    assert ClusterMap.from_bytes(after.to_bytes()) == after
    world.tick()
    assert not world.submitted


def test_in_the_second_form_zone_and_weight_are_the_maps_and_addresses_the_nodes_own() -> None:
    """Otherwise what `node set` has changed would be set back by what the node says of itself."""
    world = World("a", "b", "c")
    world.use_form_2()
    world.known[2] = replace(info("b", "moved:1"), zone="z9", weight=7.0)
    world.tick()
    assert world.commit() == [OK]
    node = world.map.node(2)
    assert (node.client_address, node.zone, node.weight) == ("moved:1", "", 1.0)


def test_the_secret_is_required_once_all_other_nodes_have_proven_it() -> None:
    world = World("a", "b", "c")
    world.use_form_2()
    world.proven = {2, 9}
    world.tick()
    assert not world.submitted
    world.proven = {2, 3}
    world.tick()
    assert world.commit() == [OK]
    assert world.map.setting("secret") == "required"
    world.proven = set()
    world.tick()
    assert not world.submitted


# -- questions ----------------------------------------------------------------------------------


def wanting(monkeypatch: pytest.MonkeyPatch, change: str = "drain c") -> None:
    """Each question wants a map that says `change`."""

    def answer(self: Question, present: ClusterMap, view: Any) -> Answer:
        if self.texts == ("bad",):
            raise ChangeRefused("unknown node x")
        if self.texts == ("nothing",):
            return Answer(None, b"as it is")
        return Answer(replace(present, epoch=present.epoch + 1, change=change), b"done")

    monkeypatch.setattr(Question, "answer", answer)


def test_a_change_is_answered_once_its_map_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    wanting(monkeypatch)
    world = World("a", "b", "c")
    world.use_form_2()
    answers = world.ask("drain", "c")
    world.tick()
    assert not answers
    assert world.commit() == [OK]
    assert answers == [(DONE, b"done")]
    assert world.map.change == "drain c"


def test_what_changes_nothing_and_what_is_refused_is_answered_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanting(monkeypatch)
    world = World("a", "b", "c")
    before = world.use_form_2()
    nothing, bad, good = world.ask("nothing"), world.ask("bad"), world.ask("drain", "c")
    world.tick()
    assert nothing == [(DONE, b"as it is")]
    assert bad == [(REFUSED, b"unknown node x")]
    assert not good
    assert world.state.cluster_map == before
    assert len(world.submitted) == 1, "the next question has its turn in the same tick"


def test_a_change_that_was_overtaken_is_decided_again(monkeypatch: pytest.MonkeyPatch) -> None:
    wanting(monkeypatch)
    world = World("a", "b", "c")
    before = world.use_form_2()
    answers = world.ask("drain", "c")
    world.tick()
    other = replace(before, epoch=before.epoch + 1, is_paused=True)
    world.state.apply(1, 1, [set_map(before.epoch, other)])
    assert world.commit() == [EXISTS]
    assert not answers
    world.tick()
    assert world.commit() == [OK]
    assert answers == [(DONE, b"done")]
    assert (world.map.change, world.map.is_paused) == ("drain c", True)


def test_a_change_that_the_log_did_not_take_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    wanting(monkeypatch)
    world = World("a", "b", "c")
    world.use_form_2()
    answers = world.ask("drain", "c")
    world.tick()
    world.submitted.clear()
    world.steward.on_refused("busy")
    world.tick()
    assert world.commit() == [OK]
    assert answers == [(DONE, b"done")]


def test_nobody_knows_what_became_of_a_change_whose_leader_has_lost_its_office(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanting(monkeypatch)
    world = World("a", "b", "c")
    world.use_form_2()
    proposed, waiting = world.ask("drain", "c"), world.ask("drain", "b")
    world.tick()
    world.is_leader, world.leader_id = False, 3
    world.steward.on_lost()
    world.tick()
    assert proposed[0][0] == LOST
    assert waiting == [(ELSEWHERE, b"3")]
    assert world.ask("drain", "b") == [(ELSEWHERE, b"3")]


def test_a_seat_that_is_given_up_leaves_no_question_without_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanting(monkeypatch)
    world = World("a", "b", "c")
    world.use_form_2()
    proposed, waiting = world.ask("drain", "c"), world.ask("drain", "b")
    world.tick()
    world.steward.close()
    assert [answers[0][0] for answers in (proposed, waiting)] == [LOST, ELSEWHERE]


def test_questions_that_wait_have_a_bound_in_number_and_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanting(monkeypatch)
    world = World("a", "b", "c")
    world.use_form_2()
    all_answers = [world.ask("drain", "c") for _ in range(QUESTIONS_MAX + 2)]
    assert [len(answers) for answers in all_answers] == [0] * QUESTIONS_MAX + [1, 1]
    assert all_answers[-1][0][0] == REFUSED
    for _ in range(QUESTION_TICKS + 1):
        world.steward.on_refused("busy")  # The log takes nothing.
        world.submitted.clear()
        world.tick()
    assert all(answers for answers in all_answers)
    assert {answers[0][0] for answers in all_answers[:QUESTIONS_MAX]} == {ELSEWHERE}


@pytest.mark.parametrize(("joins", "code"), [(False, REFUSED), (True, LOST)])
def test_nothing_is_changed_before_each_node_reads_the_second_form(joins: bool, code: int) -> None:
    """An operator is told which nodes are missing; a node that joins is to ask again."""
    world = World("a", "b", "c")
    world.tick()
    world.commit()
    world.forms = {2: 2, 3: 1}
    answers = world.ask("drain", "c", asks_to_join=joins)
    world.tick()
    assert answers[0][0] == code
    assert b"start node c with this version" in answers[0][1]


def silence_c(world: World, ticks: int = 40) -> None:
    """The map is of form 1, and node c has been silent for so many times 50 ms."""
    world.tick()
    world.commit()
    world.heard = {2}
    world.forms = {2: 2, 3: 1}
    for _ in range(ticks):
        world.tick()


@pytest.mark.parametrize("words", [("remove", "c", "force"), ("replace", "c")])
def test_an_operator_vouches_for_a_node_that_is_dead_before_the_second_form(
    words: tuple[str, ...],
) -> None:
    world = World("a", "b", "c")
    silence_c(world)
    before = world.map
    assert before.form == 1
    # Three nodes, three replicas: a node cannot be removed then, and can be replaced.
    dry = world.ask(*words, "dry")
    answers = world.ask(*words)
    world.tick()
    if words[0] == "remove":
        assert b"2 nodes would be left for 3 replicas" in answers[0][1]
        assert b"`quorumcache node replace c`" in answers[0][1]
        return
    assert dry[0][0] == DONE
    assert world.commit() == [OK]
    assert [code for code, _ in answers] == [DONE]
    after = world.map
    assert (after.form, after.epoch, after.directory) == (2, before.epoch + 1, (1, 2, 3))
    assert (after.node(3).name, after.node(3).state) == ("c~3", "lost")
    assert after.setting("dead_after_ms") == "60000"
    assert after.change == "replace c"


def test_nobody_vouches_for_a_node_that_may_live_or_while_another_one_is_unread() -> None:
    world = World("a", "b", "c")
    silence_c(world)
    for heard, forms, expected in (
        ({2, 3}, {2: 2, 3: 1}, b"it is heard, so it is not lost"),
        ({2}, {2: 1, 3: 1}, b"start node b with this version, then"),
    ):
        world.heard, world.forms = heard, forms
        for _ in range(10):
            world.tick()
        answers = world.ask("replace", "c")
        world.tick()
        assert answers[0][0] == REFUSED
        assert expected in answers[0][1]
        assert not world.submitted
    assert world.map.form == 1


# -- the directory's own steps ------------------------------------------------------------------


def stepping(monkeypatch: pytest.MonkeyPatch, *states: str) -> list[Any]:
    """Each step puts node c into the next of these states; the views that the steps were given."""
    views: list[Any] = []
    left = list(states)

    def next_map(present: ClusterMap, view: Any) -> ClusterMap | None:
        views.append(view)
        if not left:
            return None
        return present.with_node(replace(present.node(3), state=left.pop(0)))

    monkeypatch.setattr(module, "next_map", next_map)
    return views


def test_the_step_of_the_directory_is_looked_for_twice_a_second_and_sooner_after_a_new_map(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World("a", "b", "c")
    world.use_form_2()
    views = stepping(monkeypatch, DOWN)
    world.heard = {2}
    world.tick()
    assert world.commit() == [OK]
    assert world.map.node(3).state == DOWN
    for _ in range(STEP_TICKS_MIN):
        world.tick()
    assert len(views) == 2
    for _ in range(2 * STEP_TICKS):
        world.tick()
    assert len(views) == 4
    assert views[-1].heard == {1, 2}
    assert views[-1].silent_ms[3] >= 500


@pytest.mark.parametrize("shards", [4, 3 * SHARDS_PER_STEP, 100 * SHARDS_PER_STEP])
def test_a_report_of_progress_brings_the_next_step_but_no_more_of_them_than_are_cheap(
    monkeypatch: pytest.MonkeyPatch, shards: int
) -> None:
    world = World("a", "b", "c")
    world.use_form_2()
    views = stepping(monkeypatch)
    monkeypatch.setattr(ClusterMap, "shard_count", shards)
    world.tick()
    assert len(views) == 1
    ticks = 6 * STEP_TICKS
    for tick in range(ticks):
        report = (1, 2, 3, (1, 2, 3 + tick), (), 0, 0)  # Group, term, decision, voters ...
        world.steward._ledger.told(2, (REPORT, (), b"", (report,), (), False, 5))
        world.tick()
    assert len(views) - 1 == ticks // min(
        STEP_TICKS, STEP_TICKS_MIN * -(-shards // SHARDS_PER_STEP)
    )
    world.tick()
    views.clear()
    for _ in range(STEP_TICKS - 2):
        world.steward._ledger.told(2, (REPORT, (), b"", (report,), (), False, 5))
        world.tick()
    assert views == [], "the same once more is no news"


def test_a_question_goes_before_the_directorys_own_step(monkeypatch: pytest.MonkeyPatch) -> None:
    wanting(monkeypatch)
    world = World("a", "b", "c")
    world.use_form_2()
    stepping(monkeypatch, DOWN)
    world.ask("drain", "c")
    world.tick()
    world.commit()
    assert (world.map.change, world.map.node(3).state) == ("drain c", "active")


def test_what_happened_is_counted_once_by_the_node_that_leads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World("a", "b", "c")
    world.use_form_2()
    stepping(monkeypatch, DOWN, "active", DOWN)
    for _ in range(8 * STEP_TICKS):
        world.tick()
        world.commit()
    assert world.counters.nodes_down == 2
    world.is_leader = False
    world.tick()
    there = world.map.with_node(replace(world.map.node(2), state=DOWN))
    world.state.apply(1, 1, [set_map(world.map.epoch, there)])
    world.tick()
    world.is_leader = True
    world.tick()
    assert world.counters.nodes_down == 2, "another leader has counted it"


def test_a_bug_in_what_decides_does_not_end_the_node_that_leads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next leader would decide the same and end, too, and so would all of them in turn."""

    def broken(*args: Any) -> Any:
        raise ZeroDivisionError

    world = World("a", "b", "c")
    world.use_form_2()
    monkeypatch.setattr(module, "next_map", broken)
    for _ in range(STEP_TICKS + BUG_TICKS // 2):
        world.tick()
    assert world.bugs == ["the directory's next step failed"]
    monkeypatch.setattr(Question, "answer", broken)
    answers = world.ask("drain", "c")
    world.tick()
    assert answers[0][0] == REFUSED
    assert world.bugs[1:] == ["the change drain c failed"]
    world.known[2] = info("b", "moved:1")
    world.tick()
    assert world.commit() == [OK], "the rest goes on"


@pytest.mark.parametrize("error", [ZeroDivisionError(), MapError("no such node")])
def test_what_a_node_tells_keeps_no_change_from_being_decided(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One node that tells nonsense would otherwise stop every join, drain and repair."""

    def broken(*args: Any) -> Any:
        raise error

    world = World("a", "b", "c")
    world.use_form_2()
    monkeypatch.setattr(module, "follow_addresses", broken)
    world.tick()
    answers = world.ask("settings", "dead-after-ms=30000")
    world.tick()
    assert world.commit() == [OK]
    assert answers[0][0] == DONE
    world.heard = {2}
    for _ in range(20 * 60):
        world.tick()
        world.commit()
    assert world.map.node(3).state == DOWN, "steps are taken, too"
    assert len(world.bugs) == (type(error) is ZeroDivisionError) * (20 * 60 // BUG_TICKS)


def test_a_map_that_cannot_be_read_back_is_not_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the log of group 0 it would end each of its replicas, at every start again."""
    world = World("a", "b", "c")
    world.use_form_2()
    monkeypatch.setattr("quorumcache.ring.map_form.MAP_BYTES_MAX", 10)
    answers = world.ask("settings", "dead-after-ms=30000")
    world.tick()
    assert answers[0][0] == REFUSED
    assert b"larger than 10" in answers[0][1]
    world.known[2] = info("b", "moved:1")
    world.tick()
    assert not world.submitted
    monkeypatch.undo()
    for _ in range(STEP_TICKS + 1):
        world.tick()
    assert world.commit() == [OK]


def test_a_bug_in_what_is_told_keeps_nothing_from_being_decided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*args: Any) -> Any:
        raise ZeroDivisionError

    world = World("a", "b", "c")
    world.use_form_2()
    monkeypatch.setattr(module, "steps", broken)
    answers = world.ask("settings", "dead-after-ms=30000")
    world.tick()
    assert world.commit() == [OK]
    world.tick()
    assert answers[0][0] == DONE
    assert world.bugs == ["the directory's account of a map failed"] * 2
