"""Everything durable of one node: what its disk remembers, found out at start. Blocks.

A directory that is new has an identity and nothing else; `become` makes a member's storage of it,
with the log, the snapshots, the births and the last map. A node that keeps nothing has the same in
memory.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Final

from quorumcache.node.cluster_time import ClusterTime
from quorumcache.node.consensus.values import Snapshot
from quorumcache.node.errors import AcknowledgedDataLost, NodeLeft, StorageError
from quorumcache.node.founding.data_dir import (
    SNAPSHOTS_DIR,
    WAL_DIR,
    Membership,
    accept,
    accept_joined,
    as_member,
    births_of,
    check_births,
    check_settings,
    condemn,
    mark_left,
    membership,
    open_data_dir,
)
from quorumcache.node.founding.found_times import find_times
from quorumcache.node.peers.joining_frames import Joined
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.storage.disk_space import SpacePlan, plan_space
from quorumcache.node.storage.founding_record import FoundingRecord, random_id
from quorumcache.node.storage.identity import IDENTITY_FILE, NodeIdentity, lock_data_dir
from quorumcache.node.storage.known_nodes import KnownNodesFile
from quorumcache.node.storage.local_state import LocalState
from quorumcache.node.storage.secret import Secret, settle_secret
from quorumcache.node.storage.snapshots import SnapshotStore
from quorumcache.node.storage.start_record import PeerStarts, count_start
from quorumcache.node.storage.starts import Starts
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.node.wal.memory import MemoryWal
from quorumcache.node.wal.newest import NewestNote, read_newest
from quorumcache.node.wal.recovery import RecoveredGroup
from quorumcache.node.wal.wal import Wal
from quorumcache.ring import ClusterMap

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock
    from quorumcache.node.storage.disk import Disk

log: Final = get_logger("node")


FIXED: Final = ("cluster_name", "durability", "shards")
"""Settings of the founding record that nothing changes. A node that is given another value for one
of them does not start."""


class DurableState:
    """See the module. `member` None: the directory is new, and only `identity` means anything."""

    def __init__(
        self,
        config: NodeConfig,
        disk: Disk | None,
        *,
        clock: Clock,
        random: Random,
        loop: asyncio.AbstractEventLoop,
        time: ClusterTime,
        incarnation: int,
        given_secret: Secret | None = None,
    ) -> None:
        """`given_secret`: what the operator gave this node as the cluster's secret."""
        self.disk = disk
        self.secret: Secret | None = given_secret
        """Of a member: the cluster's, None if it has none. Before: the given one."""
        self.plan: SpacePlan | None = None
        """How the log shares the disk; None while there is none."""
        self._time = time
        self._incarnation = incarnation
        self.starts = Starts()
        """Of a member: this start is the last one."""
        self.directory = config.data_dir or ""
        self.wal: Wal | MemoryWal = MemoryWal(loop)
        self.snapshots: SnapshotStore | None = None
        self.local_state = LocalState(disk, self.directory, loop)
        self.recovered: dict[int, RecoveredGroup] = {}
        """What the log remembers, by group; taken out when the group starts."""
        self.snapshots_found: dict[int, Snapshot] = {}
        """Likewise of the snapshots."""
        self.map_found: ClusterMap | None = None
        self.member: Membership | None = None
        self.peer_starts: PeerStarts | None = None
        """Of a member that keeps something: the starts that it has seen of the others."""
        self.known_nodes: KnownNodesFile | None = None
        """Of a member that keeps something: the other nodes, beside the map."""
        self.own_config = config
        """What this node was told."""
        self.config = config
        """The same; of a member, with what its cluster says in place of it."""
        self._clock = clock
        self._random = random
        self._loop = loop
        if disk is None:
            self.identity = NodeIdentity(random_id(random))
            return
        lock_data_dir(disk, self.directory)
        self.identity = open_data_dir(disk, self.directory, random)
        if self.identity.is_member:
            self.become(membership(self.identity, self.directory))

    def accept(self, record: FoundingRecord, secret: Secret | None = None) -> None:
        """Make this new node a member of the record's cluster. `secret`: the cluster's."""
        if self.disk is None:
            member = Membership(as_member(self.identity, record), record)
        else:
            member = accept(self.disk, self.directory, self.identity, record, self._random, secret)
        event(
            log,
            "info",
            "founding_accepted",
            cluster=record.cluster_id,
            node_id=member.identity.node_id,
            founders=",".join(founder.name for founder in record.founders),
        )
        self.become(member)

    def accept_joined(self, joined: Joined) -> None:
        """Make this new node a member of the cluster that has taken it in."""
        record, node_id = joined.record, joined.node_id
        assert self.disk is not None, "a node that joins keeps something"
        assert self.secret is not None, "and proved the secret"
        member = accept_joined(
            *(self.disk, self.directory, self.identity, record, node_id, joined.map),
            *(self._random, self.secret),
        )
        event(log, "info", "joined", cluster=record.cluster_id, node_id=node_id)
        self.become(member)

    def become(self, member: Membership) -> None:
        """Read what a member's disk remembers. Raises what is wrong with it, or with the settings
        that are fixed since the founding.
        """
        config = self.config
        given = {
            name: value
            for name, value in config.fixed_settings.items()
            if name in FIXED and config.is_given(name)
        }
        check_settings(member, config.name, given, self.directory)
        self.config = config.of_cluster(dict(member.record.settings))
        self.identity = member.identity
        self.local_state.cluster_id = member.identity.cluster_id
        self.local_state.node_id = member.identity.node_id
        if self.disk is None:
            self.local_state.births = births_of(member.record, member.identity.node_id)
        else:
            self.secret = settle_secret(self.disk, self.directory, self.secret)
            self._open(self.disk, member)
        self.member = member

    def _open(self, disk: Disk, member: Membership) -> None:
        config = self.config
        plan = self.plan = plan_space(
            disk.space(self.directory).total_bytes,
            segment_bytes_max=config.segment_bytes_max,
            wal_bytes_max=config.wal_bytes_max,
            memory_bytes=config.memory_bytes,
        )
        self.snapshots = SnapshotStore(
            disk, f"{self.directory}/{SNAPSHOTS_DIR}", member.identity.cluster_id
        )
        self.snapshots_found = self.snapshots.load_all()
        self.wal, self.recovered = Wal.open(
            disk,
            f"{self.directory}/{WAL_DIR}",
            cluster_id=member.identity.cluster_id,
            node_id=member.identity.node_id,
            snapshots={g: s.meta for g, s in self.snapshots_found.items()},
            newest=read_newest(disk, self.directory),
            segment_bytes_max=plan.segment_bytes_max,
            wal_bytes_max=plan.wal_bytes_max,
            random=self._random,
            clock=self._clock,
            loop=self._loop,
        )
        note = NewestNote(disk, self.directory, lambda error: self.wal.on_failed(error))
        self.wal.on_segment = note.begun
        find_times(self._time, self.directory, self.snapshots_found, self.recovered)
        for group_id in self.wal.orphan_snapshots:
            # The log knows nothing of this group: it left, or was never durable here.
            del self.snapshots_found[group_id]
            self.snapshots.delete(group_id, _deleted)
        self.map_found = self.local_state.load()
        for group_id in self.local_state.leaving:
            # Not to be started: the removal goes on (`replica/removal.py`).
            self.recovered.pop(group_id, None)
            self.snapshots_found.pop(group_id, None)
        check_births(self.recovered, self.local_state.births, self.directory)
        self.peer_starts = PeerStarts(
            *(disk, self.directory, member.identity.disk_id),
            lambda error: self.wal.on_failed(error),
        )
        self.known_nodes = KnownNodesFile(
            *(disk, self.directory, member.identity.disk_id),
            lambda error: self.wal.on_failed(error),
        )
        self.starts = count_start(disk, self.directory, member.identity.disk_id, self._incarnation)

    def files_when_new(self) -> list[str]:
        """Paths of what a directory that is new has to hold."""
        return [f"{self.directory}/{IDENTITY_FILE}"]

    def failed(self, error: BaseException) -> None:
        """The node ends because of this. A disk that has lost what was acknowledged is
        condemned, so that the node does not start on it again; and so is that of a node that has
        left its cluster.
        """
        if self.disk is not None and isinstance(error, AcknowledgedDataLost | NodeLeft):
            mark = condemn if isinstance(error, AcknowledgedDataLost) else mark_left
            try:
                mark(self.disk, self.directory, str(error))
            except (OSError, StorageError) as second:  # The next start finds out again.
                event(log, "error", "directory_not_marked", why=second)


def _deleted(error: BaseException | None) -> None:
    if error is not None:
        event(log, "warning", "snapshot_not_deleted", why=error)
