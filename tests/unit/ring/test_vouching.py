"""Goal: a node that is dead before the map has its second form can be given up in one step."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quorumcache.ring import ClusterMap, ClusterView, place
from quorumcache.ring.changes import change
from quorumcache.ring.vouching import in_second_form, vouched_for
from tests.support.clusters import make_nodes

NODES = make_nodes(4)
PLAIN = ClusterMap(
    epoch=7,
    cluster_id="cluster-a",
    shard_count=4,
    replication=3,
    nodes=tuple(NODES),
    replica_sets=place(NODES, 4, 3),
    started=15,
    settings=(("dead_after_ms", "700"), ("shards", "4")),
)
FIRST = {"dead_after_ms": "2000", "move_rate": "1"}


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("remove n2 force", "n2"),
        ("replace n2", "n2"),
        ("remove n2", ""),
        ("remove n9 force", ""),
        ("replace n2 force", ""),
        ("replace", ""),
        ("drain n2", ""),
        ("", ""),
    ],
)
def test_which_words_give_a_node_up(words: str, name: str) -> None:
    node = vouched_for(PLAIN, words.split())
    assert (node.name if node is not None else "") == name


def test_the_second_form_of_a_map_says_what_the_first_one_did() -> None:
    raised = in_second_form(PLAIN, (1, 2, 3), FIRST)
    assert raised.settings == (("dead_after_ms", "700"), ("move_rate", "1"), ("shards", "4"))
    back = replace(raised, form=1, directory=(), settings=PLAIN.settings)
    assert back == PLAIN


def test_the_map_gets_its_second_form_and_the_node_is_lost_in_one_step() -> None:
    view = ClusterView(heard=frozenset({1, 3, 4}), silent_ms={2: 60_000})
    changed = change(in_second_form(PLAIN, (1, 2, 3), FIRST), ["remove", "n2", "force"], view)
    assert (changed.map.form, changed.map.epoch) == (2, PLAIN.epoch + 1)
    assert changed.map.node(2).state == "lost"
    assert changed.map.moves
    assert all(2 not in move.target for move in changed.map.moves)
