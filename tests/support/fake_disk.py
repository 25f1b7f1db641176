"""A disk in memory that forgets, tears, fills up and fails, behind the interface `node.disk.Disk`.

It keeps two states of every file and of the names: what a process sees, and what a power loss
leaves. A write moves only the first; a sync moves the second. `crash()` ends the process (and
the power, unless told otherwise): nothing that was under way goes on, no callback of before runs,
locks are gone, and the same object is the disk that the next process finds. A process whose code
may still run after the crash, because its timers are not cancelled, uses `mount()` instead of the
disk itself: a `Disk` on which nothing happens any more once the process has ended.

- Unsynced writes survive a power loss as `survival` decides: by default each one is lost, whole,
  cut off at any byte, or reduced to some of its 512-byte sectors, independently of the others.
- Unsynced changes of names (create, rename, unlink) survive as a prefix, as a journal keeps them.
- After a failed sync the unsynced bytes can be read but are never made durable by a later sync:
  the kernel has dropped the pages.

Every operation is a chain of elementary steps ("write", "sync", "rename", "unlink", "sync_dir",
"truncate") with a delay of `delay(random)` seconds before each, by `loop.call_later`: any loop will
do. `before_step(step, path)`, when set, is called before each. It may call `crash()`, or return
an error, which is then the outcome of the step: an OSError for a sync, `DiskFull` or `DiskFailed`.

Reading order: `Survival`, `FakeDisk`, `_FakeFile`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from random import Random
from typing import Any, cast

from quorumcache.node.errors import (
    DataDirLocked,
    DataDirLost,
    DiskFailed,
    DiskFull,
    OutOfResources,
    StorageError,
)
from quorumcache.node.storage.disk import TEMP_SUFFIX, Disk, DiskFile, DiskReport, DiskSpace, Done

SECTOR_BYTES = 512


class PowerLoss(Exception):
    """Raised out of a start-up call during which `crash` was called."""


class Survival:
    """What a power loss leaves of unsynced work; this one leaves a random part."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def pieces(self, offset: int, data: bytes) -> list[tuple[int, bytes]]:
        """The pieces, as (offset, bytes), that survive of one unsynced write."""
        choice = self.random.randrange(4)
        if choice == 0:
            return []
        if choice == 1:
            return [(offset, data)]
        if choice == 2:
            return [(offset, data[: self.random.randrange(len(data) + 1)])]
        return [piece for piece in sectors(offset, data) if self.random.random() < 0.5]

    def cut(self) -> bool:
        """Whether an unsynced truncation survives."""
        return self.random.random() < 0.5

    def names(self, count: int) -> int:
        """How many of `count` unsynced name changes survive."""
        return self.random.randrange(count + 1)


class Nothing(Survival):
    """Everything unsynced is lost."""

    def __init__(self) -> None:
        super().__init__(Random(0))

    def pieces(self, offset: int, data: bytes) -> list[tuple[int, bytes]]:
        return []

    def cut(self) -> bool:
        return False

    def names(self, count: int) -> int:
        return 0


def sectors(offset: int, data: bytes) -> list[tuple[int, bytes]]:
    """`data` cut where the disk's sectors meet."""
    pieces = []
    while data:
        count = SECTOR_BYTES - offset % SECTOR_BYTES
        pieces.append((offset, data[:count]))
        offset, data = offset + count, data[count:]
    return pieces


