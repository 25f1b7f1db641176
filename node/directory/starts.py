"""Which groups have started: found out by their leaders, told to the directory, kept in the map.

A group has started once its leader has committed an entry. From then on a new replica of it must
not vote before the log has told it the configuration, so the map has to know. Leaders tell the
nodes that vote in the directory, again and again until the map has it; being late costs nothing
while no replica moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from quorumcache.ring import ClusterMap

if TYPE_CHECKING:
    from quorumcache.node.replica.group import ReplicaGroup

REPORT_MS: Final = 500
"""Time between two reports. A map holds what came in that time, so a new cluster of thousands of
shards needs few epochs."""


def started_here(groups: Mapping[int, ReplicaGroup], cluster_map: ClusterMap) -> int:
    """The shards led here that have started and of which the map does not know it; a bit each."""
    found = 0
    for group_id, group in groups.items():
        if group_id == 0 or not group.is_leader:
            continue
        # An entry of its own term is applied, so it is committed, and so is all before it.
        if group.applied_index >= group.log.term_start_index > 0:
            found |= 1 << (group_id - 1)
    return found & ~cluster_map.started


def shards_of(bits: int) -> list[int]:
    """The numbers of the bits that are set, ascending."""
    return [shard for shard in range(bits.bit_length()) if bits >> shard & 1]
