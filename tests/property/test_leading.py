"""Goal: a leader that takes commands the short way (`ReplicatedLog.extend`) has the same log,
commit index, view of its followers and promises as one that takes them by `propose` and a Ready,
and tells the others the same.

Method: two copies of a replica are led through the same random schedule: commands, late disks,
acknowledgements, refusals, ticks, reads, changes of members, transfers, lost leaderships. After
every step all that they know, have written, have sent to each other replica, and have applied is
compared.
"""

from __future__ import annotations

import os
from collections import deque
from random import Random
from typing import Any

import pytest

from quorumcache.node.consensus.errors import ConsensusError
from quorumcache.node.consensus.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
)
from quorumcache.node.consensus.values import Configuration, Entry, HardState, Role
from tests.support.raft_cluster import RaftCluster
from tests.support.raft_solo import Solo

SEEDS = int(os.environ.get("RAFT_SEEDS", "40"))
STEPS = 250
OTHERS = (2, 3, 4)


class Copy(Solo):
    """A replica, its disk and what it has let out."""

    def __init__(self, settings: dict[str, Any], *, is_short: bool) -> None:
        super().__init__(replica=1, term=1, voted_for=2, **settings)
        self.is_short = is_short
        self.stored: list[Entry] = []
        self.hard_state = HardState(1, 2)
        self.disk: deque[tuple[list[Entry], HardState | None, list[Any], int, int]] = deque()
        """Entries, hard state, what is to be sent then, and what `persisted` is to be told."""
        self.told: dict[int, list[Any]] = {}
        self.reads: list[Any] = []
        self.extended = 0

    def say(self, to: int, message: Any) -> None:
        self.told.setdefault(to, []).append(message)

    def turn(self) -> None:
        """As the host has it: what can be applied without a Ready is, and the rest is a Ready."""
        if self.is_short:
            self.applied += self.raft.take_committed()
        while self.raft.has_ready():
            ready = self.ready()
            for to, message in ready.messages:
                self.say(to, message)
            self.reads += [*ready.read_states, *ready.failed_reads]
            last = ready.last_index, ready.last_term
            if ready.must_persist or ready.messages_after_append:
                after = list(ready.messages_after_append)
                self.disk.append((list(ready.entries), ready.hard_state, after, *last))

    def command(self, payload: bytes) -> None:
        """One that reaches the group in a turn."""
        run = self.raft.extend(payload) if self.is_short else None
        if run is None:
            self.raft.propose(payload)
        else:
            self.extended += 1
            for to in self.raft.followers:
                self.say(to, Append(run[0], run[1], run[2], run[3], tuple(run[4])))
            self.disk.append((list(run[4]), None, [], run[1] + 1, run[0]))
            assert not self.raft.has_ready(), "the usual case leaves nothing to do"
        self.turn()

    def sync(self, count: int) -> None:
        """So many writes become durable."""
        while self.disk and count:
            count -= 1
            entries, hard_state, after, index, term = self.disk.popleft()
            if entries:
                del self.stored[entries[0].index - 1 :]
                assert len(self.stored) == entries[0].index - 1, "a gap in the log"
                self.stored += entries
            self.hard_state = hard_state or self.hard_state
            for to, message in after:
                self.say(to, message)
            if entries or hard_state:
                is_more = self.raft.persisted(index, term)
                if is_more or not self.is_short:
                    self.turn()

    def match(self, sender: int, term: int, index: int) -> None:
        if not self.is_short:
            self.step(sender, AppendReply(term, index, False, 0, 0))
            self.turn()
        elif self.raft.acknowledged(sender, term, index):
            self.turn()

    def flush(self) -> list[Any]:
        """All is written at once."""
        self.turn()
        self.sync(1 << 30)
        self.turn()
        return []

    def knows(self) -> tuple[Any, ...]:
        raft = self.raft
        return (
            *(raft.role, raft.term, raft.leader_id, raft.voted_for, raft.commit_index),
            *(raft.emitted_index, raft.lease_until_ns, raft.uncommitted_bytes, raft.append_due),
            *(raft.log.entries, raft.log.bytes, raft.log.unstable_index, raft.configuration),
            *(self.stored, self.hard_state, list(self.disk), self.applied, self.reads, self.told),
            [(p.status(), p.inflight_count, p.inflight_bytes) for p in raft.members.values()],
            raft.has_ready(),
        )


