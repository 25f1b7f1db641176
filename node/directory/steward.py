"""What the leader of group 0 does: create the first map, and keep the nodes' addresses current.

Every node runs a steward; only the one whose node leads group 0 acts. It proposes one whole new
map at a time, by compare-and-set on the epoch (state.py), so a steward that has lost its
leadership without knowing can do no harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from quorumcache.node.directory.starts import shards_of
from quorumcache.node.directory.state import OP_SET_MAP, DirectoryState
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.state_machine import Result
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.ring import ClusterMap, NodeInfo, RingError

if TYPE_CHECKING:
    from quorumcache.node.storage.founding_record import FoundingRecord

log = get_logger("directory")

STARTED_TICKS = 10
"""How long (in calls of `tick`, half a second) it waits for more groups that have started."""


class Steward:
    """See the module docstring. `known`: what nodes told of themselves when they connected."""

    def __init__(
        self,
        *,
        record: FoundingRecord,
        group: ReplicaGroup,
        state: DirectoryState,
        known: Mapping[int, NodeInfo],
    ) -> None:
        self._record = record
        self._group = group
        self._state = state
        self._known = known
        self._pending = False
        self._complained = ""
        self._started = 0
        """Shards whose groups have started, as their leaders told; a bit each."""
        self._ticks_waited = 0
        """Since one of them was first missed in the map."""

    def started(self, bits: int) -> None:
        """A leader tells that the groups of these shards have started."""
        self._started |= bits

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
        changed = self._changed_nodes(present)
        started = self._started & ~present.started & ((1 << present.shard_count) - 1)
        self._ticks_waited = self._ticks_waited + 1 if started else 0
        if self._ticks_waited > STARTED_TICKS:
            self._ticks_waited = 0
            marked = present.with_started(shards_of(started))
            return replace(marked.with_nodes(changed), epoch=marked.epoch)
        if changed:
            return present.with_nodes(changed)
        return None

    def _changed_nodes(self, present: ClusterMap) -> list[NodeInfo]:
        """What nodes tell of themselves otherwise than the map: all of it at once, since a node may
        have the address that another one has just left.

        An address that still belongs to a node that has not told a new one is not given away: the
        change of the node that claims it waits until the other one is heard of.
        """
        changed = {
            node.node_id: self._known[node.node_id]
            for node in present.nodes
            if node.node_id in self._known and self._known[node.node_id] != node
        }
        while changed:
            conflict = self._conflict(present, changed)
            if conflict is None:
                return [changed[node_id] for node_id in sorted(changed)]
            del changed[conflict]
        return []

    def _conflict(self, present: ClusterMap, changed: dict[int, NodeInfo]) -> int | None:
        """A changed node whose address another node of the map has, too; None if there is none."""
        for field in ("peer_address", "client_address"):
            holders: dict[str, int] = {}
            for node in present.nodes:
                address = getattr(changed.get(node.node_id, node), field)
                other = holders.setdefault(address, node.node_id)
                if other == node.node_id:
                    continue
                late = node.node_id if node.node_id in changed else other
                names = {n.node_id: n.name for n in present.nodes}
                self._complain(
                    f"nodes {names[other]} and {names[node.node_id]} both have {address}",
                    "start each node on an address of its own",
                )
                return late
        return None

    def _first_map(self) -> ClusterMap:
        first = self._record.first_map()
        event(
            log,
            "info",
            "cluster_created",
            cluster=first.cluster_id,
            nodes=len(first.nodes),
            shards=first.shard_count,
            replication=first.replication,
        )
        return first

    def _complain(self, why: str, action: str = "fix the settings of the nodes") -> None:
        if why != self._complained:
            self._complained = why
            event(log, "error", "map_impossible", why=why, action=action)

    # As the waiter of its own proposal: whatever became of it, look again at the next tick.

    def on_result(self, result: Result) -> None:
        self._pending = False

    def on_refused(self, why: str) -> None:
        self._pending = False

    def on_lost(self) -> None:
        self._pending = False
