"""The listener for other nodes. It stands as long as the process, while what answers on it changes:
a node that is new, then the member that it became.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from node.listeners import Listener


class PeerListener:
    """`accept` makes the protocol of each connection that comes in. `address`: "" until bound."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._listener = Listener(loop, "--peer")
        self.accept: Callable[[], asyncio.Protocol] = asyncio.Protocol
        self.address = ""

    async def start(self, address: str) -> str:
        """Listen; returns the bound HOST:PORT. `StartupError` if the port is in use."""
        self.address = ",".join(await self._listener.start(lambda: self.accept(), (address,)))
        return self.address

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()
