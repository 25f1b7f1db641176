"""The listener for other nodes. It stands as long as the process, while what answers on it changes:
a node that is new, then the member that it became.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from quorumcache.node.peers.datagrams import DatagramReceiver
from quorumcache.node.system.listeners import Listener
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.ring.address import parse_address

_log = get_logger("peers")


class PeerListener:
    """`accept` makes the protocol of each connection that comes in, `on_datagram` gets the
    datagrams of the same port. `address`: "" until bound.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._listener = Listener(loop, "--peer")
        self.accept: Callable[[], asyncio.Protocol] = _Closed
        self.on_datagram: Callable[[bytes], None] = _ignore
        self.address = ""
        self._datagram_ends: list[asyncio.BaseTransport] = []

    async def start(self, address: str) -> str:
        """Listen; returns the bound HOST:PORT. `StartupError` if the port is in use."""
        bound = await self._listener.start(lambda: self.accept(), (address,))
        for each in bound:
            await self._take_datagrams(each)
        self.address = ",".join(bound)
        return self.address

    async def _take_datagrams(self, address: str) -> None:
        """On the port that connections come to. A node also works without them."""
        try:
            end, _ = await self._loop.create_datagram_endpoint(
                lambda: DatagramReceiver(lambda data: self.on_datagram(data)),
                local_addr=parse_address(address),
            )
        except OSError as error:
            event(_log, "warning", "peer_datagrams_off", address=address, why=error)
        else:
            self._datagram_ends.append(end)

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()
        for end in self._datagram_ends:
            end.close()
        self._datagram_ends.clear()


class _Closed(asyncio.Protocol):
    """Nobody answers here yet: the other side dials again."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()


def _ignore(data: bytes) -> None:
    """No member yet: nothing is known of any peer."""
