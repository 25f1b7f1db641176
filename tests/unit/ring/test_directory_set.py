"""Goal: an odd number of nodes hold the directory, in different zones; they stay where they may."""

from __future__ import annotations

import pytest

from quorumcache.ring.directory_set import choose_directory, directory_size
from tests.support.clusters import make_node, make_nodes


@pytest.mark.parametrize(
    ("nodes", "size"), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (6, 5), (100, 5)]
)
def test_it_grows_with_the_cluster_up_to_five(nodes: int, size: int) -> None:
    assert directory_size(nodes) == size


def test_those_who_hold_it_stay_in_their_order() -> None:
    assert choose_directory(make_nodes(6), [], (6, 2, 4), 3) == (6, 2, 4)
    assert choose_directory(make_nodes(6), [], (6, 2, 4), 5) == (6, 2, 4, 1, 3)
    assert choose_directory(make_nodes(5), [], (6, 2, 4), 3) == (2, 4, 1)


def test_zones_come_before_staying() -> None:
    nodes = [make_node(i, "z0") for i in (1, 2, 3)] + [make_node(4, "z1"), make_node(5, "z2")]
    assert choose_directory(nodes, [], (1, 2, 3), 3) == (1, 4, 5)
    assert choose_directory(nodes, [], (4, 1, 5), 3) == (4, 1, 5)


def test_holders_fill_up_what_fit_nodes_leave() -> None:
    assert choose_directory(make_nodes(2), [make_node(9), make_node(8)], (1, 8, 9), 3) == (1, 9, 2)
    assert choose_directory(make_nodes(3), [make_node(9)], (1, 9), 3) == (1, 2, 3)
