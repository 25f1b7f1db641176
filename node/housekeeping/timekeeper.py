"""Keeps a node's `ClusterTime`: from the disk at the start, then with the other nodes, by items."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from quorumcache.node.cluster_time import TELL_MS, ClusterTime, is_told_well
from quorumcache.node.consensus.values import EntryKind, Snapshot
from quorumcache.node.errors import CommandError, PeerFrameError, SnapshotInvalid, WrongDataDir
from quorumcache.node.peers.items import TIME
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID, decode_batch
from quorumcache.node.store.snapshot import read_times
from quorumcache.node.telemetry.logs import event, get_logger

if TYPE_CHECKING:
    from quorumcache.node.alarms import Alarms
    from quorumcache.node.wal.recovery import RecoveredGroup

log = get_logger("time")

CLOCK_ALARM: Final = "clock_distrusted"


class TimePeers(Protocol):
    """The peer network, as far as time needs it."""

    def send(self, node_id: int, item: tuple[Any, ...]) -> bool: ...
    def flush(self) -> None: ...


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


class Timekeeper:
    """Tells the other nodes what this one's clocks show, and looks at the wall clocks."""

    def __init__(
        self,
        time: ClusterTime,
        alarms: Alarms,
        peers: TimePeers,
        others: Callable[[], list[int]],
    ) -> None:
        self._time = time
        self._alarms = alarms
        self._peers = peers
        self._others = others
        self._told_ms = -TELL_MS
        self._was_settled = False

    def peer_up(self, node_id: int) -> None:
        """A connection to a node is ready: the first item on it tells our times."""
        self._peers.send(node_id, (TIME, *self._time.tell()))

    def heard(self, node_id: int, item: tuple[Any, ...]) -> None:
        """A `TIME` item of a node. Raises PeerFrameError if it is none."""
        if not is_told_well(item):
            raise PeerFrameError(f"an item of kind {item[0]} of an unknown form")
        self._time.hear(node_id, *item[1:])
        if self._time.is_settled and not self._was_settled:
            self.sweep()  # The others hear of it before any vote that this node gives from now on.

    def sweep(self) -> None:
        """Called some twenty times a second; every `TELL_MS` there is something to do."""
        time = self._time
        now_ms = time.now_ms()
        if now_ms - self._told_ms < TELL_MS and time.is_settled == self._was_settled:
            return
        self._told_ms = now_ms
        if time.is_settled and not self._was_settled:
            self._was_settled = True
            event(log, "info", "time_settled", cluster_ms=now_ms, bridged_ms=time.bridged_ms)
        self.tell_all()
        complaint = time.look()
        if complaint:
            self._alarms.raise_alarm(CLOCK_ALARM, complaint)
        else:
            self._alarms.clear(CLOCK_ALARM)

    def tell_all(self) -> None:
        """Tell every node that is connected our times."""
        item = (TIME, *self._time.tell())
        for node_id in self._others():
            self._peers.send(node_id, item)
        self._peers.flush()
