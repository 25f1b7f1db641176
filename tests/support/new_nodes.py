"""Whole nodes on a fake disk and a real loop, for tests of one node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from quorumcache.node.clock import SystemClock
from quorumcache.node.node import Node
from quorumcache.node.settings.config import NodeConfig
from tests.support.fake_disk import FakeDisk

SECONDS = 30.0
"""A deadline that only a test that hangs reaches."""

ALONE: dict[str, Any] = {"listen": "127.0.0.1:0", "http": "", "shards": 2}
ONE_OF_TWO: dict[str, Any] = {
    **ALONE,
    "name": "a",
    "data_dir": "d",
    "peer": "127.0.0.1:0",
    "initial_cluster": {"a": "127.0.0.1:1", "b": "127.0.0.1:2"},
}
"""Nobody listens at the other one's address."""


def new_node(disk: FakeDisk | None = None, **settings: Any) -> Node:
    return Node(
        NodeConfig(**settings),
        clock=SystemClock(),
        disk=disk or FakeDisk(asyncio.get_running_loop()),
        random=Random(1),
        loop=asyncio.get_running_loop(),
    )


def play(story: Callable[[], Awaitable[None]]) -> None:
    async def timed() -> None:
        async with asyncio.timeout(SECONDS):
            await story()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"still running: {left}"

    asyncio.run(timed())
