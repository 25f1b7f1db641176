"""Goal: callers that say nothing are bounded, whatever comes and goes; closing waits for the links.

Method: links that stand for nothing but their state; a model counts the unknown ones.
"""

from __future__ import annotations

import asyncio
import logging
from random import Random
from types import SimpleNamespace
from typing import Any

from quorumcache.node.peers.line_log import LineLog
from quorumcache.node.peers.open_links import UNKNOWN_LINKS_MAX, OpenLinks

CLOCK: Any = SimpleNamespace(monotonic_ns=lambda: 0)


class Link:
    """What `OpenLinks` sees of a `PeerLink`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, dialed: bool = False) -> None:
        self.dialed = dialed
        self.is_ready = self.closing = False
        self.hello: object = None
        self.lost: asyncio.Future[None] = loop.create_future()
        self.ticks = 0
        self.why = ""

    def tick(self) -> None:
        self.ticks += 1

    def close(self, why: str) -> None:
        self.closing, self.why = True, why

    abort = close


def open_links() -> Any:
    lines = LineLog(CLOCK, logging.getLogger("quorumcache.peers"))
    return OpenLinks(asyncio.get_running_loop(), lines)


def test_unknown_links_are_bounded_and_the_oldest_goes_first() -> None:
    async def test() -> None:
        loop, random = asyncio.get_running_loop(), Random(1)
        links = open_links()
        unknown: list[Link] = []
        for _ in range(20 * UNKNOWN_LINKS_MAX):
            link = Link(loop, dialed=random.random() < 0.3)
            links.opened(link)
            if not link.dialed:
                unknown.append(link)
            links.bound_unknown()
            if len(unknown) > UNKNOWN_LINKS_MAX:
                oldest = unknown.pop(0)
                assert oldest.closing
                assert links.closed(oldest)
            assert not any(link.closing for link in unknown)
            if unknown and random.random() < 0.3:
                known = unknown.pop(random.randrange(len(unknown)))
                known.hello, known.is_ready = object(), True
                links.introduced(known)
                if random.random() < 0.5:
                    assert links.closed(known)
            if unknown and random.random() < 0.3:
                assert links.closed(unknown.pop(random.randrange(len(unknown))))
        assert len(unknown) > UNKNOWN_LINKS_MAX // 2, "the bound was not reached"

    asyncio.run(test())


def test_a_link_that_never_stood_is_none_of_them() -> None:
    async def test() -> None:
        links = open_links()
        link = Link(asyncio.get_running_loop())
        assert not links.closed(link)
        links.opened(link)
        assert links.closed(link)
        assert not links.closed(link)

    asyncio.run(test())


def test_closing_waits_until_all_are_lost() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        links = open_links()
        await links.close_all("nothing to wait for")
        each = [Link(loop), Link(loop, dialed=True)]
        for link in each:
            links.opened(link)
        closing = loop.create_task(links.close_all("the end"))
        await asyncio.sleep(0)
        assert [link.why for link in each] == ["the end", "the end"]
        each[0].lost.set_result(None)
        for _ in range(3):
            await asyncio.sleep(0)
        assert not closing.done()
        each[1].lost.set_result(None)
        await asyncio.wait_for(closing, 5)

    asyncio.run(test())


def test_all_links_are_ticked_until_the_end() -> None:
    async def test() -> None:
        timers: list[Any] = []

        class Loop:
            def call_later(self, seconds: float, callback: Any) -> Any:
                timers.append(callback)
                return SimpleNamespace(cancel=timers.clear)

        lines = LineLog(CLOCK, logging.getLogger("quorumcache.peers"))
        links: Any = OpenLinks(Loop(), lines)  # type: ignore[arg-type]
        first, second = (Link(asyncio.get_running_loop()) for _ in range(2))
        links.stop_ticking()
        links.start_ticking()
        links.opened(first)
        timers.pop()()
        links.opened(second)
        timers.pop()()
        assert (first.ticks, second.ticks) == (2, 1)
        links.stop_ticking()
        assert not timers

    asyncio.run(test())


def test_a_link_that_opens_while_all_unknown_ones_are_being_closed() -> None:
    async def test() -> None:
        links = open_links()
        for _ in range(UNKNOWN_LINKS_MAX + 1):
            link = Link(asyncio.get_running_loop())
            links.opened(link)
            link.close("its frame was broken")
        links.opened(Link(asyncio.get_running_loop(), dialed=True))
        links.bound_unknown()

    asyncio.run(test())
