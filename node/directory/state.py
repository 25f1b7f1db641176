"""The directory's state machine: the cluster map, replaced by compare-and-set on its epoch.

Pure. Every decision about the cluster (its first placement, a node's new address, later a moved
replica) is made by the leader of group 0 and arrives here as one whole new map. A proposer
names the epoch it started from, so two leaders that overlap cannot overwrite one another's
decision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from quorumcache.node.state_machine import ITEM_BYTES_MAX, OP, Command, Result, StateMachine
from quorumcache.node.store.results import EXISTS, OK
from quorumcache.ring import ClusterMap

OP_SET_MAP = 1
"""(0, 0, 0, OP_SET_MAP, b"", expected_epoch, map_bytes):

OK, or EXISTS if the epoch has moved on.
"""

_EXPECTED_EPOCH: Final = 5
_MAP_BYTES: Final = 6
"""Places of the arguments in the command."""


class DirectoryState(StateMachine):
    """State of group 0."""

    __slots__ = (
        "cluster_map",
        "evicted_bytes",
        "last_now_ms",
        "last_wall_ms",
        "on_map",
        "op_count",
    )

    def __init__(self, on_map: Callable[[ClusterMap], None]) -> None:
        self.cluster_map: ClusterMap | None = None
        self.last_now_ms = 0
        self.last_wall_ms = 0
        """Of the entries applied since the start; no part of the state."""
        self.op_count = OP_SET_MAP + 1
        self.evicted_bytes = 0
        """Always 0: the map is not part of the cache's memory."""
        self.on_map = on_map

    @property
    def epoch(self) -> int:
        """Epoch of the present map; 0 before there is one."""
        return self.cluster_map.epoch if self.cluster_map is not None else 0

    def apply(
        self,
        index: int,
        now_ms: int,
        commands: Sequence[Command],
        wall_ms: int | None = None,
        item_bytes_max: int = ITEM_BYTES_MAX,
    ) -> list[Result]:
        """Apply one committed batch; results in order of the commands."""
        self.last_now_ms = max(self.last_now_ms, now_ms)
        self.last_wall_ms = wall_ms or 0
        return [self._apply_one(command) for command in commands]

    def _apply_one(self, command: Command) -> Result:
        op, expected_epoch, map_bytes = command[OP], command[_EXPECTED_EPOCH], command[_MAP_BYTES]
        if op != OP_SET_MAP:
            raise AssertionError(f"the directory's log holds the unknown command {op}")
        if expected_epoch != self.epoch:
            return EXISTS
        self._replace(ClusterMap.from_bytes(map_bytes))
        return OK

    def _replace(self, cluster_map: ClusterMap) -> None:
        self.cluster_map = cluster_map
        self.on_map(cluster_map)

    def view(self) -> bytes:
        """An immutable picture of the state: time (8 bytes, big-endian), then the map."""
        map_bytes = self.cluster_map.to_bytes() if self.cluster_map is not None else b""
        return self.last_now_ms.to_bytes(8, "big") + map_bytes

    def encode_view(self, view: bytes) -> Iterator[bytes]:
        """The snapshot's bytes, in chunks."""
        yield view

    def restoring(self, pieces: Sequence[bytes]) -> Iterator[int]:
        """See `StateMachine.restoring`: a map is small."""
        data = b"".join(pieces)
        yield len(data)
        self.last_now_ms = int.from_bytes(data[:8], "big")
        self.last_wall_ms = 0
        if len(data) > 8:
            self._replace(ClusterMap.from_bytes(data[8:]))

    def digest(self) -> bytes:
        """Equal states have equal digests."""
        return hashlib.blake2b(self.view(), digest_size=16).digest()
