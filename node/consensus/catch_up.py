"""How much of the past is on its way to another node, for all groups of this node together. Pure.

A node that comes back lacks something of every group at once, and what it lacks goes to it on one
connection, into one loop. Heartbeats, new entries and the answers to its clients wait behind all
that was sent before them, in the buffers of both kernels and in the queues of both nodes. So the
replicas of a node that are *behind* share a window: there is never more under way than the node
takes in within a moment, and none of it waits in a queue. What replicas that are not behind are
sent does not wait for the window, and does not count.

Over a long way a window is little for the time of an answer, perhaps less than is written
meanwhile. So each *round*, which ends when a replica has what the log had when it began, has twice
the window of the one before (`Progress.begin_round`): a replica arrives however much is written.

A snapshot takes its size of memory at both nodes, from the first byte until the other node has it
on disk. So there are never more than SNAPSHOTS_MAX of them on their way to a node. Those for
learners do not count: they are as few as the moves under way. One that does not get on for long
gives its place up, and waits for another when it is answered after all.
"""

from __future__ import annotations

from typing import Final

from quorumcache.node.consensus.values import ReplicaId

PARTS: Final = 4
"""So many groups may use a window at a time. A group asks for more when it hears an answer, so one
alone would leave the window empty for the time of an answer."""

DOUBLINGS_MAX: Final = 5
"""At 32 times the window a replica has as much under way as one that is not behind may have."""

SNAPSHOTS_MAX: Final = 2
"""While the one is restored there, the other is sent."""


class CatchUpWindow:
    """What the replicas of one other node that are behind are being sent."""

    __slots__ = ("snapshots", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        """Bytes of entries and of snapshots that have no answer."""
        self.snapshots = 0
        """Those on their way. At most SNAPSHOTS_MAX."""

    def room(self, wanted: int, bytes_max: int, doublings: int, parts: int = PARTS) -> int:
        """How many of `wanted` bytes one group may send now; 0: none before an answer comes.

        `bytes_max`: of the window. It may be passed by one of its `parts`, or by one larger entry.
        `doublings`: rounds that have ended.
        """
        bytes_max <<= min(doublings, DOUBLINGS_MAX)
        if self.under_way >= bytes_max:
            return 0
        return min(wanted, max(1, bytes_max // parts))


class CatchUpWindows:
    """Those of a process, which its groups share."""

    __slots__ = ("_by_node",)

    def __init__(self) -> None:
        self._by_node: dict[ReplicaId, CatchUpWindow] = {}

    def of(self, node_id: ReplicaId) -> CatchUpWindow:
        """The window to a node."""
        window = self._by_node.get(node_id)
        if window is None:
            window = self._by_node[node_id] = CatchUpWindow()
        return window
