"""Large values where memory is short and nothing is evicted: what is let in, what is refused."""

from __future__ import annotations

import asyncio

import pytest

from tests.simulation.stage import Stage
from tests.simulation.test_large import play, settled

WIDE = {"node.store.large.PIECE_BYTES": 4096, "node.settings.checks.MEMORY_BYTES_MIN": 1024}
"""Pieces that take little beside their value, in a small memory."""


def test_a_large_value_needs_its_room_once() -> None:
    async def scenario(stage: Stage) -> None:
        for name in stage.nodes:
            await asyncio.sleep(3)  # All know what is free.
            request = b"set k 0 0 60000\r\n%b\r\n" % bytes(60_000)
            assert await stage.ask(name, request) == b"STORED\r\n"
            assert await stage.ask(name, b"delete k\r\n") == b"DELETED\r\n"

    play(scenario, bounds=WIDE, shards=1, memory_bytes=90_000, evicts=False)


@pytest.mark.parametrize("line", [b"add %b 0 0 40000", b"cas %b 0 0 40000 %d", b"ms %b 40000 ME"])
def test_what_was_refused_for_memory_is_refused_again_though_there_is_room(line: bytes) -> None:
    """A client that numbers its writes hears the first answer, and not what is under the key."""

    async def scenario(stage: Stage) -> None:
        key, full = stage.key(0), b"SERVER_ERROR out of memory storing object\r\n"
        assert await stage.ask("n1", b"set %b 0 0 3\r\nold\r\n" % key) == b"STORED\r\n"
        found = await stage.ask("n1", b"gets %b\r\n" % key, b"END\r\n")
        session = (await stage.ask("n1", b"cluster session open 0\r\n")).split()[2]
        words = (key, int(found.split()[4])) if b"cas" in line else (key,)
        once = b"cluster once %b 1 1\r\n" % session
        request = once + line % words + b"\r\n%b\r\n" % bytes(40_000)
        fills = b"set other 0 0 50000\r\n%b\r\n" % bytes(50_000)
        assert await stage.ask("n1", fills) == b"STORED\r\n"
        await asyncio.sleep(3)  # All know what is free.
        assert await stage.ask("n1", request) == full
        assert await stage.ask("n1", b"delete other\r\n") == b"DELETED\r\n"
        for name in stage.nodes:
            await asyncio.sleep(3)
            assert await stage.ask(name, request) == full
        is_kept = not line.startswith(b"ms")  # As in memcached, whatever the mode of an ms.
        left = found if is_kept else b"END\r\n"
        assert await stage.ask("n1", b"gets %b\r\n" % key, b"END\r\n") == left
        await settled(stage, 0)

    play(scenario, bounds=WIDE, shards=1, memory_bytes=90_000, evicts=False)
