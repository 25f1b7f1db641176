"""A rolling restart: what it waits for, and where it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from quorumcache.node.errors import StartupError
from quorumcache.node.process import rolling as module
from quorumcache.node.process.local_cluster import LocalNode
from quorumcache.node.process.node_http import Share
from quorumcache.node.process.rolling import rolling_restart
from tests.simulation.loop import VirtualLoop


class FakeNodes:
    """Three nodes on virtual time. `back_s`: how long each needs to lead again after a restart;
    `ill`: problems by node."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int = 3) -> None:
        self.events: list[str] = []
        self.nodes = [FakeNode(self, LocalNode(name, n, n, n)) for n, name in
                      enumerate("abcdef"[:count], 1)]  # fmt: skip
        self.back_s = 5.0
        self.ill: dict[str, list[str]] = {}
        self.degraded_s = 0.0
        """For so long a replica of some shards is missing."""
        self.begun = 0.0
        monkeypatch.setattr(module, "read_health", self._health)
        monkeypatch.setattr(module, "read_share", self._share)

    def _of(self, address: str) -> FakeNode:
        return next(node for node in self.nodes if node.node.http == address)

    async def _health(self, address: str) -> list[str]:
        return self.ill.get(self._of(address).node.name, [])

    async def _share(self, address: str) -> Share:
        node = self._of(address)
        now = asyncio.get_running_loop().time()
        is_degraded = now < self.begun + self.degraded_s
        return Share(20, node.leads if now >= node.back_at else 0, 4 * is_degraded)

    def restart(self, is_wanted: Callable[[], bool] = lambda: True) -> tuple[bool, list[str]]:
        said: list[str] = []
        loop = VirtualLoop()
        self.begun = loop.time()
        try:
            ended = loop.run_until_complete(rolling_restart(self.nodes, said.append, is_wanted))
        finally:
            loop.close()
        return ended, said


class FakeNode:
    def __init__(self, nodes: FakeNodes, node: LocalNode) -> None:
        self.node = node
        self.back_at = 0.0
        self.leads = 20
        self.error: Exception | None = None
        self._nodes = nodes

    async def restart(self) -> None:
        loop = asyncio.get_running_loop()
        others = [each for each in self._nodes.nodes if each is not self]
        assert all(loop.time() >= other.back_at for other in others), "two at a time"
        if self.error is not None:
            raise self.error
        self._nodes.events.append(self.node.name)
        await asyncio.sleep(1.0)
        self.back_at = loop.time() + self._nodes.back_s


def test_one_after_another_each_waits_for_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = FakeNodes(monkeypatch)
    ended, said = nodes.restart()
    assert ended
    assert nodes.events == ["a", "b", "c"]
    assert said[0].startswith("node a is back after 6.")
    assert said[0].endswith("has caught up, and leads its shards")
    assert len(said) == 3


def test_it_ends_where_a_node_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = FakeNodes(monkeypatch)
    nodes.ill["c"] = ["the disk is full"]
    ended, said = nodes.restart()
    assert not ended
    assert nodes.events == []
    assert said == [
        "stopped before the first node: node c: the disk is full; node a was not touched"
    ]


def test_it_ends_where_a_replica_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a node that was removed: the others are well, and no majority without one of them."""
    nodes = FakeNodes(monkeypatch)
    nodes.degraded_s = 1000.0
    ended, said = nodes.restart()
    assert not ended
    assert nodes.events == []
    assert "before the first node: node a: a replica is missing from 4 of its shards" in said[-1]
    nodes.degraded_s = 10.0
    assert nodes.restart()[0], "it waits a while for what is soon done"


def test_it_ends_where_a_node_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = FakeNodes(monkeypatch)
    nodes.nodes[1].error = StartupError("node b did not start: port in use")
    ended, said = nodes.restart()
    assert not ended
    assert nodes.events == ["a"]
    assert said[-1] == "stopped after node a: node b did not start: port in use"


def test_it_ends_where_a_node_does_not_lead_again(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = FakeNodes(monkeypatch)
    nodes.back_s = 10_000
    ended, said = nodes.restart()
    assert not ended
    assert nodes.events == ["a"]
    assert said == ["stopped after node a: node a leads 0 of its 20 shards"]


def test_more_than_before_is_not_asked_of_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """While shards move, a node may not lead all that it should."""
    nodes = FakeNodes(monkeypatch)
    for node in nodes.nodes:
        node.leads = 7
    assert nodes.restart()[0]


def test_ctrl_c_ends_it_between_two_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = FakeNodes(monkeypatch)
    ended, said = nodes.restart(lambda: not nodes.events)
    assert not ended
    assert said[-1] == "stopped after node a: as asked"


def test_two_nodes_have_no_majority_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, said = FakeNodes(monkeypatch, 2).restart()
    assert not ended
    assert "needs 3 nodes" in said[0]
