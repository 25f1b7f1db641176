"""Watches what this node has limited, and raises a warning alarm while a limit refuses clients.

Memory, connections and unfinished writes are counted where they are given out; this module looks at
the counters now and then. An alarm ends when there is room again and no client was refused for
`QUIET_NS`, so that it does not come and go with every request. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quorumcache.node.alarms import Alarms
from quorumcache.node.telemetry.counters import Counters
from quorumcache.ring.size import format_size

if TYPE_CHECKING:
    from quorumcache.node.replica.memory_room import MemoryRoom

MEMORY_FULL: Final = "memory_full"
CONNECTIONS_FULL: Final = "connections_full"
WRITES_FULL: Final = "writes_full"

FULL_PERCENT: Final = 95
"""From here on a limit counts as reached: the next value may be refused."""

LOOK_MS: Final = 200
"""Time between two looks."""

QUIET_NS: Final = 10_000_000_000
"""Time without a refusal after which an alarm ends."""


class LimitWatch:
    """See the module. `look` is called a few times a second."""

    def __init__(
        self, alarms: Alarms, counters: Counters, *, memory: MemoryRoom, connections_max: int
    ) -> None:
        self._alarms = alarms
        self._counters = counters
        self._memory = memory
        self._connections_max = connections_max
        self._refusals: dict[str, int] = {}
        """Refusals by each limit as of the last look."""
        self._quiet_from_ns: dict[str, int] = {}
        """When the alarm of a limit may go."""

    def look(self, now_ns: int, item_bytes: int, *, evicts: bool) -> None:
        """Compare what is used with what is allowed. `item_bytes`: of all items, without tables.
        `evicts`: a full memory is no alarm, it is how a cache works. To refuse is one.
        """
        counters, memory = self._counters, self._memory
        percent = memory.used_bytes(item_bytes) * 100 // memory.memory_bytes
        allowed = format_size(memory.memory_bytes)
        if evicts:
            sentence = (
                f"stores were refused with 'out of memory' in the last 10 seconds, although this"
                f" node evicts: the items are too large for their shards. It may use {allowed} for"
                " items, and so may the other nodes of a shard. Raise `memory` on the node that has"
                " least, or store smaller items"
            )
        else:
            sentence = (
                f"the items on this node use {percent} % of the memory allowed ({allowed}). Stores"
                " beyond it are refused with 'out of memory', because nothing is evicted. Delete"
                " items, or raise `memory`"
            )
        self._judge(
            MEMORY_FULL,
            now_ns,
            is_full=percent >= FULL_PERCENT and not evicts,
            refusals=counters.since_start("store_no_memory"),
            sentence=sentence,
        )
        self._judge(
            CONNECTIONS_FULL,
            now_ns,
            is_full=counters.curr_connections >= self._connections_max,
            refusals=counters.since_start("rejected_connections"),
            sentence=(
                f"all {self._connections_max} client connections are in use: further clients are "
                "refused. Close idle connections, or raise `max-connections`"
            ),
        )
        self._judge(
            WRITES_FULL,
            now_ns,
            is_full=False,
            refusals=counters.since_start("writes_refused"),
            sentence=(
                "this node refuses writes with 'this node has too many unfinished writes': the "
                "unfinished writes of all clients together hold half a gigabyte or more. Look for "
                "a shard without a leader, and for a client that sends large values too fast. The "
                "node accepts writes again as soon as others have ended"
            ),
        )

    def _judge(
        self, name: str, now_ns: int, *, is_full: bool, refusals: int, sentence: str
    ) -> None:
        if is_full or refusals != self._refusals.get(name, 0):
            self._refusals[name] = refusals
            self._quiet_from_ns[name] = now_ns + QUIET_NS
            self._alarms.raise_alarm(name, sentence)
        elif now_ns >= self._quiet_from_ns.get(name, 0):
            self._alarms.clear(name)
