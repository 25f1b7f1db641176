"""Watches the disk: room, syncs that hang, a directory that is gone, descriptors.

A disk that takes long for a write is *slow*: the node gives its leaderships away in peace
(`fitness.py`), and goes on.

Two things keep a node from writing its log without being its end. The disk is *full* (or there is
no descriptor left), or it *hangs*: a sync does not return. While either lasts the host leads
nothing and takes nothing in (`ReplicaHost.disk_trouble`), so others lead, and what the node holds
stays bounded.

Some room is set aside in a file from the start. When the log finds no room, that file goes, the log
and the snapshots that free it go on in its place, and the node takes part again when the room can
be set aside anew. So a disk that was filled by the log empties itself; one that others have filled
does, too, as far as the log is long.

A disk that hangs while nothing is written is noticed by a *probe*: when the log has been idle
for a while, the disk writes and syncs a few bytes without meaning. It counts as a write of the log.

Time comes from the clock, on ticks of the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from quorumcache.node.errors import DiskFull, DiskRefused, OutOfResources
from quorumcache.node.housekeeping.data_dir_watch import DataDirWatch
from quorumcache.node.storage.disk import DiskReport, DiskSpace
from quorumcache.node.telemetry.logs import event, get_logger

if TYPE_CHECKING:
    from quorumcache.node.alarms import Alarms
    from quorumcache.node.clock import Clock
    from quorumcache.node.replica.host import ReplicaHost
    from quorumcache.node.settings.config import NodeConfig
    from quorumcache.node.storage.disk import Disk
    from quorumcache.node.storage.disk_space import SpacePlan
    from quorumcache.node.telemetry.counters import Counters
    from quorumcache.node.wal.memory import MemoryWal
    from quorumcache.node.wal.wal import Wal

log = get_logger("disk")

RESERVE_FILE: Final = "reserve"

SLOW_ELECTIONS: Final = 1
"""When a write has taken so many election timeouts, other nodes are asked to lead. They take over
without a pause, so this need not be certain."""

SLOW_MS_MIN: Final = 250
"""However short an election is: single syncs of 200 ms are usual on disks that others use, too."""

HANG_ELECTIONS: Final = 5
"""A sync that takes so many election timeouts hangs: the node takes nothing in any more. Not
sooner: a follower that answers heartbeats keeps up the lease of a leader that has lost another."""

PROBE_IDLE_NS: Final = 30_000_000_000
"""A log that has rested so long has the disk probed, and so long after each probe again.

