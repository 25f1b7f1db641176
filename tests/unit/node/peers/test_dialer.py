"""Goal: a node is dialed until it is there, at each of its addresses in turn, and not too often.

Method: a loop of virtual time and connections that fail as the test says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import pairwise
from random import Random
from types import SimpleNamespace
from typing import Any

from quorumcache.node.peers.dialer import REDIAL_MS_MAX, REDIAL_MS_MIN, STABLE_NS, Dialer
from quorumcache.node.peers.line_log import LineLog
from quorumcache.node.peers.peer import Peer
from tests.simulation.loop import VirtualLoop

ADDRESSES = [("10.0.0.2", 7400), ("10.0.0.9", 7400)]


class Link:
    """What a dialer sees of a `PeerLink`: no address, so no datagrams."""

    remote_address = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.lost: asyncio.Future[None] = loop.create_future()
        self.why = ""

    def abort(self, why: str) -> None:
        self.why = why


class World:
    """One dialer; `connect` decides what becomes of a dial."""

    def __init__(self, loop: VirtualLoop, connect: Callable[[str], object]) -> None:
        self.loop = loop
        self.dials: list[tuple[float, str]] = []
        self.failed: list[str] = []
        self.links: list[Link] = []
        clock: Any = SimpleNamespace(monotonic_ns=lambda: int(loop.time() * 1e9))
        tasks: Any = SimpleNamespace(restart=lambda name, make: loop.create_task(make(), name=name))
        lines = LineLog(clock, logging.getLogger("quorumcache.peers"))
        self.dialer: Any = Dialer(
            self,  # type: ignore[arg-type]
            loop,
            clock,
            Random(1),
            tasks,
            lines,
        )

        async def names_connect(make: Any, host: str, port: int, turn: int) -> None:
            make()
            self.dials.append((loop.time(), host))
            result = connect(host)
            if isinstance(result, Exception):
                raise result

        self.dialer._names = SimpleNamespace(connect=names_connect, close=lambda: None)
        self.peer = Peer("b", list(ADDRESSES), "")

    def new_link(self, node_id: int) -> Link:
        assert node_id == 2
        self.links.append(Link(self.loop))
        return self.links[-1]

    def dial_failed(self, node_id: int, why: str) -> None:
        self.failed.append(why)

    def pauses_ms(self) -> list[float]:
        times = [time for time, _ in self.dials]
        return [1000 * (b - a) for a, b in pairwise(times)]


def run(test: Callable[[VirtualLoop], Any]) -> None:
    loop = VirtualLoop()
    asyncio.set_event_loop(None)
    try:
        loop.run_until_complete(test(loop))
    finally:
        loop.close()


def refused(host: str) -> Exception:
    return ConnectionRefusedError("refused")


def test_a_node_that_is_away_is_dialed_less_and_less_often_at_both_addresses() -> None:
    async def test(loop: VirtualLoop) -> None:
        world = World(loop, refused)
        world.dialer.start(2, world.peer)
        await asyncio.sleep(20)
        assert {host for _, host in world.dials[:2]} == {host for host, _ in ADDRESSES}
        pauses = world.pauses_ms()
        for number, pause_ms in enumerate(pauses):
            longest = min(REDIAL_MS_MAX, REDIAL_MS_MIN << number)
            assert longest / 2 - 0.001 <= pause_ms <= longest + 0.001
        assert len(pauses) > 20
        assert len(world.failed) == len(world.dials)
        assert world.failed[0] == "cannot connect to 10.0.0.2:7400: refused"
        assert world.links[0].why == world.failed[0]
        world.dialer.stop_all()
        await world.dialer.ended()

    run(test)


def test_a_link_that_stood_is_dialed_again_at_once_and_one_that_broke_is_not() -> None:
    async def test(loop: VirtualLoop) -> None:
        for stood_ns, is_soon in ((2 * STABLE_NS, True), (STABLE_NS // 2, False)):
            world = World(loop, lambda host: None)
            world.peer.failures = 9
            world.dialer.start(2, world.peer)
            await asyncio.sleep(stood_ns / 1e9)
            lost_at = loop.time()
            assert len(world.dials) == 1
            world.links[0].lost.set_result(None)
            await asyncio.sleep(1)
            pause_ms = 1000 * (world.dials[1][0] - lost_at)
            assert (pause_ms <= REDIAL_MS_MIN + 0.001) is is_soon
            world.dialer.stop_all()
            await world.dialer.ended()

    run(test)


def test_a_refused_side_waits_for_as_long_as_it_was_told_or_until_it_is_woken() -> None:
    async def test(loop: VirtualLoop) -> None:
        world = World(loop, refused)
        world.peer.retry_ms = 5000
        world.dialer.start(2, world.peer)
        await asyncio.sleep(4.9)
        assert len(world.dials) == 1
        world.peer.wake_up()
        await asyncio.sleep(0.001)
        assert len(world.dials) == 2
        assert world.peer.retry_ms == 0, "it was told once"
        world.dialer.stop_all()
        await world.dialer.ended()

    run(test)


def test_a_node_that_has_left_is_dialed_no_more() -> None:
    async def test(loop: VirtualLoop) -> None:
        world = World(loop, refused)
        world.dialer.start(2, world.peer)
        await asyncio.sleep(1)
        world.dialer.stop(2)
        world.dialer.stop(2)
        dials = len(world.dials)
        await asyncio.sleep(10)
        assert len(world.dials) == dials > 0
        await world.dialer.ended()

    run(test)