class _Inode:
    """A file without a name. `unsynced` holds (offset, data) of writes and (size, None) of cuts."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.synced = bytearray()
        self.unsynced: list[tuple[int, bytes | None]] = []

    def copy(self) -> _Inode:
        other = _Inode()
        other.data, other.synced = bytearray(self.data), bytearray(self.synced)
        other.unsynced = list(self.unsynced)
        return other

    def write(self, offset: int, data: bytes) -> None:
        _put(self.data, offset, data)
        self.unsynced.append((offset, data))

    def cut(self, size: int) -> None:
        del self.data[size:]
        self.unsynced.append((size, None))

    def sync(self) -> None:
        for offset, data in self.unsynced:
            if data is None:
                del self.synced[offset:]
            else:
                _put(self.synced, offset, data)
        self.unsynced.clear()

    def lose_power(self, survival: Survival) -> None:
        for offset, data in self.unsynced:
            if data is not None:
                for piece in survival.pieces(offset, data):
                    _put(self.synced, *piece)
            elif survival.cut():
                del self.synced[offset:]
        self.unsynced.clear()
        self.data = bytearray(self.synced)


def _put(buffer: bytearray, offset: int, data: bytes) -> None:
    if data and len(buffer) < offset:
        buffer.extend(bytes(offset - len(buffer)))
    buffer[offset : offset + len(data)] = data


Steps = Generator[tuple[str, str], None, None]
# An operation: it yields (step, path) before each elementary step that it then makes.


class FakeDisk:
    """See the module. `loop` may be changed between crashes."""

    def __init__(
        self,
        loop: Any,
        random: Random | None = None,
        *,
        survival: Survival | None = None,
        delay: Callable[[Random], float] = lambda random: 0.0,
        zero_ahead_bytes: int = 0,
    ) -> None:
        self.loop = loop
        self.random = random or Random(0)
        self.survival = survival or Survival(self.random)
        self.delay = delay
        self.zero_ahead_bytes = zero_ahead_bytes
        self.capacity_bytes: int | None = None
        """Length of all files together at which the disk is full; None: never."""
        self.total_bytes = 0
        """Size of the file system, as it tells; 0: not known."""
        self.aside: dict[str, int] = {}
        """Room set aside, by path. It survives every crash."""
        self.files_left = 1 << 30
        self.descriptors_left = 1000
        """0: nothing more can be opened."""
        self.opens_refused = 0
        """How often that was so."""
        self.failing_syncs = 0
        """So many of the next syncs fail."""
        self.syncs_failed = 0
        """How many did."""
        self.before_step: Callable[[str, str], BaseException | None] | None = None
        self.steps = 0
        """Elementary steps made so far."""

        self.generation = 0
        self._names: dict[str, _Inode] = {}
        self._synced_names: dict[str, _Inode] = {}
        self._unsynced_names: list[dict[str, _Inode | None]] = []
        self._dirs: set[str] = set()
        self._locks: set[str] = set()
        self._locks_taken: set[str] = set()
        self._background: deque[tuple[Steps, Done]] = deque()
        self._segments: deque[tuple[Steps, Done]] = deque()

    def mount(self) -> Disk:
        """This disk, for as long as the process lives that begins now."""
        mounted: Any = _Mount(self)
        return cast(Disk, mounted)

    def copy(self, loop: Any, survival: Survival) -> FakeDisk:
        """A disk in the same state, with nothing under way: to try one crash in many ways."""
        other = FakeDisk(loop, survival=survival, zero_ahead_bytes=self.zero_ahead_bytes)
        twins: dict[int, _Inode] = {}

        def twin(inode: _Inode) -> _Inode:
            return twins.setdefault(id(inode), inode.copy())

        def twin_names(names: dict[str, _Inode]) -> dict[str, _Inode]:
            return {name: twin(inode) for name, inode in names.items()}

        other._names = twin_names(self._names)
        other._synced_names = twin_names(self._synced_names)
        other._unsynced_names = [
            {name: inode and twin(inode) for name, inode in change.items()}
            for change in self._unsynced_names
        ]
        other._dirs = set(self._dirs)
        return other

    # --- faults

    def crash(self, *, power: bool = True) -> None:
        """End the process that uses this disk; with `power`, lose what was not synced."""
        self.generation += 1
        self._locks.clear()
        self._locks_taken.clear()
        self._background.clear()
        self._segments.clear()
        if not power:
            return
        survivors = self.survival.names(len(self._unsynced_names))
        for change in self._unsynced_names[:survivors]:
            _rename(self._synced_names, change)
        self._unsynced_names.clear()
        self._names = dict(self._synced_names)
        for _, inode in sorted(self._names.items()):
            inode.lose_power(self.survival)

    def flip_bit(self, path: str, bit: int) -> None:
        """Turn over one bit of a file, as it is on the disk and as it is read."""
        inode = self._names[path]
        for buffer in (inode.data, inode.synced):
            if bit // 8 < len(buffer):
                buffer[bit // 8] ^= 1 << bit % 8

    def lose(self, path: str) -> None:
        """Somebody removes a file, or all that is in a directory, under the running process."""
        for name in [n for n in self._names if n == path or n.startswith(path + "/")]:
            self._change({name: None})
        self._locks = {lock for lock in self._locks if lock != path and path not in lock}

    def used_bytes(self) -> int:
        """What all files take, and what is set aside."""
        return sum(len(i.data) for i in self._names.values()) + sum(self.aside.values())

    def paths(self) -> list[str]:
        """All files, sorted."""
        return sorted(self._names)

    def inodes(self) -> list[_Inode]:
        """All files with a name, in its order."""
        return [inode for _, inode in sorted(self._names.items())]

    def put(self, path: str, data: bytes) -> None:
        """Make a file with this content, durably, past all faults."""
        inode = _Inode()
        inode.data, inode.synced = bytearray(data), bytearray(data)
        self._names[path] = self._synced_names[path] = inode

    # --- start-up calls

    def make_dirs(self, path: str) -> None:
        self._check_locks()
        self._dirs.add(path)

    def list_dir(self, path: str) -> list[str]:
        start = path + "/"
        return sorted(name[len(start) :] for name in self._names if name.startswith(start))

    def exists(self, path: str) -> bool:
        return path in self._names or path in self._dirs

    def read(self, path: str) -> bytes:
        return bytes(self._inode(path).data)

    def truncate(self, path: str, size: int) -> None:
        self._now(self._truncate(path, size))

    def rewrite(self, path: str, size: int) -> None:
        self._now(self._rewrite(path, size))

    def remove(self, path: str) -> None:
        self._now(self._unlink(path))

    def write(self, path: str, data: bytes) -> None:
        self._now(self._write_whole(_Inode(), path, (data,)))

    def sync_dir(self, path: str) -> None:
        self._now(self._sync_dir(path))

    def lock(self, path: str) -> None:
        if path in self._locks:
            raise DataDirLocked(os.path.dirname(path), 1)
        self._locks.add(path)
        self._locks_taken.add(path)

    def close(self) -> None:
        self._locks.clear()
        self._locks_taken.clear()

    # --- run-time calls

    def create(self, path: str, header: bytes, done: Done) -> DiskFile:
        inode = _Inode()
        file = _FakeFile(self, path, inode, len(header))
        start = header + bytes(self.zero_ahead_bytes)
        self._later(self._write_whole(inode, path, (start,)), done, self._segments)
        return file

    def write_atomic(self, path: str, chunks: Iterable[bytes], done: Done) -> None:
        self._later(self._write_whole(_Inode(), path, chunks), done)

    def unlink(self, path: str, done: Done) -> None:
        self._later(self._unlink(path), done)

    def space(self, path: str) -> DiskSpace:
        size = self.total_bytes if self.capacity_bytes is None else self.capacity_bytes
        return DiskSpace(max(0, size - self.used_bytes()), self.total_bytes, self.files_left)

    def probe(self, done: Done) -> None:
        self.run(self._by_name(self._probe()), done)

    def set_aside(self, path: str, size: int, done: Done) -> None:
        self._later(self._set_aside(path, size), done, self._segments)

    def give_room(self, path: str, done: Done) -> None:
        self._later(self._give_room(path), done, self._segments)

    def look(self, paths: Sequence[str], done: Callable[[DiskReport], None]) -> None:
        generation, locks = self.generation, set(self._locks_taken)

        def looked() -> None:
            if generation == self.generation:
                gone = [lock for lock in sorted(locks) if lock not in self._locks]
                gone += [path for path in paths if path not in self._names]
                missing = gone[0] if gone else ""
                done(DiskReport(self.space(""), missing, self.descriptors_left))

        self.loop.call_later(0.0, looked)

    def run(self, steps: Steps, done: Done) -> None:
        """Make the steps one by one on the loop, then call `done`; unless the process ends."""
        generation = self.generation

        def advance(error: BaseException | None = None) -> None:
            if generation != self.generation:
                return
            try:
                step, path = next(steps) if error is None else steps.throw(error)
            except StopIteration:
                done(None)
            except (StorageError, OSError) as raised:
                done(raised)
            else:
                self.loop.call_later(self.delay(self.random), begin, step, path)

        def begin(step: str, path: str) -> None:
            if generation == self.generation:
                advance(self._begin(step, path))

        advance()

    def _later(
        self, steps: Steps, done: Done, queue: deque[tuple[Steps, Done]] | None = None
    ) -> None:
        """One operation of a queue after the other."""
        queue = self._background if queue is None else queue
        queue.append((self._by_name(steps), done))
        if len(queue) == 1:
            self._next_of(queue)

    def _next_of(self, queue: deque[tuple[Steps, Done]]) -> None:
        steps, done = queue[0]

        def finished(error: BaseException | None) -> None:
            queue.popleft()
            if queue:
                self._next_of(queue)
            done(error)

        self.run(steps, finished)

    def _now(self, steps: Steps) -> None:
        generation = self.generation
        self._check_locks()
        for step, path in steps:
            error = self._begin(step, path)
            if generation != self.generation:
                raise PowerLoss
            if error is not None:
                steps.throw(error)

    def _begin(self, step: str, path: str) -> BaseException | None:
        self.steps += 1
        if self.before_step is not None:
            error = self.before_step(step, path)
            if error is not None:
                return error
        if step == "sync" and self.failing_syncs:
            self.failing_syncs -= 1
            self.syncs_failed += 1
            return OSError(errno.EIO, "Input/output error")
        return None

    def _check_locks(self) -> None:
        """As the real disk: where a lock is gone, no name is to be trusted."""
        gone = sorted(self._locks_taken - self._locks)
        if gone:
            raise DataDirLost(gone[0])

    def _by_name(self, steps: Steps) -> Steps:
        self._check_locks()
        yield from steps

    # --- operations in steps

    def append_steps(self, inode: _Inode, path: str, offset: int, data: bytes) -> Steps:
        """One append: write, sync. Cuts the file back when there is no room."""
        yield "write", path
        room = self._room(inode, offset)
        if room is not None and room < len(data):
            inode.write(offset, data[:room])
            inode.cut(offset)
            raise DiskFull(f"{path}: No space left on device")
        inode.write(offset, data)
        yield from self._sync(inode, path)

    def _sync(self, inode: _Inode, path: str) -> Steps:
        try:
            yield "sync", path
        except OSError as error:
            inode.unsynced.clear()
            raise DiskFailed(f"{path}: {error}") from error
        inode.sync()

    def _write_whole(self, inode: _Inode, path: str, chunks: Iterable[bytes]) -> Steps:
        temp = path + TEMP_SUFFIX
        yield "write", temp
        self._need_descriptor(path)
        self._change({temp: inode})
        for chunk in chunks:
            room = self._room(inode, len(inode.data))
            if room is not None and room < len(chunk):
                self._change({temp: None})
                raise DiskFull(f"{path}: No space left on device")
            inode.write(len(inode.data), chunk)
        yield from self._sync(inode, temp)
        yield "rename", path
        self._change({temp: None, path: inode})
        yield from self._sync_dir(os.path.dirname(path))

    def _need_descriptor(self, path: str) -> None:
        if not self.descriptors_left:
            self.opens_refused += 1
            raise OutOfResources(f"{path}: Too many open files")

    def _set_aside(self, path: str, size: int) -> Steps:
        yield "write", path
        self._need_descriptor(path)
        size_after = self.used_bytes() + size - self.aside.get(path, 0)
        if self.capacity_bytes is not None and size_after > self.capacity_bytes:
            raise DiskFull(f"{path}: No space left on device")
        self.aside[path] = size

    def _probe(self) -> Steps:
        """The lock takes no room here. On a full disk it fails all the same, as where a file system
        writes nothing in place."""
        for path in sorted(self._locks_taken):
            yield "write", path
            if self.capacity_bytes is not None and self.used_bytes() >= self.capacity_bytes:
                raise DiskFull(f"{path}: No space left on device")
            try:
                yield "sync", path
            except OSError as error:
                raise DiskFailed(f"{path}: {error}") from error

    def _give_room(self, path: str) -> Steps:
        yield "unlink", path
        self.aside.pop(path, None)

    def _unlink(self, path: str) -> Steps:
        yield "unlink", path
        if path in self._names:
            self._change({path: None})
            yield from self._sync_dir(os.path.dirname(path))

    def _truncate(self, path: str, size: int) -> Steps:
        yield "truncate", path
        inode = self._inode(path)
        inode.cut(size)
        yield from self._sync(inode, path)

    def _rewrite(self, path: str, size: int) -> Steps:
        yield "write", path
        inode = self._inode(path)
        inode.cut(size)
        if inode.data:
            inode.write(0, bytes(inode.data))
        yield from self._sync(inode, path)

    def _sync_dir(self, path: str) -> Steps:
        yield "sync_dir", path
        rest = []
        for change in self._unsynced_names:
            if all(os.path.dirname(name) == path for name in change):
                _rename(self._synced_names, change)
            else:
                rest.append(change)
        self._unsynced_names = rest

    def _change(self, change: dict[str, _Inode | None]) -> None:
        _rename(self._names, change)
        self._unsynced_names.append(change)

    def _inode(self, path: str) -> _Inode:
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, "No such file", path)
        return self._names[path]

    def _room(self, inode: _Inode, offset: int) -> int | None:
        """How many bytes may be written at `offset` of a file; None for any number."""
        if self.capacity_bytes is None:
            return None
        used_bytes = self.used_bytes() - (len(inode.data) if inode in self._names.values() else 0)
        return max(0, self.capacity_bytes - used_bytes - offset)


def _rename(names: dict[str, _Inode], change: dict[str, _Inode | None]) -> None:
    for name, inode in change.items():
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode


class _FakeFile:
    """A `DiskFile`. After a crash, appends to it go nowhere."""

    def __init__(self, disk: FakeDisk, path: str, inode: _Inode, size: int) -> None:
        self.path = path
        self.size = size
        self._disk = disk
        self._inode = inode
        self._generation = disk.generation
        self._filled_bytes = size + disk.zero_ahead_bytes
        self._busy = False

    def append(self, data: bytes, done: Done) -> None:
        assert not self._busy, "one append at a time"
        if self._generation != self._disk.generation:
            return
        self._busy = True
        offset, end, written = self.size, self.size + len(data), data
        if end > self._filled_bytes:
            written = data + bytes(self._disk.zero_ahead_bytes)
        room = self._disk._room(self._inode, offset)
        if room is not None and len(data) <= room < len(written):
            written = written[:room]

        def finished(error: BaseException | None) -> None:
            self._busy = False
            if error is None:
                self.size = end
                self._filled_bytes = max(self._filled_bytes, offset + len(written))
            else:
                self._filled_bytes = offset
            done(error)

        self._disk.run(self._disk.append_steps(self._inode, self.path, offset, written), finished)

    def close(self) -> None:
        pass


class _Mount:
    """Passes everything on to the disk until the disk's next crash."""

    def __init__(self, disk: FakeDisk) -> None:
        self._disk = disk
        self._generation = disk.generation

    def __getattr__(self, name: str) -> Any:
        alive = self._generation == self._disk.generation
        return getattr(self._disk, name) if alive else self._gone

    def _gone(self, *args: Any) -> _FakeFile:
        file = _FakeFile(self._disk, "", _Inode(), 0)
        file._generation = -1
        return file


@contextlib.contextmanager
def crash_at(disk: FakeDisk, step: int) -> Iterator[list[int]]:
    """The power fails before so many further steps are made, or at the end. Not empty, after that:
    it was before the end.
    """
    at = disk.steps + step
    crashes: list[int] = []

    def crash(name: str, path: str) -> None:
        if disk.steps == at:
            crashes.append(at)
            disk.crash()

    disk.before_step = crash
    with contextlib.suppress(PowerLoss):
        yield crashes
    disk.before_step = None
    disk.crash()
