"""A cluster of Raft replicas under random faults, pure and repeatable from its seed.

Goal: no order of messages, syncs, crashes, partitions, clock rates and changes of membership breaks
election safety, log matching, leader completeness, state machine safety, the exclusivity of leases
or the linearizability of lease and ReadIndex reads. Method: a random walk over single events (one
message delivered, duplicated or lost; one Ready synced; a moment of time), checked after each; then
a calm phase in which everything must converge. `RAFT_SEEDS=1000 pytest ...` walks further.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from quorumcache.node.consensus.errors import ConsensusError
from quorumcache.node.consensus.values import Configuration, Role
from tests.support.raft_cluster import Member, RaftCluster, configuration_entries

SEEDS = int(os.environ.get("RAFT_SEEDS", "40"))
STEPS = 12_000
NETWORK_MAX = 200
REPLICAS_MAX = 6
DRIFT_PPM = 200_000


class Stingy:
    """Gives a little now and then."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.granted = 0
        self.refused = 0

    def take(self, wanted: int, now_ns: int, doublings: int = 0) -> int:
        assert wanted > 0
        size = min(wanted, self.random.choice((0, 0, 1, 30)))
        self.granted += size > 0
        self.refused += size == 0
        return size

    def give_back(self, size: int, doublings: int = 0) -> None:
        pass


