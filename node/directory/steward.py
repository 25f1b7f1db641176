"""What the leader of group 0 does: create the first map, and keep the nodes' addresses current.

Every node runs a steward; only the one whose node leads group 0 acts. It proposes one whole new
map at a time, by compare-and-set on the epoch (state.py), so a steward that has lost its
leadership without knowing can do no harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from node.directory.state import OP_SET_MAP, DirectoryState
from node.group import ReplicaGroup
from node.logs import event, get_logger
from node.store.results import Result
from ring import ClusterMap, NodeInfo, RingError, place

if TYPE_CHECKING:
    from node.clock import Clock
    from node.config import NodeConfig

log = get_logger("directory")

BOOTSTRAP_WAIT_MS = 5000
"""How long the first map waits for nodes that have not been heard of.

After that, they are placed with weight 1 and no zone, and their addresses follow when they
come.
"""


class Steward:
    """See the module docstring. `known`: what nodes told of themselves when they connected."""

    def __init__(
        self,
        *,
        config: NodeConfig,
        clock: Clock,
        group: ReplicaGroup,
        state: DirectoryState,
        known: Mapping[int, NodeInfo],
    ) -> None:
        self._config = config
        self._clock = clock
        self._group = group
        self._state = state
        self._known = known
        self._started_ns = clock.monotonic_ns()
        self._pending = False
        self._complained = ""

    def tick(self) -> None:
        """See whether there is something to decide. Called every few ticks."""
        group = self._group
        if self._pending or not group.is_leader:
            return
        if group.applied_index < group.log.term_start_index:
            return  # What earlier leaders decided may not be known here yet.
        try:
            wanted = self._wanted_map()
        except RingError as error:
            self._complain(str(error))
            return
        if wanted is None:
            return
        self._pending = True
        data = wanted.to_bytes()
        command = (0, 0, 0, OP_SET_MAP, b"", self._state.epoch, data)
        group.submit(command, len(data), self)

    def _wanted_map(self) -> ClusterMap | None:
        """The map that should come next; None when the present one is right."""
        present = self._state.cluster_map
        if present is None:
            return self._first_map()
        for node_id, info in sorted(self._known.items()):
            if info not in present.nodes and any(n.node_id == node_id for n in present.nodes):
                return present.with_node(info)
        return None

    def _first_map(self) -> ClusterMap | None:
        members = self._config.members
        ids = self._config.node_ids
        missing = [name for name in members if ids[name] not in self._known]
        waited_ms = (self._clock.monotonic_ns() - self._started_ns) // 1_000_000
        if missing and waited_ms < BOOTSTRAP_WAIT_MS:
            return None
        nodes = [
            self._known.get(ids[name]) or NodeInfo(ids[name], name, address, address, "", "", 1.0)
            for name, address in members.items()
        ]
        shards = self._config.shards
        replica_sets = place(nodes, shards, self._config.replication_effective)
        event(
            log,
            "info",
            "cluster_created",
            nodes=len(nodes),
            shards=shards,
            replication=self._config.replication_effective,
            missing=",".join(missing) or "none",
        )
        return ClusterMap(
            epoch=1,
            cluster_id=self._config.cluster_id,
            shard_count=shards,
            replication=self._config.replication,
            nodes=tuple(nodes),
            replica_sets=tuple(tuple(r) for r in replica_sets),
        )

    def _complain(self, why: str) -> None:
        if why != self._complained:
            self._complained = why
            event(log, "error", "map_impossible", why=why, action="fix the settings of the nodes")

    # As the waiter of its own proposal: whatever became of it, look again at the next tick.

    def on_result(self, result: Result) -> None:
        self._pending = False

    def on_refused(self, why: str) -> None:
        self._pending = False

    def on_lost(self) -> None:
        self._pending = False
