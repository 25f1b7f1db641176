"""Merging what nodes tell, and drawing it."""

from __future__ import annotations

from dataclasses import replace

from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.router.overview import NodeReport, Overview, lag_of, merge
from quorumcache.router.report import (
    Look,
    is_healthy,
    max_to_mean,
    overview_json,
    ranges,
    status_lines,
)
from quorumcache.router.requests import HealthAnswer, LeaderLine, NodeLine

MAP = ClusterMap(
    epoch=3,
    cluster_id="demo",
    shard_count=4,
    replication=3,
    nodes=tuple(
        NodeInfo(n, f"n{n}", f"h{n}:1", f"h{n}:2", "", "abc"[n - 1], 1.0) for n in (1, 2, 3)
    ),
    replica_sets=((1, 2, 3), (2, 3, 1), (3, 1, 2), (1, 3, 2)),
)
ALL_UP = tuple(NodeLine(n, f"n{n}", True) for n in (1, 2, 3))
LEADERS = tuple(LeaderLine(shard, 5, sets[0]) for shard, sets in enumerate(MAP.replica_sets))
PLAIN = Look(False, "#")


def overview_of(*views: NodeReport) -> Overview:
    return merge(MAP, views)


def test_all_is_well() -> None:
    view = overview_of(*(NodeReport(n, "", LEADERS, ALL_UP) for n in (1, 2, 3)))
    assert is_healthy(view)
    assert [node.leader_count for node in view.nodes] == [2, 1, 1]
    text = "\n".join(status_lines(view, PLAIN))
    assert "good" in text
    assert "Spread   4 of 4 shards have replicas in 3 zones" in text
    assert "\x1b" not in text


def test_what_a_node_says_of_itself_is_shown_and_a_problem_is_not_well() -> None:
    warned = HealthAnswer((), ("the memory is full",))
    view = overview_of(*(NodeReport(n, "", LEADERS, ALL_UP, warned) for n in (1, 2, 3)))
    assert is_healthy(view)
    assert "n2: warning: the memory is full" in status_lines(view, PLAIN)
    broken = HealthAnswer(("the disk is full",), ())
    views = [NodeReport(n, "", LEADERS, ALL_UP) for n in (1, 3)]
    view = overview_of(*views, NodeReport(2, "", LEADERS, ALL_UP, broken))
    assert not is_healthy(view)
    lines = status_lines(view, PLAIN)
    assert "n2: problem: the disk is full" in lines
    assert "1 node with problems" in lines[1]
    nodes = overview_json(view)["nodes"]
    assert isinstance(nodes, list)
    assert [node["problems"] for node in nodes] == [[], ["the disk is full"], []]


def test_the_highest_term_wins() -> None:
    """A node that was away still names the old leader; the newer word counts."""
    newer = (LeaderLine(0, 6, 3), *LEADERS[1:])
    view = overview_of(
        *(NodeReport(n, "", newer if n == 2 else LEADERS, ALL_UP) for n in (1, 2, 3))
    )
    assert view.shards[0].leader_id == 3


def test_a_dead_node() -> None:
    """Its shards are degraded, those it led (as far as is known) have no leader."""
    two_up = (ALL_UP[0], replace_up(ALL_UP[1], False), ALL_UP[2])
    view = overview_of(
        NodeReport(1, "", LEADERS, two_up),
        NodeReport(2, "connection refused", (), ()),
        NodeReport(3, "", LEADERS, two_up),
    )
    assert not is_healthy(view)
    assert [shard.shard for shard in view.leaderless] == [1]
    assert [shard.shard for shard in view.degraded] == [0, 2, 3]
    text = "\n".join(status_lines(view, PLAIN))
    assert "1 node down, 1 shard without leader, 3 shards degraded" in text
    assert "n2: down (connection refused)" in text
    assert overview_json(view)["leaderless_shards"] == [1]


