"""The log of a node that keeps nothing: `--durability memory`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from quorumcache.node.consensus.values import HardState
from quorumcache.node.wal.format import WalRecord
from quorumcache.node.wal.groups import NO_HARD_STATE
from quorumcache.node.wal.queue import OnDurable


class MemoryWal:
    """Stands in for `Wal`. Calls back on the next turn of the loop, and never fails.

    A node that runs on it has forgotten its votes when it starts again, so it may not come back
    as the same replica.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.on_full: Callable[[bool], None] = _ignore
        self.on_failed: Callable[[BaseException], None] = _ignore
        self.observe_sync: Callable[[float], None] = _ignore
        self.sync_count = 0
        self.torn_bytes = 0
        self.orphan_snapshots: list[int] = []
        self.queued_count = 0
        self.queued_bytes = 0
        self.waiting_since_ns = 0
        self.held_why: BaseException | None = None
        self.wants_room = False
        self.bytes_total = 0
        self._loop = loop
        self._hard_states: dict[int, HardState] = {}

    def append(self, records: Sequence[WalRecord], on_durable: OnDurable) -> None:
        """Call `on_durable` soon."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        for group, hard_state, _ in records:
            if hard_state is not None:
                self._hard_states[group] = hard_state
        self._loop.call_soon(on_durable)

    def compacted(self, group: int, index: int, term: int) -> None:
        """Nothing to do."""

    def installed(self, group: int, index: int, term: int) -> None:
        """Nothing to do."""

    def forget(self, group: int, on_durable: OnDurable) -> None:
        """Call `on_durable` soon."""
        self._hard_states.pop(group, None)
        self.append((), on_durable)

    def hard_state(self, group: int) -> HardState:
        """The newest; the zero one if there is none."""
        return self._hard_states.get(group, NO_HARD_STATE)

    def files(self) -> list[str]:
        """None, ever."""
        return []

    def make_room(self) -> None:
        """Nothing to do."""

    def settle(self) -> None:
        """Nothing to do."""

    def retry(self) -> None:
        """Nothing to do."""

    def pinned_groups(self) -> list[int]:
        """None, ever."""
        return []

    async def close(self) -> None:
        """Nothing to wait for."""


def _ignore(_: object) -> None:
    pass
