"""How the process is launched, as memcached's flags say: in the background, as another user, with a
file that holds its process id, with core dumps.

`launch` comes before everything that takes time or makes threads. A process in the background
stays with the one that started it until the node is ready: until then what it says is seen there,
and a node that cannot start is an exit status.

Reading order: `Launch`, `launch`, `Launched`, `PidFile`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import resource
import signal
import stat
from dataclasses import dataclass
from typing import Final

from quorumcache.node.errors import ConfigError, StartupError
from quorumcache.node.process.signals import release
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.ring.forbidden import forbidden

EXIT_INTERRUPTED: Final = 130

_PARTS: Final = ("asyncio", "msgpack", "quorumcache.node.process.run")
"""Modules that a node imports once it is another user: of Python, of the packages that it needs,
and of its own."""

_log = get_logger("process")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What was asked for."""

    in_background: bool = False
    # In the background: what is logged still goes where it went.
    keeps_stderr: bool = False
    # "" = the one who starts it.
    user: str = ""
    # "" = there is none.
    pid_path: str = ""
    dumps_core: bool = False


NO_LAUNCH: Final = Launch()


class Launched:
    """This process, as far as its launch goes on until the node is ready."""

    def __init__(self, request: Launch, told: int | None = None, ignored: str = "") -> None:
        """`told`: descriptor that tells the process that waits. `ignored`: why the user is not the
        one that was asked for.
        """
        self._request = request
        self._told = told
        self.ignored = ignored

    def note_pid(self) -> None:
        """Write the process id, if that was asked for. `StartupError` says why it cannot be."""
        if self._request.pid_path:
            PID_FILE.write(self._request.pid_path)

    def ready(self) -> None:
        """The node is ready, and everything is said: go into the background, if asked to."""
        told, self._told = self._told, None
        if told is None:
            return
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        # Whoever waits for the end of a pipe would wait for the node. A file has no end to wait
        # for, and a log that goes to one is wanted.
        if not (self._request.keeps_stderr or stat.S_ISREG(os.fstat(2).st_mode)):
            os.dup2(null, 2)
        os.close(null)
        with contextlib.suppress(OSError):  # The one that waited has gone.
            os.write(told, b"\n")
        os.close(told)


def launch(request: Launch) -> Launched | int:
    """Do what was asked for. In the process that stays in front: the exit status, once the node is
    ready or has failed. Raises `ConfigError`.
    """
    if request.dumps_core:
        try:
            _, hard = resource.getrlimit(resource.RLIMIT_CORE)
            resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        except OSError as error:
            raise ConfigError("-r", f"{forbidden('prlimit64', error)}, or leave -r out") from error
    ignored = _become(request.user) if request.user else ""
    if not request.in_background:
        return Launched(request, ignored=ignored)
    wait, told = os.pipe()
    child = os.fork()
    if child:
        os.close(told)
        return _stay(child, wait)
    os.close(wait)
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return Launched(request, told, ignored)


def _stay(child: int, wait: int) -> int:
    """Until the child says that it is ready: 0; or until it has ended: its exit status."""
    release()
    try:
        is_ready = bool(os.read(wait, 1))
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        return EXIT_INTERRUPTED
    finally:
        os.close(wait)
    if is_ready:
        return 0
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


def _become(user: str) -> str:
    """Run as `user` from now on. Why not, if only root could do so."""
    own = os.geteuid()
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        if own != 0:
            return "only root can run a node as another user"
        raise ConfigError("-u", f"this machine has no user {user!r:.60}") from None
    if entry.pw_uid == own:
        return ""
    if own != 0:
        return "only root can run a node as another user"
    specs = [importlib.util.find_spec(part) for part in _PARTS]
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    for spec in specs:
        if spec is not None and spec.origin and not os.access(spec.origin, os.R_OK):
            raise ConfigError(
                "-u",
                f"user {user!r:.60} may not read {spec.origin}, which is part of the program: "
                "install it where that user may read it, or leave -u out",
            )
    return ""


class PidFile:
    """The file that holds the process id, while there is one."""

    def __init__(self) -> None:
        self._path = ""

    def write(self, path: str) -> None:
        """Write it; it is never there in part. `StartupError` says why it cannot be written."""
        other = read_pid(path)
        if other != os.getpid() and _is_running(other):
            event(_log, "warning", "pid_file_replaced", path=path, pid=other)
        written = f"{path}.tmp"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(written, flags, 0o644)
            try:
                os.write(fd, b"%d\n" % os.getpid())
            finally:
                os.close(fd)
            os.rename(written, path)
        except OSError as error:
            raise StartupError(
                f"cannot write the process id to {path}: {error.strerror}. Choose another file with"
                " -P"
            ) from error
        self._path = os.path.abspath(path)

    def remove(self) -> None:
        """Remove it, if it is still this process's."""
        path, self._path = self._path, ""
        if path and read_pid(path) == os.getpid():
            with contextlib.suppress(OSError):
                os.unlink(path)


def read_pid(path: str) -> int:
    """The process id that a file holds; 0 if it holds none."""
    try:
        with open(path, "rb") as file:
            text = file.read(20).strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0


def _is_running(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


PID_FILE: Final = PidFile()
"""Of this process."""
