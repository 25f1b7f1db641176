"""The changes of an elastic run: their schedule, what the operator reads, when all is at rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import ballast
from tests.chaos.changes import CHANGES, JOINS_FIRST, SPARES, draw_changes
from tests.chaos.cluster import LEFT_CLUSTER, ChaosCluster, ClusterError
from tests.chaos.namespaces import Network
from tests.chaos.operator import REFUSED, UNKNOWN, read_refusal
from tests.chaos.rest import misplaced, unfinished
from tests.chaos.run import Options, events, schedule_of
from tests.chaos.schedule import KINDS
from tests.chaos.view import moves_at

# -- the schedule ----------------------------------------------------------------------------------


def options(*, elastic: bool) -> Options:
    return Options(
        seed=3, seconds=30.0, nodes=3, kinds=list(KINDS), elastic=elastic, directory="/nowhere"
    )


def test_the_same_seed_gives_the_same_changes() -> None:
    assert draw_changes(7, 60.0, 3) == draw_changes(7, 60.0, 3)
    assert draw_changes(7, 60.0, 3) != draw_changes(8, 60.0, 3)


@pytest.mark.parametrize("seed", range(20))
def test_changes_begin_in_time_and_first_there_are_enough_nodes(seed: int) -> None:
    changes = draw_changes(seed, 20.0, 3, number=11)
    assert [change.number for change in changes] == [*range(11, 11 + len(changes))]
    assert [change.kind for change in changes[:JOINS_FIRST]] == ["join"] * JOINS_FIRST
    for change in changes:
        assert 0 < change.at_s <= 20.0
        assert 0 <= change.node < 3 + SPARES
        assert change.seconds > 0


def test_every_change_and_variant_comes() -> None:
    names = {change.name for change in draw_changes(1, 200.0, 3)}
    assert names == {f"{kind} {variant}" for kind in CHANGES for variant in CHANGES[kind]}


def test_changes_and_faults_have_names_and_numbers_of_their_own() -> None:
    schedule = schedule_of(options(elastic=True))
    assert not {*CHANGES} & {*KINDS}
    assert [fault.number for fault in schedule] == [*range(1, len(schedule) + 1)]
    for index, fault in enumerate(schedule):
        whats = [what for _, what, number in events(schedule) if number == index]
        assert whats[0] == "begin"
        assert ("end" in whats) == (fault.kind not in CHANGES)


def test_without_the_flag_nothing_changes() -> None:
    assert not {fault.kind for fault in schedule_of(options(elastic=False))} & {*CHANGES}


def test_the_command_gives_the_same_schedule_again() -> None:
    assert options(elastic=True).command().endswith(" --elastic")
    assert "--elastic" not in options(elastic=False).command()


# -- the nodes' commands ---------------------------------------------------------------------------


def cluster_of(directory: Path) -> ChaosCluster:
    return ChaosCluster(directory, Network("abcd"), shards=8, spares=1)


def value_of(command: list[str], flag: str) -> str:
    return command[command.index(flag) + 1]


def test_founders_found_and_spares_join_all_members(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path)
    a, b, _, d = cluster.nodes
    members = "a=10.213.0.1:11411,b=10.213.0.2:11411,c=10.213.0.3:11411"
    assert value_of(a.command, "--initial-cluster") == members
    assert [node.name for node in cluster.members] == ["a", "b", "c"]
    b.is_in = False  # it has left
    d.is_in = True
    cluster.set_to_join(d)
    assert value_of(d.command, "--join") == "10.213.0.1:11411,10.213.0.3:11411"
    assert value_of(d.command, "--peer") == "10.213.0.4:11411"
    assert value_of(d.command, "--name") == "d"
    assert "--initial-cluster" not in d.command
    assert "--shards" not in d.command


def test_a_founder_that_lost_its_disk_joins_the_others(tmp_path: Path) -> None:
    cluster = cluster_of(tmp_path)
    cluster.set_to_join(cluster.nodes[0])
    assert value_of(cluster.nodes[0].command, "--join") == "10.213.0.2:11411,10.213.0.3:11411"


# -- nodes that end by themselves ------------------------------------------------------------------


@pytest.mark.parametrize(("status", "may_end"), [(0, (0,)), (3, (0, 3))])
def test_a_node_may_end_as_it_has_to(tmp_path: Path, status: int, may_end: tuple[int, ...]) -> None:
    node = cluster_of(tmp_path).nodes[0]
    node.command = ["sh", "-c", f"exit {status}"]
    node.may_end = may_end
    node.launch()
    assert node.is_ready(30.0)
    assert node.process is None
    assert node.ended == status
    node.kill()  # it is gone, and nobody is met


@pytest.mark.parametrize(("status", "may_end"), [(0, ()), (3, (0,)), (1, (0, 3))])
def test_a_node_that_ends_otherwise_is_found(
    tmp_path: Path, status: int, may_end: tuple[int, ...]
) -> None:
    node = cluster_of(tmp_path).nodes[0]
    node.command = ["sh", "-c", f"exit {status}"]
    node.may_end = may_end
    node.launch()
    assert node.process is not None
    node.process.wait(30.0)
    with pytest.raises(ClusterError, match=rf"node a ended by itself \(status {status}\)"):
        node.check_runs()
    assert node.process.stdout is not None
    node.process.stdout.close()


def test_a_stop_is_no_end_by_itself(tmp_path: Path) -> None:
    """A node that is to be drained and stops as asked is started again."""
    node = cluster_of(tmp_path).nodes[0]
    node.command = [
        "sh",
        "-c",
        "trap 'exit 0' TERM; echo ' ready: memcached '; while :; do sleep 0.1; done",
    ]
    node.may_end = (0,)
    node.launch()
    assert node.is_ready(30.0)
    node.terminate()
    assert node.ended is None
    node.launch()
    assert node.is_ready(30.0)
    node.log_path.write_text(f"info{LEFT_CLUSTER}node=a\n")
    node.terminate()
    assert node.ended == 0


# -- the operator ----------------------------------------------------------------------------------


def test_answers_to_a_change() -> None:
    assert read_refusal("CLIENT_ERROR refused: it is heard") == (REFUSED, "it is heard", 0)
    assert read_refusal("SERVER_ERROR not done: no leader").outcome == UNKNOWN
    assert read_refusal("SERVER_ERROR outcome unknown: look").outcome == UNKNOWN
    with pytest.raises(ClusterError, match="not an answer to a change: CLIENT_ERROR usage"):
        read_refusal("CLIENT_ERROR usage: cluster change <words>")


# -- moves -----------------------------------------------------------------------------------------


def test_the_move_that_began_last_comes_first_and_those_who_know_count() -> None:
    def told(epoch: int, *states: str) -> dict[str, object]:
        moves = [
            {"group": group, "state": state, "decided": group + 10}
            for group, state in enumerate(states)
        ]
        return {"epoch": epoch, "moves": moves}

    old = told(7, "leaving", "leaving", "leaving")
    views = [old, told(8, "copying", "copying", "copying"), told(8, "voting", "copying", "voting")]
    assert [move["group"] for move in moves_at(views, "voting")] == [2, 0]
    assert [move["group"] for move in moves_at(views, "copying")] == [1]
    assert moves_at(views, "leaving") == []
    assert moves_at([], "copying") == []


def test_only_what_loses_packets_has_an_amount() -> None:
    changes = draw_changes(1, 200.0, 3)
    assert {change.amount > 0 for change in changes if change.name == "join lossy"} == {True}
    assert not any(change.amount for change in changes if change.name != "join lossy")


# -- rest ------------------------------------------------------------------------------------------

Document = dict[str, Any]


def view(**more: object) -> Document:
    """Of four nodes with eight shards, all well."""
    nodes = [
        {"name": name, "state": "active", "shards": 6, "directory": name != "d", "heard": True}
        for name in "abcd"
    ]
    document: Document = {
        "epoch": 9,
        "change": "",
        "paused": False,
        "settings": {"replication": "3"},
        "nodes": nodes,
        "moves": [],
    }
    return document | more


def told(changed: Callable[[Document], object] = lambda document: None) -> dict[str, Document]:
    found = {name: view() for name in "abcd"}
    for document in found.values():
        changed(document)
    return found


def test_rest() -> None:
    assert unfinished(told(), 8) == []


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        (lambda v: v["moves"].append({"group": 3, "state": "voting"}), "group 3 moves (voting)"),
        (lambda v: v.update(change="drain c"), "the change 'drain c' is under way"),
        (lambda v: v.update(paused=True), "moves are paused"),
        (lambda v: v["nodes"][2].update(state="draining"), "node c is draining"),
        (lambda v: v["nodes"][2].update(heard=False), "node c is not heard"),
        (lambda v: v["nodes"][2].update(name="c~3"), "node c is not in the map"),
        (lambda v: v["nodes"][2].update(name="c~3"), "node c~3 is in the map"),
        (
            lambda v: (v["nodes"][2].update(shards=7), v["nodes"][0].update(shards=5)),
            "node c holds 7 shards, its share is 6 to 6",
        ),
        (
            lambda v: v["nodes"][2].update(shards=5),
            "the nodes hold 23 replicas of 8 shards, not 24",
        ),
        (lambda v: v["nodes"][2].update(directory=False), "the directory has 2 replicas"),
    ],
)
def test_what_is_no_rest(changed: Callable[[Document], object], text: str) -> None:
    assert text in unfinished(told(changed), 8)


def test_every_member_has_to_tell_of_the_newest_map() -> None:
    found: dict[str, Document | None] = {**told(), "b": view(epoch=8), "d": None}
    assert unfinished(found, 8) == ["node d does not tell", "node b has map 8, not 9"]
    assert unfinished({}, 8) == ["there are no nodes"]


def test_replicas_that_run() -> None:
    def of(*roles: str) -> dict[str, dict[str, str]]:
        directory = ["leader", "follower", "follower"]
        return {
            name: {"directory:role": at_directory} | ({"shard:0:role": role} if role else {})
            for name, at_directory, role in zip("abc", directory, roles, strict=True)
        }

    assert misplaced(of("follower", "leader", "follower"), 1, 3) == []
    assert misplaced(of("follower", "leader", ""), 1, 3) == ["shard:0 runs on 2 nodes"]
    assert misplaced(of("follower", "candidate", "follower"), 1, 3) == ["shard:0 has 0 leaders"]
    assert misplaced(of("leader", "leader", "follower"), 1, 3) == ["shard:0 has 2 leaders"]


# -- ballast ---------------------------------------------------------------------------------------


def test_ballast_is_in_every_shard() -> None:
    from quorumcache.ring import shard_of

    assert {shard_of(key, 8) for key, _ in ballast.items()} == {*range(8)}
    assert len({value for _, value in ballast.items()}) == ballast.COUNT
