"""Listening on a Unix socket: whose the file is, who may connect, and when it is removed.

A process that is killed leaves its socket behind as a file to which nobody can connect. The next
start replaces such a file, and refuses to start while a process listens there. Two processes that
start at the same time take turns, by a lock on the directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Callable
from typing import Final

from quorumcache.node.errors import StartupError
from quorumcache.node.system.port_holder import process_name
from quorumcache.ring.address import UNIX_PREFIX

SETTING: Final = "--unix-path"

TURN_TRIES: Final = 100
TURN_SECONDS: Final = 0.01
"""How often, and how long each time, another process that starts in the same directory is waited
for. Whoever holds the lock for longer than a second is not starting, and is not waited for."""

_PEER_CREDENTIALS: Final = struct.Struct("3i")
_IN_USE: Final = (errno.EADDRINUSE, errno.EEXIST)


class UnixListener:
    """The socket of one path. `mask`: its permissions."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, path: str, *, mask: int, backlog: int
    ) -> None:
        self._loop = loop
        self._path = os.path.abspath(path)
        self._mask = mask
        self._backlog = backlog
        self._factory: Callable[[], asyncio.BaseProtocol] | None = None
        self._socket: socket.socket | None = None
        self._file: tuple[int, int] | None = None
        """Device and inode of the socket's file."""
        self._server: asyncio.Server | None = None
        self._closed = False

    async def start(
        self, factory: Callable[[], asyncio.BaseProtocol], *, serves: bool = True
    ) -> str:
        """Take the path and listen; its address. `serves` False: connections are refused until
        `serve`. `StartupError` says why not, and then nothing is left behind.
        """
        self._factory = factory
        await self._claim(listens=serves)
        if serves:
            await self.serve()
        return UNIX_PREFIX + self._path

    async def serve(self) -> None:
        """Take connections from now on."""
        if self._server is not None or self._closed:
            return
        await self._claim(listens=True)
        assert self._socket is not None
        assert self._factory is not None
        try:
            server = await self._loop.create_unix_server(
                self._factory, sock=self._socket, backlog=self._backlog, start_serving=False
            )
            self._server = server
            await server.start_serving()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Take no more connections, and remove the file."""
        self._closed = True
        # First the file: while the socket is open, nobody else's can have the same inode.
        self.remove_file()
        if self._server is not None:
            self._server.close()
        if self._socket is not None:
            self._socket.close()

    def remove_file(self) -> None:
        """Remove the file, if it is this listener's."""
        if self._is_own_file():
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        self._file = None
        _OPEN.discard(self)

    async def wait_closed(self) -> None:
        """Wait until the socket is closed."""
        if self._server is not None:
            await self._server.wait_closed()

    async def _claim(self, *, listens: bool) -> None:
        """Have the file, and listen if asked to, all in one turn: a socket on which nobody listens
        looks as if a dead process had left it behind.
        """
        path = self._path
        try:
            async with _turn(os.path.dirname(path)):
                if self._socket is None or not self._is_own_file():
                    self._bind()
                if listens and self._socket is not None:
                    self._socket.listen(self._backlog)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise _refused(path, error) from error
            raise

    def _bind(self) -> None:
        path = self._path
        if self._socket is not None:  # Another process has taken its file.
            self._socket.close()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(path)
        except OSError as error:
            if error.errno not in _IN_USE:
                raise
            _remove_dead(path)
            self._socket.bind(path)
        # Nobody can connect before `listen`, so nobody does with other permissions.
        os.chmod(path, self._mask)
        found = os.lstat(path)
        self._file = (found.st_dev, found.st_ino)
        _OPEN.add(self)

    def _is_own_file(self) -> bool:
        try:
            found = os.lstat(self._path)
        except OSError:
            return False
        return self._file == (found.st_dev, found.st_ino)


_OPEN: Final[set[UnixListener]] = set()
"""Of this process."""


def remove_files() -> None:
    """Remove the files of all listeners, for a process that ends at once."""
    for listener in list(_OPEN):
        listener.remove_file()


@contextlib.asynccontextmanager
async def _turn(directory: str) -> AsyncIterator[None]:
    """Hold the lock of a directory in which a socket is looked at and replaced."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:  # It may be written and not read: then there are no turns.
        yield
        return
    try:
        for _ in range(TURN_TRIES):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    break  # A file system without locks.
            await asyncio.sleep(TURN_SECONDS)
        yield
    finally:
        os.close(fd)


def _remove_dead(path: str) -> None:
    """Remove the socket that a dead process left behind. `StartupError` if it is anything else."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise StartupError(
            f"cannot listen on {UNIX_PREFIX}{path}: a file is there that is no socket. Remove it,"
            f" or choose another path with {SETTING}"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EPROTOTYPE):
                raise
            holder = "another process listens there"
        else:
            holder = _holder(probe)
    raise StartupError(
        f"cannot listen on {UNIX_PREFIX}{path}: {holder}. Stop that one, or choose another path"
        f" with {SETTING}"
    )


def _holder(connected: socket.socket) -> str:
    """Who listens at the other end of a connection, in words."""
    size = _PEER_CREDENTIALS.size
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid: int = _PEER_CREDENTIALS.unpack(raw)[0]
    if pid <= 0:  # In another container.
        return "another process listens there"
    return f"process {pid}{process_name(pid)} listens there"


def _refused(path: str, error: OSError) -> OSError | StartupError:
    directory = os.path.dirname(path) or "."
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        why = f"there is no directory {directory}. Make it, or choose another path with {SETTING}"
    elif error.errno in (errno.EACCES, errno.EPERM):
        why = (
            f"this user may not make a socket in {directory}. Change the directory's permissions,"
            f" or choose another path with {SETTING}"
        )
    else:
        why = f"{error.strerror or error} ({SETTING})"
    return StartupError(f"cannot listen on {UNIX_PREFIX}{path}: {why}")