class Walk:
    """Both copies, and what happens to them."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        settings: dict[str, Any] = {
            "append_bytes_max": random.choice((10, 1000)),
            "inflight_appends_max": random.choice((1, 3, 50)),
            "inflight_bytes_max": random.choice((20, 1000)),
            "uncommitted_bytes_max": random.choice((40, 1000)),
        }
        self.copies = Copy(settings, is_short=False), Copy(settings, is_short=True)
        self.calm = random.choice((0.7, 0.9))
        self.number = 0

    def step(self) -> None:
        random, raft = self.random, self.copies[0].raft
        if raft.role is not Role.LEADER:
            for copy in self.copies:
                copy.flush()
                copy.become_leader()
                copy.turn()
        elif random.random() < self.calm:
            self.calm_step()
        else:
            self.rare_step(random.randrange(10))
        assert self.copies[0].knows() == self.copies[1].knows()

    def calm_step(self) -> None:
        random, raft = self.random, self.copies[0].raft
        what = random.random()
        if what < 0.35:
            self.number += 1
            payload = b"%d" % self.number * random.choice((1, 1, 5))
            for copy in self.copies:
                try:
                    copy.command(payload)
                except ConsensusError:
                    continue
        elif what < 0.6:
            count = random.choice((1, 1, 3))
            for copy in self.copies:
                copy.sync(count)
        else:
            sender = random.choice(raft.followers or OTHERS)
            p = raft.members.get(sender)
            index = p.next_index - 1 if p is not None else raft.last_index
            term = raft.term
            if random.random() < 0.1:
                index, term = random.randint(0, raft.last_index), term - random.randint(0, 1)
            for copy in self.copies:
                copy.match(sender, term, index)

    def rare_step(self, what: int) -> None:
        random, raft = self.random, self.copies[0].raft
        other = random.choice(OTHERS)
        index = random.randint(0, raft.last_index)
        ticks, round_ = random.randint(1, 8), random.randint(0, 3)
        configuration = self.other_configuration()
        for copy in self.copies:
            raft = copy.raft
            if what == 0:
                copy.step(other, AppendReply(raft.term, index, True, index // 2, 0))
            elif what in (1, 2):
                copy.tick(ticks)
            elif what in (3, 4):
                copy.step(other, HeartbeatReply(raft.term, copy.now_ns, round_))
            elif what == 5:
                raft.request_read(ticks, copy.now_ns)
            elif what == 6:
                raft.peer_unreachable(other)
            elif what == 7:
                self.change(copy, configuration)
            elif what == 8:
                self.hand_over(copy, other, index)
            elif index == raft.last_index:
                copy.step(other, Heartbeat(raft.term + 1, 0, 5, 0))
            copy.turn()

    def other_configuration(self) -> Configuration:
        present = self.copies[0].raft.configuration
        what = self.random.random()
        if what < 0.5:
            return Configuration((1, 2, 3), () if present.learners else (4,))
        if what < 0.8:
            return Configuration((1, 2, 3), (), present.voters)
        return Configuration((1, 2, 3, 4) if len(present.voters) == 3 else (1, 2, 3))

    def change(self, copy: Copy, configuration: Configuration) -> None:
        try:
            copy.raft.change_membership(configuration)
        except ConsensusError:
            return

    def hand_over(self, copy: Copy, other: int, index: int) -> None:
        try:
            if index % 3:
                copy.raft.transfer_leadership(other)
            else:
                copy.raft.step_down()
        except ConsensusError:
            return


def walk(seed: int) -> Walk:
    found = Walk(seed)
    for _ in range(STEPS):
        found.step()
    for copy in found.copies:
        copy.flush()
    assert found.copies[0].knows() == found.copies[1].knows()
    return found


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_leader_is_the_same_with_and_without_the_short_way(seed: int) -> None:
    walk(seed)


def test_the_walks_do_take_the_short_way_and_commit() -> None:
    walks = [walk(seed) for seed in range(8)]
    assert sum(found.copies[1].extended for found in walks) > 100
    assert sum(len(found.copies[1].applied) for found in walks) > 200
    assert len({found.copies[1].raft.term for found in walks}) > 2


# -- each rule by itself -----------------------------------------------------------------------


def leader(**settings: Any) -> Solo:
    """It is at the end of its log with all followers."""
    solo = Solo(**settings)
    if solo.raft.configuration.voters == (1,):
        solo.time_out()
        solo.flush()
    else:
        solo.lead()
    assert not solo.raft.has_ready()
    return solo


def test_the_usual_case_is_taken_and_a_majority_commits_it() -> None:
    solo = leader()
    raft = solo.raft
    last = raft.last_index
    run = raft.extend(b"x")
    assert run is not None
    assert run[:4] == (raft.term, last, raft.term, last)
    assert [tuple(entry) for entry in run[4]] == [(last + 1, raft.term, 0, b"x")]
    assert raft.followers == (2, 3)
    assert not raft.acknowledged(2, raft.term, last + 1), "one copy, and not our own"
    assert raft.take_committed() == []
    assert raft.persisted(last + 1, raft.term)
    assert raft.take_committed() == run[4]
    assert not raft.acknowledged(3, raft.term, last + 1), "no news"
    assert not raft.has_ready()


def test_nobody_but_a_leader_takes_commands() -> None:
    solo = Solo()
    assert solo.raft.extend(b"x") is None
    assert solo.raft.last_index == 0


@pytest.mark.parametrize("voters", [(1,), (1, 2, 3)])
def test_what_waits_for_a_ready_stands_first(voters: tuple[int, ...]) -> None:
    """The log on disk would have a gap, and the followers would refuse the entry."""
    solo = leader(voters=voters)
    raft = solo.raft
    index = raft.propose(b"first")
    assert raft.extend(b"second") is None
    assert raft.last_index == index
    assert [entry.payload for entry in solo.ready().entries] == [b"first"]


def test_a_term_that_is_not_durable_is_not_told() -> None:
    """A sole voter could lead in the same term twice, and two commands would have one place."""
    solo = Solo(voters=(1,))
    solo.time_out()
    raft = solo.raft
    assert raft.role is Role.LEADER
    while raft.has_ready():
        solo.ready()
    assert raft.extend(b"x") is None
    raft.persisted(raft.last_index, raft.term)
    solo.ready()
    assert raft.extend(b"x") is not None


def test_nothing_is_taken_while_leadership_is_handed_over() -> None:
    solo = leader()
    solo.raft.propose(b"x")
    solo.flush()
    solo.raft.transfer_leadership(2)
    assert not solo.raft.has_ready(), "the target lacks an entry"
    assert solo.raft.extend(b"y") is None


@pytest.mark.parametrize("trouble", ["behind", "probed", "learner"])
def test_a_follower_at_another_place_is_not_sent_what_does_not_follow(trouble: str) -> None:
    solo = leader()
    raft = solo.raft
    p = raft.members[3]
    if trouble == "behind":
        p.next_index -= 1
    elif trouble == "probed":
        p.become_probe()
        assert not p.paused
    else:
        p.is_learner = True
    assert raft.extend(b"x") is None


def test_a_follower_that_is_sent_nothing_now_is_left_out() -> None:
    solo = leader()
    raft = solo.raft
    raft.peer_unreachable(3)
    solo.flush()
    run = raft.extend(b"x")
    assert run is not None
    assert raft.followers == (2,)
    assert raft.misses_followers
    p = raft.members[3]
    assert (p.next_index, p.inflight_count) == (run[1] + 1, 0)
    raft.peer_unreachable(2)
    raft.members[3].become_replicate()
    raft.members[3].next_index = run[1] + 2
    raft.members[3].is_behind = False
    assert raft.extend(b"y") is not None
    assert raft.followers == (3,), "as many, but not the same"
    raft.members[2].become_replicate()
    raft.members[2].next_index = run[1] + 3
    raft.members[2].is_behind = False
    assert raft.extend(b"z") is not None
    assert raft.followers == (2, 3)
    assert not raft.misses_followers


def test_a_follower_that_was_left_out_catches_up() -> None:
    cluster = RaftCluster(3)
    first = cluster.elect(1)
    cluster.pump()
    first.peer_unreachable(3)
    run = first.extend(b"x")
    assert run is not None
    first.persisted(run[1] + 1, run[0])
    assert cluster[2].follow(1, *run)
    assert not cluster[3].follow(1, *first.extend(b"y")), "it lacks the one before"


def test_limits_are_those_of_a_proposal() -> None:
    appends = leader(inflight_appends_max=2)
    size = leader(inflight_bytes_max=6)
    uncommitted = leader(uncommitted_bytes_max=6)
    for solo in (appends, size, uncommitted):
        assert [solo.raft.extend(b"abc") is None for _ in range(3)] == [False, False, True]
    assert uncommitted.raft.uncommitted_bytes == 6
    for solo in (appends, size):
        solo.raft.propose(b"abc")
        assert solo.sent(Append) == [], "no room"
        solo.acknowledge(2, index=solo.raft.last_index - 1)
        assert [to for to, _ in solo.sent(Append)] == [2]


def test_an_answer_of_an_earlier_reign_counts_for_nothing() -> None:
    """The log of that reign may have been overwritten since."""
    solo = leader()
    raft = solo.raft
    run = raft.extend(b"x")
    assert run is not None
    solo.step(2, Heartbeat(raft.term + 1, 0, 5, 0))
    solo.flush()
    assert not raft.persisted(run[1] + 1, run[0])
    solo.become_leader()
    solo.flush()
    before = raft.members[1].match_index
    assert not raft.persisted(run[1] + 1, run[0])
    assert not raft.acknowledged(2, run[0], run[1] + 1)
    assert raft.members[2].match_index == 0
    assert raft.members[1].match_index == before


def test_a_follower_takes_what_a_leader_gave() -> None:
    cluster = RaftCluster(3)
    first = cluster.elect(1)
    cluster.pump()
    run = first.extend(b"x")
    assert run is not None
    assert cluster[2].follow(1, *run)
