"""What is done to files, call by call: each function blocks, and raises what its error means.

Errors: `DiskFull` and `OutOfResources` where nothing was kept and the same call may be made again,
`DataDirLost` where the directory is gone, `DiskFailed` for anything else. `real_disk.py`,
`log_file.py` and `log_writer.py` call them, mostly in a thread.

Some descriptors are held in reserve (`system/descriptors.py`): when the process has run out of
them, what is opened here takes one of those.

Reading order: `classified`, `open_file`, `write_whole`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator

from quorumcache.node.errors import (
    DataDirLost,
    DiskFailed,
    DiskFull,
    OutOfResources,
    StorageError,
)
from quorumcache.node.storage.disk import TEMP_SUFFIX, DiskSpace
from quorumcache.node.system.descriptors import DESCRIPTORS

# A large background file is synced piece by piece: on ext4 one flood of dirty pages would hold
# up the log's own syncs for as long as it takes to write all of it.
_SYNC_EVERY_BYTES = 8 << 20

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
_NO_RESOURCES = frozenset({*_NO_DESCRIPTORS, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN})
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})


def is_full(error: OSError) -> bool:
    """Whether there is no room on the disk, or none for this user."""
    return error.errno in _NO_SPACE


def was_refused(error: OSError) -> bool:
    """Whether there was not enough of something, so that the same call may be made again."""
    return error.errno in _NO_SPACE or error.errno in _NO_RESOURCES


def classified(error: OSError, path: str) -> StorageError:
    """What an error means that came before anything was kept."""
    text = f"{path}: {error.strerror}"
    if error.errno in _NO_SPACE:
        return DiskFull(text)
    if error.errno == errno.ENOENT:  # The directory, or a file of it, was there at the start.
        return DataDirLost(path)
    return OutOfResources(text) if error.errno in _NO_RESOURCES else DiskFailed(text)


def open_file(path: str, flags: int) -> int:
    """Open a file, if need be with a descriptor from the reserve."""
    while True:
        try:
            return os.open(path, flags, 0o600)
        except OSError as error:
            if error.errno not in _NO_DESCRIPTORS or not DESCRIPTORS.give_one():
                raise


def create(path: str, content: bytes) -> int:
    """A file of this content, durable with its name, and open; never half of it."""
    temp = path + TEMP_SUFFIX
    fd = -1
    try:
        fd = open_file(temp, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
        write_all(fd, content, 0)
        os.fsync(fd)
        _put_in_place(temp, path)
    except OSError as error:
        if fd >= 0:
            os.close(fd)
        discard(temp)
        raise classified(error, path) from error
    return fd


def space(path: str) -> DiskSpace:
    """Of the file system that `path` is on; zeros where the system forbids to ask."""
    try:
        found = os.statvfs(path or ".")
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS):
            raise
        return DiskSpace(0, 0)
    free_bytes, total_bytes = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    if not found.f_files:  # A file system that makes inodes as they are needed.
        return DiskSpace(free_bytes, total_bytes)
    return DiskSpace(free_bytes, total_bytes, found.f_favail)


def own_line() -> bytes:
    """What the lock file holds: this process's id, for people."""
    return b"%d\n" % os.getpid()


def rewrite_lock(path: str) -> None:
    """A write and a sync that change nothing."""
    try:
        fd = open_file(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            write_all(fd, own_line(), 0)
            os.fdatasync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise classified(error, path) from error


def is_there(path: str) -> bool:
    """False only if the file is certainly gone."""
    try:
        os.stat(path)
    except OSError as error:
        return error.errno not in _GONE
    return True


def is_same_file(path: str, fd: int) -> bool:
    """Whether `path` still names the file that `fd` has open."""
    try:
        named, held = os.stat(path), os.fstat(fd)
    except OSError as error:
        return error.errno not in _GONE
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)


def allocate(path: str, size: int) -> None:
    """A file of `size` bytes that really take room. All or nothing."""
    try:
        fd = open_file(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            os.posix_fallocate(fd, 0, size)
        finally:
            os.close(fd)
    except OSError as error:
        discard(path)
        raise classified(error, path) from error


def write_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`, in as many calls as it takes."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        offset += written
        view = view[written:]


def write_whole(path: str, chunks: Iterable[bytes]) -> None:
    """Replace a file durably: temporary file, sync, rename, sync of the directory."""
    temp = path + TEMP_SUFFIX
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        fd = open_file(temp, flags)
        try:
            offset = synced = 0
            for chunk in chunks:
                write_all(fd, chunk, offset)
                offset += len(chunk)
                if offset - synced >= _SYNC_EVERY_BYTES:
                    os.fdatasync(fd)
                    synced = offset
            os.fsync(fd)
        finally:
            os.close(fd)
        _put_in_place(temp, path)
    except OSError as error:
        discard(temp)
        raise classified(error, path) from error
    except BaseException:
        discard(temp)
        raise


def _put_in_place(temp: str, path: str) -> None:
    """Give a synced file its name, durably."""
    os.rename(temp, path)
    sync_dir(os.path.dirname(path))


@contextlib.contextmanager
def named(path: str) -> Iterator[None]:
    """Have an error of a call on a descriptor name the file, as one of a call by name does."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, path) from error


def rewrite(path: str, size: int) -> None:
    """Write the first `size` bytes of a file anew, in place, cut off the rest, and sync.

    A copy-on-write file system needs room for it, though the file grows no longer.
    """
    fd = os.open(path, os.O_RDWR)
    try:
        with named(path):
            offset = 0
            while offset < size:
                data = os.pread(fd, min(_SYNC_EVERY_BYTES, size - offset), offset)
                if not data:
                    break
                write_all(fd, data, offset)
                offset += len(data)
            os.ftruncate(fd, size)
            os.fsync(fd)
    finally:
        os.close(fd)


def unlink(path: str) -> None:
    """Remove a file durably. One that does not exist is no error."""
    try:
        os.unlink(path)
        sync_dir(os.path.dirname(path))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise classified(error, path) from error


def discard(path: str) -> None:
    """Remove a temporary file; if even that fails, the next start does it."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def sync_dir(path: str) -> None:
    """Make the names in a directory durable."""
    fd = open_file(path or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with named(path):
            os.fsync(fd)
    finally:
        os.close(fd)