Half of the minute after which a `/health` that is not 200 is worth an alert. One block in 30 s is
what Linux writes by itself (dirty pages are as old as that when they are written), and lets an SSD
sleep in between. A spinning disk is kept from stopping, as it has to be: it starts more slowly
than `HANG_ELECTIONS` allows."""

FILES_LOW: Final = 64
"""With fewer inodes left than this the disk is as good as full: a node may need some at once, for a
log file and for snapshots, and whatever used up the others goes on."""

DESCRIPTORS_LOW: Final = 8
"""With fewer left than this the next burst of connections takes the last one."""


class DiskKeeper:
    """See the module docstring. `tick` is called every tick of the host."""

    def __init__(
        self,
        *,
        config: NodeConfig,
        clock: Clock,
        disk: Disk,
        plan: SpacePlan,
        wal: Wal | MemoryWal,
        host: ReplicaHost,
        alarms: Alarms,
        counters: Counters,
        on_slow: Callable[[], None],
        on_lost: Callable[[BaseException], None],
    ) -> None:
        """`on_slow` is called in every tick in which the disk has not answered for
        `SLOW_ELECTIONS`.
        """
        self._clock = clock
        self._disk = disk
        self._data_dir = config.data_dir or ""
        self._memory_bytes = config.memory_bytes
        self._plan = plan
        self._wal = wal
        self._host = host
        self._alarms = alarms
        self._counters = counters
        self._on_lost = on_lost
        self._on_slow = on_slow
        slow_ms = max(SLOW_MS_MIN, SLOW_ELECTIONS * config.election_ms)
        self._slow_ns = slow_ms * 1_000_000
        self._hang_ns = max(slow_ms, HANG_ELECTIONS * config.election_ms) * 1_000_000
        self._reserve_path = f"{self._data_dir}/{RESERVE_FILE}"
        self._has_reserve = False
        self._is_setting_aside = False
        self._was_given = False
        """The reserve was given up for lack of room, and is not back yet."""
        self._refused = False
        """The disk refuses a write of the log."""
        self._hangs = False
        self._is_full = False
        self._probe_since_ns = 0
        """Since when the disk owes an answer to a probe; 0 while it owes none."""
        self._rests_since_ns = clock.monotonic_ns()
        """Since when neither the log nor a probe has asked anything of the disk."""
        self._syncs_seen = 0
        self._watch = DataDirWatch(
            clock=clock,
            disk=disk,
            host=host,
            files=wal.files,
            on_lost=on_lost,
            on_report=self._looked,
        )
        self.space = DiskSpace(0, 0)
        """As of the last look; 0 bytes in total while it is not known."""

    def start(self) -> None:
        """Set the reserve aside."""
        self._set_aside()

    # -- what the log tells --------------------------------------------------------------

    def refused(self, refused: bool) -> None:
        """The disk refuses a write of the log, or has taken it after all."""
        self._refused = refused
        if refused and isinstance(self._wal.held_why, DiskFull):
            self._counters.disk_full += 1
            if self._has_reserve:
                self._has_reserve = False
                self._was_given = True
                self._disk.give_room(self._reserve_path, self._room_given)
        self._tell()

    def _room_given(self, error: BaseException | None) -> None:
        if error is not None:
            event(log, "warning", "reserve_not_given", why=error)
        self._wal.retry()

    # -- what time brings ----------------------------------------------------------------

    def tick(self) -> None:
        """See how long the disk has kept us waiting, and once in a while look at the directory."""
        now_ns = self._clock.monotonic_ns()
        self._probe_if_due(now_ns)
        since_ns = self.waiting_since_ns
        waited_ns = now_ns - since_ns if since_ns else 0
        if waited_ns >= self._slow_ns:
            self._on_slow()
        hangs = waited_ns >= self._hang_ns
        if hangs != self._hangs:
            self._hangs = hangs
            self._tell()
        self._watch.tick()

    @property
    def waiting_since_ns(self) -> int:
        """Since when the disk owes an answer to the log or to a probe; 0 while it owes none."""
        log_ns, probe_ns = self._wal.waiting_since_ns, self._probe_since_ns
        return min(log_ns, probe_ns) if log_ns and probe_ns else log_ns or probe_ns

    def _probe_if_due(self, now_ns: int) -> None:
        wal = self._wal
        if self._refused or wal.waiting_since_ns or wal.sync_count != self._syncs_seen:
            self._syncs_seen = wal.sync_count  # The log asks the disk itself.
            self._rests_since_ns = now_ns
        elif now_ns - self._rests_since_ns >= PROBE_IDLE_NS and not self._probe_since_ns:
            self._rests_since_ns = self._probe_since_ns = now_ns
            self._disk.probe(self._probed)

    def _probed(self, error: BaseException | None) -> None:
        self._probe_since_ns = 0
        if self._host.stopped or error is None:
            return
        if isinstance(error, DiskRefused):
            # The disk answers. What it lacks is told by the looks, and by the log when it writes:
            # that has room ahead, and need not fail where this did.
            event(log, "info", "disk_probe_refused", why=error)
        else:
            self._on_lost(error)  # As for the log: what such a disk holds is not known.

    def _looked(self, report: DiskReport) -> None:
        """The directory is there."""
        self._told_space(report.space)
        self._told_descriptors(report.descriptors_left)
        if not self._has_reserve and not self._refused:
            self._set_aside()
        self._wal.settle()

    def _told_space(self, space: DiskSpace) -> None:
        plan = self._plan
        self.space = space
        if not space.total_bytes:
            return
        is_low = space.free_bytes < plan.low_bytes
        if is_low:
            self._alarms.raise_alarm(
                "disk_low",
                f"the disk of {self._data_dir} has little room left (below {_mib(plan.low_bytes)}"
                " MiB): the log is shortened as far as possible. Free some space, or take a larger"
                " disk",
            )
        elif space.files_left < FILES_LOW:
            self._alarms.raise_alarm(
                "disk_low",
                f"the disk of {self._data_dir} can hold fewer than {FILES_LOW} more files: its"
                " inodes are nearly used up. Remove files, or take a disk with more inodes",
            )
        elif space.free_bytes > plan.low_bytes * 5 // 4 and space.files_left >= 2 * FILES_LOW:
            self._alarms.clear("disk_low")
        self._tell_full()
        self._wal.wants_room = is_low or self._was_given
        if self._wal.wants_room:
            self._wal.make_room()
        if space.total_bytes < plan.least_bytes:
            self._alarms.raise_alarm(
                "disk_small",
                f"the disk of {self._data_dir} has {_mib(space.total_bytes)} MiB, less than the"
                f" {_mib(plan.least_bytes)} MiB that the settings need (twice memory, and"
                " log-size): lower memory or log-size, or take a larger disk",
            )

    def _told_descriptors(self, left: int) -> None:
        if left < DESCRIPTORS_LOW:
            if left == 0:
                self._counters.descriptors_exhausted += 1
            self._alarms.raise_alarm(
                "descriptors_low",
                f"the process has fewer than {DESCRIPTORS_LOW} file descriptors left: new"
                " connections may be closed without an answer. Raise the limit of open files, or"
                " lower max-connections",
            )
        else:
            self._alarms.clear("descriptors_low")

    # -- the reserve ---------------------------------------------------------------------

    def _set_aside(self) -> None:
        if not self._plan.reserve_bytes or self._is_setting_aside:
            self._was_given = self._was_given and self._plan.reserve_bytes > 0
            return
        self._is_setting_aside = True
        self._disk.set_aside(self._reserve_path, self._plan.reserve_bytes, self._set_aside_done)

    def _set_aside_done(self, error: BaseException | None) -> None:
        self._is_setting_aside = False
        if error is None:
            self._has_reserve = True
            self._was_given = False
            self._tell()
        elif not isinstance(error, DiskFull | OutOfResources):
            event(log, "warning", "reserve_not_kept", why=error)
            self._was_given = False
            self._plan = self._plan._replace(reserve_bytes=0)  # A file system without this call.
            self._tell()

    def _tell_full(self) -> None:
        """The alarm of a full disk, in words that fit what the disk lacks."""
        if not self._is_full:
            self._alarms.clear("disk_full")
            return
        lacks, cure = "is full", "Free some space"
        if self.space.files_left < FILES_LOW:  # The look is a moment old: not always 0 yet.
            free = _mib(self.space.free_bytes)
            lacks = f"is out of inodes, so it takes no new file, though {free} MiB are free"
            cure = "Remove files"
        self._alarms.raise_alarm(
            "disk_full",
            f"the log cannot be written: the disk of {self._data_dir} {lacks}. The node gave up its"
            f" leaderships. {cure}: it takes part again by itself",
        )

    # -- what follows --------------------------------------------------------------------

    def _tell(self) -> None:
        """Bring host and alarms in line with what is known now."""
        why = ""
        self._is_full = False
        held_why = self._wal.held_why
        out_of_resources = self._refused and isinstance(held_why, OutOfResources)
        if self._was_given or (self._refused and not out_of_resources):
            why = "the disk of the node is full"
            self._wal.wants_room = True
            self._wal.make_room()
            self._is_full = True
        self._tell_full()
        if out_of_resources:
            why = why or "the node has no file descriptor, thread or kernel memory left for its log"
            self._alarms.raise_alarm("log_held", f"the log cannot be written: {held_why}")
        else:
            self._alarms.clear("log_held")
        if self._hangs:
            why = "the disk of the node does not answer"
            self._alarms.raise_alarm(
                "disk_slow",
                f"the log cannot be written: a write to the disk of {self._data_dir} has taken"
                f" more than {self._hang_ns // 1_000_000} ms. The node gave up its leaderships,"
                " and takes part again by itself when the disk answers. Check the disk",
            )
        else:
            self._alarms.clear("disk_slow")
        self._host.set_disk_trouble(why, hangs=self._hangs)


def _mib(size: int) -> int:
    return size >> 20
