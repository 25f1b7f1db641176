"""Ports for servers that are started later."""

from __future__ import annotations

import fcntl
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from quorumcache.bench import ports
from quorumcache.bench.errors import StartError
from quorumcache.bench.processes import repository_environment

PLACES = 60
FREE_MIN = 40
"""More than a test takes."""

TAKE_ALL = """
import sys
from quorumcache.bench import ports
from quorumcache.bench.errors import StartError
ports.FIRST_PORT, ports.END_PORT = map(int, sys.argv[1:])
try:
    while True:
        print(*ports.free_ports(1))
except StartError:
    pass
"""


def taken_by_another_process() -> set[int]:
    """All ports that it gets."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", TAKE_ALL, str(ports.FIRST_PORT), str(ports.END_PORT)],
        env=repository_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(map(int, done.stdout.split()))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few ports that two processes meet, most of them free: other tests of this machine, whose
    ports lie side by side, are elsewhere."""
    low, high = ports.FIRST_PORT, ports.END_PORT - PLACES
    for _ in range(20):
        first = random.SystemRandom().randrange(low, high)
        monkeypatch.setattr(ports, "FIRST_PORT", first)
        monkeypatch.setattr(ports, "END_PORT", first + PLACES)
        if len(taken_by_another_process() - ports._claimed) >= FREE_MIN:
            return
    raise AssertionError(f"nearly all ports of {low}..{high} are taken")


@pytest.mark.usefixtures("few")
def test_no_two_are_the_same() -> None:
    found = ports.free_ports(20) + ports.free_ports(10)
    assert len(set(found)) == 30
    assert all(ports.FIRST_PORT <= port < ports.END_PORT for port in found)


@pytest.mark.usefixtures("few")
def test_another_process_does_not_get_them_while_this_one_lives() -> None:
    theirs = taken_by_another_process()
    ours = set(ports.free_ports(20))
    assert ours & theirs, "what a process has claimed is free again when it has ended"
    assert not ours & taken_by_another_process()


@pytest.mark.usefixtures("few")
def test_more_than_there_are() -> None:
    with pytest.raises(StartError, match="fewer than 61 ports are free"):
        ports.free_ports(PLACES + 1)


def test_threads_do_not_choose_the_same_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """The locks of a process are no obstacle to itself."""
    lock = fcntl.lockf

    def slow_lock(*arguments: int) -> None:
        time.sleep(0.002)
        lock(*arguments)

    monkeypatch.setattr(ports.fcntl, "lockf", slow_lock)
    with ThreadPoolExecutor(4) as threads:
        chosen = [port for found in threads.map(ports.free_ports, [3] * 8) for port in found]
    assert len(set(chosen)) == len(chosen) == 24
