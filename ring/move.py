"""A move: how one group gets from one replica set to another. Pure."""

from __future__ import annotations

from typing import NamedTuple

DIRECTORY_GROUP = 0
"""The group whose state is the map itself; shard s is group s + 1."""

WAITING = 0
"""`decided` of a move that has not started."""


class Move(NamedTuple):
    """What the map wants of one group.

    `origin`: node ids of its replica set before. `target`: those it is to have, the preferred
    leader first. `decided`: epoch of the map that started the move; `WAITING` while it waits for
    its turn. A leader of the group acts on a move that has started only if no later decision
    stands in its log (`Configuration.decision`).
    """

    group_id: int
    origin: tuple[int, ...]
    target: tuple[int, ...]
    decided: int = WAITING

    @property
    def added(self) -> tuple[int, ...]:
        """Nodes that get a replica."""
        return tuple(node_id for node_id in self.target if node_id not in self.origin)

    @property
    def removed(self) -> tuple[int, ...]:
        """Nodes that lose theirs."""
        return tuple(node_id for node_id in self.origin if node_id not in self.target)

    @property
    def replica_set(self) -> tuple[int, ...]:
        """All nodes that have a replica until the move is complete, and who should lead.

        The first is one that has the data already: of the target if possible.
        """
        if self.decided == WAITING:
            return self.origin
        staying = tuple(node_id for node_id in self.target if node_id in self.origin)
        if staying:
            return (*staying, *self.added, *self.removed)
        return (*self.removed, *self.added)
