"""Cost of the consensus core: one committed proposal over three replicas, and an idle tick.

    python -m quorumcache.bench.micro.consensus [proposals]

Three Raft instances are wired together in memory. Each proposal goes through: propose, the leader's
Ready, two followers' step and Ready, two acknowledgements, and the leader's Ready that commits.
Reported is the time of all that together per proposal, on one core.
"""

from __future__ import annotations

import sys
import time
from random import Random

from quorumcache.node.consensus.api import ConsensusConfig
from quorumcache.node.consensus.raft import Raft
from quorumcache.node.consensus.values import Configuration, Role

PAYLOAD = b"x" * 120
COMPACT_EVERY = 1000


def _replicas(count: int) -> dict[int, Raft]:
    configuration = Configuration(tuple(range(1, count + 1)))
    return {
        i: Raft(ConsensusConfig(replica_id=i), Random(i), configuration=configuration)
        for i in configuration.voters
    }


def _pump(replicas: dict[int, Raft]) -> None:
    busy = True
    while busy:
        busy = False
        for sender, raft in replicas.items():
            while raft.has_ready():
                busy = True
                ready = raft.ready()
                for to, message in ready.messages:
                    replicas[to].step(sender, message)
                if ready.must_persist:
                    raft.persisted(ready.last_index, ready.last_term)
                for to, message in ready.messages_after_append:
                    replicas[to].step(sender, message)


def _commit_one(leader: Raft, followers: list[Raft]) -> int:
    """The shell's work for one proposal; the number of entries the leader commits."""
    leader.propose(PAYLOAD)
    ready = leader.ready()
    by_id = {raft.replica_id: raft for raft in followers}
    for to, message in ready.messages:
        by_id[to].step(1, message)
    leader.persisted(ready.last_index, ready.last_term)
    for raft in followers:
        answer = raft.ready()
        raft.persisted(answer.last_index, answer.last_term)
        for _, message in answer.messages_after_append:
            leader.step(raft.replica_id, message)
    return len(leader.ready().committed_entries)


def measure_commit(proposals: int) -> float:
    """Microseconds per committed proposal, all three replicas together; the best of five runs."""
    best = float("inf")
    for _ in range(5):
        replicas = _replicas(3)
        leader = replicas[1]
        leader.campaign()
        _pump(replicas)
        assert leader.role is Role.LEADER
        followers = [replicas[2], replicas[3]]
        committed = 0
        start = time.perf_counter()
        for number in range(proposals):
            committed += _commit_one(leader, followers)
            if number % COMPACT_EVERY == 0:
                for raft in replicas.values():
                    raft.compact(raft.commit_index)
        best = min(best, time.perf_counter() - start)
        assert committed == proposals
    return best / proposals * 1e6


def measure_tick(ticks: int) -> float:
    """Microseconds per tick of a follower that hears from its leader often enough."""
    replicas = _replicas(3)
    replicas[1].campaign()
    _pump(replicas)
    follower = replicas[2]
    tick = follower.tick
    start = time.perf_counter()
    for now_ns in range(ticks):
        tick(now_ns)
        if now_ns % 5 == 0:
            follower.heard_tick = follower.ticks
    return (time.perf_counter() - start) / ticks * 1e6


def main() -> None:
    proposals = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    print(f"commit, three replicas  {measure_commit(proposals):6.2f} us")
    print(f"idle tick               {measure_tick(200_000):6.3f} us")


if __name__ == "__main__":
    main()
