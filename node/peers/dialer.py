"""Dials every other node, again and again: whenever the connection to it is lost. Edge.

A link that is lost is dialed again after a pause of 10 to 500 ms, and at once when the other side
introduces itself. A side that was refused as a stranger waits for as long as it was told.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Final, Protocol

from quorumcache.node.clock import Clock
from quorumcache.node.peers.datagrams import DatagramPath
from quorumcache.node.peers.line_log import LineLog
from quorumcache.node.peers.link import PeerLink
from quorumcache.node.peers.peer import Peer
from quorumcache.node.system.tasks import Tasks
from quorumcache.ring.address import format_address
from quorumcache.ring.names import Names

REDIAL_MS_MIN: Final = 10
REDIAL_MS_MAX: Final = 500
CONNECT_SECONDS_MIN: Final = 0.25
CONNECT_SECONDS_MAX: Final = 2.0
"""A dial is given up after the shorter time at first, and after twice as long with every third
failure in a row: a kernel whose first packet was lost sends it again only after a whole second."""

STABLE_NS: Final = 1_000_000_000
"""A link that stood for this long was a good one: its next redial starts at the shortest pause."""


class DialerOwner(Protocol):
    """What the dialer asks of, and tells, the network it belongs to."""

    def new_link(self, node_id: int) -> PeerLink: ...
    def dial_failed(self, node_id: int, why: str) -> None:
        """The node cannot be reached. Told of every attempt."""

    def path_opened(self, link: PeerLink, path: DatagramPath) -> None:
        """Datagrams can be sent to where the link leads."""


class Dialer:
    """One task for each node."""

    def __init__(
        self,
        owner: DialerOwner,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        random: Random,
        tasks: Tasks,
        lines: LineLog,
    ) -> None:
        self._owner = owner
        self._loop = loop
        self._clock = clock
        self._random = random
        self._tasks = tasks
        self._lines = lines
        self._names = Names(loop, remembers=True)
        self._dials: dict[int, asyncio.Task[None]] = {}
        self._stopping = False

    def start(self, node_id: int, peer: Peer) -> None:
        """Dial this node from now on."""
        self._dials[node_id] = self._tasks.restart(
            f"dialer of node {peer.name}", lambda: self._dial_for_ever(node_id, peer)
        )

    def stop(self, node_id: int) -> None:
        """Dial this node no more. A link that stands is left as it is."""
        dial = self._dials.pop(node_id, None)
        if dial is not None:
            dial.cancel()

    def stop_all(self) -> None:
        """Dial no more."""
        self._stopping = True
        self._names.close()
        for dial in self._dials.values():
            dial.cancel()

    async def ended(self) -> None:
        """Returns once all tasks have ended, after `stop_all`."""
        await asyncio.gather(*self._dials.values(), return_exceptions=True)

    async def _dial_for_ever(self, node_id: int, peer: Peer) -> None:
        while not self._stopping:
            started_ns = self._clock.monotonic_ns()
            await self._dial(node_id, peer)
            if self._clock.monotonic_ns() - started_ns > STABLE_NS and not peer.retry_ms:
                peer.failures = 0
            # Jitter keeps nodes that failed together from dialing together.
            if peer.retry_ms:
                pause_ms = peer.retry_ms * self._random.uniform(1.0, 1.2)
            else:
                longest = min(REDIAL_MS_MAX, REDIAL_MS_MIN << min(peer.failures, 10))
                pause_ms = longest * self._random.uniform(0.5, 1.0)
            peer.failures += 1
            peer.retry_ms = 0
            peer.wake = self._loop.create_future()
            timer = self._loop.call_later(pause_ms / 1000, peer.wake_up)
            await peer.wake
            timer.cancel()
            peer.wake = None

    async def _dial(self, node_id: int, peer: Peer) -> None:
        """One connection to the peer, from the dial to its end."""
        link = self._owner.new_link(node_id)
        turn, place = divmod(peer.failures, len(peer.addresses))
        host, port = peer.addresses[place]
        try:
            seconds = CONNECT_SECONDS_MIN * (1 << min(peer.failures // 3, 10))
            async with asyncio.timeout(min(CONNECT_SECONDS_MAX, seconds)):
                await self._names.connect(lambda: link, host, port, turn)
        except (OSError, TimeoutError) as error:
            why = f"cannot connect to {format_address(host, port)}: {str(error) or 'timed out'}"
            self._lines.event("info", "peer_unreachable", peer=peer.name, why=why)
            link.abort(why)
            self._owner.dial_failed(node_id, why)
            return
        path = await self._open_path(peer, link)
        try:
            await asyncio.shield(link.lost)  # `PeerNetwork.stop` also waits for it
        finally:
            if path is not None:
                path.close()

    async def _open_path(self, peer: Peer, link: PeerLink) -> DatagramPath | None:
        """A way for datagrams to where the dial has led; None if there is none."""
        remote = link.remote_address
        if remote is None:
            return None  # gone already
        try:
            _, path = await self._loop.create_datagram_endpoint(DatagramPath, remote_addr=remote)
        except OSError as error:
            self._lines.event("info", "peer_datagrams_off", peer=peer.name, why=error)
            return None
        self._owner.path_opened(link, path)
        return path
