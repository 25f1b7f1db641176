"""What a node that was told to join does at its start: new, or a member already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

from quorumcache.node.errors import ConfigError, WrongDataDir
from quorumcache.node.founding.joining import JoiningPhase, member_at
from quorumcache.node.telemetry.logs import event, get_logger

if TYPE_CHECKING:
    from quorumcache.node.config import NodeConfig
    from quorumcache.node.founding.durable_state import DurableState
    from quorumcache.ring import NodeInfo

log: Final = get_logger("node")


def new_joining_phase(
    config: NodeConfig,
    durable: DurableState,
    own: NodeInfo,
    *,
    loop: asyncio.AbstractEventLoop,
    random: Random,
    entropy: Random,
    on_waiting: Callable[[str], None],
) -> JoiningPhase:
    """The join of a new node. Raises `ConfigError` if it was given no secret."""
    secret = durable.secret
    if secret is None:
        raise ConfigError(
            "--join",
            "needs the secret of the cluster: give --secret-file FILE (a copy of cluster.secret in"
            " the data directory of a member), or set QUORUMCACHE_SECRET",
        )
    return JoiningPhase(
        loop=loop,
        random=random,
        entropy=entropy,
        own=own,
        settings=config.joining_settings,
        secret=secret,
        seeds=config.seeds,
        on_waiting=on_waiting,
    )


async def check_seeds(
    config: NodeConfig,
    durable: DurableState,
    *,
    loop: asyncio.AbstractEventLoop,
    random: Random,
) -> None:
    """This node is a member, so `config.join` says nothing new: the same command line starts it
    again. If a seed is of another cluster, somebody took a directory that was used before:
    `WrongDataDir`. Seeds that do not answer say nothing.
    """
    identity = durable.identity
    found = await asyncio.gather(*(member_at(loop, random, seed) for seed in config.seeds))
    for seed, member in zip(config.seeds, found, strict=True):
        if member is not None and member.cluster_id != identity.cluster_id:
            raise WrongDataDir(
                durable.directory,
                f"belongs to {identity}, but {seed} is of cluster {member.cluster_id}. To join that"
                " cluster, give the node an empty directory; to go on in its own, leave out --join",
            )
    event(log, "info", "join_ignored", why="the node is a member already", join=config.join)
