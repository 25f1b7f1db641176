"""Restart the nodes of a local cluster, one after another, so that no client notices.

Before each node all of them have to be well, and no shard may lack a replica; after it the node has
to be well again and to lead its shards. Moves go on meanwhile (docs/decisions.md). If something is
not well in time, it ends there: the nodes that are left are not touched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from quorumcache.node.errors import StartupError
from quorumcache.node.process.local_cluster import LocalNode
from quorumcache.node.process.node_http import Share, no_answer, read_health, read_share

NODES_MIN = 3
"""With fewer each restart takes the majority away."""
WELL_S = 30.0
"""How long all nodes may take to be well before a node is stopped."""
BACK_S = 180.0
"""How long a node may take until it has caught up and leads its shards."""
INTERVAL_S = 0.2


class Restarted(Protocol):
    """A node that can be restarted."""

    @property
    def node(self) -> LocalNode: ...
    async def restart(self) -> None:
        """Stop it and start it again. StartupError, OSError or TimeoutError if it does not come."""


async def rolling_restart(
    nodes: Sequence[Restarted], say: Callable[[str], object], is_wanted: Callable[[], bool]
) -> bool:
    """True when all were restarted. `is_wanted`: asked before each node."""
    if len(nodes) < NODES_MIN:
        say(
            f"a rolling restart needs {NODES_MIN} nodes: with fewer, the others are no majority"
            " while one restarts. Stop the cluster with Ctrl-C and start it again"
        )
        return False
    done: list[str] = []
    for child in nodes:
        name = child.node.name
        if not is_wanted():
            say(_stopped(done, "as asked"))
            return False
        trouble = await _settle(lambda: _unready(nodes), WELL_S)
        if trouble:
            say(_stopped(done, f"{trouble}; node {name} was not touched"))
            return False
        try:
            before = await read_share(child.node.http)
            begin = asyncio.get_running_loop().time()
            await child.restart()
        except (StartupError, OSError, ValueError, TimeoutError) as error:
            say(_stopped(done, str(error) or f"node {name} did not come back in time"))
            return False

        async def unfinished(child: Restarted = child, before: Share = before) -> str:
            return await _troubles(nodes) or await _lead(child, before)

        trouble = await _settle(unfinished, BACK_S)
        if trouble:
            say(_stopped([*done, name], trouble))
            return False
        done.append(name)
        seconds = asyncio.get_running_loop().time() - begin
        say(f"node {name} is back after {seconds:.1f} s, has caught up, and leads its shards")
    return True


def _stopped(done: Sequence[str], why: str) -> str:
    where = f"after node {done[-1]}" if done else "before the first node"
    return f"stopped {where}: {why}"


async def _settle(troubles: Callable[[], Awaitable[str]], seconds: float) -> str:
    """Wait until there is no trouble; the last one if there still is after `seconds`."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while True:
        trouble = await troubles()
        if not trouble or loop.time() >= until:
            return trouble
        await asyncio.sleep(INTERVAL_S)


async def _troubles(nodes: Sequence[Restarted]) -> str:
    """What is wrong with the first node that is not well."""
    for child in nodes:
        try:
            problems = await read_health(child.node.http)
        except (OSError, ValueError, TimeoutError) as error:
            return no_answer(child.node.name, error)
        if problems:
            return f"node {child.node.name}: {problems[0]}"
    return ""


async def _unready(nodes: Sequence[Restarted]) -> str:
    """Why no node may be stopped now."""
    trouble = await _troubles(nodes)
    if trouble:
        return trouble
    for child in nodes:
        name = child.node.name
        try:
            share = await read_share(child.node.http)
        except (OSError, ValueError, TimeoutError) as error:
            return no_answer(name, error)
        if share.degraded:
            return (
                f"node {name}: a replica is missing from {share.degraded} of its shards: it is on a"
                " node that is down, or is being rebuilt (`quorumcache moves`)"
            )
    return ""


async def _lead(child: Restarted, before: Share) -> str:
    """What keeps a node from having its share of the leaders again."""
    try:
        share = await read_share(child.node.http)
    except (OSError, ValueError, TimeoutError) as error:
        return no_answer(child.node.name, error)
    if share.led >= min(before.led, share.wanted):
        return ""
    return f"node {child.node.name} leads {share.led} of its {share.wanted} shards"
