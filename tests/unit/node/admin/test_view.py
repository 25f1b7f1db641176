"""What is read of a node through its contracts."""

from __future__ import annotations

import math
from typing import Any

import pytest

from quorumcache.node.admin.view import (
    ObservedNode,
    role_name,
    shard_groups,
    staleness_seconds,
    uptime_seconds,
)
from quorumcache.node.consensus.values import Role
from quorumcache.node.node import Node
from tests.support.fake_node import FakeGroup, FakeNode


def names_of(contract: Any) -> set[str]:
    return {name for name in vars(contract) if not name.startswith("_")}


def test_shards_come_in_order_and_the_directory_is_none() -> None:
    node = FakeNode()
    node.host.groups = {n: node.host.groups[n] for n in (2, 0, 1)}
    found = [*shard_groups(node)]
    assert [(shard, group.group_id) for shard, group, _ in found] == [(0, 1), (1, 2)]
    assert [store for _, _, store in found] == [node.store(0), node.store(1)]


def test_uptime_is_by_the_nodes_own_clock() -> None:
    node = FakeNode()
    node.clock.now_ns = node.started_ns + 2_500_000_000
    assert uptime_seconds(node) == 2.5


def test_what_was_never_confirmed_is_infinitely_stale() -> None:
    assert staleness_seconds(FakeGroup(1, staleness=1_500_000_000), 0) == 1.5
    assert staleness_seconds(FakeGroup(1, staleness=1 << 61), 0) == math.inf


@pytest.mark.parametrize("role", [*Role])
def test_roles_are_words(role: Role) -> None:
    assert role_name(FakeGroup(1, role=role)) == role.name.lower()


def test_a_node_offers_nothing_to_observers_that_the_contract_does_not_name() -> None:
    """And a test's plain node has the same."""
    names = names_of(ObservedNode)
    assert names <= {*dir(FakeNode())}
    assert {"map", "peers_up", "disk_space", "alarms"} <= names
    assert {name for name in names if not hasattr(Node, name)} == {
        *("config", "counters", "timings", "alarms", "clock", "time", "started_ns", "host"),
        *("listen_address", "http_address", "commits"),
    }, "set in `__init__`"
