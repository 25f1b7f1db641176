"""The disk of one simulated host: `tests.support.fake_disk` with a latency, and switches for the
nemesis.

It belongs to the host, not to the process: it survives crashes with what a crash leaves of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from quorumcache.node.errors import DiskFull
from tests.simulation.log_reader import last_frame_offset
from tests.simulation.loop import VirtualLoop
from tests.support.fake_disk import FakeDisk

SLOWEST_SECONDS = 1.0
"""Even a sick disk gets one step done in this time, so that it is well soon after its healing."""


TOTAL_BYTES = 1 << 40
"""What a disk says of its size. It is full when a fault says so."""


@dataclass(slots=True, kw_only=True)
class DiskConfig:
    """One elementary step takes `step_seconds` on average; once in a while it stalls."""

    step_seconds: float = 0.0003
    stall_seconds: float = 0.2
    stall_probability: float = 0.001


class Rotten(NamedTuple):
    """One bit of a file that was synced, and is now another."""

    path: str
    offset: int
    bit: int


class SimulatedDisk(FakeDisk):
    """`slowness` multiplies every latency. `rotten`: the bit that has turned, if any."""

    def __init__(self, loop: VirtualLoop, random: Random, config: DiskConfig) -> None:
        super().__init__(loop, random, delay=self._delay_seconds)
        self.config = config
        self.slowness = 1
        self.total_bytes = TOTAL_BYTES
        self.at_snapshot: Callable[[], None] | None = None
        """Called once, when the next snapshot is about to be written; the disk is then full."""
        self.rotten: Rotten | None = None
        self.steps_hung = 0
        """How many waited for a disk that hangs."""
        self.syncs = self.dir_syncs = 0
        """How many were begun, of files and of directories: what tells that something changed."""
        self._hangs_until_ns = 0
        self._filled = 0
        self._steps_left = 0
        self._on_step: Callable[[], None] | None = None
        self._own: tuple[Any, Any, Any, Any] | None = None
        """The node's own files, while others are in their place."""
        self.before_step = self._before_step

    def _delay_seconds(self, random: Random) -> float:
        config = self.config
        seconds = random.expovariate(1 / config.step_seconds)
        if random.random() < config.stall_probability:
            seconds += random.random() * config.stall_seconds
        seconds = min(seconds * self.slowness, SLOWEST_SECONDS)
        self.steps_hung += self._hangs_until_ns > self.loop.now_ns
        return seconds + max(0, self._hangs_until_ns - self.loop.now_ns) / 1e9

    # --- faults

    def hang(self, seconds: float) -> None:
        """No step that begins from now on is done before `seconds` are over."""
        self._hangs_until_ns = self.loop.now_ns + int(seconds * 1e9)

    def fill(self) -> None:
        """No room for another byte; what is written already stays."""
        self._filled += 1
        self.capacity_bytes = 0

    def crowd(self) -> None:
        """Others take all the room there is; what the node has set aside is still its own."""
        self._filled += 1
        if self.capacity_bytes is None:
            self.capacity_bytes = self.used_bytes()

    def make_space(self) -> None:
        """Undo one `fill` or `crowd`."""
        self._filled = max(0, self._filled - 1)
        if not self._filled:
            self.capacity_bytes = None

    def fail_next_sync(self) -> None:
        self.failing_syncs = 1

    def arm(self, steps: int, action: Callable[[], None]) -> None:
        """Call `action` instead of the `steps`-th step from now on; it has to end the process."""
        self._steps_left, self._on_step = steps, action

    def disarm(self) -> None:
        self._on_step = None

    def _before_step(self, step: str, path: str) -> BaseException | None:
        if step in ("sync", "sync_dir"):
            self.syncs += 1
            self.dir_syncs += step == "sync_dir"
        if self.at_snapshot is not None and step == "write" and ".snapshot" in path:
            at_snapshot, self.at_snapshot = self.at_snapshot, None
            at_snapshot()
            return DiskFull(f"{path}: No space left on device")
        if self._on_step is not None:
            self._steps_left -= 1
            if self._steps_left <= 0:
                action, self._on_step = self._on_step, None
                action()
        return None

    def rot(self, random: Random) -> Rotten | None:
        """Turn one bit of a log or snapshot file that was synced; None when there is none.

        Never one of the last write to the log: nothing vouches for it, so a start takes damage
        there for a torn write and loses a promise ("The last frame" in docs/storage.md).
        """
        assert self.rotten is None
        ends = {path: self._certain_bytes(path) for path in self.paths()}
        logs = [path for path in ends if path.endswith(".wal") and ends[path]]
        for log in logs[-2:]:  # The newest may have been created ahead, and hold nothing yet.
            ends[log] = last_frame_offset(bytes(self._synced_names[log].synced))
        places = [path for path, end in ends.items() if end]
        if not places:
            return None
        path = random.choice(places)
        self.rotten = Rotten(path, random.randrange(ends[path]), random.randrange(8))
        self.flip_bit(path, self.rotten.offset * 8 + self.rotten.bit)
        return self.rotten

    def _certain_bytes(self, path: str) -> int:
        """Length of what is surely synced of a log or snapshot file."""
        inode = self._synced_names.get(path)
        if inode is None or inode is not self._names.get(path) or inode.unsynced:
            return 0
        return len(inode.synced) if path.endswith((".wal", ".snapshot")) else 0

    def unrot(self) -> None:
        """The operator has the disk back as it was."""
        if self.rotten is not None:
            path, offset, bit = self.rotten
            self.rotten = None
            if path in self._names:
                self.flip_bit(path, offset * 8 + bit)

    def as_synced(self, path: str) -> bytes | None:
        """What was synced of a file of the node itself, whichever bit has turned since."""
        inode = self.own_synced_names.get(path)
        if inode is None:
            return None
        data = bytearray(inode.synced)
        if self.rotten is not None and self.rotten.path == path:
            data[self.rotten.offset] ^= 1 << self.rotten.bit
        return bytes(data)

    # --- other directories

    def files(self) -> dict[str, bytes]:
        """All files as a process sees them."""
        return {path: bytes(self._names[path].data) for path in self.paths()}

    def lose(self, path: str) -> None:
        """This file is gone, durably. No process may use the disk."""
        self._names.pop(path, None)
        self._synced_names.pop(path, None)

    def exchange(self, files: dict[str, bytes]) -> None:
        """Other files are there now, durably. No process may use the disk."""
        assert self._own is None
        self._own = (self._names, self._synced_names, self._unsynced_names, self._dirs)
        self._names, self._synced_names, self._unsynced_names = {}, {}, []
        self._dirs = {path.rpartition("/")[0] for path in files}
        for path, data in files.items():
            self.put(path, data)

    def exchange_under_way(self, files: dict[str, bytes]) -> None:
        """Likewise while a process works here: what it has open goes on to exist elsewhere."""
        self.exchange(files)
        self._locks.clear()

    def bring_back(self) -> None:
        """Undo `exchange`, if there was one."""
        if self._own is not None:
            self._names, self._synced_names, self._unsynced_names, self._dirs = self._own
            self._own = None

    @property
    def own_synced_names(self) -> dict[str, Any]:
        """The durable files of the node itself, whatever is in their place now."""
        return self._synced_names if self._own is None else self._own[1]

    @property
    def is_own(self) -> bool:
        """Its files are those that its node has written."""
        return self._own is None

    def repair(self) -> None:
        """Full speed, space, no failures: as good as new but for what it holds."""
        self.slowness = 1
        self.capacity_bytes = None
        self.failing_syncs = 0
        self.at_snapshot = None
        self._filled = self._hangs_until_ns = 0
        self.descriptors_left = 1000
        self.disarm()
        self.unrot()
