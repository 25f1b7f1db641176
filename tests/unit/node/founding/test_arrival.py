"""A member that is told to join again."""

from __future__ import annotations

import asyncio
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.errors import WrongDataDir
from quorumcache.node.founding.arrival import check_seeds
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.storage.identity import NodeIdentity
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.support.founding import disk_id
from tests.support.joining import RECORD, SECRET, MemberEnd

CONFIG = NodeConfig(name="d", peer="d:1", join="a:1,nobody:1", data_dir="dir")


def durable(secret: Any = SECRET, cluster_id: str = RECORD.cluster_id) -> Any:
    identity = NodeIdentity(disk_id(9), cluster_id, 3, "d", True, "{}", is_joined=True)
    return SimpleNamespace(secret=secret, identity=identity, directory="dir")


def test_a_member_with_seeds_of_another_cluster_does_not_start() -> None:
    """Somebody wants it in another cluster, and took a directory that was used before."""
    loop = VirtualLoop()
    Network(loop, Random(1))

    async def check(of: Any) -> None:
        await check_seeds(CONFIG, of, loop=loop, random=Random(1))

    async def story() -> None:
        async with asyncio.timeout(60):
            await check(durable(cluster_id=disk_id(7)))  # None of its seeds answers.
            await MemberEnd(loop).listen()
            await check(durable())
            with pytest.raises(WrongDataDir, match="but a:1 is of cluster") as refused:
                await check(durable(cluster_id=disk_id(7)))
            assert f"belongs to node 3 (d) of cluster {disk_id(7)}" in str(refused.value)

    loop.run_until_complete(story())
    loop.close()
