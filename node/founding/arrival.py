"""A member that is told to join again, at its start: it looks whether that is its own cluster."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Final

from quorumcache.node.errors import WrongDataDir
from quorumcache.node.founding.joining import member_at
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.ring.names import Names

if TYPE_CHECKING:
    from quorumcache.node.founding.durable_state import DurableState
    from quorumcache.node.settings.config import NodeConfig

log: Final = get_logger("node")


async def check_seeds(
    config: NodeConfig,
    durable: DurableState,
    *,
    loop: asyncio.AbstractEventLoop,
    random: Random,
) -> None:
    """`config.join` says nothing new: the same command line starts the member again. If a seed is
    of another cluster, somebody took a directory that was used before: `WrongDataDir`. Seeds that
    do not answer say nothing.
    """
    identity = durable.identity
    names = Names(loop)
    try:
        asked = [member_at(loop, random, names, seed) for seed in config.seeds]
        found = await asyncio.gather(*asked)
    finally:
        names.close()
    for seed, member in zip(config.seeds, found, strict=True):
        if member is not None and member.cluster_id != identity.cluster_id:
            raise WrongDataDir(
                durable.directory,
                f"belongs to {identity}, but {seed} is of cluster {member.cluster_id}. To join that"
                " cluster, give the node an empty directory; to go on in its own, leave out --join",
            )
    event(log, "info", "join_ignored", why="the node is a member already", join=config.join)