def test_a_node_only_this_client_cannot_reach() -> None:
    view = overview_of(
        NodeReport(1, "", LEADERS, ALL_UP),
        NodeReport(2, "no answer", (), ()),
        NodeReport(3, "", LEADERS, ALL_UP),
    )
    assert not view.leaderless
    text = "\n".join(status_lines(view, PLAIN))
    assert "n2: up for the others, but not reachable from here" in text


def test_lost_majority_says_which_nodes_to_start() -> None:
    alone = (replace_up(ALL_UP[0], False), replace_up(ALL_UP[1], False), ALL_UP[2])
    view = overview_of(
        NodeReport(1, "refused", (), ()),
        NodeReport(2, "refused", (), ()),
        NodeReport(3, "", tuple(LeaderLine(s, 5, 0) for s in range(4)), alone),
    )
    assert len(view.leaderless) == 4
    text = "\n".join(status_lines(view, PLAIN))
    assert "4 of them have no majority of replicas up: start n1, n2 again" in text


def test_colour_only_when_asked_for() -> None:
    view = overview_of(*(NodeReport(n, "", LEADERS, ALL_UP) for n in (1, 2, 3)))
    assert "\x1b[32m" in "\n".join(status_lines(view, Look(True, "#")))


def test_small_helpers() -> None:
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2 5 7-8"
    assert ranges([]) == ""
    assert max_to_mean([2, 1, 1], [1.0, 1.0, 1.0]) == 1.5
    assert max_to_mean([4, 2], [2.0, 1.0]) == 1.0
    assert max_to_mean([0, 0], [1.0, 1.0]) == 0.0


def test_weights_and_zones_missing() -> None:
    bare = replace(MAP, nodes=tuple(replace(node, zone="") for node in MAP.nodes))
    view = merge(bare, [NodeReport(n, "", LEADERS, ALL_UP) for n in (1, 2, 3)])
    assert "Zones    none" in "\n".join(status_lines(view, PLAIN))


def replace_up(line: NodeLine, is_up: bool) -> NodeLine:
    return line._replace(is_up=is_up)


def moves_of(epoch: int, state: str, done: int = 0) -> dict[str, object]:
    return {"epoch": epoch, "moves": [{"state": state, "bytes_done": done, "bytes": 10}]}


def test_of_what_nodes_tell_of_moves_the_newest_counts() -> None:
    def told(*moves: dict[str, object] | None) -> object:
        reports = [
            NodeReport(n, "", LEADERS, ALL_UP, moves=each) for n, each in enumerate(moves, 1)
        ]
        return merge(MAP, reports).moves

    old, new = moves_of(3, "copying", 9), moves_of(4, "copying")
    assert told(old, new, None) == new
    assert told(None, None, None) is None
    # A node outside the directory knows the map, and nothing of how it goes on.
    known = moves_of(4, "copying", 5)
    assert told(new, known, new) == known
    leaving = moves_of(4, "leaving")
    assert told(new, leaving, new) == leaving


def test_the_lag_of_a_node_is_that_of_its_worst_replica() -> None:
    stats = [("shard:0:staleness_ms", "12"), ("shard:1:staleness_ms", "40"), ("shard:1:items", "9")]
    assert lag_of(stats) == 40
    assert lag_of([*stats, ("shard:2:staleness_ms", "-")]) is None
    assert lag_of([]) is None


def test_a_gateway_does_not_make_shards_degraded() -> None:
    """Replication is 3, and of four nodes only two hold shards."""
    gateway = NodeInfo(4, "g", "h4:1", "h4:2", "", "", 0.0)
    nodes = (replace(MAP.nodes[0], state="lost"), *MAP.nodes[1:], gateway)
    sets = ((2, 3), (3, 2), (2, 3), (3, 2))
    cluster_map = replace(
        MAP, nodes=nodes, replica_sets=sets, form=2, directory=(2, 3), next_node_id=5
    )
    leaders = tuple(LeaderLine(shard, 5, replicas[0]) for shard, replicas in enumerate(sets))
    view = merge(cluster_map, [NodeReport(n, "", leaders, ALL_UP) for n in (2, 3, 4)])
    assert view.degraded == ()
