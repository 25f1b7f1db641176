"""Groups that are steered by leaders with old and new maps, under random faults.

Goal: however leaders with different maps alternate, a decision that is complete is never undone by
an older one, what is committed is never lost although replicas that are no longer placed are
destroyed, and no step leaves fewer voters with the data than it may. Method: the random walk of
`test_raft_cluster.py` (messages lost, reordered and repeated, crashes, partitions, slow disks), in
which memberships are changed by `next_step` only. Replicas learn of decisions late, one by one, and
each leader acts on the newest that it knows. At the end all faults end, and the last decision must
be reached.

A replica that is destroyed and comes again is another one under the same id: its node says that it
knows of the new decision before it becomes a member, and by then none of its old messages arrives.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import pytest

from quorumcache.node.consensus.errors import ConsensusError
from quorumcache.node.consensus.values import Configuration
from quorumcache.node.replica.steering import is_reached, next_step
from tests.property.test_raft_cluster import REPLICAS_MAX, Walk
from tests.support.raft_cluster import Member, configuration_entries

SEEDS = int(os.environ.get("RAFT_SEEDS", "30"))
STEPS = 20_000


class Decision(NamedTuple):
    number: int
    target: tuple[int, ...]


class SteeredWalk(Walk):
    """`decisions`: those made so far; `known`: how many of them each node knows."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        present = self.cluster.configuration.voters
        self.decisions = [Decision(0, present)]
        self.known: dict[int, int] = dict.fromkeys(range(1, REPLICAS_MAX + 1), 0)
        self.placed = set(present)
        self.learning = self.random.choice((0.003, 0.01, 0.05))
        """How often a node hears of decisions."""
        self.is_complete = True
        self.completed: list[Decision] = []
        self.turned_back = 0
        self.held_back = 0
        """Times that a leader knew only a decision older than that in its log."""

    def step(self) -> None:
        roll = self.random.random()
        if roll < self.learning:
            node = self.random.randrange(1, REPLICAS_MAX + 1)
            self.learn(node, self.random.randrange(self.known[node], len(self.decisions)))
        elif roll < self.learning + 0.15:
            self.steer()
        elif roll < self.learning + 0.20:
            self.direct()
        super().step()

    def change_membership(self) -> None:
        """Memberships are changed by steering only."""

    # -- the directory ---------------------------------------------------------------------

    def direct(self) -> None:
        """Complete what leaders report; decide something new, or that the group turns back."""
        if not self.is_complete:
            self.complete_what_is_reported()
            if not self.is_complete and self.random.random() < 0.002:
                self.turned_back += 1
                self.decide(self.completed[-1].target if self.completed else self.first_target())
        elif self.random.random() < 0.2:
            size = self.random.choice((1, 3, 3, 5))
            ids = self.random.sample(range(1, REPLICAS_MAX + 1), min(size, REPLICAS_MAX))
            self.decide(tuple(ids))

    def complete_what_is_reported(self) -> None:
        """Leaders report what is committed: what they have at or below their commit index."""
        wanted = self.decisions[-1]
        for leader in self.leaders():
            report = leader.raft.snapshot_meta(leader.raft.commit_index).configuration
            if is_reached(report, wanted.target, wanted.number):
                self.complete(wanted)
                return

    def first_target(self) -> tuple[int, ...]:
        return self.decisions[0].target

    def decide(self, target: tuple[int, ...]) -> None:
        self.decisions.append(Decision(self.decisions[-1].number + 3, target))
        self.placed |= set(target)
        self.is_complete = False

    def complete(self, wanted: Decision) -> None:
        """The map places the group nowhere else: the others are destroyed."""
        self.is_complete = True
        self.completed.append(wanted)
        self.placed = set(wanted.target)
        for replica in [r for r in self.cluster.members if r not in self.placed]:
            self.cluster.crash(replica)
            del self.cluster.members[replica]
            self.cluster.network = [e for e in self.cluster.network if e[0] != replica]
            self.pending_reads = {k: v for k, v in self.pending_reads.items() if k[0] != replica}

    def learn(self, node: int, count: int) -> None:
        self.known[node] = max(self.known[node], count)
        if count and node in self.placed and node not in self.cluster.members:
            self.cluster.add(node, Configuration(()))
            self.set_clock(self.cluster.members[node])

    # -- the leaders -----------------------------------------------------------------------

    def steer(self) -> None:
        for leader in self.leaders():
            decision = self.decisions[self.known[leader.id]]
            if not decision.number:
                continue
            before = leader.raft.configuration
            self.held_back += decision.number < before.decision
            ready = self.ready(leader, decision)
            step = next_step(before, decision.target, decision.number, ready, leader.id)
            if step is None:
                continue
            try:
                leader.raft.change_membership(step)
            except ConsensusError:
                continue
            gone = set(before.voters) - set(step.voters)
            if gone & ready:
                left = [v for v in step.voters if self.holds(v, leader.raft.commit_index)]
                assert len(left) >= len(decision.target), (before, step, ready)

    def ready(self, leader: Member, decision: Decision) -> set[int]:
        """Those that hold all that is committed; nodes that know of the decision."""
        raft = leader.raft
        found = set()
        for replica, status in raft.progress().items():
            is_heard = status.recent_active or replica == leader.id
            if status.match_index >= raft.commit_index and is_heard:
                found.add(replica)
        members = raft.configuration.members()
        for node in decision.target:
            if node not in members and self.decisions[self.known[node]].number >= decision.number:
                found.add(node)
        return found

    def holds(self, replica: int, index: int) -> bool:
        """Is all up to `index` on the replica's disk?"""
        member = self.cluster.members.get(replica)
        if member is None:
            return False
        last_index = member.snapshot.meta.last_index if member.snapshot is not None else 0
        if member.entries:
            last_index = member.entries[-1].index
        return last_index >= index

    # -- the end ---------------------------------------------------------------------------

    def arrive(self) -> None:
        """Everybody learns everything: the last decision is reached."""
        cluster = self.cluster
        cluster.auto_sync = True
        cluster.heal()
        for member in cluster.members.values():
            if not member.up:
                self.start(member)
        for replica in list(cluster.members):
            cluster.sync(replica)
        for node in range(1, REPLICAS_MAX + 1):
            self.learn(node, len(self.decisions) - 1)
        for _ in range(2000):
            cluster.tick()
            self.check()
            if not self.is_complete:
                self.steer()
                self.complete_what_is_reported()
            else:
                return
        raise AssertionError(f"{self.decisions[-1]} is not reached")

    def check_history(self) -> None:
        """What is complete stays until something newer is decided."""
        entries = [entry for _, entry in sorted(self.cluster.checker.committed.items())]
        history = configuration_entries(entries)
        decisions = [configuration.decision for configuration in history]
        assert decisions == sorted(decisions), "an older decision follows a newer one"
        for number, target in self.completed:
            of_it = [c for c in history if c.decision == number]
            reached = [is_reached(c, target, number) for c in of_it]
            assert reached[-1], (number, target, of_it)
            assert sum(reached) == 1, (number, target, of_it)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_walk(seed: int) -> None:
    walk = SteeredWalk(seed)
    for number in range(STEPS):
        walk.step()
        if number % 20 == 0:
            walk.cluster.checker.logs(walk.cluster.members.values())
    walk.arrive()
    walk.check_history()


def test_the_walks_reach_what_they_are_about() -> None:
    completed = turned_back = held_back = 0
    for seed in range(16):
        walk = SteeredWalk(seed)
        for _ in range(STEPS):
            walk.step()
        completed += len(walk.completed)
        turned_back += walk.turned_back
        held_back += walk.held_back
    assert completed >= 15
    assert turned_back >= 8
    assert held_back >= 100
