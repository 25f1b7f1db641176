"""Measures what an idle cluster costs: processor time per node, from /proc."""

from __future__ import annotations

import time
from collections.abc import Sequence

from quorumcache.bench import procfs
from quorumcache.bench.report import Table


def measure_idle(processes: Sequence[tuple[str, int]], seconds: float) -> dict[str, float]:
    """Percent of one processor that each named process (name, pid) uses over `seconds`."""
    began = time.monotonic()
    before = [procfs.cpu_seconds(pid) for _, pid in processes]
    time.sleep(seconds)
    after = [procfs.cpu_seconds(pid) for _, pid in processes]
    elapsed = time.monotonic() - began
    return {
        name: 100 * (end - start) / elapsed
        for (name, _), start, end in zip(processes, before, after, strict=True)
    }


def idle_table(percents: dict[str, float], seconds: float, described: str) -> Table:
    """One row per process."""
    return Table(
        title=f"Idle, {seconds:g} s",
        columns=("process", "", "CPU %"),
        rows=tuple((name, "", f"{percent:.2f}") for name, percent in percents.items()),
        notes=(described, "CPU % is of one processor; the kernel counts in steps of 10 ms."),
        data={"cpu_percent": percents},
    )
