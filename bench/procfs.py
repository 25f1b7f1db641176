"""What the kernel says about a process: processor time and resident memory (Linux /proc)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from quorumcache.bench.errors import TargetError

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Processor time of all threads of `pid` so far, user and system, in seconds (10 ms steps)."""
    # The second field is the name in parentheses and may hold anything, spaces included.
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def rss_bytes(pid: int) -> int:
    """Resident memory of `pid`, in bytes."""
    for line in _read(pid, "status").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise TargetError(f"process {pid} has no resident memory (it is ending)")


def queued_ms(task: int | str) -> float:
    """How long the thread of that number has waited for a processor so far, in milliseconds.

    That of a process is its main thread; "thread-self" is the one that asks.
    """
    return int(_read(task, "schedstat").split()[1]) / 1e6


def total_cpu_seconds(pids: Sequence[int]) -> float:
    """Sum of `cpu_seconds`; processes that are gone count as 0."""
    total = 0.0
    for pid in pids:
        try:
            total += cpu_seconds(pid)
        except TargetError:
            continue
    return total


def machine_busy_seconds() -> float:
    """Processor time that all processes of the machine have used so far, over all processors.

    Interrupts are left out: those of loopback traffic belong to the measured processes. Time that a
    hypervisor gave to others counts.
    """
    try:
        first = Path("/proc/stat").read_text().split("\n", 1)[0]
    except OSError as error:
        raise TargetError(f"/proc/stat: {error}") from None
    user, nice, system, _idle, _wait, _irq, _softirq, steal = (int(n) for n in first.split()[1:9])
    return (user + nice + system + steal) / _TICKS_PER_SECOND


class OthersMeter:
    """Processor time of everybody else: neither this process nor its children. `pids`: those of
    the children that run now; what ended ones have used is known to this process.
    """

    def __init__(self, pids: Callable[[], Sequence[int]]) -> None:
        self._pids = pids
        self._at = time.monotonic()
        self._before = self._read()

    def _read(self) -> float:
        return machine_busy_seconds() - sum(os.times()[:4]) - total_cpu_seconds(self._pids())

    def percent(self) -> float:
        """Of one processor, since the last call (the first: since it was made)."""
        now, used = time.monotonic(), self._read()
        elapsed, used = now - self._at, used - self._before
        self._at, self._before = now, self._before + used
        return max(0.0, 100 * used / elapsed) if elapsed else 0.0


def _read(pid: int | str, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        raise TargetError(f"process {pid} does not exist any more") from None
    except OSError as error:
        raise TargetError(f"/proc/{pid}/{name}: {error}") from None
