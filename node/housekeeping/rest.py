"""Has memory given back when the node has come to rest.

What was freed stays with the process: entries of the log, snapshots on their way, frames, tables
that have grown, replies that clients did not take. Under load it is used again. To return it takes
the loop 0.07 ms for each MB. So that is not done under load, and at rest after each snapshot: one
gives a few MB back, those of all shards would be a stall. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from quorumcache.node.telemetry.counters import Counters

REST_PASSES: Final = 10
"""Nothing was written or asked for during so many passes of the housekeeper."""

READ_PASSES: Final = 120
"""Nothing was written for so many, though there are readers."""

MOVED_BYTES: Final = 16 << 20
"""So much has come and gone on all connections: it was in memory. (Heartbeats of an idle node take
minutes for as much.)"""

READS_MAX: Final = 50
"""So few keys asked for in a pass are no load."""


class Rest:
    """See the module. `look` is called in every pass."""

    def __init__(self, counters: Counters, give_back: Callable[[], None]) -> None:
        self._counters = counters
        self._give_back = give_back
        self._applied = self._snapshots = 0
        """Entries applied and snapshots taken until the last look."""
        self._reads = 0
        """Keys asked for until then."""
        self._moved = 0
        """Bytes that had come and gone when memory was given back last."""
        self._passes = 0
        """Passes since something was written."""
        self._quiet_passes = 0
        """Of them, the last ones without readers."""
        self._owes = False
        """Something was done since memory was given back last."""

    def look(self) -> None:
        """Give memory back if it is time."""
        counters = self._counters
        applied = counters.since_start("entries_applied")
        snapshots = counters.since_start("snapshots_taken")
        reads = counters.since_start("cmd_get")
        is_quiet = reads - self._reads <= READS_MAX
        self._reads = reads
        if snapshots != self._snapshots:
            self._snapshots = snapshots
            self._owes = True
        if applied != self._applied:
            self._applied = applied
            self._passes = self._quiet_passes = 0
            self._owes = True
            return
        self._passes += 1
        self._quiet_passes = self._quiet_passes + 1 if is_quiet else 0
        moved = self._moved_bytes()
        if self._quiet_passes >= REST_PASSES:
            is_due = self._owes or moved - self._moved >= MOVED_BYTES
        else:
            is_due = self._owes and self._passes >= READ_PASSES
        if is_due:
            self._owes = False
            self._moved = moved
            self._give_back()

    def _moved_bytes(self) -> int:
        since_start = self._counters.since_start
        clients = since_start("bytes_read") + since_start("bytes_written")
        return clients + since_start("peer_bytes_sent") + since_start("peer_bytes_received")
