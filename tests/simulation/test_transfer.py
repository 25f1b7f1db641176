"""Leadership goes back to a preferred leader whose disk has stopped: the transfer fails, and nothing
of it may remain.
"""

from __future__ import annotations

import asyncio

from node.status import health_document
from tests.simulation.stage import Stage


def test_a_shard_whose_hand_back_failed_is_well_and_serves_by_lease() -> None:
    async def scenario(stage: Stage) -> None:
        name = stage.leader(0)
        returning = stage.nodes[name]
        returning.crash()
        await stage.until("another leads", lambda: stage.leader(0))
        returning.start()
        await stage.served()
        leader = stage.node(stage.leader(0))
        log = leader.host.groups[1].log
        assert leader.config.name != name, "it must not have gone back yet"
        term = log.term
        returning.disk.hang(20.0)
        await stage.until("the hand-back begins", lambda: log.transfer_target)
        print(stage.loop.time(), log.term, log.lease_void if hasattr(log, "lease_void") else log.handed_over_index)
        others = [node for node in stage.up() if node.config.name != name]
        for _ in range(60):
            await asyncio.sleep(0.25)
            print(round(stage.loop.time(),2), stage.leader(0), log.term, log.transfer_target, [health_document(n)["problems"] for n in stage.up()])

    Stage().run(scenario)
