"""What a stopping node gives away, and how often, over scripted groups."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.consensus.values import Configuration, Role
from quorumcache.node.replica.handover import hand_over
from quorumcache.node.replica.snapshotting import KEEP_ENTRIES
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
            may_lead=lambda node_id: True,
            transfer=transfer,
            deadline=asyncio.get_running_loop().time() + 60.0,
            pause_seconds=0.0,
        )

    asyncio.run(asyncio.wait_for(scenario(), 30.0))
    assert given == [(THERE, 5), (THERE, 6)][:times]


@pytest.mark.parametrize(
    ("unfit", "heir"),
    [
        (set(), 3),
        ({3}, 2),
        ({2, 3}, 3),  # 4 is fit, and lags too far.
        ({2, 3, 4}, 3),
    ],
)
def test_a_node_that_is_not_fit_gets_a_leadership_only_if_no_other_is_nearly_as_far(
    unfit: set[int], heir: int
) -> None:
    world = HostWorld(1)
    log = world.logs[1]
    log.lead(5)
    far = 10 * KEEP_ENTRIES
    log.configuration = Configuration((HERE, 2, 3, 4))
    log.members = {
        node_id: SimpleNamespace(match_index=match_index, recent_active=True)
        for node_id, match_index in ((2, far - 1), (3, far), (4, 1))
    }
    given: list[int] = []

    def transfer(group: Any, to: int) -> None:
        given.append(to)
        log.become(Role.FOLLOWER, 6, to)

    async def scenario() -> None:
        await hand_over(
            HERE,
            world.groups.values,
            is_up=lambda node_id: True,
            may_lead=lambda node_id: node_id not in unfit,
            transfer=transfer,
            deadline=asyncio.get_running_loop().time() + 60.0,
            pause_seconds=0.0,
        )

    asyncio.run(asyncio.wait_for(scenario(), 30.0))
    assert given == [heir]
