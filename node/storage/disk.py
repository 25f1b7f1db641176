"""The seam to the file system: the `Disk` interface.

Everything durable goes through a `Disk` handed down by the node, so that the same code runs on
the real file system (`real_disk.py`) and on a disk in memory that tears writes, loses what was not
synced, fills up, hangs and fails (`tests/support/fake_disk.py`).

Two kinds of calls. Those marked *start-up* block and return a value; they are used before the
node serves anybody. All others take a `done(error)` and return at once: the work happens off
the loop, `done` runs on the loop, with None or with an error. `DiskFull` and `OutOfResources` (both
`DiskRefused`): nothing was kept, and the same call may be made again. `DataDirLost`: the directory
is gone. `DiskFailed`: anything else.

What goes by names goes nowhere once a lock file is not there any more, or is another one: in its
place may be the directory of another node. It raises `DataDirLost`, at start-up too.

Reading order: `DiskFile`, `DiskReport`, `Disk`. Pure but for the names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

Done = Callable[[BaseException | None], None]

TEMP_SUFFIX: Final = ".tmp"
"""A file under construction. One that is found at start was left by a crash and is removed."""


class DiskFile(Protocol):
    """A file that only grows. It belongs to one writer."""

    path: str
    size: int
    """Bytes that were appended and synced. The file on disk may be longer: what follows `size`
    is zeros, or the rest of an append that did not finish."""

    def append(self, data: bytes, done: Done) -> None:
        """Write `data` at `size` and sync it. One at a time: the next only after `done`.

        `DiskRefused`: there was no space, or not enough of something else; the file was cut back
        to `size`, and the same append may be tried again. `DiskFailed`: what is on disk is
        unknown, and the node has to end.
        """
        ...

    def close(self) -> None:
        """Close the file once a running append is through."""
        ...


class DiskSpace(NamedTuple):
    """Of the file system that a path is on, in bytes. `total_bytes` 0: not known."""

    free_bytes: int
    total_bytes: int
    files_left: int = 1 << 30
    """How many more files it can hold (inodes); the default where there is no such bound."""


class DiskReport(NamedTuple):
    """What a look at the data directory found."""

    space: DiskSpace
    missing: str
    """Path of something that should be there and is not, or is no longer the same; "" for none."""
    descriptors_left: int
    """How many more descriptors the process may open."""


class Disk(Protocol):
    """The files of one node. Paths are plain strings, joined with `/`."""

    def make_dirs(self, path: str) -> None:
        """Start-up: create a directory and its parents, durably."""
        ...

    def list_dir(self, path: str) -> list[str]:
        """Start-up: the names in a directory, sorted."""
        ...

    def exists(self, path: str) -> bool:
        """Start-up."""
        ...

    def read(self, path: str) -> bytes:
        """Start-up: the whole file."""
        ...

    def truncate(self, path: str, size: int) -> None:
        """Start-up: cut the file to `size` bytes and sync it, also when it has that size.

        The sync matters: what a crashed process wrote without syncing can be read, but would
        still be lost with the power.
        """
        ...

    def rewrite(self, path: str, size: int) -> None:
        """Start-up: make the first `size` bytes of a file durable, and cut off the rest.

        They are written anew, in place. A sync alone is not enough: after one that failed the
        kernel keeps the bytes as clean pages, which can be read, which a further sync passes over
        with success, and which the next power loss takes.
        Source: Rebello et al. 2020, "Can applications recover from fsync failures?"
        """
        ...

    def remove(self, path: str) -> None:
        """Start-up: remove a file, durably. One that does not exist is no error."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Start-up: write a whole file by temporary file and rename, durably."""
        ...

    def sync_dir(self, path: str) -> None:
        """Start-up: make the names in a directory durable."""
        ...

    def lock(self, path: str) -> None:
        """Start-up: take the lock file for as long as this `Disk` is open.

        Raises `DataDirLocked` with the process id that holds it.
        """
        ...

    def space(self, path: str) -> DiskSpace:
        """Start-up: how much room there is."""
        ...

    def create(self, path: str, header: bytes, done: Done) -> DiskFile:
        """Create a file that holds `header`, durably with its name; never half of it.

        The file may be appended to after `done(None)`.
        """
        ...

    def write_atomic(self, path: str, chunks: Iterable[bytes], done: Done) -> None:
        """Replace a file by temporary file, sync, rename and sync of the directory.

        `chunks` is consumed off the loop, so it must not touch what the loop changes. After an
        error the old file is still there, whole (or, if only the last sync failed, the new one).
        """
        ...

    def unlink(self, path: str, done: Done) -> None:
        """Remove a file, durably. One that does not exist is no error."""
        ...

    def set_aside(self, path: str, size: int, done: Done) -> None:
        """Have a file that takes `size` bytes of room, for `give_room` to give away."""
        ...

    def give_room(self, path: str, done: Done) -> None:
        """Remove what `set_aside` made, without waiting behind other files."""
        ...

    def probe(self, done: Done) -> None:
        """Write the lock file anew, in place, and sync it: does the disk still answer?

        Nothing else comes of it: no name and no size changes, and its content has no meaning. One
        at a time; a disk that hangs keeps nothing else waiting with it. `DiskRefused`: there is not
        even room for that. `DiskFailed`: as of an append.
        """
        ...

    def look(self, paths: Sequence[str], done: Callable[[DiskReport], None]) -> None:
        """Look whether the locks and `paths` are still there, and what is left of what is needed.

        One at a time; a disk that hangs keeps it waiting, and nothing else with it.
        """
        ...

    def close(self) -> None:
        """Finish what was handed in, then give up the locks. Blocks for that long."""
        ...
