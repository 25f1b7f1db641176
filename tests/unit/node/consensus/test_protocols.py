"""Goal: whatever protocol the table names works for a node that knows no more than the table.

Method: three replicas of each, whose messages pass through msgpack, driven by the interface alone.
"""

from __future__ import annotations

from random import Random
from typing import Any

import msgpack
import pytest

from quorumcache.node.consensus.api import ConsensusConfig, ReplicatedLog
from quorumcache.node.consensus.protocols import PROTOCOL, PROTOCOLS, ConsensusProtocol
from quorumcache.node.consensus.values import Configuration, EntryKind, HardState, Role
from quorumcache.node.peers.items import CONSENSUS_KINDS, HEARTBEATS

TICK_NS = 10_000_000
NAMES = sorted(PROTOCOLS)


def make(protocol: ConsensusProtocol, replica: int, **durable: Any) -> ReplicatedLog:
    return protocol.make_replica(
        ConsensusConfig(replica_id=replica),
        Random(replica),
        configuration=Configuration((1, 2, 3)),
        life=replica,
        **durable,
    )


class Cluster:
    """Delivers in order; everything is durable at once."""

    def __init__(self, protocol: ConsensusProtocol) -> None:
        self.wire = protocol.wire
        self.numbers = {cls: n for n, cls in enumerate(self.wire.message_types)}
        self.replicas = {replica: make(protocol, replica) for replica in (1, 2, 3)}
        self.committed: dict[int, list[bytes]] = {1: [], 2: [], 3: []}
        self.sent: set[type] = set()
        self.now_ns = 0

    def tick(self, *, deliver: bool = True) -> None:
        self.now_ns += TICK_NS
        for replica in self.replicas.values():
            replica.tick(self.now_ns)
        while any(replica.has_ready() for replica in self.replicas.values()):
            for number, replica in self.replicas.items():
                self._act(number, replica, deliver)

    def _act(self, number: int, replica: ReplicatedLog, deliver: bool) -> None:
        if not replica.has_ready():
            return
        ready = replica.ready()
        if ready.must_persist:
            replica.persisted(ready.last_index, ready.last_term)
        self.committed[number] += [
            entry.payload for entry in ready.committed_entries if entry.kind == EntryKind.NORMAL
        ]
        for to, message in [*ready.messages, *ready.messages_after_append]:
            self.sent.add(type(message))
            kind = self.numbers[type(message)]
            fields = msgpack.unpackb(msgpack.packb(message), use_list=False)
            decoded = self.wire.decoders[kind](fields)
            assert decoded == message
            assert type(decoded) is type(message)
            assert self.wire.fits(decoded)
            if deliver:
                self.replicas[to].step(number, decoded)


@pytest.mark.parametrize("name", NAMES)
def test_three_replicas_elect_a_leader_and_commit(name: str) -> None:
    cluster = Cluster(PROTOCOLS[name])
    for _ in range(200):
        cluster.tick()
    (leader,) = [log for log in cluster.replicas.values() if log.role == Role.LEADER]
    leader.propose(b"a")
    leader.propose(b"b")
    for _ in range(20):
        cluster.tick()
    run = leader.extend(b"c")
    if run is not None:  # A protocol that does without the short way returns None.
        term, _, _, _, entries = run
        for follower in leader.followers:
            assert cluster.replicas[follower].follow(leader.leader_id, *run)
            leader.acknowledged(follower, term, entries[-1].index)
        assert leader.persisted(entries[-1].index, term) or leader.has_ready()
        assert [entry.payload for entry in leader.take_committed()] == [b"c"]
    for _ in range(20):
        cluster.tick()
    assert leader.commit_index == leader.last_index
    assert cluster.committed[2] == cluster.committed[3]
    assert cluster.committed[2][:2] == [b"a", b"b"]
    wire = cluster.wire
    assert cluster.sent >= {wire.beat, wire.beat_reply, wire.entries, wire.vote}


@pytest.mark.parametrize("name", NAMES)
def test_a_replica_goes_on_from_what_is_durable(name: str) -> None:
    replica = make(PROTOCOLS[name], 1, hard_state=HardState(4, 2))
    assert (replica.term, replica.last_index, replica.role) == (4, 0, Role.FOLLOWER)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_wire_names_are_messages_of_the_protocol(name: str) -> None:
    wire = PROTOCOLS[name].wire
    assert len(wire.decoders) == len(wire.message_types) <= min(CONSENSUS_KINDS, HEARTBEATS)
    special = {*wire.copies, wire.beat, wire.beat_reply, wire.entries, wire.vote}
    assert special <= {*wire.message_types}
    assert not {wire.beat, wire.beat_reply} & {*wire.copies}, "beats are copied together"


def test_the_protocol_of_this_version_is_in_the_table() -> None:
    assert PROTOCOL in PROTOCOLS
