"""What a stopping node gives away, and how often, over scripted groups."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.consensus.values import Role
from quorumcache.node.replica.handover import hand_over
from tests.support.scripted_log import HostWorld

HERE, THERE = 1, 2


@pytest.mark.parametrize(
    ("terms_later", "times"),
    [(0, 1), (1, 2), (2, 1)],
    ids=["still under way", "it failed", "it came back"],
)
def test_a_leadership_is_given_away_again_if_that_failed_and_not_if_it_came_back(
    terms_later: int, times: int
) -> None:
    world = HostWorld(1)
    log = world.logs[1]
    log.lead(5)
    log.members = {THERE: SimpleNamespace(match_index=1, recent_active=True)}
    given: list[tuple[int, int]] = []

    def transfer(group: Any, to: int) -> None:
        if (to, log.term) not in given:  # The log takes no notice of a second call.
            given.append((to, log.term))
        if log.term == 5 and terms_later:
            log.lead(5 + terms_later)
        elif len(given) == times:
            log.become(Role.FOLLOWER, log.term + 1, THERE)

    async def scenario() -> None:
        await hand_over(
            HERE,
            world.groups.values,
            is_up=lambda node_id: True,
            transfer=transfer,
            deadline=asyncio.get_running_loop().time() + 60.0,
            pause_seconds=0.0,
        )

    asyncio.run(asyncio.wait_for(scenario(), 30.0))
    assert given == [(THERE, 5), (THERE, 6)][:times]
