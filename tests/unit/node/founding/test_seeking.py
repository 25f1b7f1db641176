"""A member that misses others asks its seeds which node answers there."""

from __future__ import annotations

import asyncio
from random import Random

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