class Walk:
    """One random walk. `chaos` scales how often rare events strike."""

    def __init__(self, seed: int, *, in_bundles: bool = False) -> None:
        self.random = random = Random(seed)
        self.cluster = RaftCluster(
            random.choice((1, 2, 3, 3, 3, 4, 5)),
            seed=seed,
            auto_sync=False,
            election_ticks=random.choice((6, 10)),
            heartbeat_ticks=random.choice((1, 3)),
            append_bytes_max=random.choice((4, 20, 1000)),
            inflight_appends_max=random.choice((1, 2, 8)),
            uncommitted_bytes_max=random.choice((40, 1000)),
            snapshot_chunk_bytes=random.choice((7, 50)),
            clock_drift_ppm=DRIFT_PPM,
        )
        self.cluster.bundles = Random(seed) if in_bundles else None
        self.budget = Stingy(Random(seed))
        if seed % 2:
            self.cluster.budget = self.budget
        for member in self.cluster.members.values():
            if seed % 2:
                member.raft.pace_learners(self.budget)
            self.set_clock(member)
        self.chaos = random.choice((0.2, 1.0, 1.0, 3.0))
        self.loss = random.choice((0.0, 0.05, 0.3))
        self.fifo = random.random() < 0.3
        self.haste = random.choice((0.02, 0.05, 0.2))
        self.proposed = 0
        self.context = 0
        self.pending_reads: dict[tuple[int, int], int] = {}
        self.lease_reads = self.index_reads = 0

    def set_clock(self, member: Member) -> None:
        member.rate = 1.0 - self.random.random() * DRIFT_PPM / 1e6
        member.offset_ns = self.random.randrange(1 << 40)

    # -- events --------------------------------------------------------------------------

    def step(self) -> None:
        roll = self.random.random()
        if roll < 0.50:
            for _ in range(self.random.choice((1, 4, 12))):
                self.deliver_one()
        elif roll < 0.85 - self.haste:
            self.sync_one()
        elif roll < 0.85:
            self.pass_time()
        elif roll < 0.92:
            self.propose()
        elif roll < 0.95:
            self.read()
        elif roll < 0.955:
            self.recover()
        elif roll < 0.955 + 0.005 * self.chaos:
            self.strike()
        for replica in self.cluster.members:
            if self.random.random() < 0.5:
                self.cluster.process(replica)
        self.check()

    def deliver_one(self) -> None:
        network = self.cluster.network
        if not network:
            return
        position = 0 if self.fifo else self.random.randrange(len(network))
        if self.random.random() < self.loss:
            network.pop(position)
            return
        envelope = network[position]
        if self.random.random() > 0.05 or len(network) > NETWORK_MAX:
            network.pop(position)
        self.cluster.deliver(envelope)
        while len(network) > NETWORK_MAX:
            network.pop(self.random.randrange(len(network)))

    def sync_one(self) -> None:
        member = self.any_member()
        self.cluster.sync(member.id, self.random.choice((1, 1, 10)))

    def pass_time(self) -> None:
        cluster = self.cluster
        tick_ns = cluster.config(1).tick_ms * 1_000_000
        cluster.now_ns += self.random.randrange(2 * tick_ns)
        if self.random.random() < 0.01:
            cluster.now_ns += self.random.randrange(20 * tick_ns)  # everyone was stopped
        for member in cluster.members.values():
            now_ns = member.now_ns()
            if member.up and now_ns - member.last_tick_ns >= tick_ns:
                if self.random.random() < 0.05:
                    continue  # a late timer
                member.last_tick_ns = now_ns
                member.raft.tick(now_ns)

    def propose(self) -> None:
        for member in self.leaders():
            self.proposed += 1
            try:
                self.cluster.propose(member.id, b"%d" % self.proposed)
            except ConsensusError:
                continue

    def read(self) -> None:
        """Both kinds of reads, at every replica that believes it may serve them."""
        for member in self.leaders():
            self.context += 1
            self.pending_reads[member.id, self.context] = self.cluster.checker.committed_index
            member.raft.request_read(self.context, member.now_ns())

    def strike(self) -> None:
        random = self.random
        cluster = self.cluster
        leaders = self.leaders()
        member = random.choice(leaders) if leaders and random.random() < 0.5 else self.any_member()
        kind = random.randrange(11)
        if kind == 0:
            cluster.crash(member.id)
        elif kind in (1, 2, 3):
            self.start(member)
        elif kind == 4:
            company = [r for r in cluster.members if random.random() < 0.2]
            cluster.isolate(member.id, *company)
        elif kind == 5:
            others = [r for r in cluster.members if r != member.id]
            for other in others:
                if random.random() < 0.5:  # one way
                    cluster.cut_links[member.id, other] = True
        elif kind in (6, 7) and member.up:
            if member.raft.commit_index == member.applied_index and not member.raft.installing:
                member.compact(random.choice((0, 500, 1 << 20)))
        elif kind == 8:
            self.change_membership()
        elif kind == 9:
            for leader in self.leaders():
                if random.random() < 0.2:
                    leader.raft.step_down()
                    continue
                try:
                    leader.raft.transfer_leadership(random.choice(list(cluster.members)))
                except ConsensusError:
                    continue
        elif kind == 10 and member.up:
            if random.random() < 0.5:
                member.raft.campaign()
            else:
                member.raft.peer_unreachable(random.choice(list(cluster.members)))

    def recover(self) -> None:
        if self.random.random() < 0.3:
            self.cluster.heal()
        for member in self.cluster.members.values():
            if not member.up and self.random.random() < 0.5:
                self.start(member)

    def start(self, member: Member) -> None:
        self.cluster.restart(member.id)
        member.last_tick_ns = -(1 << 60)
        for key in [key for key in self.pending_reads if key[0] == member.id]:
            del self.pending_reads[key]

    def change_membership(self) -> None:
        random = self.random
        ids = random.sample(range(1, REPLICAS_MAX + 1), random.randrange(1, REPLICAS_MAX + 1))
        voters = ids[: random.randrange(1, len(ids) + 1)]
        for leader in self.leaders():
            present = leader.raft.configuration
            new = Configuration(tuple(voters), tuple(ids[len(voters) :]))
            if random.random() < 0.7:  # a single step
                other = random.randrange(1, REPLICAS_MAX + 1)
                if other in present.voters:
                    rest = tuple(v for v in present.voters if v != other)
                    new = present._replace(voters=rest, learners=())
                elif other in present.learners:
                    rest = tuple(v for v in present.learners if v != other)
                    new = present._replace(voters=(*present.voters, other), learners=rest)
                else:
                    new = present._replace(learners=(*present.learners, other))
            decision = max(0, present.decision + random.choice((0, 0, 0, 1, -1)))
            try:
                leader.raft.change_membership(new._replace(decision=decision))
            except ConsensusError:
                continue
            for replica in new.members():
                if replica not in self.cluster.members:
                    self.cluster.add(replica, Configuration(()))
                    self.set_clock(self.cluster.members[replica])

    def any_member(self) -> Member:
        return self.random.choice(list(self.cluster.members.values()))

    def leaders(self) -> list[Member]:
        members = self.cluster.members.values()
        return [m for m in members if m.up and m.raft.role is Role.LEADER]

    # -- checks --------------------------------------------------------------------------

    def check(self) -> None:
        cluster = self.cluster
        committed = cluster.checker.committed_index
        holders = [m for m in cluster.members.values() if m.may_lease_read()]
        assert len(holders) <= 1, f"two leases: {[m.id for m in holders]}"
        for member in holders:
            self.lease_reads += 1
            assert member.applied_index >= committed, f"stale lease read at {member.id}"
        for member in cluster.members.values():
            for context, read_index in member.reads.items():
                self.index_reads += 1
                registered = self.pending_reads.pop((member.id, context))
                assert read_index >= registered, f"stale read index at {member.id}"
            for context in member.failed_reads:
                del self.pending_reads[member.id, context]
            member.reads = {}
            member.failed_reads = []

    # -- the calm after ------------------------------------------------------------------

    def converge(self) -> None:
        """All faults end: the group must elect, commit, and agree, within a budget of ticks."""
        cluster = self.cluster
        cluster.auto_sync = True
        cluster.heal()
        for member in cluster.members.values():
            if not member.up:
                self.start(member)
        for replica in cluster.members:
            cluster.sync(replica)
        done = b"done"
        for _ in range(600):
            cluster.tick()
            self.check()
            for member in self.leaders():
                raft = member.raft
                ids = raft.configuration.members()
                states = [cluster.members[i].state for i in ids]
                if done in states[0] and all(state == states[0] for state in states):
                    return
                if raft.commit_index == raft.last_index and done not in member.state:
                    try:
                        raft.propose(done)
                    except ConsensusError:
                        continue
        raise AssertionError("no convergence")


