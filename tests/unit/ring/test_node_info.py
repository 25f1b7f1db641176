"""Goal: what is known of a node is believed only if it can be true."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quorumcache.ring import MapError, check_node
from quorumcache.ring.node_info import STATES, is_weight
from tests.support.clusters import make_node


def test_each_state_is_a_word_of_the_map() -> None:
    for state in STATES:
        check_node(replace(make_node(1), state=state))
    with pytest.raises(MapError, match="node 1: state is 'gone', expected one of joining, active"):
        check_node(replace(make_node(1), state="gone"))


@pytest.mark.parametrize(
    ("state", "weight", "is_placeable"),
    [
        ("active", 1.0, True),
        ("active", 0.0, False),
        ("joining", 1.0, False),
        ("draining", 1.0, False),
        ("drained", 1.0, False),
        ("down", 1.0, False),
        ("lost", 1.0, False),
    ],
)
def test_shards_go_to_active_nodes_with_a_weight(
    state: str, weight: float, is_placeable: bool
) -> None:
    assert replace(make_node(1), state=state, weight=weight).is_placeable is is_placeable


def test_a_weight_is_0_or_within_bounds() -> None:
    assert all(map(is_weight, (0, 0.0, 1, 1e-6, 1e6)))
    assert not any(map(is_weight, (-1, 1e-7, 1e7, True, "1", None, float("nan"))))


@pytest.mark.parametrize("field", ["name", "peer_address", "client_address", "http_address"])
@pytest.mark.parametrize("value", [None, 7, b"h:1", ["h:1"]])
def test_what_is_no_text_is_refused_as_such(field: str, value: object) -> None:
    """A map comes from outside: it may have anything in the place of a text."""
    with pytest.raises(MapError, match=f"node 1: {field}"):
        check_node(replace(make_node(1), **{field: value}))
