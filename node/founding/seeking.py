"""A member asks its seeds where other members are. Edge: it dials.

`--join` on a directory that is a member already says one thing: addresses at which somebody was, or
is by now. While another node is missing, this one asks there which node answers, and dials that
node at that address. So the operator of machines that have all got new addresses has to tell each
node one address of another one, and no more: the two tell each other of the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import Final

from quorumcache.node.founding.joining import member_at
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.ring.names import Names

log: Final = get_logger("node")

SEEK_MS: Final = (2000, 3000)
"""Pause between two rounds, drawn: a node that is only restarted comes back within one."""


class Seeker:
    """See the module. `run` it as long as the node runs."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        random: Random,
        cluster_id: str,
        seeds: Sequence[str],
        is_missing: Callable[[], bool],
        found: Callable[[str, str], None],
    ) -> None:
        """`seeds`: peer addresses. `is_missing`: some other node has no connection. `found` hears
        the name of the node of this cluster that answers, and where.
        """
        self._loop = loop
        self._random = random
        self._cluster_id = cluster_id
        self._seeds = tuple(seeds)
        self._is_missing = is_missing
        self._found = found
        self._told: dict[str, str] = {}
        """By seed, the name that was found there last."""

    async def run(self) -> None:
        """Ask, for ever."""
        names = Names(self._loop)
        try:
            for turn in count():
                await asyncio.sleep(self._random.uniform(*SEEK_MS) / 1000)
                for seed in self._seeds:
                    if self._is_missing():
                        await self._ask(seed, names, turn)
        finally:
            names.close()

    async def _ask(self, seed: str, names: Names, turn: int) -> None:
        member = await member_at(self._loop, self._random, names, seed, turn)
        if member is None or member.cluster_id != self._cluster_id:
            return
        if self._told.get(seed) != member.name:
            self._told[seed] = member.name
            event(log, "info", "seed_answers", seed=seed, peer=member.name)
        self._found(member.name, seed)
