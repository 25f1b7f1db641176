"""Records a workload, makes every crash state of it, and restarts the node from each.

For each state: start (the production recovery), check the contract, use everything once more, lose
the power with all that is unsynced, start again. For a share of the states, in the same way: a
crash after every operation that the recovery made itself, and a start from each state that this
may leave.

A state is tried once per set of promises. Two states count as one when they agree in all names and
in the content of every file that a start reads: a start is a function of these. (What a start reads
is recorded, not assumed; it leaves out temporary files, which it removes unread.)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

from quorumcache.node.errors import NodeError
from tests.crash.contract import ContractBroken, NodeHost, TaskLoop
from tests.crash.operations import Operation
from tests.crash.recorder import Image, MemoryFiles, RecordedDisk, mounted
from tests.crash.states import NESTED, Limits, Tracker
from tests.crash.workloads import Life, Workload


@dataclass
class Totals:
    """What was done."""

    operations: int = 0
    points: int = 0
    """Places between operations at which the power failed."""
    states: int = 0
    """Crash states made."""
    distinct: int = 0
    """Of these, tried: no two alike."""
    nested_states: int = 0
    """Crash states made of recoveries."""
    nested_distinct: int = 0
    starts: int = 0
    """Recoveries that ran."""
    seconds: float = 0.0

    def add(self, other: Totals) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def __str__(self) -> str:
        return (
            f"{self.operations} operations, {self.states} crash states ({self.distinct} distinct),"
            f" {self.nested_states} of recoveries ({self.nested_distinct} distinct),"
            f" {self.starts} starts, {self.seconds:.0f} s"
        )


@dataclass
class Recording:
    """One life: `promises[n]` is what the host had been promised just before operation n + 1."""

    workload: Workload
    operations: list[Operation] = field(default_factory=list)
    promises: list[NodeHost] = field(default_factory=list)


class _NoDisk:
    """Stands in for the disk of a host that only remembers."""

    loop = None


def record(workload: Workload, skipped: frozenset[str] = frozenset()) -> Recording:
    """Run the workload and write down what it did. `skipped`: see `MemoryFiles`."""
    files = MemoryFiles()
    files.skipped = set(skipped)
    recording = Recording(workload, files.log)
    with mounted(files):
        life = Life(workload, files)

        def before_change() -> None:
            recording.promises.append(life.host.copy(_NoDisk()))

        files.before_change = before_change
        try:
            life.run()
        except (NodeError, AssertionError) as error:
            why = (
                f"workload {workload.name}: a start without any power loss failed: {error!r:.1000}"
            )
            raise ContractBroken(why) from error
        before_change()
    return recording


class Seen:
    """Which states were tried; see the module."""

    def __init__(self) -> None:
        self._read_sets: dict[bytes, list[tuple[str, ...]]] = {}
        self._digests: set[bytes] = set()

    def is_new(self, context: bytes, image: Image) -> bool:
        names = _digest(context, *sorted(image))
        for read in self._read_sets.get(names, ()):
            if self._digest(names, read, image) in self._digests:
                return False
        return True

    def add(self, context: bytes, image: Image, read_paths: set[str]) -> None:
        names = _digest(context, *sorted(image))
        read = tuple(sorted(path for path in read_paths if path in image))
        read_sets = self._read_sets.setdefault(names, [])
        if read not in read_sets:
            read_sets.append(read)
        self._digests.add(self._digest(names, read, image))

    @staticmethod
    def _digest(names: bytes, read: tuple[str, ...], image: Image) -> bytes:
        return _digest(names, *(part for path in read for part in (path, image[path] or b"")))


def _digest(*parts: bytes | str) -> bytes:
    digest = blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.digest()


class Explorer:
    """Explores one workload."""

    def __init__(
        self,
        workload: Workload,
        limits: Limits,
        *,
        nested_every: int = 1,
        every: int = 1,
        skipped: frozenset[str] = frozenset(),
        progress: Callable[[Totals], None] | None = None,
        stop_at: float | None = None,
    ) -> None:
        """`nested_every`: recoveries of one distinct state in so many are crashed as well, 0 for
        none. `every`: explore one point in so many. `skipped`: rules to break. `stop_at`: the
        `time.monotonic()` after which no further point is begun."""
        self.workload = workload
        self.totals = Totals()
        self._limits = limits
        self._nested_every = nested_every
        self._every = every
        self._skipped = skipped
        self._progress = progress
        self._stop_at = stop_at
        self._seen = Seen()
        self._seen_nested = Seen()
        self._operations: list[Operation] = []

    def run(self, only_point: int | None = None) -> Totals:
        """Explore every point (or one). Raises `ContractBroken`, which tells how to get there."""
        started = time.monotonic()
        recording = record(self.workload, self._skipped)
        self._operations = recording.operations
        self.totals.operations = len(recording.operations)
        tracker = Tracker({}, {})
        for point, host in enumerate(recording.promises):
            if point:
                tracker.take(recording.operations[point - 1])
            if only_point is not None and point != only_point:
                continue
            if only_point is None and point % self._every:
                continue
            if self._stop_at is not None and time.monotonic() > self._stop_at:
                break
            self.totals.points += 1
            context = _digest(host.promises())
            for image in tracker.states(self._limits):
                self.totals.states += 1
                if self._seen.is_new(context, image):
                    self._try(point, image, host, context)
            self.totals.seconds = time.monotonic() - started
            if self._progress is not None:
                self._progress(self.totals)
        self.totals.seconds = time.monotonic() - started
        return self.totals

    def _try(self, point: int, image: Image, host: NodeHost, context: bytes) -> None:
        self.totals.distinct += 1
        try:
            files, again = self._start(image, host)
        except (NodeError, AssertionError, OSError) as error:
            raise self._broken(point, image, error) from error
        self._seen.add(context, image, files.read_paths)
        recovery_operations = list(files.log)
        inodes = dict(MemoryFiles(image).names)
        is_nested = bool(self._nested_every) and self.totals.distinct % self._nested_every == 0
        try:
            if is_nested:
                self._crash_recovery(image, inodes, recovery_operations, host, again)
            with mounted(files):
                again.go_on()
            tracker = Tracker(image, inodes)
            for operation in files.log:
                tracker.take(operation)
            self._start(tracker.worst(), again)
        except (NodeError, AssertionError, OSError) as error:
            raise self._broken(point, image, error) from error

    def _start(self, image: Image, host: NodeHost) -> tuple[MemoryFiles, NodeHost]:
        """Start on `image` with what `host` was promised; the started host and its files."""
        self.totals.starts += 1
        files = MemoryFiles(image)
        files.skipped = set(self._skipped)
        loop = TaskLoop()
        with mounted(files):
            zero_ahead_bytes = self.workload.zero_ahead_bytes
            again = host.copy(RecordedDisk(files, loop, zero_ahead_bytes=zero_ahead_bytes))
            again.start()
        return files, again

    def _crash_recovery(
        self,
        image: Image,
        inodes: dict[str, int],
        operations: list[Operation],
        host: NodeHost,
        again: NodeHost,
    ) -> None:
        """Crash a recovery after each of its operations. Once it is through, the next start has to
        find what it believed: `again` remembers that."""
        tracker = Tracker(image, inodes)
        believed = again.copy(_NoDisk())
        starting = host.starting()
        for number, operation in enumerate(operations, 1):
            tracker.take(operation)
            expected = believed if number == len(operations) else starting
            context = _digest(expected.promises())
            for state in tracker.states(NESTED):
                self.totals.nested_states += 1
                if self._seen_nested.is_new(context, state):
                    self.totals.nested_distinct += 1
                    try:
                        files, _ = self._start(state, expected)
                    except (NodeError, AssertionError, OSError) as error:
                        why = f"after operation {number} of the recovery ({operation}): {error}"
                        raise ContractBroken(why) from error
                    self._seen_nested.add(context, state, files.read_paths)

    def _broken(self, point: int, image: Image, error: Exception) -> ContractBroken:
        around = self._operations[max(0, point - 6) : point]
        lines = [
            f"workload {self.workload.name}: a crash after operation {point} breaks the contract",
            f"  {type(error).__name__}: {error}"[:1500],
            "  the last operations:",
            *(f"    {operation}" for operation in around),
            "  the state:",
            *(f"    {path} {_shown(content)}" for path, content in sorted(image.items())),
            "  again: .venv/bin/python -m tests.crash"
            f" --workload {self.workload.name} --point {point}",
        ]
        return ContractBroken("\n".join(lines))


def _shown(content: bytes | None) -> str:
    if content is None:
        return "directory"
    return f"{len(content.rstrip(bytes(1)))} bytes, {len(content)} with zeros"
