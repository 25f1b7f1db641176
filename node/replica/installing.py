"""Puts a leader's snapshot in place of a replica's state, without holding up the other groups.

In this order, each step done before the next one begins:

 1. The old log, which the snapshot has replaced, is let go of, and the state is restored. The whole
    of it may be gigabytes, so this is done in pieces: one per turn of the loop for all groups
    together, which take turns. A snapshot that cannot be decoded ends the node
    here, before the disk has it and every start would fail. Applying ahead of the disk is always
    allowed.
 2. The snapshot is stored.
 3. The log hears that it begins anew, and gets what came with the snapshot.
 4. The replica goes on from the snapshot, and what promised it leaves.

Meanwhile the replica answers its leader's heartbeats and takes messages in. What promises
something, or is for the log, is held back and follows the snapshot: an entry in the log before the
snapshot would be one of a log that does not exist yet. A group that is removed, or a node that
stops, drops the installation at the step it is at; nothing of it is seen then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from quorumcache.node.consensus.api import Ready
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.replica.snapshotting import OnePerTurn
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.node.wal.format import WalRecord

if TYPE_CHECKING:
    from quorumcache.node.storage.snapshots import SnapshotStore
    from quorumcache.node.wal.memory import MemoryWal
    from quorumcache.node.wal.wal import Wal

SNAPSHOT_RETRY_SECONDS: Final = 1.0
"""Pause before a snapshot that could not be stored is tried again."""

HELD_MAX: Final = 1024
"""Turns of a group that are held back; beyond it the group is not drained until it is installed. A
leader sends a few messages per heartbeat to a replica that acknowledges nothing."""

LET_GO_MAX: Final = 1 << 10
"""Entries of the old log that one step lets go of, about a millisecond."""

GIVE_BACK_BYTES: Final = 8 << 20
"""When so much was freed, memory is given back, which takes two milliseconds or so. What the
snapshots of all groups leave would be a stall of many."""

log = get_logger("host")


class Installation:
    """One snapshot on its way into one group. `held`: what follows it."""

    __slots__ = (
        "_done",
        "_failed",
        "_loop",
        "_snapshot",
        "_steps",
        "_store",
        "_turns",
        "_wal",
        "counters",
        "group",
        "held",
        "is_dropped",
        "ready",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        turns: OnePerTurn,
        counters: Counters,
        group: ReplicaGroup,
        ready: Ready,
        wal: Wal | MemoryWal,
        store: SnapshotStore | None,
        done: Callable[[Installation], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        assert ready.snapshot is not None
        self.group = group
        self.ready = ready
        self.held: list[Ready] = []
        self.is_dropped = False
        self.counters = counters
        self._loop = loop
        self._turns = turns
        self._snapshot = ready.snapshot
        self._steps = group.restoring(ready.snapshot)
        self._wal = wal
        self._store = store
        self._done = done
        self._failed = failed
        turns.call_soon(self._restore_one)

    def drop(self) -> None:
        """Go no further, and free the memory."""
        self.is_dropped = True
        self._steps = iter(())
        self.held = []

    def _restore_one(self) -> None:
        if self.is_dropped:
            return
        try:
            if self.group.log.pack(LET_GO_MAX):
                self._turns.call_soon(self._restore_one)
                return
            taken = next(self._steps, None)
        except BaseException as error:
            self._failed(error)
            raise
        if taken is not None:
            self._turns.call_soon(self._restore_one)
            return
        self.counters.snapshots_received += 1
        index = self._snapshot.meta.last_index
        event(log, "info", "snapshot_received", group=self.group.group_id, index=index)
        self._save()

    def _save(self) -> None:
        if self.is_dropped:
            return  # It was to be tried again; by now its file may be deleted.
        if self._store is None:
            self._saved(None)
        else:
            snapshot = self._snapshot
            self._store.save(self.group.group_id, snapshot.meta, snapshot.pieces, self._saved)

    def _saved(self, error: BaseException | None) -> None:
        if self.is_dropped:
            return  # A record now would bring a removed group back.
        group_id = self.group.group_id
        if error is not None:
            # The leader sends again; a disk that fails for good ends the node elsewhere.
            event(log, "warning", "snapshot_not_stored", group=group_id, why=error)
            self._loop.call_later(SNAPSHOT_RETRY_SECONDS, self._save)
            return
        meta = self._snapshot.meta
        ready = self.ready
        self._wal.installed(group_id, meta.last_index, meta.last_term)
        self._wal.append(
            [WalRecord(group_id, ready.hard_state, tuple(ready.entries))], self._logged
        )

    def _logged(self) -> None:
        if not self.is_dropped:
            self._done(self)


class SnapshotInstaller:
    """The installations of a node, one per group at a time."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        counters: Counters,
        done: Callable[[Installation], None],
        failed: Callable[[BaseException], None],
        give_back: Callable[[], None],
    ) -> None:
        """`done` gets what is durable: all but what was held. `failed`: what ends the node.
        `give_back`: returns free memory to the system.
        """
        self._loop = loop
        self._turns = OnePerTurn(loop)
        self._counters = counters
        self._done = done
        self._failed = failed
        self._give_back = give_back
        self._freed_bytes = 0
        """Of snapshots that are installed, since memory was given back."""
        self._under_way: dict[int, Installation] = {}
        """By group. Invariant: the groups that are `installing`."""

    def begin(
        self,
        group: ReplicaGroup,
        ready: Ready,
        wal: Wal | MemoryWal,
        store: SnapshotStore | None,
    ) -> None:
        """Install the snapshot of a `Ready`."""
        assert not group.installing
        group.installing = True
        self._under_way[group.group_id] = Installation(
            *(self._loop, self._turns, self._counters, group, ready, wal, store),
            *(self._end, self._failed),
        )

    def has_room(self, group_id: int) -> bool:
        """May more be held back for a group?"""
        return len(self._under_way[group_id].held) < HELD_MAX

    def hold(self, group_id: int, ready: Ready) -> None:
        """Keep what a later turn has for the log, and its promises, until the snapshot is there."""
        self._under_way[group_id].held.append(ready)

    def forget(self, group_id: int) -> None:
        """The group has left this node."""
        installation = self._under_way.pop(group_id, None)
        if installation is not None:
            installation.drop()

    def stop(self) -> None:
        """Nothing is installed any more."""
        for installation in self._under_way.values():
            installation.drop()

    def _end(self, installation: Installation) -> None:
        group = installation.group
        del self._under_way[group.group_id]
        group.installing = False
        self._done(installation)
        assert installation.ready.snapshot is not None
        self._freed_bytes += installation.ready.snapshot.total_bytes
        if self._freed_bytes >= GIVE_BACK_BYTES:
            self._freed_bytes = 0
            self._loop.call_soon(self._give_back)  # The caller still has this one.
