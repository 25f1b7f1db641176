"""Removes a replica from this node: from the process at once, then from the disk.

What it promised (its votes, the entries that it acknowledged) is on the disk until its removal is
durable, and a replica that starts without that must not vote. So the order is:

 1. The host stops the replica (`ReplicaHost.remove_group`). It promises nothing any more, and
    nothing of it is added to the log or to the snapshots. A save that the disk already has is done
    before the deletion: the disk replaces and removes files in the order of the calls. Its memory
    is freed bit by bit (`freeing.py`).
 2. `groups.born` says that the replica is leaving, and what term and vote it had: a later replica
    of the group goes on from there. A leader that stood still through all of this counts what it
    hears of the later one for the earlier one; it must be refused as the earlier one would have
    refused it, or it holds a lease beside the leader that this node has voted for. After a crash
    before this is durable the replica is there, whole: step 3 has not begun. After it, no start of
    the node starts the replica, whatever the map says, and each goes on with step 3.
 3. The log forgets the group. This is the last thing that the log hears of it.
 4. Its snapshot is deleted. It goes after the log's record: a log that was dropped up to a snapshot
    that is gone does not start.
 5. `groups.born` holds an empty configuration for it. Only now may the group come again; it is
    another replica then, which neither votes nor stands until the group's log makes it a voter. It
    is not enough to take the birth out: a group without a birth is one that never promised
    anything here, and a map that does not know yet that the group has started would let it be born
    a voter again.

Each step is durable before the next one begins, and may be done twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from quorumcache.node.errors import DiskRefused, StorageError
from quorumcache.node.replica.freeing import Freeing
from quorumcache.node.telemetry.logs import event, get_logger

if TYPE_CHECKING:
    from quorumcache.node.replica.host import ReplicaHost
    from quorumcache.node.storage.local_state import LocalState

log = get_logger("host")

RETRY_SECONDS: Final = 1.0
"""Pause before a step that a full disk refused is tried again."""


class ReplicaRemover:
    """See the module."""

    def __init__(
        self,
        *,
        host: ReplicaHost,
        local_state: LocalState,
        forget: Callable[[int], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        """`forget` hears of each group that has stopped, or will not start from what the disk
        holds. `on_fatal`: of a disk that fails.
        """
        self._host = host
        self._local_state = local_state
        self._forget = forget
        self._on_fatal = on_fatal
        self._under_way: set[int] = set()
        self._freeing = Freeing(host.loop)

    async def remove(self, group_id: int) -> None:
        """Remove a replica, running or only on the disk; nothing is left of it when this returns.

        The caller has seen to it that the group's configuration does not count on the replica any
        more. If the call is cancelled, the replica stays stopped; another call goes on, or else the
        next start, as the disk has it. A full disk is waited for. A disk that fails ends the node.
        """
        state = self._local_state
        group = self._host.groups.get(group_id)
        if group is not None:
            self._host.remove_group(group_id)
            self._freeing.take(group)
        elif group_id not in state.leaving and group_id not in state.births:
            raise ValueError(f"group {group_id} has no replica here")
        self._forget(group_id)
        await self._in_order(group_id, is_begun=False)

    async def finish(self) -> None:
        """At the start of a node: go on with what the last process had begun."""
        for group_id in sorted(self._local_state.leaving):
            await self._in_order(group_id, is_begun=True)

    async def _in_order(self, group_id: int, *, is_begun: bool) -> None:
        if group_id in self._under_way:
            raise AssertionError(f"group {group_id} is being removed already")
        self._under_way.add(group_id)
        state = self._local_state
        try:
            if not is_begun:
                promised = self._host.wal.hard_state(group_id)
                await self._insist(group_id, lambda group: state.begin_leaving(group, promised))
            await self._leave_log(group_id)
            await self._insist(group_id, self._delete_snapshot)
            await self._insist(group_id, state.end_leaving)
        except StorageError as error:
            self._on_fatal(error)
            return
        finally:
            self._under_way.discard(group_id)
        event(log, "info", "replica_removed", group=group_id)

    async def _insist(self, group_id: int, step: Callable[[int], Awaitable[None]]) -> None:
        """Try a step until the disk does not refuse it any more."""
        while True:
            try:
                await step(group_id)
            except DiskRefused as error:
                event(log, "warning", "replica_removal_waits", group=group_id, why=error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def _leave_log(self, group_id: int) -> None:
        """A log that fails calls nobody back, and ends the node."""
        gone: asyncio.Future[None] = self._host.loop.create_future()

        def forgotten() -> None:
            if not gone.done():
                gone.set_result(None)

        self._host.wal.forget(group_id, forgotten)
        await gone

    async def _delete_snapshot(self, group_id: int) -> None:
        if self._host.snapshots is None:
            return
        deleted: asyncio.Future[None] = self._host.loop.create_future()

        def done(error: BaseException | None) -> None:
            if deleted.done():
                return
            if error is not None:
                deleted.set_exception(error)
            else:
                deleted.set_result(None)

        self._host.snapshots.delete(group_id, done)
        await deleted
