"""A walk over a replica group that does little else than replace leaders, as hastily as it may.

Messages and disks are fast, so that a new leader is complete at the earliest possible moment;
faults hit leaders; clocks differ in rate by all that is allowed. `check` looks after each step.
"""

from __future__ import annotations

from random import Random

from node.consensus.api import Configuration, Role
from node.consensus.errors import ConsensusError
from tests.support.raft_cluster import Member, RaftCluster

DRIFT_PPM = 200_000
TICK_NS = 10_000_000


class LeaseWalk:
    """Two leases never overlap, and no holder misses what another has committed."""

    def __init__(self, seed: int, *, learners: int = 0) -> None:
        self.random = random = Random(seed)
        count = random.choice((2, 3, 3, 3, 5))
        configuration = Configuration(
            tuple(range(1, count + 1)), tuple(range(count + 1, count + learners + 1))
        )
        self.cluster = RaftCluster(
            seed=seed,
            configuration=configuration,
            election_ticks=random.choice((8, 12)),
            heartbeat_ticks=random.choice((1, 2, 4)),
            clock_drift_ppm=DRIFT_PPM,
        )
        for member in self.cluster.members.values():
            # The extremes: the ones whose clocks are furthest apart.
            member.rate = random.choice((1.0, 1.0 - DRIFT_PPM / 1e6))
            member.offset_ns = random.randrange(1 << 40)
        self.calm = random.choice((0.10, 0.14))
        # With little traffic, a replica that was deaf for a while can still win an election.
        self.traffic = random.choice((0.01, 0.1, 1.0))
        self.lease_moments = 0

    def step(self) -> None:
        roll = self.random.random()
        if roll < 0.4:
            self.pass_time()
        elif roll < 0.85:
            self.converse()
        elif roll < 0.85 + self.calm:
            if self.random.random() < self.traffic:
                for member in self.leaders():
                    self.attempt(member.raft.propose, b"x")
        else:
            self.strike()
        self.check()

    def pass_time(self) -> None:
        self.cluster.now_ns += self.random.randrange(TICK_NS)
        for member in self.cluster.members.values():
            now_ns = member.now_ns()
            if member.up and now_ns - member.last_tick_ns >= TICK_NS:
                member.last_tick_ns = now_ns
                member.raft.tick(now_ns)
        self.check()

    def converse(self) -> None:
        """A few exchanges, in order or not; what waits, waits for the next."""
        cluster = self.cluster
        for _ in range(self.random.choice((1, 2, 6))):
            for replica in cluster.members:
                cluster.process(replica)
            messages, cluster.network = cluster.network, []
            if self.random.random() < 0.2:
                self.random.shuffle(messages)
            for envelope in messages:
                if self.random.random() < 0.05:
                    cluster.network.append(envelope)  # it comes later
                else:
                    cluster.deliver(envelope)
                self.check()

    def strike(self) -> None:
        cluster = self.cluster
        random = self.random
        leaders = self.leaders()
        members = list(cluster.members.values())
        target = random.choice(leaders or members)
        kind = random.randrange(9)
        if kind == 0:
            cluster.isolate(target.id)
            for member in members:
                member.raft.peer_unreachable(target.id)
        elif kind == 8:
            deaf = random.choice(members)  # to the leader alone: it will stand before the others
            cluster.cut_links[target.id, deaf.id] = True
        elif kind == 1:
            for other in cluster.members:
                cluster.cut_links[other, target.id] = True  # it speaks and does not hear
        elif kind in (2, 3):
            cluster.heal()
        elif kind == 4:
            for member in members:
                member.raft.peer_unreachable(target.id)
        elif kind == 5:
            random.choice(members).raft.campaign()
        elif kind == 6 and random.random() < 0.2:
            for leader in leaders:
                self.attempt(leader.raft.transfer_leadership, random.choice(members).id)
        elif kind == 7 and random.random() < 0.2:
            member = random.choice(members)
            self.restart(member)

    def restart(self, member: Member) -> None:
        self.cluster.restart(member.id)
        member.last_tick_ns = -(1 << 60)

    @staticmethod
    def attempt(call, argument) -> None:
        try:
            call(argument)
        except ConsensusError:
            return

    def leaders(self) -> list[Member]:
        return [m for m in self.cluster.members.values() if m.raft.role is Role.LEADER]

    def check(self) -> None:
        members = self.cluster.members.values()
        holders = [m for m in members if m.may_lease_read()]
        assert len(holders) <= 1, f"two leases: {[m.id for m in holders]}"
        for holder in holders:
            self.lease_moments += 1
            assert holder.applied_index >= self.cluster.checker.committed_index, "a stale lease"
            if self.random.random() < 0.2 and any(
                m.raft.role in (Role.PRE_CANDIDATE, Role.CANDIDATE) for m in members
            ):
                # The worst moment: the holder cannot hear of the election that has begun.
                self.cluster.heal()
                self.cluster.isolate(holder.id)
