"""The consensus protocols, by name: how to make a replica, and how its messages travel.

Another protocol is added here, with a package beside `raft/` that holds its replica, a
`ReplicatedLog`, and its `Wire`. The rest of the node sees neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from quorumcache.node.consensus.api import ConsensusConfig, ReplicatedLog
from quorumcache.node.consensus.raft import Raft
from quorumcache.node.consensus.raft.wire import WIRE as RAFT_WIRE
from quorumcache.node.consensus.values import Configuration, Entry, HardState, Index, SnapshotMeta
from quorumcache.node.consensus.wire import Wire

_NO_HARD_STATE: Final = HardState(0, 0)


class MakeReplica(Protocol):
    """Makes one replica of one group, from what is durable of it."""

    def __call__(
        self,
        config: ConsensusConfig,
        random: Random,
        *,
        configuration: Configuration,
        hard_state: HardState = _NO_HARD_STATE,
        entries: Sequence[Entry] = (),
        snapshot: SnapshotMeta | None = None,
        applied_index: Index = 0,
        life: int = 0,
        is_stored: bool = True,
    ) -> ReplicatedLog:
        """`configuration` is the first one of the group; a snapshot's, and any in `entries`, take
        precedence. `entries` are contiguous and reach back to the snapshot (those it covers are
        skipped). Entries <= `applied_index`, which are committed, are not handed out again.
        `life` is another number after each start of the process, and marks its clock's readings.
        `is_stored`: the log on the disk has the hard state, too; else it is to be written there
        before anything else.
        """


@dataclass(frozen=True, slots=True)
class ConsensusProtocol:
    make_replica: MakeReplica
    wire: Wire


PROTOCOLS: Final[dict[str, ConsensusProtocol]] = {"raft": ConsensusProtocol(Raft, RAFT_WIRE)}

PROTOCOL: Final = "raft"
"""What all groups of this version run. Groups of several protocols on one node would need the name
in each item; all nodes of a cluster have to agree on it."""
