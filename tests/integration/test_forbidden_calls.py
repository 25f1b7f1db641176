"""Goal: under a strict seccomp profile a command works without a call, or says which one it lacks.

Method: the kernel refuses the call to the whole process, from before Python starts.
"""

from __future__ import annotations

import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from quorumcache.bench.processes import repository_environment
from tests.support.seccomp import can_forbid
from tests.support.wire import DEADLINE_S, Wire

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(not can_forbid(), reason="no filters of system calls here")

DOES_WITHOUT = (
    *("prlimit64", "statfs", "tgkill", "rt_sigaction", "fallocate", "fadvise64", "madvise"),
    *("eventfd2", "epoll_create1", "io_uring_setup", "getrandom", "getrusage"),
    "sched_getaffinity",
)
LACKS = {
    "rt_sigprocmask": "the system forbids rt_sigprocmask",
    "rt_sigtimedwait": "the system forbids rt_sigtimedwait",
    "socketpair": "the system forbids a call of socketpair",
    "epoll_ctl": "the system forbids a call of register",
    "socket": "the system forbids socket or listen",
    "listen": "the system forbids socket or listen",
    "setsockopt": "the system forbids bind or setsockopt",
    "flock": "the system forbids mkdir, fsync or flock",
    "clone3": "a seccomp profile that forbids clone or clone3",
}


def start(calls: str, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "tests.support.seccomp", calls, "--"),
            *(sys.executable, "-P", *words),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=repository_environment() | {"PYTHONPATH": str(ROOT)},
    )


def start_node(calls: str, directory: Path) -> subprocess.Popen[bytes]:
    """A node with all that it can listen on, and a disk."""
    begin = "import sys; from quorumcache.commands import quorumcached; sys.exit(quorumcached())"
    addresses = [f"--{name}=127.0.0.1:0" for name in ("listen", "peer", "http")]
    return start(calls, "-c", begin, *addresses, "--data-dir", str(directory / "data"))


@pytest.mark.parametrize("call", DOES_WITHOUT)
def test_a_node_does_without(tmp_path: Path, call: str) -> None:
    with start_node(call, tmp_path) as node:
        try:
            assert node.stdout is not None
            readable, _, _ = select.select([node.stdout], [], [], DEADLINE_S)
            line = node.stdout.readline().decode() if readable else ""
            assert " ready: memcached " in line, node.communicate()
            port = int(line.split(" memcached ")[1].split()[0].rpartition(":")[2])
            with Wire(port) as wire:
                wire.send(b"set k 0 0 5\r\nhello\r\n")
                assert wire.line() == b"STORED\r\n"
            node.send_signal(signal.SIGTERM)
            _, said = node.communicate(timeout=DEADLINE_S)
            assert node.returncode == 0, said
            assert b"Traceback" not in said
        finally:
            node.kill()


@pytest.mark.parametrize("call", LACKS)
def test_a_node_says_in_its_last_line_what_it_lacks(tmp_path: Path, call: str) -> None:
    with start_node(call, tmp_path) as node:
        try:
            _, said = node.communicate(timeout=DEADLINE_S)
        finally:
            node.kill()
    assert node.returncode == 1, said
    assert b"Traceback" not in said
    last = said.decode().splitlines()[-1]
    assert last.startswith("quorumcached: ")
    assert LACKS[call] in last
    assert "seccomp profile" in last


@pytest.mark.parametrize(
    ("calls", "command", "status"),
    [
        ("prlimit64,rt_sigaction,sched_getaffinity,fadvise64", "quorumcache", 0),
        ("prlimit64,rt_sigaction,sched_getaffinity,fadvise64", "quorumcache_bench", 0),
        ("prlimit64,rt_sigaction,sched_getaffinity,fadvise64", "quorumcached", 0),
    ],
)
def test_help_needs_next_to_nothing(calls: str, command: str, status: int) -> None:
    begin = f"import sys; from quorumcache.commands import {command} as main; sys.exit(main())"
    with start(calls, "-c", begin, "--help") as process:
        said, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, errors) == (status, b"")
    assert b"usage" in said
