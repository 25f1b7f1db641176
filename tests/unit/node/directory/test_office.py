"""Four nodes' offices together, over a network that is a list of calls."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.alarms import Alarms
from quorumcache.node.directory.members import Members
from quorumcache.node.directory.office import DISK_TAKES_NOTHING, DirectoryOffice
from quorumcache.node.directory.question import OK, REFUSED
from quorumcache.node.directory.seat import DirectorySeat
from quorumcache.node.directory.state import DirectoryState
from quorumcache.node.errors import NodeLeft, PeerFrameError
from quorumcache.node.founding.data_dir import births_of
from quorumcache.node.peers.items import CHANGE_REPLY, CHANGE_REQUEST, REPORT
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.telemetry.counters import Counters
from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.ring.cluster_view import GroupReport
from tests.support.fake_node import FakeClock
from tests.support.founding import record_of

RECORD = record_of("a", "b", "c", "d")


class FakeNode:
    """One node. Its replica of group 0 applies at once what it proposes, if it leads."""

    def __init__(self, cluster: Cluster, node_id: int) -> None:
        self.cluster = cluster
        self.node_id = node_id
        self.left: list[NodeLeft] = []
        members = self.members = Members()
        members.own_id, members.record = node_id, RECORD
        members.told.update({founder.node_id: founder for founder in RECORD.founders})
        self.host: Any = SimpleNamespace(
            groups={},
            flush_soon=lambda: None,
            item_bytes_max=1 << 20,
            copy_rate=SimpleNamespace(bytes_per_second=0),
        )
        starter: Any = self
        self.seat = DirectorySeat(
            node_id, RECORD, births=births_of(RECORD, node_id), leaving=(), starter=starter
        )
        self.seat.on_map = cluster.decided
        self.alarms = Alarms()
        self.counters = Counters()
        self.office = DirectoryOffice(
            NodeConfig(),
            clock=cluster.clock,
            alarms=self.alarms,
            counters=self.counters,
            incarnation=node_id << 60,
            members=members,
            peers=self,
            host=self.host,
            seat=self.seat,
            moving=self.moving,
            on_left=self.left.append,
            memory_bytes=lambda: 1 << 30,
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

    def moving(self) -> list[GroupReport]:
        cluster_map = self.members.map
        if self.node_id != 1 or cluster_map is None:
            return []
        return [
            GroupReport(move.group_id, 1, move.decided, move.target)
            for move in cluster_map.moves
            if move.decided
        ]

    # The peer network.

    @property
    def node_ids(self) -> tuple[int, ...]:
        return tuple(n for n in (1, 2, 3, 4) if n != self.node_id)

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
    """Nodes a to d; a leads group 0, and every group: its moves are complete at once."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.sent: list[tuple[int, int, tuple[Any, ...]]] = []
        self.nodes: dict[int, FakeNode] = {}
        self.nodes = {node_id: FakeNode(self, node_id) for node_id in (1, 2, 3, 4)}
        for node in self.nodes.values():
            node.seat.take()
        self.nodes[1].seat.started(0b1111)
        self.run(30)

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
def cluster() -> Cluster:
    return Cluster()


def test_the_cluster_comes_to_form_2_and_each_node_shows_the_same(cluster: Cluster) -> None:
    assert cluster.map.form == 2
    shown = [json.loads(node.office.desk.moves_json()) for node in cluster.nodes.values()]
    assert all(each == shown[0] for each in shown)
    assert [node["heard"] for node in shown[0]["nodes"]] == [True] * 4


@pytest.mark.parametrize("node_id", [1, 2, 4])
def test_a_change_can_be_asked_for_at_any_node(cluster: Cluster, node_id: int) -> None:
    before = cluster.map
    ((code, payload),) = cluster.ask(node_id, "pause", "dry")
    assert (code, json.loads(payload)["dry"]) == (OK, True)
    assert cluster.map == before
    assert cluster.ask(node_id, "pause")[0][0] == OK
    assert cluster.map.is_paused
    ((code, sentence),) = cluster.ask(node_id, "drain", "nobody")
    assert code == REFUSED
    assert b"nobody" in sentence


def test_a_setting_is_in_force_on_each_node_as_soon_as_it_knows_the_map(cluster: Cluster) -> None:
    told: list[int] = []
    cluster.nodes[2].office.on_item_bytes_max = told.append
    rates = [node.host.copy_rate for node in cluster.nodes.values()]
    assert [rate.bytes_per_second for rate in rates] == [64 << 20] * 4
    ((code, payload),) = cluster.ask(4, "settings", "max-item-size=2m", "move-rate=1m")
    assert code == OK, payload
    assert [rate.bytes_per_second for rate in rates] == [1 << 20] * 4
    assert [node.host.item_bytes_max for node in cluster.nodes.values()] == [2 << 20] * 4
    assert told == [2 << 20]


def test_a_node_joins_and_is_active_once_it_is_heard(cluster: Cluster) -> None:
    info = NodeInfo(1, "e", "hoste:1", "hoste:2", "", "", 1.0, "e" * 32)
    answers: list[tuple[int, bytes]] = []
    for _ in range(2):  # The second time it gets the same answer.
        cluster.nodes[4].office.desk.join(info, lambda *answer: answers.append(answer))
        cluster.run(20)
    assert [code for code, _ in answers] == [OK, OK]
    named = [ClusterMap.from_bytes(payload).node_named("e") for _, payload in answers]
    assert named[0] == named[1]
    assert named[0] is not None
    assert (named[0].node_id, named[0].state) == (5, "joining")


def test_a_drained_node_gives_up_what_it_has_then_leaves_by_itself(cluster: Cluster) -> None:
    clients = [1]
    node = cluster.nodes[4]
    node.office.departure.count_clients = lambda: len(clients)
    ((code, payload),) = cluster.ask(4, "drain", "d")
    assert code == OK, payload
    assert json.loads(payload)["change"] == "drain d"
    cluster.run(400)
    shown = json.loads(cluster.nodes[2].office.desk.moves_json())
    assert (shown["moves"], shown["change"]) == ([], "")
    assert cluster.map.node(4).state == "drained"
    assert not any(4 in replicas for replicas in cluster.map.replica_sets)
    assert not node.left
    clients.clear()
    cluster.run(40)
    assert [known.name for known in cluster.map.nodes] == ["a", "b", "c"]
    (error,) = node.left
    assert error.was_drained
    assert not cluster.nodes[1].left
    counters = cluster.nodes[1].counters
    assert counters.nodes_left == 1
    assert counters.moves_started == counters.moves_completed > 0


def test_a_node_whose_disk_is_full_gets_no_replica(cluster: Cluster) -> None:
    for name in DISK_TAKES_NOTHING:
        cluster.nodes[3].alarms.raise_alarm(name, "the disk is full")
        cluster.run(40)
        assert set(cluster.nodes[1].office.ledger.view().full_ms) == {3}
        cluster.nodes[3].alarms.clear(name)
        cluster.run(40)
        assert not cluster.nodes[1].office.ledger.view().full_ms


def test_what_is_no_item_is_the_peers_fault(cluster: Cluster) -> None:
    office = cluster.nodes[1].office
    for item in ((REPORT, 1), (CHANGE_REQUEST, 1), (CHANGE_REPLY, 1)):
        with pytest.raises(PeerFrameError):
            office.on_item(2, item)
