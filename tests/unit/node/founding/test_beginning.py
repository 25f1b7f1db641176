"""What a new node does until it is a member: which way it takes, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.alarms import Alarms
from quorumcache.node.errors import ConfigError
from quorumcache.node.founding.beginning import Beginning
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.system.tasks import Tasks
from quorumcache.node.telemetry.counters import Counters
from quorumcache.ring import NodeInfo
from quorumcache.ring.secret import Secret
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.support.founding import founder
from tests.support.joining import RECORD, SECRET, MemberEnd, newcomer

ALONE = NodeConfig(name="a", data_dir="dir")
FOUNDERS = {"a": "a:1", "b": "b:1"}
JOINER = NodeConfig(name="d", peer="d:1", join="a:1", data_dir="dir")


class NewNode:
    """A node around a beginning. `steps`: what became of it."""

    def __init__(
        self,
        loop: VirtualLoop,
        config: NodeConfig,
        own: NodeInfo,
        *,
        secret: Secret | None = None,
        keeps: bool = True,
    ) -> None:
        self.loop = loop
        self.steps: list[str] = []
        self.failures: list[BaseException] = []
        self.record: Any = None
        self.secret = secret
        self.disk = object() if keeps else None
        self.own = own
        self.refusal: Exception | None = None
        self.listener: Any = SimpleNamespace(accept=None, start=self._listen)
        self.beginning = Beginning(
            config,
            self,  # type: ignore[arg-type]  # stands in for the durable state
            loop=loop,
            random=Random(own.name),
            entropy=Random(own.name),
            given_secret=secret,
            listener=self.listener,
            tasks=Tasks(
                loop, alarms=Alarms(), counters=Counters(), fatal=lambda error: self._failed(error)
            ),
            on_waiting=lambda why: None,
            on_failed=self._failed,
            own_info=lambda: self.own,
            become_member=self._become_member,
            serve=self._serve,
        )

    async def _listen(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        await self.loop.create_server(lambda: self.listener.accept(), host, int(port))

    def accept(self, record: Any, secret: Secret | None) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.record, self.secret = record, secret
        self.steps.append("accepted")

    def accept_joined(self, joined: Any) -> None:
        self.record = joined.record
        self.steps.append("accepted")

    def _become_member(self) -> Any:
        self.steps.append("member")
        return SimpleNamespace(join=self._join)

    async def _join(self, own: NodeInfo) -> None:
        self.steps.append("joined")

    async def _serve(self) -> None:
        self.steps.append("serves")

    def _failed(self, error: BaseException) -> None:
        self.failures.append(error)

    async def wait(self) -> None:
        await self.beginning.wait(self.loop.create_future())


def play(story: Callable[[VirtualLoop], Awaitable[None]]) -> None:
    loop = VirtualLoop()
    Network(loop, Random(1))

    async def timed() -> None:
        async with asyncio.timeout(60):
            await story(loop)

    loop.run_until_complete(timed())
    loop.close()


@pytest.mark.parametrize("keeps", [True, False])
def test_a_node_that_is_alone_founds_its_cluster_at_once(keeps: bool) -> None:
    async def story(loop: VirtualLoop) -> None:
        node = NewNode(loop, ALONE, founder("a", 1), keeps=keeps)
        await node.beginning.start()
        assert node.steps == ["accepted", "member", "joined"]
        assert [each.name for each in node.record.founders] == ["a"]
        assert (node.secret is not None) == keeps, "nothing keeps a secret that is made"
        await node.wait()

    play(story)


def test_a_gateway_founds_no_cluster() -> None:
    async def story(loop: VirtualLoop) -> None:
        node = NewNode(loop, NodeConfig(name="a", weight=0.0), founder("a", 1))
        with pytest.raises(ConfigError, match="it has to join a cluster"):
            await node.beginning.start()
        assert node.steps == []

    play(story)


def test_two_founders_find_each_other() -> None:
    async def story(loop: VirtualLoop) -> None:
        nodes = [
            NewNode(
                loop,
                NodeConfig(name=name, peer=peer, initial_cluster=FOUNDERS, data_dir="dir"),
                founder(name, number),
            )
            for number, (name, peer) in enumerate(FOUNDERS.items(), 1)
        ]
        first, second = nodes
        await first.beginning.start()
        await asyncio.sleep(2)
        assert first.steps == [], "the other one is not there"
        await second.beginning.start()
        await first.wait()  # It proposes. The other one asks a member, which is not played here.
        assert first.steps == ["accepted", "member", "joined"]
        assert [each.name for each in first.record.founders] == ["a", "b"]
        second.beginning.stop()
        second.beginning.close()
        await asyncio.sleep(0)
        assert (second.steps, second.failures) == ([], [])

    play(story)


def test_a_node_that_joins_serves_once_it_is_a_member() -> None:
    async def story(loop: VirtualLoop) -> None:
        node = NewNode(loop, JOINER, newcomer(), secret=SECRET)
        await node._listen("d:1")  # As its process does before.
        await node.beginning.start()
        await asyncio.sleep(2)
        assert node.steps == [], "no seed is there"
        await MemberEnd(loop).listen()
        await node.wait()
        assert node.steps == ["accepted", "member", "joined", "serves"]
        assert node.record == RECORD
        assert not node.failures

    play(story)


def test_a_node_that_knows_no_secret_cannot_join() -> None:
    async def story(loop: VirtualLoop) -> None:
        node = NewNode(loop, JOINER, newcomer())
        with pytest.raises(ConfigError, match=r"--secret-file FILE .* QUORUMCACHE_SECRET"):
            await node.beginning.start()

    play(story)


def test_what_goes_wrong_in_the_background_is_told() -> None:
    async def story(loop: VirtualLoop) -> None:
        config = NodeConfig(name="a", peer="a:1", initial_cluster=FOUNDERS, data_dir="dir")
        node = NewNode(loop, config, founder("a", 1))
        other = NewNode(
            loop,
            NodeConfig(name="b", peer="b:1", initial_cluster=FOUNDERS, data_dir="dir"),
            founder("b", 2),
        )
        node.refusal = OSError("the disk is full")
        await other.beginning.start()
        await node.beginning.start()
        await node.wait()
        assert (node.failures, node.steps) == ([node.refusal], [])
        other.beginning.stop()
        other.beginning.close()
        await asyncio.sleep(0)

    play(story)
