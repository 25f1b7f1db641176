"""Bounded staleness is a bound: what a replica knows of its age is never less than its true age.

Goal: when a replica says that its state holds all that was committed before a moment of its own
clock, nothing that was committed before that moment is missing. Method: the walk of hasty elections
(`tests/support/lease_walk.py`), with learners, messages that come late, clocks of different rates,
and machines that restart with their clocks at another reading. Commits are timed by the walk's own
clock as they happen, and each replica's claim is compared with them after every step.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from random import Random

import pytest

from quorumcache.node.consensus.lease import NEVER_NS
from quorumcache.node.consensus.staleness import Freshness, make_stamp, stamp_ns
from tests.support.lease_walk import LeaseWalk
from tests.support.raft_cluster import Envelope, Member

SEEDS = int(os.environ.get("RAFT_SEEDS", "40"))
STEPS = 4000
ROUNDING_NS = 2
"""Of a moment that is carried from one clock to another."""


class StalenessWalk(LeaseWalk):
    def __init__(self, seed: int) -> None:
        super().__init__(seed, learners=Random(seed).choice((0, 1, 1)))
        self.late: list[Envelope] = []
        """Messages to `slow` that are on their way, in order."""
        self.slow = 0
        self.committed_at: list[int] = []
        """By index - 1: when an entry was first known to be committed, by the walk's clock."""
        self.claims = 0
        self.ages_ns: list[int] = []

    def strike(self) -> None:
        roll = self.random.random()
        if roll < 0.3:
            self.cut_off_with_a_follower()
        elif roll < 0.6:
            self.slow_down()
        else:
            super().strike()

    def cut_off_with_a_follower(self) -> None:
        """A leader without a quorum keeps one that listens to it; the others know it is gone."""
        for leader in self.leaders():
            others = [m for m in self.cluster.members.values() if m is not leader]
            kept = self.random.choice(others)
            self.cluster.heal()
            self.cluster.isolate(leader.id, kept.id)
            for other in others:
                if other is not kept:
                    other.raft.peer_unreachable(leader.id)

    def slow_down(self) -> None:
        """What is sent to a replica from now on arrives much later, and what was late arrives."""
        self.cluster.network = self.late + self.cluster.network
        self.late = []
        self.slow = self.random.choice((0, *self.cluster.members))

    def converse(self) -> None:
        if self.slow:
            network = self.cluster.network
            self.late += [envelope for envelope in network if envelope[1] == self.slow]
            self.cluster.network = [envelope for envelope in network if envelope[1] != self.slow]
        super().converse()

    def restart(self, member: Member) -> None:
        """The machine restarts: its clock counts from somewhere near, before or after."""
        super().restart(member)
        member.offset_ns = max(0, member.offset_ns + self.random.randrange(-(1 << 31), 1 << 31))

    def check(self) -> None:
        super().check()
        while len(self.committed_at) < self.cluster.checker.committed_index:
            self.committed_at.append(self.cluster.now_ns)
        for member in self.cluster.members.values():
            if member.up:
                self.check_claim(member)

    def check_claim(self, member: Member) -> None:
        fresh_ns = member.raft.fresh_ns(member.applied_index)
        if fresh_ns == NEVER_NS:
            return
        assert fresh_ns <= member.now_ns(), "a claim about the future"
        moment_ns = int((fresh_ns - member.offset_ns) / member.rate) - ROUNDING_NS
        must_hold = bisect_left(self.committed_at, moment_ns)
        assert member.applied_index >= must_hold, (
            f"{member.id} says it is current as of {moment_ns} and holds {member.applied_index};"
            f" {must_hold} was committed before"
        )
        self.claims += 1
        self.ages_ns.append(self.cluster.now_ns - moment_ns)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_replica_is_older_than_it_knows(seed: int) -> None:
    walk = StalenessWalk(seed)
    for _ in range(STEPS):
        walk.step()


def test_the_walks_do_make_claims_that_are_of_use() -> None:
    """Enough of them for the test above to mean something, most about a moment not long ago."""
    ages: list[int] = []
    for seed in range(4):
        walk = StalenessWalk(seed)
        for _ in range(STEPS):
            walk.step()
        ages += walk.ages_ns
    assert len(ages) > 10_000
    assert sorted(ages)[len(ages) // 4] < 500_000_000


@pytest.mark.parametrize("seed", range(50))
def test_freshness_forgets_no_more_than_it_may(seed: int) -> None:
    """Against a list of everything that was ever learned: never more is claimed, and when all that
    was learned is applied, exactly the newest."""
    random = Random(seed)
    freshness = Freshness(1)
    learned: list[tuple[int, int]] = []
    applied = now_ns = index = 0
    for _ in range(300):
        now_ns += random.randrange(1000)
        index += random.randrange(3)
        if random.random() < 0.5:
            learned.append((now_ns, index))
            freshness.learn(now_ns, index)
        elif learned and random.random() < 0.2:
            freshness.learn(*random.choice(learned))  # repeated, or late
        applied = random.randrange(applied, index + 1)
        known_ns = freshness.known_ns(applied)
        reached = [ns for ns, needed in learned if needed <= applied]
        assert known_ns <= max(reached, default=NEVER_NS)
        if learned and all(needed <= applied for _, needed in learned):
            assert known_ns == learned[-1][0]


def test_stamps_tell_their_time_and_their_life() -> None:
    random = Random(7)
    for _ in range(1000):
        life, now_ns = random.getrandbits(24), random.getrandbits(random.randrange(1, 60))
        stamp = make_stamp(life, now_ns)
        assert 0 <= stamp < 1 << 64
        if stamp:
            assert 0 <= now_ns - stamp_ns(stamp, life, now_ns) < 1 << 20
        assert stamp_ns(stamp, life ^ 1, now_ns) == NEVER_NS
    assert stamp_ns(make_stamp(5, 1 << 40), 5, (1 << 40) - 1) == NEVER_NS, "a reading to come"
    assert stamp_ns(0, 0, 1 << 40) == NEVER_NS
