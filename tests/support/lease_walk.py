"""A walk over a replica group that does little else than replace leaders, as hastily as it may.

Messages and disks are fast, so that a new leader is complete at the earliest possible moment;
faults hit leaders; clocks differ in rate by all that is allowed. `check` looks after each step.
"""

from __future__ import annotations

from random import Random

from quorumcache.node.consensus.errors import ConsensusError
from quorumcache.node.consensus.raft.messages import TimeoutNow, Vote
from quorumcache.node.consensus.values import Configuration, Role
from tests.support.raft_cluster import Envelope, Member, RaftCluster

DRIFT_PPM = 200_000
TICK_NS = 10_000_000


class LeaseWalk:
    """Two leases never overlap, and no holder misses what another has committed.

    `late`: leaderships are handed over often, and what the target says or hears comes when nobody
    expects it any more, as through a disk that hangs; or only what makes it stand, or its requests.
    """

    def __init__(self, seed: int, *, learners: int = 0, late: bool = False) -> None:
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
        self.late = late
        self.held_back: tuple[int, int] = (0, 0)
        """Replica whose messages are held back, and which: 0 what it sends, 1 what it is sent."""
        self.held_kinds: tuple[type, ...] = ()
        """Messages of these kinds only; all if there are none."""
        self.held: list[Envelope] = []

    def step(self) -> None:
        if self.late:
            self.delay()
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

    def delay(self) -> None:
        """Hand a leadership to a member and hold back what it says or hears; later let it go."""
        random = self.random
        replica, _ = self.held_back
        if not replica:
            if random.random() < 0.1:
                replica = random.choice(list(self.cluster.members))
                self.held_back = (replica, random.randrange(2))
                self.held_kinds = random.choice(((), (TimeoutNow, Vote)))
                for leader in self.leaders():
                    self.attempt(leader.raft.transfer_leadership, replica)
        elif random.random() < 0.03:
            self.held_back = (0, 0)
            for envelope in self.held:
                self.cluster.deliver(envelope)
                self.check()
            self.held = []

    def _is_held_back(self, envelope: Envelope) -> bool:
        replica, end = self.held_back
        kinds = self.held_kinds
        return envelope[end] == replica and (not kinds or isinstance(envelope[2], kinds))

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
                if self._is_held_back(envelope):
                    self.held.append(envelope)
                elif self.random.random() < 0.05:
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
