"""A node that stops gives its leaderships away first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from quorumcache.node.consensus.values import Role
from quorumcache.node.replica.snapshotting import KEEP_ENTRIES

if TYPE_CHECKING:
    from quorumcache.node.replica.group import ReplicaGroup


async def hand_over(
    node_id: int,
    groups: Callable[[], Iterable[ReplicaGroup]],
    *,
    is_up: Callable[[int], bool],
    may_lead: Callable[[int], bool],
    transfer: Callable[[ReplicaGroup, int], None],
    deadline: float,
    pause_seconds: float,
) -> None:
    """Give every leadership to the replica that is furthest along (thesis 3.10). One on a node that
    is not fit to lead gets it only if no other is nearly as far.

    Each once: one that comes back comes from a node that is stopping, too, and the two would hand
    it to and fro until one of them has run out of time. It comes back in the next term but one, at
    the earliest. In the next term the leader that failed to give it away leads, and tries again.
    `deadline` is in the loop's time.
    """
    loop = asyncio.get_running_loop()
    given: dict[int, int] = {}  # group id -> term of the leadership that was given away
    while loop.time() < deadline:
        led = [
            group
            for group in groups()
            if group.log.role is Role.LEADER
            and len(group.log.configuration.voters) > 1
            and group.log.term - given.get(group.group_id, group.log.term) <= 1
        ]
        busy = False
        for group in led:
            status = group.log.progress()
            candidates = [
                (may_lead(voter), status[voter].match_index, -voter)
                for voter in group.log.configuration.voters
                if voter != node_id
                and voter in status
                and status[voter].recent_active
                and is_up(voter)
            ]
            if candidates:
                busy = True
                given[group.group_id] = group.log.term
                most = max(match_index for _, match_index, _ in candidates)
                near = [each for each in candidates if each[1] + KEEP_ENTRIES >= most]
                transfer(group, -max(near)[2])
        if not busy:
            return
        await asyncio.sleep(pause_seconds)
