"""Child processes that are not left behind: started pinned, ended by pid, with a deadline."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sysconfig
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

from quorumcache.bench.errors import BenchError, StartError

STOP_SECONDS = 15.0
KILL_SECONDS = 30.0
"""The kernel needs milliseconds, but more for gigabytes of memory on a busy machine."""
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def repository_environment() -> dict[str, str]:
    """The environment for our own modules as children, found from any working directory.

    Start them with `python -P -m`, which leaves out what lies in the current directory. Installed
    packages need no PYTHONPATH; it would go before the standard library.
    """
    root = str(Path(__file__).absolute().parents[2])
    if root in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        return dict(os.environ)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def start(
    command: Sequence[str],
    *,
    cpus: Sequence[int] = (),
    takes_turns: bool = False,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = subprocess.DEVNULL,
    stderr: int | IO[bytes] | None = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
    cwd: str | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` on `cpus` (() = all). StartError when that is impossible.

    `takes_turns`: it does not interrupt others that run when it wakes up, as the nodes of
    `quorumcached up` do not (`SCHED_BATCH`).

    It dies with the thread that called this, and does not see a Ctrl-C.
    """
    # A handler that raises inside the hooks of fork is not heard: its exception is dropped there.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        return subprocess.Popen(
            list(command),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=dict(environment) if environment is not None else None,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=_child_setup(os.getpid(), tuple(cpus), takes_turns, held),
        )
    except OSError as error:
        raise StartError(f"cannot start {command[0]}: {error}") from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _child_setup(
    parent: int, cpus: tuple[int, ...], takes_turns: bool, mask: Iterable[int | signal.Signals]
) -> Callable[[], None]:
    def setup() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it was gone before the line above
            os._exit(1)
        if cpus:
            os.sched_setaffinity(0, cpus)
        if takes_turns and os.sched_getscheduler(0) == os.SCHED_OTHER:
            with contextlib.suppress(OSError):  # Not everywhere may a process choose.
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))

    return setup


def stop(process: subprocess.Popen[bytes], seconds: float = STOP_SECONDS) -> None:
    """SIGTERM, and SIGKILL when that did not help within `seconds`. Returns when it is gone."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(KILL_SECONDS)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                continue


def parse_pinning(text: str | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """`0:1` or `0-3:4,5` as (processors of the servers, processors of the load).

    None = no pinning; "" = the first and the second processor this process may use.
    """
    if text is None:
        return (), ()
    allowed = sorted(os.sched_getaffinity(0))
    if not text:
        if len(allowed) < 2:
            raise BenchError(f"--pin needs two processors, this process may use {len(allowed)}")
        return (allowed[0],), (allowed[1],)
    servers, colon, load = text.partition(":")
    if not colon:
        raise BenchError(f"--pin {text!r} is not SERVERS:LOAD (for example 0:1 or 0-3:4-7)")
    sides = tuple(_parse_cpus(part, text, allowed) for part in (servers, load))
    return sides[0], sides[1]


def _parse_cpus(part: str, text: str, allowed: Sequence[int]) -> tuple[int, ...]:
    cpus: list[int] = []
    for piece in part.split(","):
        low, dash, high = piece.strip().partition("-")
        if not low.isdigit() or (dash and not high.isdigit()):
            raise BenchError(f"--pin {text!r}: {piece!r} is not a processor or a range of them")
        cpus.extend(range(int(low), int(high if dash else low) + 1))
    for cpu in cpus:
        if cpu not in allowed:
            raise BenchError(
                f"--pin {text!r}: processor {cpu} is not among those this process may use"
                f" ({', '.join(map(str, allowed))})"
            )
    return tuple(cpus)
