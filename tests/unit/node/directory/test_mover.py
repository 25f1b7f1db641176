"""What a leader does for a group that the map moves, and what it reports of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.consensus.errors import ProposalDropped
from quorumcache.node.consensus.values import Configuration, PeerStatus, Role, SnapshotMeta
from quorumcache.node.directory.mover import BUG_NS, HAND_OVER_ELECTIONS, Mover
from quorumcache.ring.cluster_view import GroupReport
from quorumcache.ring.move import Move
from tests.support.scripted_log import HostWorld

GROUP = 1
ELECTION_MS = 300
TICK_NS = 50_000_000
BEFORE = Configuration((1, 2, 3))
MOVE = Move(GROUP, (1, 2, 3), (2, 3, 4), 5)


class World:
    """Node 1 leads group 1 of three. What it proposes is committed at once, unless held."""

    def __init__(self, *moves: Move, configuration: Configuration = BEFORE) -> None:
        self.host = HostWorld(GROUP, 2)
        self.log: Any = self.host.logs[GROUP]
        self.group = self.host.groups[GROUP]
        self.log.configuration = configuration
        self.committed = configuration
        self.log.snapshot_meta = lambda index: SnapshotMeta(index, 2, self.committed)
        self.log.change_membership = self._change
        self.log.term_start_index = self.log.commit_index = self.log.last_index = 10
        self.group.applied_index = 10
        self.log.lead(2)
        self.host.turn(GROUP)
        self.steps: list[Configuration] = []
        self.refusal: Exception | None = None
        self.holds = False
        self.adopted = dict.fromkeys(range(2, 10), 5)
        self.down: set[int] = set()
        self.unfit: set[int] = set()
        self.transfers: list[int] = []
        self.reached: list[GroupReport] = []
        self.bugs: list[str] = []
        self.map: Any = None
        self.decide(1, *(moves or (MOVE,)))
        self.status: dict[int, tuple[int, int]] = {}
        """By node: what it holds, and how many ticks ago it answered."""
        self.mover = Mover(
            node_id=1,
            election_ms=ELECTION_MS,
            host=self.host.host,
            newest_map=lambda: self.map,
            adopted=self.adopted,
            is_up=lambda node_id: node_id not in self.down,
            may_lead=lambda node_id: node_id not in self.unfit,
            transfer=lambda group, to: self.transfers.append(to),
            on_reached=lambda: self.reached.append(self.report()),
            on_bug=lambda text, error: self.bugs.append(text),
        )

    def decide(self, epoch: int, *moves: Move) -> None:
        self.map = SimpleNamespace(epoch=epoch, moves=moves)

    def _change(self, new: Configuration) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.steps.append(new)
        self.log.configuration = new
        if not self.holds:
            self.committed = new

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.host.clock.ns += TICK_NS
            now_ns = self.host.clock.ns
            self.log.members = {
                node_id: PeerStatus(match, match + 1, "replicate", True, now_ns - age * TICK_NS)
                for node_id in self.log.configuration.members()
                for match, age in [self.status.get(node_id, (10, 0))]
            }
            self.mover.tick()

    def report(self) -> GroupReport:
        (report,) = self.mover.reports()
        return report


def test_a_group_gets_to_where_the_map_wants_it_and_the_leader_hands_over_last() -> None:
    world = World()
    world.tick(20)
    assert world.steps == [
        Configuration((1, 2, 3), (4,), (), 5),
        Configuration((1, 2, 3, 4), (), (), 5),
    ]
    assert set(world.transfers) == {2}, "the first of the target"


def test_a_move_that_waits_is_not_begun() -> None:
    world = World(MOVE._replace(decided=0))
    world.tick(20)
    assert world.steps == []
    assert world.mover.reports() == []


def test_a_group_that_is_not_led_here_is_left_alone() -> None:
    world = World()
    world.log.become(Role.FOLLOWER, 3, 2)
    world.tick(20)
    assert world.steps == []
    assert world.mover.reports() == []


def test_a_leader_that_does_not_know_yet_what_is_committed_waits() -> None:
    world = World()
    world.group.applied_index = 9
    world.tick(20)
    assert world.steps == []
    assert world.mover.reports() == []


def test_one_step_is_committed_before_the_next() -> None:
    world = World()
    world.holds = True
    world.tick(20)
    assert len(world.steps) == 1
    assert world.report()[2:5] == (0, (1, 2, 3), ())
    world.committed = world.log.configuration
    assert world.report()[2:5] == (5, (1, 2, 3), (4,))
    world.tick()
    assert len(world.steps) == 2


def test_an_older_map_than_the_log_has_seen_moves_nothing() -> None:
    world = World(configuration=Configuration((1, 2, 3), (), (), 6))
    world.tick(20)
    assert world.steps == []
    assert world.report().decision == 6


def test_a_node_is_added_once_it_has_stored_the_map_that_wants_it() -> None:
    """Until then it may be removing a replica that an older map took away."""
    world = World()
    world.adopted[4] = 4
    world.tick(20)
    assert world.steps == []
    world.adopted[4] = 6
    world.down.add(4)
    world.tick()
    assert world.steps == []
    world.down.clear()
    world.tick()
    assert world.steps == [Configuration((1, 2, 3), (4,), (), 5)]


@pytest.mark.parametrize(
    ("match", "age", "is_down"), [(9, 0, False), (10, 6, False), (10, 0, True)]
)
def test_a_learner_is_promoted_once_it_has_what_was_committed_and_answers(
    match: int, age: int, is_down: bool
) -> None:
    world = World()
    world.tick()
    world.status[4] = (match, age)
    if is_down:
        world.down.add(4)
    world.tick(20)
    assert len(world.steps) == 1
    world.down.clear()
    world.status.clear()
    world.tick()
    assert world.steps[1:] == [Configuration((1, 2, 3, 4), (), (), 5)]


def test_a_learner_need_not_have_what_was_committed_within_the_last_election_timeout() -> None:
    """Under writes it would never have all of it (thesis 4.2.1)."""
    world = World()
    for index in range(11, 41):
        world.log.commit_index = world.log.last_index = world.group.applied_index = index
        world.status[4] = (index - 8, 0)
        world.tick()
    assert len(world.steps) == 1
    for index in range(41, 45):
        world.log.commit_index = world.log.last_index = world.group.applied_index = index
        world.status[4] = (index - 5, 0)
        world.tick()
    assert len(world.steps) == 2


def test_a_new_leader_looks_for_an_election_timeout_first() -> None:
    world = World()
    world.tick(3)
    assert len(world.steps) == 1
    world.log.become(Role.LEADER, 3)
    world.tick(6)
    assert len(world.steps) == 1
    world.tick()
    assert len(world.steps) == 2


def test_a_leader_that_cannot_hand_over_leaves_as_it_is() -> None:
    world = World(configuration=Configuration((1, 2, 3, 4), (), (), 5))
    per_election = ELECTION_MS * 1_000_000 // TICK_NS
    world.tick(HAND_OVER_ELECTIONS * per_election + 3)
    assert world.steps == []
    assert world.transfers
    world.tick(per_election)
    assert world.steps == [Configuration((2, 3, 4), (), (), 5)]


def test_the_group_is_handed_to_a_target_that_is_caught_up() -> None:
    world = World(configuration=Configuration((1, 2, 3, 4), (), (), 5))
    world.tick(6)
    world.status[2] = (3, 0)
    world.tick(20)
    assert world.transfers == [], "then it may not go at all"
    world.status = {2: (10, 0)}
    world.tick()
    assert world.transfers == [2]


@pytest.mark.parametrize(("unfit", "heir"), [({2}, 3), ({2, 3, 4}, 2), ({3}, 2)])
def test_the_group_is_handed_to_a_target_that_is_fit_to_lead_if_there_is_one(
    unfit: set[int], heir: int
) -> None:
    world = World()
    world.unfit = unfit
    world.tick(20)
    assert set(world.transfers) == {heir}


def test_a_step_that_is_refused_is_tried_again() -> None:
    world = World()
    world.refusal = ProposalDropped("leadership is being handed over")
    world.tick(5)
    world.refusal = None
    world.tick()
    assert len(world.steps) == 1


def test_nothing_is_begun_while_the_disk_is_in_trouble() -> None:
    world = World()
    world.host.host.disk_trouble = "full"
    world.tick(20)
    assert world.steps == []


def test_a_map_that_turns_back_is_followed_at_once() -> None:
    world = World()
    world.tick()
    back = Move(GROUP, (2, 3, 4), (1, 2, 3), 8)
    world.decide(8, back)
    world.tick(20)
    assert world.steps[1:] == [Configuration((1, 2, 3), (), (), 8)]
    assert world.report()[2:5] == (8, (1, 2, 3), ())
    world.decide(9)
    world.tick()
    assert world.mover.reports() == []


def test_a_joint_configuration_is_not_reported() -> None:
    world = World(configuration=Configuration((2, 3, 4), (), (1, 2, 3), 5))
    assert world.mover.reports() == []


def test_how_much_is_copied_is_told_for_every_new_replica() -> None:
    world = World(Move(GROUP, (1, 2, 3), (4, 5, 6, 7), 5))
    world.group.machine = SimpleNamespace(bytes_used=1000)  # type: ignore[assignment]
    world.adopted[7] = 0
    world.holds = True
    world.tick()
    assert world.report() == GroupReport(GROUP, 2, 0, (1, 2, 3), (), 0, 4000)
    world.committed = world.log.configuration
    now_ns = world.host.clock.ns
    world.log.members = {
        4: PeerStatus(0, 1, "snapshot", True, now_ns, 300),
        5: PeerStatus(5, 6, "replicate", True, now_ns - 7 * TICK_NS),
        6: PeerStatus(0, 1, "snapshot", True, now_ns, 5000),
    }
    assert world.report() == GroupReport(GROUP, 2, 5, (1, 2, 3), (4, 5, 6), 1800, 4000)


def test_a_bug_over_one_group_leaves_that_group_alone_for_a_while() -> None:
    """The node goes on: the next leader would fail over the same, and so would all in turn."""
    world = World()
    world.refusal = ZeroDivisionError()
    world.tick()
    assert world.bugs == ["the move of group 1 failed"]
    world.refusal = None
    world.tick(BUG_NS // TICK_NS - 1)
    assert (world.steps, world.mover.reports()) == ([], [])
    world.tick()
    assert len(world.steps) == 1
    world.tick()
    world.log.snapshot_meta = lambda index: [][0]
    assert world.mover.reports() == []
    assert len(world.bugs) == 2
    world.decide(2)
    world.tick()
    assert not world.mover._failed_ns, "nothing is kept of groups that do not move"


def test_a_leader_tells_at_once_and_once_that_its_group_is_there() -> None:
    world = World(Move(GROUP, (1, 2, 3), (1, 2, 4), 5))
    world.holds = True
    for _ in range(40):
        world.tick()
        if world.log.configuration == Configuration((1, 2, 4), (), (), 5):
            break
        world.committed = world.log.configuration
    world.tick(3)
    assert world.reached == [], "it is not committed"
    world.committed = world.log.configuration
    world.tick()
    assert [(r.decision, r.voters, r.learners) for r in world.reached] == [(5, (1, 2, 4), ())]
    world.tick(5)
    assert len(world.reached) == 1
    world.adopted[3] = 6
    world.decide(2, Move(GROUP, (1, 2, 4), (1, 2, 3), 6))
    world.holds = False
    world.tick(20)
    assert [(r.decision, set(r.voters)) for r in world.reached[1:]] == [(6, {1, 2, 3})]
