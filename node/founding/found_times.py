"""The latest times that a member's disk holds, for its `ClusterTime`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from quorumcache.node.consensus.values import EntryKind, Snapshot
from quorumcache.node.errors import CommandError, SnapshotInvalid, WrongDataDir
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID, decode_batch
from quorumcache.node.store.snapshot import read_times

if TYPE_CHECKING:
    from quorumcache.node.cluster_time import ClusterTime
    from quorumcache.node.wal.recovery import RecoveredGroup


def find_times(
    time: ClusterTime,
    data_dir: str,
    snapshots: Mapping[int, Snapshot],
    recovered: Mapping[int, RecoveredGroup],
) -> None:
    """Tell `time` the latest times that the disk holds, committed or not: each was a leader's.

    Raises WrongDataDir if snapshots or logs are of a version that this one does not read.
    """
    try:
        for group_id, snapshot in snapshots.items():
            if group_id != DIRECTORY_GROUP_ID:
                time.found(*read_times(snapshot.data))
        for group in recovered.values():
            entries = [entry for entry in group.entries if entry.kind == EntryKind.NORMAL]
            for entry in entries[:1] + entries[1:][-1:]:
                batch = decode_batch(entry.payload)
                time.found(batch.now_ms, batch.wall_ms)
    except (CommandError, SnapshotInvalid) as error:
        raise WrongDataDir(data_dir, f"cannot be read: {error}") from error
