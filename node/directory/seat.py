"""This node's seat in the directory: its replica of group 0, and the steward beside it.

It is taken once the founding is complete, by the nodes that the newest map names, or those of the
founding record while the map does not say it. A node that a newer map does not name lets go of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumcache.node.directory.state import DirectoryState
from quorumcache.node.errors import StartupError
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from quorumcache.node.consensus.values import Configuration
    from quorumcache.node.directory.question import Question
    from quorumcache.node.directory.steward import Steward
    from quorumcache.node.replica.group import ReplicaGroup
    from quorumcache.node.replica.starter import ReplicaStarter
    from quorumcache.node.storage.founding_record import FoundingRecord
    from quorumcache.ring import ClusterMap


class DirectorySeat:
    """See the module. On a node without a seat nothing that is called here has an effect."""

    def __init__(
        self,
        node_id: int,
        record: FoundingRecord,
        *,
        births: Mapping[int, Configuration],
        leaving: Collection[int],
        starter: ReplicaStarter,
    ) -> None:
        """`births`: of the groups of this node. `leaving`: those that are being removed from it,
        which must not start.
        """
        self._node_id = node_id
        self._record = record
        self._births = births
        self._leaving = leaving
        self._starter = starter
        self.on_map: Callable[[ClusterMap], None] = _unheard
        """Hears of each map that the directory decides on; set before the seat is taken."""
        self.make_steward: Callable[[ReplicaGroup, DirectoryState], Steward] = _no_steward
        """Makes the steward beside the replica; set before the seat is taken."""
        self._steward: Steward | None = None

    def take(self, cluster_map: ClusterMap | None = None) -> None:
        """Start group 0 here, if this node has a replica of it. A second call has no effect.

        `cluster_map`: the newest that is known. One that names the directory's nodes starts group 0
        when it is adopted, like every group that it places here (`follower.py`).
        """
        voters = self._record.directory_voters
        if self._steward is not None or self._node_id not in voters:
            return
        if cluster_map is not None and cluster_map.directory:
            return
        if DIRECTORY_GROUP_ID in self._leaving:
            return  # A map, which this node has lost, took the seat away. The removal goes on.
        birth = self._births.get(DIRECTORY_GROUP_ID)
        if birth is None:
            raise StartupError(
                f"node {self._node_id} votes in the directory, but its data directory holds no "
                "birth of group 0"
            )
        self.start(birth, stands=voters[0] == self._node_id)

    def start(self, birth: Configuration, *, stands: bool) -> None:
        """Start group 0 here, with the steward beside it."""
        state = DirectoryState(self.on_map)
        group = self._starter.start(DIRECTORY_GROUP_ID, birth, state, stands=stands)
        self._steward = self.make_steward(group, state)

    def let_go(self) -> None:
        """The replica has left this node."""
        if self._steward is not None:
            self._steward.close()
        self._steward = None

    def started(self, bits: int) -> None:
        """The groups of these shards have started; a bit each."""
        if self._steward is not None:
            self._steward.started(bits)

    def ask(self, question: Question) -> bool:
        """Have a question decided here; False on a node without a seat."""
        if self._steward is None:
            return False
        self._steward.ask(question)
        return True

    def tick(self) -> None:
        """Called every few ticks."""
        if self._steward is not None:
            self._steward.tick()


def _unheard(cluster_map: ClusterMap) -> None:
    raise AssertionError("nobody follows the map")


def _no_steward(group: ReplicaGroup, state: DirectoryState) -> Steward:
    raise AssertionError("nobody makes a steward")
