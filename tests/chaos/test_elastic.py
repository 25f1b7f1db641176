"""The changes step by step, against an operator by hand and nodes that only start and end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import elastic
from tests.chaos.cluster import LEFT_CLUSTER, ChaosCluster, ChaosNode, ClusterError
from tests.chaos.elastic import Changes
from tests.chaos.faults import Faults, Outcome
from tests.chaos.namespaces import CLIENTS, Drop, Network
from tests.chaos.operator import DONE, REFUSED, UNKNOWN, Address, Answer, Operator
from tests.chaos.schedule import Fault

LISTENS = "import time; print('x ready: memcached y', flush=True); time.sleep(600)"
ENDS = "import sys; sys.exit({})"
STEP_S = 0.01
DEADLINE_S = 20.0


class Told(Operator):
    """Answers as `answers` says, else that it is done; the cluster is as `nodes` says."""

    def __init__(self) -> None:
        super().__init__("a secret of sixteen", list)
        self.asked: list[str] = []
        self.answers: dict[str, Answer] = {}
        self.epoch = 1
        self.states = {"a": "active", "b": "active", "c": "active"}
        self.moves: list[dict[str, Any]] = []

    def ask(self, words: str) -> Future[Answer]:
        self.asked.append(words)
        found: Future[Answer] = Future()
        if words not in self.answers:
            self.epoch += 1
            if words.startswith("drain "):
                self.states[words.removeprefix("drain ")] = "draining"
        found.set_result(self.answers.get(words, Answer(DONE, "", self.epoch)))
        return found

    def look(self) -> Future[dict[Address, dict[str, Any]]]:
        found: Future[dict[Address, dict[str, Any]]] = Future()
        nodes = [{"name": name, "state": state} for name, state in self.states.items()]
        view = {
            "epoch": self.epoch,
            "nodes": nodes,
            "moves": self.moves,
            "change": "",
            "paused": False,
        }
        found.set_result({("a", 1): view | {"settings": {"replication": "3"}}})
        return found


class Scene:
    """`run` steps until something is so. `said`: what the changes say of themselves."""

    def __init__(self, directory: Path) -> None:
        network = Network("abcd")
        self.cluster = ChaosCluster(directory, network, shards=8, spares=1)
        self.cluster._program = ["-c", LISTENS]
        for node in self.cluster.nodes:
            node.disk.mkdir()
        for node in self.cluster.members:
            self.cluster.set_to_join(node)
            node.launch()
            node.wait_ready()
        self.operator = Told()
        self.said: list[str] = []
        self.changes = Changes(
            self.cluster,
            Faults(self.cluster, network),
            self.operator,
            now_ns=time.monotonic_ns,
            say=lambda outcome, what: self.said.append(f"{outcome.fault.name} {what}"),
        )
        for _ in range(2):  # they look, and see
            self.changes.step()

    def begin(
        self, kind: str, variant: str, node: int = 0, seconds: float = 0.02, amount: int = 0
    ) -> Outcome:
        outcome = Outcome(Fault(1, kind, variant, 0.0, seconds, node, amount))
        self.changes.begin(outcome)
        return outcome

    def run(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not is_so():
            assert time.monotonic() < deadline, self.said
            self.changes.step()
            time.sleep(STEP_S)

    def run_to_the_end(self) -> None:
        self.run(lambda: not self.changes.under_way)

    def node(self, name: str) -> ChaosNode:
        return next(node for node in self.cluster.nodes if node.name == name)

    def end_by_itself(self, name: str) -> None:
        process = self.node(name).process
        assert process is not None
        process.kill()
        process.wait()


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(Network, "inside", lambda self, name: [])
    monkeypatch.setattr(elastic, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(elastic, "ASK_AGAIN_S", 0.02)
    monkeypatch.setattr(elastic, "PATIENCE_S", 0.1)
    scene = Scene(tmp_path)
    yield scene
    for node in scene.cluster.nodes:
        if node.process is not None:
            node.may_end = ()
            node.process.kill()
            node._wait()
    scene.operator.close()


def ends_with(scene: Scene, name: str, status: int) -> None:
    """The node is replaced by a process that ends so."""
    node = scene.node(name)
    node.kill()
    node.command = [node.command[0], "-c", ENDS.format(status)]
    node.launch()
    assert node.process is not None
    node.process.wait(DEADLINE_S)


def test_a_spare_joins_and_the_change_ends_with_its_moves(scene: Scene) -> None:
    scene.operator.moves = [{"add": ["d"]}]
    outcome = scene.begin("join", "calm")
    scene.run(lambda: scene.node("d").is_in and not scene.node("d").is_taken)
    assert "--join" in scene.node("d").command
    scene.operator.states["d"] = "active"
    for _ in range(20):
        scene.changes.step()
    assert scene.changes.under_way == ["join calm"]
    scene.operator.moves = []
    scene.run_to_the_end()
    assert outcome.nodes == ["d"]
    assert outcome.ended_ns > outcome.began_ns > 0


def test_a_node_that_does_not_become_a_member_is_found(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elastic, "JOIN_S", 0.3)
    scene.begin("join", "calm")
    with pytest.raises(ClusterError, match="node d does not"):
        scene.run_to_the_end()


@pytest.mark.parametrize("why", ["no secret", "node d is not reachable at x from node a"])
def test_a_join_that_is_refused_is_found(scene: Scene, why: str) -> None:
    scene.cluster._program = ["-c", f"import sys; sys.exit('quorumcached: {why}')"]
    scene.begin("join", "calm")
    with pytest.raises(ClusterError, match=f"node d does not join: quorumcached: {why}"):
        scene.run_to_the_end()


def test_a_join_that_is_killed_is_started_again(scene: Scene) -> None:
    scene.begin("join", "killed", seconds=0.4)
    scene.run(lambda: scene.node("d").process is not None)
    first = scene.node("d").process
    scene.run(lambda: scene.node("d").process not in (None, first))
    scene.operator.states["d"] = "active"
    scene.run_to_the_end()


def test_a_join_is_killed_as_soon_as_the_map_names_it(scene: Scene) -> None:
    scene.begin("join", "named")
    scene.run(lambda: scene.node("d").process is not None)
    first = scene.node("d").process
    for _ in range(20):
        scene.changes.step()
    assert scene.node("d").process is first
    scene.operator.states["d"] = "joining"
    scene.run(lambda: scene.node("d").process not in (None, first))
    scene.operator.states["d"] = "active"
    scene.run_to_the_end()


def test_a_join_loses_packets_until_its_moves_have_ended(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: dict[int, list[Drop]] = {}
    monkeypatch.setattr(scene.changes.faults.network, "drop", lost.__setitem__)
    monkeypatch.setattr(scene.changes.faults.network, "heal", lost.pop)
    scene.operator.states["d"] = ""
    scene.operator.moves = [{"add": ["d"]}]
    scene.begin("join", "lossy", amount=20)
    scene.run(lambda: scene.node("d").is_in and not scene.node("d").is_taken)
    assert {drop.percent for drop in lost[1]} == {20}
    assert all("d" in (drop.source, drop.target) for drop in lost[1])
    assert {"a", "b", "c", CLIENTS} == {drop.source for drop in lost[1]} - {"d"}
    scene.operator.states["d"] = "active"
    for _ in range(20):
        scene.changes.step()
    assert lost
    scene.operator.moves = []
    scene.run_to_the_end()
    assert not lost


@pytest.mark.parametrize(
    ("variant", "victim"),
    [("receiver-voting", "c"), ("steering-voting", "a"), ("completing-voting", "b")],
)
def test_a_node_at_work_is_killed_when_a_move_comes_to_the_step(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, variant: str, victim: str
) -> None:
    leads = {"shard:4": "a", "directory": "b"}
    monkeypatch.setattr(scene.cluster, "leader_of", lambda group: scene.node(leads[group]))
    move = {"group": 5, "shard": 4, "add": ["c"], "state": "copying", "decided": 7}
    scene.operator.moves = [move]
    outcome = scene.begin("moving", variant)
    for _ in range(20):
        scene.changes.step()
    assert not outcome.nodes
    before = scene.node(victim).process
    scene.operator.moves = [move | {"state": "voting"}]
    scene.run_to_the_end()
    assert outcome.nodes == [victim]
    assert scene.node(victim).process not in (None, before)


def test_without_a_move_nobody_is_killed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elastic, "MOVING_S", 0.1)
    outcome = scene.begin("moving", "steering-leaving")
    scene.run_to_the_end()
    assert outcome.nodes == []
    assert outcome.began_ns == 0


def test_a_node_that_is_killed_while_it_is_drained_may_miss_that_it_was_let_go(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene.cluster, "leader_of", lambda group: scene.node("b"))
    scene.begin("drain", "calm", node=1)
    scene.run(lambda: scene.operator.asked == ["drain b"])
    scene.begin("directory", "leader")
    scene.run(lambda: scene.changes.under_way == ["drain calm"])
    ends_with(scene, "b", 3)
    scene.operator.states.pop("b")
    scene.run_to_the_end()


def test_a_drained_node_leaves_by_itself(scene: Scene) -> None:
    scene.begin("drain", "calm", node=1)
    scene.run(lambda: scene.operator.asked == ["drain b"])
    scene.operator.states["b"] = "drained"
    ends_with(scene, "b", 0)
    scene.operator.states.pop("b")
    scene.run_to_the_end()
    assert not scene.node("b").is_in
    assert "drain calm status 0" in scene.said


@pytest.mark.parametrize("status", [1, 3])
def test_a_drained_node_that_ends_otherwise_is_found(scene: Scene, status: int) -> None:
    scene.begin("drain", "calm", node=1)
    scene.run(lambda: scene.operator.asked == ["drain b"])
    scene.operator.states["b"] = "drained"
    ends_with(scene, "b", status)
    with pytest.raises(ClusterError, match=f"node b ended by itself .status {status}."):
        scene.run_to_the_end()


def test_a_drained_node_that_goes_on_is_found(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elastic, "LEAVE_S", 0.1)
    scene.begin("drain", "calm", node=1)
    scene.run(lambda: scene.operator.asked == ["drain b"])
    scene.operator.states["b"] = "drained"
    with pytest.raises(ClusterError, match=r"node b was drained 0\.1 s ago and still runs"):
        scene.run_to_the_end()


def test_a_drain_that_is_refused_leaves_the_node_alone(scene: Scene) -> None:
    scene.operator.answers["drain a"] = Answer(REFUSED, "too few nodes would be left")
    scene.begin("drain", "calm")
    scene.run_to_the_end()
    assert scene.changes.refused == ["drain calm: too few nodes would be left"]
    assert scene.node("a").may_end == ()
    scene.end_by_itself("a")
    with pytest.raises(ClusterError):
        scene.cluster.check_run()


def test_one_change_of_the_operator_waits_for_the_other(scene: Scene) -> None:
    scene.begin("drain", "calm", node=1)
    scene.run(lambda: scene.operator.asked == ["drain b"])
    scene.begin("drain", "calm", node=0)
    for _ in range(20):
        scene.changes.step()
    assert scene.operator.asked == ["drain b"]
    ends_with(scene, "b", 0)
    scene.operator.states.pop("b")
    scene.run(lambda: scene.operator.asked == ["drain b", "drain a"])


def test_what_has_not_begun_is_left_out_at_the_end(scene: Scene) -> None:
    scene.begin("drain", "calm", node=1)
    scene.run(lambda: scene.operator.asked == ["drain b"])
    waiting = scene.begin("lose", "replaced")
    scene.changes.step()
    scene.changes.finish()
    scene.operator.states.pop("b")
    ends_with(scene, "b", 0)
    scene.run_to_the_end()
    assert waiting.began_ns == 0
    assert waiting.nodes == []


def test_an_unknown_outcome_is_asked_for_again_until_the_map_shows_it(scene: Scene) -> None:
    scene.operator.answers["drain b"] = Answer(UNKNOWN, "no answer")
    scene.begin("drain", "calm", node=1)
    scene.run(lambda: scene.operator.asked[:3] == ["drain b"] * 3)
    scene.operator.states["b"] = "draining"
    ends_with(scene, "b", 0)
    scene.operator.states.pop("b")
    scene.run_to_the_end()


def test_a_lost_disk_is_replaced_where_it_cannot_be_removed(scene: Scene) -> None:
    scene.operator.answers["remove c force"] = Answer(REFUSED, "2 nodes would be left")
    disk = scene.node("c").disk / "data"
    disk.mkdir()
    scene.begin("lose", "removed", node=2)
    scene.run(lambda: "replace c" in scene.operator.asked)
    assert scene.operator.asked[-1] == "replace c"
    assert not disk.exists()
    scene.run_to_the_end()
    assert "--join" in scene.node("c").command
    assert scene.node("c").process is not None


def test_a_removed_disk_has_to_end_with_status_3(scene: Scene) -> None:
    node = scene.node("c")
    scene.begin("lose", "removed", node=2)
    scene.run(lambda: node.process is None)
    node.command = [node.command[0], "-c", ENDS.format(3)]
    scene.run(lambda: scene.operator.asked == ["remove c force"])
    scene.operator.states.pop("c")
    scene.run_to_the_end()
    assert not node.is_in


def test_moves_are_paused_and_resumed_or_cancelled(scene: Scene) -> None:
    scene.begin("moves", "cancelled")
    scene.run_to_the_end()
    assert scene.operator.asked == ["cancel"]
    assert scene.changes.has_cancelled
    scene.changes.finish()
    scene.run_to_the_end()
    assert scene.operator.asked == ["cancel", "rebalance"]


def test_a_name_joins_again_when_no_fault_of_its_disk_is_in_force(scene: Scene) -> None:
    node = scene.node("c")
    scene.begin("drain", "calm", node=2)
    scene.run(lambda: scene.operator.asked == ["drain c"])
    fault = Fault(9, "kill", "any", 0.0, 1.0, 2)
    node.log_path.write_text(node.log() + f"info{LEFT_CLUSTER}node=c\n")
    assert scene.changes.faults.begin(fault) == ["c"]
    scene.operator.states.pop("c")
    scene.run_to_the_end()
    assert not node.is_in
    outcome = scene.begin("join", "calm", node=0)
    scene.run(lambda: bool(outcome.nodes))
    assert outcome.nodes == ["d"]  # and not c
    scene.changes.faults.end(fault)
    assert node.process is None
