"""Goal: one port for connections and datagrams, whose owner changes while it listens."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any

import pytest

from quorumcache.node.errors import StartupError
from quorumcache.node.peers.listener import PeerListener
from quorumcache.ring.address import parse_address


def run(test: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test

    asyncio.run(bounded())


class Caller(asyncio.Protocol):
    """Tells that it was called, and ends the connection."""

    def __init__(self, called: asyncio.Event) -> None:
        self._called = called

    def connection_made(self, transport: Any) -> None:
        self._called.set()
        transport.close()


async def call(address: str) -> None:
    host, port = parse_address(address)
    reader, writer = await asyncio.open_connection(host, port)
    await reader.read()
    writer.close()
    await writer.wait_closed()


def test_who_answers_may_change_while_the_port_stays() -> None:
    """As when a new node becomes a member."""

    async def test() -> None:
        listener = PeerListener(asyncio.get_running_loop())
        assert listener.address == ""
        address = await listener.start("127.0.0.1:0")
        assert listener.address == address
        for _ in range(2):
            called = asyncio.Event()
            listener.accept = lambda called=called: Caller(called)  # type: ignore[misc]
            await call(address)
            await called.wait()
        listener.close()

    run(test())


def test_datagrams_come_to_the_same_port_number() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        listener = PeerListener(loop)
        address = parse_address(await listener.start("127.0.0.1:0"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thrower:
            thrower.sendto(b"before anybody takes them", address)
            came: asyncio.Queue[bytes] = asyncio.Queue()
            listener.on_datagram = came.put_nowait
            thrower.sendto(b"x", address)
            while await came.get() != b"x":
                pass
        listener.close()
        # The port is free again, for both.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            for _ in range(3):
                await asyncio.sleep(0)
            again.bind(address)
        with pytest.raises(OSError, match=r"refused|111"):
            await asyncio.open_connection(*address)

    run(test())


def test_a_port_in_use_names_the_setting() -> None:
    async def test() -> None:
        first, second = (PeerListener(asyncio.get_running_loop()) for _ in range(2))
        address = await first.start("127.0.0.1:0")
        with pytest.raises(StartupError, match="--peer"):
            await second.start(address)
        first.close()
        second.close()

    run(test())
