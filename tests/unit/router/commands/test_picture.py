"""The ring as a picture: it is valid, stands alone, and says what the overview says.

To see it, draw one (`quorumcache ring --svg FILE`) and look.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from quorumcache.ring import ClusterMap, Move, NodeInfo, place
from quorumcache.router.commands.picture import (
    ARRIVING,
    LEADER,
    LEAVING,
    OFF,
    PLANNED,
    REPLICA,
    TROUBLE,
    kinds_of,
    move_texts,
    ring_svg,
)
from quorumcache.router.overview import NodeReport, Overview, merge
from quorumcache.router.requests import LeaderLine, NodeLine
from tests.support.command_line import quorumcache
from tests.support.fake_cluster import FakeCluster, run

SVG = "{http://www.w3.org/2000/svg}"


def overview(
    count: int, shards: int, *, zones: int = 0, down: tuple[int, ...] = (), **fields: Any
) -> Overview:
    nodes = tuple(
        NodeInfo(n, f"cache-{n}", f"h{n}:1", f"h{n}:2", "", f"z{n % zones}" if zones else "", 1.0)
        for n in range(1, count + 1)
    )
    sets = tuple(tuple(replicas) for replicas in place(nodes, shards, min(3, count)))
    wanted = fields.pop("moves", {})
    moves = tuple(
        Move(shard + 1, sets[shard], (*sets[shard][:2], _other(count, sets[shard])), decided)
        for shard, decided in wanted.items()
    )
    now = list(sets)
    for move in moves:
        now[move.group_id - 1] = move.replica_set
    cluster_map = ClusterMap(
        *(9, "c" * 32, shards, 3, nodes, tuple(now), sets),
        form=2,
        directory=(1,),
        moves=moves,
        **fields,
    )
    leaders = tuple(
        LeaderLine(shard, 5, next((n for n in replicas if n not in down), 0))
        for shard, replicas in enumerate(now)
    )
    ups = tuple(NodeLine(node.node_id, node.name, node.node_id not in down) for node in nodes)
    return merge(
        cluster_map,
        [
            NodeReport(node.node_id, "refused", (), ())
            if node.node_id in down
            else NodeReport(node.node_id, "", leaders, ups)
            for node in nodes
        ],
    )


def _other(count: int, replicas: tuple[int, ...]) -> int:
    return next(node_id for node_id in range(1, count + 1) if node_id not in replicas)


def drawn(view: Overview) -> tuple[ElementTree.Element, list[str]]:
    root = ElementTree.fromstring(ring_svg(view))
    return root, [element.text or "" for element in root.iter(f"{SVG}text")]


@pytest.mark.parametrize(
    "view",
    [
        overview(1, 1),
        overview(3, 64),
        overview(30, 1024, zones=3, down=(7, 8)),
        overview(4, 8, moves={1: 5, 2: 0}, change="drain <&>"),
    ],
    ids=["one", "three", "thirty", "moving"],
)
def test_it_is_a_document_of_its_own_with_everything_inside_its_frame(view: Overview) -> None:
    text = ring_svg(view)
    root, _ = drawn(view)
    assert not re.search(r"href|url\(|<script|<style|nan|inf\b", text)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for element in root.iter():
        for name, limit in (("x", width), ("y", height)):
            if name in element.attrib:
                assert 0 <= float(element.attrib[name]) <= limit
        for pair in re.findall(r"[ML](-?[\d.]+),(-?[\d.]+)", element.attrib.get("d", "")):
            assert 0 <= float(pair[0]) <= width
            assert 0 <= float(pair[1]) <= height
    assert len(text) < 500_000


def test_every_replica_is_there_once_and_every_leader() -> None:
    view = overview(5, 64)
    root, texts = drawn(view)
    marks = [
        path.attrib["fill"]
        for path in root.iter(f"{SVG}path")
        if path.find(f"{SVG}title") is not None
    ]
    assert (marks.count(LEADER), marks.count(REPLICA)) == (64, 128)
    assert {f"cache-{n}" for n in range(1, 6)} <= set(texts)
    assert "64 of 64" in texts
    assert "all nodes are up, every shard has a leader and all its replicas" in texts


def test_many_shards_that_are_alike_are_one_mark() -> None:
    view = overview(3, 1024, down=(1, 2, 3))
    root, texts = drawn(view)
    assert len(list(root.iter(f"{SVG}path"))) < 60
    assert "down: cache-1, cache-2, cache-3; 1024 shards without leader" in texts


def test_what_moves_has_its_own_marks() -> None:
    view = overview(4, 8, moves={1: 5, 2: 0})
    by_node = {node.info.node_id: kinds_of(view, node) for node in view.nodes}
    started, waiting = view.cluster_map.moves
    for move, coming in ((started, ARRIVING), (waiting, PLANNED)):
        shard = move.group_id - 1
        for node_id in move.added:
            assert by_node[node_id][shard] == coming
        for node_id in move.removed:
            assert by_node[node_id][shard] in (LEAVING, LEADER)


def test_a_node_that_is_down_is_grey_and_named_in_red() -> None:
    view = overview(4, 8, down=(2,))
    assert set(kinds_of(view, view.nodes[1])) <= {OFF, ""}
    root, _ = drawn(view)
    named = [e for e in root.iter(f"{SVG}text") if e.text == "cache-2"]
    assert TROUBLE in {element.attrib["fill"] for element in named}


def test_moves_in_words() -> None:
    view = overview(4, 8, change="drain cache-1", is_paused=True)
    assert move_texts(view) == []
    row = {"group": 4, "shard": 3, "add": ["d"], "remove": ["a"], "bytes_done": 30, "bytes": 100}
    told = [{**row, "state": "copying"}] * 12 + [{**row, "state": "waiting"}]
    lines = move_texts(replace(view, moves={"moves": told}))
    assert lines[0] == "drain cache-1: 12 moves under way, 1 waiting, paused"
    assert lines[1] == "shard 3: +d -a, copying, 30%"
    assert lines[-1] == "and 2 more under way"


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_what_matters_most_differs_in_lightness_too() -> None:
    """So that it can be told without seeing colours."""
    for light in (REPLICA, ARRIVING, LEAVING, OFF):
        assert (luminance(light) + 0.05) / (luminance(LEADER) + 0.05) > 3


def test_the_command_writes_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            path = tmp_path / "ring.svg"
            ended = await quorumcache("ring", "--svg", str(path), seeds=cluster.seeds)
            assert ended == (0, "", "")
            ElementTree.fromstring(path.read_text())
            ended = await quorumcache("ring", "--svg", "-", seeds=cluster.seeds)
            assert ended.out == path.read_text()
            ended = await quorumcache(
                "ring", "--svg", str(tmp_path / "x" / "y"), seeds=cluster.seeds
            )
            assert ended.code == 5
            assert "No such file" in ended.err

    run(main())
