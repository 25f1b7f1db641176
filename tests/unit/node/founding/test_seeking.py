"""A member that misses others asks its seeds which node answers there."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from quorumcache.node.founding.seeking import SEEK_MS, Seeker
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.support.joining import RECORD, MemberEnd

ROUND_SECONDS = SEEK_MS[1] / 1000 + 2


def play(cluster_id: str) -> list[tuple[str, str]]:
    """What it finds of member a, in a round in which nobody is missing and in one later."""
    loop = VirtualLoop()
    Network(loop, Random(1))
    found: list[tuple[str, str]] = []
    missing = [False]

    async def story() -> None:
        await MemberEnd(loop).listen()
        seeker = Seeker(
            loop=loop,
            random=Random(1),
            cluster_id=cluster_id,
            seeds=("nobody:1", "a:1"),
            is_missing=lambda: missing[0],
            found=lambda name, seed: found.append((name, seed)),
        )
        run = loop.create_task(seeker.run())
        await asyncio.sleep(3 * ROUND_SECONDS)
        assert not found, "nobody is missing"
        missing[0] = True
        await asyncio.sleep(ROUND_SECONDS)
        run.cancel()

    loop.run_until_complete(story())
    loop.close()
    return found


def test_it_hears_who_answers_at_a_seed_while_somebody_is_missing() -> None:
    assert play(RECORD.cluster_id)[0] == ("a", "a:1")


def test_a_member_of_another_cluster_is_left_aside() -> None:
    assert play("f" * 32) == []


class HardNames(VirtualLoop):
    """`both` has an address that lets nothing through, and then that of a; the server that should
    know `slow` does not answer."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> list[Any]:  # type: ignore[override]
        self.asked.append(host)
        if host == "slow":
            await asyncio.sleep(30)
        hosts = ["hole", "a"] if host == "both" else [host]
        return [(2, 1, 6, "", (each, 0)) for each in hosts]

    async def create_connection(
        self, factory: Any, host: Any = None, *args: Any, **more: Any
    ) -> Any:
        if host == "hole":
            await asyncio.sleep(30)
        return await super().create_connection(factory, host, *args, **more)


def test_each_address_of_a_seed_gets_its_turn_and_a_name_is_looked_up_once_at_a_time() -> None:
    loop = HardNames()
    Network(loop, Random(1))
    found: list[str] = []

    async def story() -> None:
        await MemberEnd(loop).listen()
        seeker = Seeker(
            loop=loop,
            random=Random(1),
            cluster_id=RECORD.cluster_id,
            seeds=("both:1", "slow:1"),
            is_missing=lambda: True,
            found=lambda name, seed: found.append(seed),
        )
        run = loop.create_task(seeker.run())
        await asyncio.sleep(4 * ROUND_SECONDS)
        assert found[:1] == ["both:1"]
        assert loop.asked.count("slow") == 1, "its look-up is still under way"
        run.cancel()

    loop.run_until_complete(story())
    loop.close()
