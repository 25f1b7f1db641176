"""Three nodes' offices together, over a network that is a list of calls."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.alarms import Alarms
from quorumcache.node.config import NodeConfig
from quorumcache.node.directory.members import Members
from quorumcache.node.directory.office import DirectoryOffice
from quorumcache.node.directory.question import OK, Answer, Question
from quorumcache.node.directory.seat import DirectorySeat
from quorumcache.node.directory.state import DirectoryState
from quorumcache.node.errors import NodeLeft, PeerFrameError
from quorumcache.node.founding.data_dir import births_of
from quorumcache.node.peers.items import CHANGE_REPLY, CHANGE_REQUEST, REPORT
from quorumcache.node.telemetry.counters import Counters
from quorumcache.ring import ClusterMap
from tests.support.fake_node import FakeClock
from tests.support.founding import record_of

RECORD = record_of("a", "b", "c")


class FakeNode:
    """One node. Its replica of group 0 applies at once what it proposes, if it leads."""

    def __init__(self, cluster: Cluster, node_id: int) -> None:
        self.cluster = cluster
        self.node_id = node_id
        self.left: list[NodeLeft] = []
        members = self.members = Members()
        members.own_id, members.record = node_id, RECORD
        members.told.update({founder.node_id: founder for founder in RECORD.founders})
        self.host: Any = SimpleNamespace(groups={}, flush_soon=lambda: None, item_bytes_max=1 << 20)
        starter: Any = self
        self.seat = DirectorySeat(
            node_id, RECORD, births=births_of(RECORD, node_id), starter=starter
        )
        self.seat.on_map = cluster.decided
        self.alarms = Alarms()
        self.office = DirectoryOffice(
            NodeConfig(),
            clock=cluster.clock,
            alarms=self.alarms,
            counters=Counters(),
            incarnation=node_id << 60,
            members=members,
            peers=self,
            host=self.host,
            seat=self.seat,
            moving=lambda: (),
            on_left=self.left.append,
        )

    def start(self, group_id: int, birth: Any, machine: DirectoryState, *, stands: bool) -> Any:
        def submit(command: Any, size: int, waiter: Any) -> None:
            assert group.is_leader
            waiter.on_result(machine.apply(1, 1, [command])[0])

        group = SimpleNamespace(
            is_leader=stands,
            leader_id=1,
            applied_index=1,
            log=SimpleNamespace(term_start_index=1),
            machine=machine,
            submit=submit,
        )
        self.host.groups[group_id] = group
        return group

    # The peer network.

    @property
    def node_ids(self) -> tuple[int, ...]:
        return tuple(n for n in (1, 2, 3) if n != self.node_id)

    def is_up(self, node_id: int) -> bool:
        return node_id in self.node_ids

    is_heard = is_up

    def form_of(self, node_id: int) -> int:
        return 2

    def proven(self) -> set[int]:
        return set()

    def send(self, node_id: int, item: tuple[Any, ...]) -> bool:
        self.cluster.sent.append((self.node_id, node_id, item))
        return True


class Cluster:
    """Nodes a, b and c; a leads group 0."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.sent: list[tuple[int, int, tuple[Any, ...]]] = []
        self.nodes: dict[int, FakeNode] = {}
        self.nodes = {node_id: FakeNode(self, node_id) for node_id in (1, 2, 3)}
        for node in self.nodes.values():
            node.seat.take()
        self.run(20)

    def decided(self, cluster_map: ClusterMap) -> None:
        for node in self.nodes.values():
            node.members.map = cluster_map
            node.office.learned(cluster_map)

    def run(self, ticks: int) -> None:
        for tick in range(ticks):
            self.clock.now_ns += 50_000_000
            for node in self.nodes.values():
                node.seat.tick()
                node.office.sweep()
                if tick % 10 == 0:
                    node.office.reporter.tell()
            sent, self.sent = self.sent, []
            for origin, target, item in sent:
                self.nodes[target].office.on_item(origin, item)

    @property
    def map(self) -> ClusterMap:
        cluster_map = self.nodes[3].members.map
        assert cluster_map is not None
        return cluster_map

    def ask(self, node_id: int, *words: str) -> list[tuple[int, bytes]]:
        answers: list[tuple[int, bytes]] = []
        self.nodes[node_id].office.desk.ask(words, lambda *answer: answers.append(answer))
        self.run(20)
        return answers


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Questions are the fields that the next map is to have, as JSON."""

    def answer(self: Question, present: ClusterMap, view: Any) -> Answer:
        fields = json.loads(self.texts[0]) if self.texts[0] != "leave" else {}
        if "state" in fields:
            fields = {"nodes": present.with_node(replace(present.node(3), **fields)).nodes}
        if "settings" in fields:
            pairs = {**dict(present.settings), **fields["settings"]}
            fields = {"settings": tuple(sorted(pairs.items()))}
        wanted = replace(present, epoch=present.epoch + 1, **fields)
        if self.texts[0] == "leave":
            sets = [(1, 2)] * present.shard_count
            there = replace(present, directory=(1, 2)).with_replica_sets(sets)
            wanted = replace(there.without_node(int(self.texts[1])), epoch=present.epoch + 1)
        return Answer(wanted, b"{}")

    monkeypatch.setattr(Question, "answer", answer)
    return Cluster()


def test_the_cluster_comes_to_form_2_and_each_node_shows_the_same(cluster: Cluster) -> None:
    assert (cluster.map.form, cluster.map.directory) == (2, (1, 2, 3))
    shown = [json.loads(node.office.desk.moves_json()) for node in cluster.nodes.values()]
    assert shown[0] == shown[1] == shown[2]
    assert [node["heard"] for node in shown[0]["nodes"]] == [True] * 3


@pytest.mark.parametrize("node_id", [1, 2, 3])
def test_a_change_can_be_asked_for_at_any_node(cluster: Cluster, node_id: int) -> None:
    assert cluster.ask(node_id, '{"change": "drain c"}') == [(OK, b"{}")]
    assert cluster.map.change == "drain c"


def test_a_setting_is_in_force_on_each_node_as_soon_as_it_knows_the_map(cluster: Cluster) -> None:
    told: list[int] = []
    cluster.nodes[2].office.on_item_bytes_max = told.append
    cluster.ask(3, '{"settings": {"max_item_size": "2097152"}}')
    assert [node.host.item_bytes_max for node in cluster.nodes.values()] == [2 << 20] * 3
    assert told == [2 << 20]


def test_a_drained_node_leaves_by_itself(cluster: Cluster) -> None:
    clients = [1]
    node = cluster.nodes[3]
    node.office.departure.count_clients = lambda: len(clients)
    cluster.ask(1, '{"state": "drained"}')
    assert not node.left
    clients.clear()
    cluster.run(40)
    assert [known.name for known in cluster.map.nodes] == ["a", "b"]
    (error,) = node.left
    assert error.was_drained
    assert not cluster.nodes[1].left


def test_what_is_no_item_is_the_peers_fault(cluster: Cluster) -> None:
    office = cluster.nodes[1].office
    for item in ((REPORT, 1), (CHANGE_REQUEST, 1), (CHANGE_REPLY, 1)):
        with pytest.raises(PeerFrameError):
            office.on_item(2, item)
