"""The listener for other nodes. It stands from the start of the process to its end, while what
answers on it changes: a node that is new, then the member it became.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from node.config import format_address, parse_address
from node.errors import StartupError


class PeerListener:
    """`accept` makes the protocol of each connection that comes in. `address`: "" until bound."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._server: asyncio.AbstractServer | None = None
        self.accept: Callable[[], asyncio.Protocol] = asyncio.Protocol
        self.address = ""

    async def start(self, address: str) -> str:
        """Listen; returns the bound HOST:PORT. `StartupError` if the port is in use."""
        host, port = parse_address(address, "peer address")
        try:
            self._server = await self._loop.create_server(lambda: self.accept(), host, port)
        except OSError as error:
            raise StartupError(f"cannot listen for peers on {address}: {error}") from error
        sockets = getattr(self._server, "sockets", ())
        self.address = format_address(host, sockets[0].getsockname()[1] if sockets else port)
        return self.address

    def close(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()
