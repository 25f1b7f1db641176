"""What the node that leads the directory knows of the cluster at one moment. Values only. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class GroupReport(NamedTuple):
    """What the leader of a moving group tells of the configuration that its log has committed.

    `decision`: `Move.decided` of the move that last wrote this configuration. `bytes_done` of
    `bytes` have been copied to the replicas that are added.
    """

    group_id: int
    term: int
    decision: int
    voters: tuple[int, ...]
    learners: tuple[int, ...] = ()
    bytes_done: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class ClusterView:
    """`heard`: ids of the nodes that are heard now. `silent_ms`: for how long each of the others
    has not been heard. `heard_ms`: for how long each one has been heard without a gap. `reports`:
    the last one of each group that moves. `bytes`: the size of each group's state, if known.
    `memory_bytes`: what items may take on each node, as far as it is known. `full_ms`: nodes that
    are heard and whose disk takes no new replica, and for how long they have said so.
    `lately_full`: nodes whose disk has had room again for a short while only.
    """

    heard: frozenset[int] = frozenset()
    silent_ms: Mapping[int, int] = field(default_factory=dict)
    heard_ms: Mapping[int, int] = field(default_factory=dict)
    reports: Mapping[int, GroupReport] = field(default_factory=dict)
    bytes: Mapping[int, int] = field(default_factory=dict)
    memory_bytes: Mapping[int, int] = field(default_factory=dict)
    full_ms: Mapping[int, int] = field(default_factory=dict)
    lately_full: frozenset[int] = frozenset()

    def hears_majority(self, node_ids: Sequence[int]) -> bool:
        """Whether more than half of these nodes are heard."""
        return 2 * self.count_heard(node_ids) > len(node_ids)

    def count_heard(self, node_ids: Sequence[int]) -> int:
        """How many of these nodes are heard."""
        return sum(node_id in self.heard for node_id in node_ids)
