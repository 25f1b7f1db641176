"""What the kernel says about a process: processor time and resident memory (Linux /proc)."""

from __future__ import annotations

import os
from collections.abc import Sequence
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


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        raise TargetError(f"process {pid} does not exist any more") from None
    except OSError as error:
        raise TargetError(f"/proc/{pid}/{name}: {error}") from None