@pytest.mark.parametrize("in_bundles", [False, True])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_walk(seed: int, in_bundles: bool) -> None:
    """Safety at every step of the walk, then liveness; with the leaders' entries in messages, and
    with most of them in bundles."""
    walk = Walk(seed, in_bundles=in_bundles)
    for number in range(STEPS):
        walk.step()
        if number % 20 == 0:
            walk.cluster.checker.logs(walk.cluster.members.values())
    walk.converge()
    entries = [entry for _, entry in sorted(walk.cluster.checker.committed.items())]
    decisions = [configuration.decision for configuration in configuration_entries(entries)]
    assert decisions == sorted(decisions), "an older decision follows a newer one"


def test_walks_are_repeatable_and_do_something() -> None:
    """Same seed, same history; and the walks reach what they are meant to test."""
    histories = []
    for _ in range(2):
        walk = Walk(3)
        for _ in range(4000):
            walk.step()
        histories.append((walk.cluster.checker.committed, walk.cluster.checker.leaders))
    assert histories[0] == histories[1]
    leaders = lease_reads = index_reads = granted = refused = 0
    for seed in range(8):
        walk = Walk(seed)
        for _ in range(STEPS):
            walk.step()
        leaders += len(walk.cluster.checker.leaders)
        lease_reads += walk.lease_reads
        index_reads += walk.index_reads
        granted += walk.budget.granted
        refused += walk.budget.refused
    assert leaders >= 20
    assert lease_reads >= 1000
    assert index_reads >= 200
    assert granted >= 100
    assert refused >= 100


def test_a_walk_in_bundles_takes_the_short_way() -> None:
    walk = Walk(5, in_bundles=True)
    for _ in range(STEPS):
        walk.step()
    assert walk.cluster.followed >= 100
    assert walk.cluster.extended >= 100
