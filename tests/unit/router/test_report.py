"""How a cluster is drawn: what `ring`, `map` and their JSON show, for clusters of every shape.

What `status` says of troubles: test_overview.py.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.router.overview import NodeReport, Overview, merge
from quorumcache.router.report import (
    STRIP_WIDTH,
    Look,
    map_json,
    map_lines,
    max_to_mean,
    overview_json,
    ring_lines,
    state_text,
    status_lines,
)
from quorumcache.router.requests import LeaderLine, NodeLine

PLAIN, COLOUR = Look(False, "#"), Look(True, "#")


def map_of(nodes: int, shards: int, *, weights: tuple[float, ...] = ()) -> ClusterMap:
    """Each shard on three nodes or all there are; one after the other is preferred."""
    replication = min(nodes, 3)
    infos = tuple(
        NodeInfo(n, f"n{n}", f"p{n}:1", f"c{n}:2", "", f"z{n}", (weights or (1.0,) * nodes)[n - 1])
        for n in range(1, nodes + 1)
    )
    sets = tuple(
        tuple((shard + offset) % nodes + 1 for offset in range(replication))
        for shard in range(shards)
    )
    return ClusterMap(7, "demo", shards, replication, infos, sets)


def seen(cluster_map: ClusterMap, *leaders: int, down: tuple[int, ...] = ()) -> Overview:
    """Led by these, by shard; else as preferred. Nodes of `down` do not answer."""
    sets = cluster_map.replica_sets
    lines = tuple(
        LeaderLine(shard, 5, leaders[shard] if leaders else sets[shard][0])
        for shard in range(cluster_map.shard_count)
    )
    ups = tuple(NodeLine(n.node_id, n.name, n.node_id not in down) for n in cluster_map.nodes)
    reports = [
        NodeReport(n.node_id, "refused", (), ())
        if n.node_id in down
        else NodeReport(n.node_id, "", lines, ups)
        for n in cluster_map.nodes
    ]
    return merge(cluster_map, reports)


def strip_of(lines: list[str]) -> str:
    """The leaders of all shards, without numbers and spaces."""
    rows = lines[lines.index("Leader of each shard (. = none):") + 1 :]
    matches = [re.fullmatch(r" *\d+  ([\w.? ]+)", row) for row in rows]
    return "".join(match[1].replace(" ", "") for match in matches if match)


def test_the_ring_has_a_letter_for_every_leader_in_the_order_of_the_shards() -> None:
    cluster_map = map_of(3, 8)
    assert strip_of(ring_lines(seen(cluster_map), PLAIN)) == "12312312"
    moved = ring_lines(seen(cluster_map, 1, 1, 0, 3, 3, 3, 2, 2), PLAIN)
    assert strip_of(moved) == "11.33322"
    assert "Leaders  4 of 8 shards are not led by their preferred leader" in moved


def test_a_long_ring_is_broken_into_lines_that_say_where_they_begin() -> None:
    lines = ring_lines(seen(map_of(3, 2 * STRIP_WIDTH)), PLAIN)
    assert len(strip_of(lines)) == 2 * STRIP_WIDTH
    assert any(line.startswith(f"{STRIP_WIDTH:>5}  23123123 1") for line in lines)


def test_more_nodes_than_letters_are_drawn_all_the_same() -> None:
    strip = strip_of(ring_lines(seen(map_of(64, 64)), PLAIN))
    assert strip.endswith("XYZ???")
    assert len(set(strip[:-3])) == 61


def test_a_heavier_node_has_more_to_expect() -> None:
    lines = ring_lines(seen(map_of(2, 4, weights=(3.0, 1.0))), PLAIN)
    first, second = (next(x for x in lines if f" n{n} " in x).split() for n in (1, 2))
    assert "6.0" in first
    assert "2.0" in second


def test_bars_are_as_long_as_the_figures_and_a_small_one_is_seen() -> None:
    cluster_map = map_of(2, 64)
    view = seen(cluster_map, *[1] * 63, 2)
    rows = {n: next(x for x in status_lines(view, PLAIN) if x.startswith(f"n{n} ")) for n in (1, 2)}
    bars = {n: re.findall(r"(\d+) (#+)", row) for n, row in rows.items()}
    assert bars[1] == [("63", "#" * 10), ("64", "#" * 10)]
    assert bars[2] == [("1", "#"), ("64", "#" * 10)]


def test_columns_stand_under_each_other_with_colour_and_without() -> None:
    view = seen(map_of(3, 4), down=(2,))
    plain = status_lines(view, PLAIN)
    head = next(line for line in plain if line.startswith("NODE"))
    for line in plain[plain.index(head) + 1 :][:3]:
        assert line[head.index("ZONE") - 1] == " "
        assert line[head.index("ZONE") :].startswith("z")
    coloured = status_lines(view, COLOUR)
    assert any("\x1b[31mDOWN\x1b[0m" in line for line in coloured)
    assert [re.sub(r"\x1b\[\d+m", "", line) for line in coloured] == plain


def test_the_map_names_the_replicas_the_preferred_leader_first() -> None:
    lines = map_lines(map_of(3, 2), PLAIN)
    assert lines[0] == "Cluster  demo  epoch 7, 3 nodes in 3 zones, 2 shards x 3 replicas"
    assert [line.split()[1:] for line in lines[-2:]] == [["n1", "n2", "n3"], ["n2", "n3", "n1"]]
    assert "-" in next(line for line in lines if " n1 " in line), "it has no HTTP address"


def test_one_of_something_is_not_called_many() -> None:
    alone = map_lines(map_of(1, 1), PLAIN)[0]
    assert alone.endswith("1 node in 1 zone, 1 shard x 1 replica")
    bare = replace(map_of(1, 1), replication=3)
    assert map_lines(bare, PLAIN)[0].endswith("x 1 replica"), "there are no more than nodes"


def test_programs_read_the_same_map() -> None:
    cluster_map = map_of(2, 2)
    data = json.loads(json.dumps(map_json(cluster_map)))
    assert (
        ClusterMap(
            data["epoch"],
            data["cluster_id"],
            data["shard_count"],
            data["replication"],
            tuple(NodeInfo(**node) for node in data["nodes"]),
            tuple(map(tuple, data["replica_sets"])),
        )
        == cluster_map
    )


def test_programs_read_the_same_overview() -> None:
    view = seen(map_of(3, 4), 1, 0, 3, 1, down=(2,))
    data = json.loads(json.dumps(overview_json(view)))
    assert (data["epoch"], data["cluster_id"], data["healthy"]) == (7, "demo", False)
    assert [(n["name"], n["is_up"], n["leaders"], n["error"]) for n in data["nodes"]] == [
        ("n1", True, 2, ""),
        ("n2", False, 0, "refused"),
        ("n3", True, 1, ""),
    ]
    assert data["shards"][0] == {"shard": 0, "leader": 1, "replicas": [1, 2, 3], "up": 2}
    assert data["leaderless_shards"] == [1]
    assert data["degraded_shards"] == [0, 2, 3]


def newer(states: dict[int, str], weights: tuple[float, ...] = ()) -> ClusterMap:
    """A map of form 2 with these states by node."""
    plain = map_of(4, 8)
    nodes = tuple(
        replace(node, state=states.get(node.node_id, "active"), weight=weight)
        for node, weight in zip(plain.nodes, weights or (1.0,) * 4, strict=True)
    )
    return replace(plain, nodes=nodes, form=2, directory=(1, 2, 3), change="drain n4")


def test_states_are_told_where_they_are_not_the_usual_one() -> None:
    view = seen(newer({1: "draining", 2: "down", 3: "down", 4: "lost"}), down=(3, 4))
    assert [state_text(node) for node in view.nodes] == [
        "up, draining",
        "up, returning",
        "DOWN",
        "DOWN, lost",
    ]
    lines = status_lines(view, COLOUR)
    assert any("\x1b[33mup, draining\x1b[0m" in line for line in lines)
    assert any("\x1b[31mDOWN, lost\x1b[0m" in line for line in lines)
    assert any(" lost " in f"{line} " for line in map_lines(view.cluster_map, PLAIN))


def test_a_gateway_and_a_draining_node_do_not_count_in_the_balance() -> None:
    cluster_map = newer({2: "draining"}, (1.0, 1.0, 1.0, 0.0))
    text = "\n".join(ring_lines(seen(cluster_map), PLAIN))
    assert "max/mean" in text
    assert max_to_mean([4, 2, 9], [2.0, 1.0, 0.0]) == 1.0
    assert max_to_mean([0, 0], [0.0, 0.0]) == 0.0
    assert "8 shards x 2 replicas" in text


def test_nobody_is_told_to_start_a_node_that_is_lost() -> None:
    text = "\n".join(
        status_lines(seen(newer({4: "lost"}), 1, 2, 3, 1, 2, 3, 1, 2, down=(3, 4)), PLAIN)
    )
    assert "start n3 again" in text
    assert "n4 again" not in text


def test_lag_has_a_column_where_it_was_measured() -> None:
    view = seen(map_of(3, 8))
    assert "LAG" not in status_lines(view, PLAIN)[3]
    nodes = (view.nodes[0]._replace(lag_ms=40), *view.nodes[1:])
    lines = status_lines(replace(view, nodes=nodes), PLAIN)
    assert lines[3].endswith("LAG")
    assert lines[4].endswith("40 ms")
    assert lines[5].endswith(" -")


def test_json_says_what_moves() -> None:
    cluster_map = newer({4: "draining"})
    document = map_json(cluster_map)
    assert (document["change"], document["form"]) == ("drain n4", 2)
    view = replace(seen(cluster_map), moves={"moves": [{"shard": 1}]})
    assert overview_json(view)["moves"] == [{"shard": 1}]
    assert overview_json(view)["change"] == "drain n4"
    json.dumps((document, overview_json(view)))
