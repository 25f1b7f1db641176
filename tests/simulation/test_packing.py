"""Old entries of the log of every node are packed while it runs: leaders and followers."""

from __future__ import annotations

import asyncio

from tests.simulation.stage import Stage

WRITES = 600


def test_the_logs_of_all_nodes_are_packed() -> None:
    """Unpacked, an entry takes more than twice the memory, and it does not go back."""
    stage = Stage(shards=1)

    async def scenario(stage: Stage) -> None:
        wire = await stage.connect(stage.leader(0))
        for number in range(WRITES):
            assert await wire.ask(b"set k%d 0 0 1\r\nv\r\n" % number) == b"STORED\r\n"
        await asyncio.sleep(0.5)
        for name in stage.nodes:
            log = stage.node(name).host.groups[1].log.log  # type: ignore[attr-defined]
            assert log.loose_index > WRITES // 2, name
            assert log.packed[-1].last_index == log.loose_index - 1, name
            assert len(log.entries) < WRITES // 2, name

    stage.run(scenario)
