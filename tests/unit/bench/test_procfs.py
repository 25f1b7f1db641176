"""What is read from /proc, on a process of which the answer is known, and on made-up files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from quorumcache.bench import procfs
from quorumcache.bench.errors import TargetError

TICKS = os.sysconf("SC_CLK_TCK")


def test_what_a_thread_waited_for_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert procfs.queued_ms("thread-self") >= 0
    assert procfs.queued_ms(os.getpid()) >= 0
    use_files(monkeypatch, {"/proc/7/schedstat": "900 2500000 12\n"})
    assert procfs.queued_ms(7) == 2.5


def use_files(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    """Let /proc hold these files."""

    def read_text(path: Path, *arguments: Any) -> str:
        try:
            return files[str(path)]
        except KeyError:
            raise FileNotFoundError(path) from None

    monkeypatch.setattr(Path, "read_text", read_text)


def gone() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(30)
    return process.pid


def test_this_process_has_memory_and_has_used_time() -> None:
    assert procfs.rss_bytes(os.getpid()) > 1 << 20
    used = sum(os.times()[:2])
    assert 0 < procfs.cpu_seconds(os.getpid()) <= sum(os.times()[:2]) + 2 / TICKS
    assert procfs.cpu_seconds(os.getpid()) >= used - 2 / TICKS


def test_time_is_that_of_user_and_system_whatever_the_process_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "a) b (c) 1 2"
    fields = ["S", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "250", "50", "9999", "9999"]
    use_files(monkeypatch, {"/proc/7/stat": f"7 ({name}) {' '.join(fields)}\n"})
    assert procfs.cpu_seconds(7) == 300 / TICKS


def test_memory_is_what_is_resident_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    use_files(monkeypatch, {"/proc/7/status": "VmSize:\t 900 kB\nVmRSS:\t     12 kB\n"})
    assert procfs.rss_bytes(7) == 12 * 1024


def test_a_process_that_is_ending_has_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    use_files(monkeypatch, {"/proc/7/status": "Name:\tx\nState:\tZ (zombie)\n"})
    with pytest.raises(TargetError, match="process 7 has no resident memory"):
        procfs.rss_bytes(7)


def test_a_process_that_is_gone_is_named_and_counts_nothing_in_a_sum() -> None:
    pid = gone()
    for ask in (procfs.cpu_seconds, procfs.rss_bytes):
        with pytest.raises(TargetError, match=f"process {pid} does not exist any more"):
            ask(pid)
    assert procfs.total_cpu_seconds([pid]) == 0.0
    assert procfs.total_cpu_seconds([pid, os.getpid()]) > 0.0


def test_the_machine_is_busy_with_programs_and_not_with_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Idle, waiting for disks and interrupts are left out; what was stolen counts."""
    use_files(
        monkeypatch,
        {"/proc/stat": "cpu  100 20 3 10000 20000 40000 80000 4 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"},
    )
    assert procfs.machine_busy_seconds() == 127 / TICKS


def test_what_others_use_is_what_neither_we_nor_our_children_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A child that ends in between is counted once, first as itself and then as waited for."""
    now, machine, ours, running = 10.0, 100.0, 20.0, {1: 5.0, 2: 3.0}
    monkeypatch.setattr(procfs.time, "monotonic", lambda: now)
    monkeypatch.setattr(procfs, "machine_busy_seconds", lambda: machine)
    monkeypatch.setattr(procfs.os, "times", lambda: (ours, 0.0, 0.0, 0.0, now))
    monkeypatch.setattr(procfs, "cpu_seconds", running.__getitem__)
    meter = procfs.OthersMeter(lambda: list(running))
    now, machine, ours, running[1] = 14.0, 106.0, 21.0, 8.0
    assert meter.percent() == pytest.approx(100 * (6 - 1 - 3) / 4)
    now, machine, ours = 16.0, 107.0, ours + running.pop(2)
    assert meter.percent() == pytest.approx(50), "since the last call"
    assert meter.percent() == 0.0, "no time has passed"


def test_a_machine_without_proc_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    use_files(monkeypatch, {})
    with pytest.raises(TargetError, match="/proc/stat"):
        procfs.machine_busy_seconds()
