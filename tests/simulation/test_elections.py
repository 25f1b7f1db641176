"""Three rules of elections that a mixture of all faults with the usual settings hardly ever tests.

- Two votes in one term rarely do harm in a run of seconds: a restarted replica refuses votes for an
  election timeout, and the second candidate of the term has given up by then. So the harm is not
  waited for; what left is compared with what is known, at every look at the cluster.
- A new leader's first entry usually travels in one append with all that its followers lack, and is
  acknowledged with it. With one entry at a time those of earlier terms reach a majority before.
- Reads meet a leader that does not know yet what its predecessor acknowledged when leaders go often
  and disks are slow.
"""

from typing import Any

import pytest

from quorumcache.node.consensus.api import ConsensusConfig
from quorumcache.node.consensus.raft.messages import VoteReply
from quorumcache.node.consensus.values import Outbound, Role
from quorumcache.node.peers.consensus_transport import ConsensusTransport
from tests.simulation.checkers import Invariants, InvariantViolation
from tests.simulation.process import PROCESS
from tests.simulation.world import World, WorldConfig

Votes = dict[tuple[str, int], tuple[int, int]]
"""Node and group to the newest term in which a vote left, and for whom."""

ELECTIONS = {
    "kill": 4,
    "kill_leader": 6,
    "power_cut": 2,
    "isolate": 3,
    "isolate_leader": 6,
    "one_way": 4,
    "split": 3,
    "pause_leader": 3,
    "slow_disk": 4,
    "slow_links": 3,
}
"""Faults that change leaders, and disks that are late for it."""

sources_only = pytest.mark.skipif(
    not hasattr(ConsensusTransport.send, "__code__"), reason="what is compiled cannot be watched"
)


@pytest.fixture
def votes(monkeypatch: pytest.MonkeyPatch) -> Votes:
    """Filled while a `World` runs, and compared with its replicas."""
    left: Votes = {}
    send = ConsensusTransport.send
    check = Invariants._check_progress

    def watched(
        self: ConsensusTransport, group_id: int, messages: list[Outbound], tick: int
    ) -> None:
        process = PROCESS.get()
        assert process is not None
        for to, message in messages:
            if isinstance(message, VoteReply) and message.granted:
                who = (process.name, group_id)
                term, candidate = left.get(who, (0, 0))
                assert (message.term, to) == (term, candidate) or message.term > term, (
                    f"{who} votes for {to} in term {message.term}, and voted for {candidate}"
                )
                left[who] = (message.term, to)
        send(self, group_id, messages, tick)

    def compared(self: Invariants, simulated: Any, group: Any, *more: Any) -> None:
        check(self, simulated, group, *more)
        term, candidate = left.get((simulated.name, group.group_id), (0, 0))
        known = (group.log.term, group.log.voted_for)
        if known[0] < term or (known[0] == term and known[1] != candidate):
            raise InvariantViolation(
                f"group {group.group_id} on node {simulated.name}: voted for {candidate} in term "
                f"{term}, and knows of {known[1]} in term {known[0]}"
            )

    monkeypatch.setattr(ConsensusTransport, "send", watched)
    monkeypatch.setattr(Invariants, "_check_progress", compared)
    return left


@sources_only
@pytest.mark.parametrize("seed", range(1, 4))
def test_a_vote_that_left_is_known_after_every_restart(seed: int, votes: Votes) -> None:
    weights = {"kill": 3, "power_cut": 3, "power_cut_all": 2, "kill_leader": 3, "isolate_leader": 1}
    World(WorldConfig(seed=seed, fault_seconds=3.0, weights=weights)).run()
    assert votes, "nobody was elected"


@sources_only
@pytest.mark.parametrize("seed", range(1, 3))
def test_no_leader_commits_an_earlier_term_by_counting(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its commit index goes from where it was at the election to its own first entry, or beyond."""
    one_at_a_time = {"append_bytes_max": 1, "inflight_appends_max": 1}
    for name, value in one_at_a_time.items():
        monkeypatch.setitem(ConsensusConfig.__init__.__kwdefaults__, name, value)
    elected_with: dict[tuple[str, int, int, int], int] = {}
    check = Invariants._check_progress

    def compared(self: Invariants, simulated: Any, group: Any, *more: Any) -> None:
        check(self, simulated, group, *more)
        if group.role is Role.LEADER:
            reign = (simulated.name, simulated.incarnation, group.group_id, group.term)
            before = elected_with.setdefault(reign, group.commit_index)
            if before < group.commit_index < group.log.term_start_index:
                raise InvariantViolation(
                    f"{reign} has committed {group.commit_index}, and its own term begins at "
                    f"{group.log.term_start_index}"
                )

    monkeypatch.setattr(Invariants, "_check_progress", compared)
    World(WorldConfig(seed=seed, fault_seconds=4.0, weights=ELECTIONS)).run()
    assert elected_with, "nobody was elected"


@pytest.mark.parametrize("seed", range(1, 4))
def test_no_new_leader_answers_before_it_knows_what_was_acknowledged(seed: int) -> None:
    """Without the rule one seed in two fails."""
    weights = {"kill_leader": 6, "isolate_leader": 6, "slow_disk": 6, "pause_leader": 3}
    World(WorldConfig(seed=seed, fault_seconds=4.0, weights=weights)).run()
