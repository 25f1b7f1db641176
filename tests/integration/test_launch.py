"""Started as a memcached is started: flags of its own, in the background, with a pid file."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from quorumcache.bench.ports import free_ports
from quorumcache.bench.processes import repository_environment
from quorumcache.node.process.launch import read_pid
from tests.support.processes import last_line, run_to_end, wait_until
from tests.support.wire import DEADLINE_S, Wire


def is_gone(pid: int) -> bool:
    """Ended: it may still wait for whoever started it to ask for its status."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(") ")[2].startswith("Z")


@contextlib.contextmanager
def in_background(
    tmp_path: Path, *flags: str, log: int | None = None, prefix: Sequence[str] = ()
) -> Iterator[int]:
    """A node with -d and -P, started by way of the command `prefix`; its process id."""
    pid_path = tmp_path / "q.pid"
    done = subprocess.run(
        [
            *prefix,
            sys.executable,
            "-P",
            "-m",
            "quorumcache.node",
            "-d",
            "-P",
            str(pid_path),
            *flags,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if log is None else log,
        text=True,
        timeout=DEADLINE_S,
        env=repository_environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert " ready: memcached " in done.stdout
    pid = read_pid(str(pid_path))
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_until("its end", lambda: is_gone(pid))


def test_in_the_background(tmp_path: Path) -> None:
    """The command ends when the node is ready; pipes it was given come to their end."""
    [port] = free_ports(1)
    words = ("-l", "127.0.0.1", "-p", str(port), "-m", "64", "-c", "100", "-I", "2m", "-t", "4")
    with in_background(tmp_path, *words) as pid:
        with Wire(port) as wire:
            assert wire.set(b"k", b"v") == b"STORED\r\n"
            settings = wire.stats(b"settings")
            assert settings["maxconns"] == "100"
            assert settings["item_size_max"] == str(2 << 20)
            assert wire.stats()["pid"] == str(pid)
        assert os.getsid(pid) == pid
        os.kill(pid, signal.SIGTERM)
        wait_until("its end", lambda: is_gone(pid))
        assert not (tmp_path / "q.pid").exists()


def test_a_log_that_is_a_file_goes_on_and_kill_9_leaves_the_pid_file(tmp_path: Path) -> None:
    log_path = tmp_path / "log"
    with log_path.open("wb") as log, in_background(tmp_path, "-p", "-1", log=log.fileno()) as pid:
        os.kill(pid, signal.SIGUSR1)
        wait_until("a line", lambda: "signal_ignored" in log_path.read_text())
        os.kill(pid, signal.SIGKILL)
        wait_until("its end", lambda: is_gone(pid))
        assert read_pid(str(tmp_path / "q.pid")) == pid
    with in_background(tmp_path, "-p", "-1") as second:
        assert read_pid(str(tmp_path / "q.pid")) == second != pid


def test_what_cannot_start_is_told_in_front(tmp_path: Path) -> None:
    with in_background(tmp_path, "-s", str(tmp_path / "q.sock")):
        status, out, err = run_to_end("-d", "-s", str(tmp_path / "q.sock"))
        assert (status, out) == (1, "")
        assert "listens there" in last_line(err)
    status, _, err = run_to_end("-d", "-p", "-1", "-P", str(tmp_path / "none" / "q.pid"))
    assert status == 1
    assert "cannot write the process id to" in last_line(err)


def is_for_all(path: Path) -> bool:
    """Whether every user reaches what is there."""
    return all(each.stat().st_mode & 0o001 for each in path.resolve().parents)


READS_ALL = ("setpriv", "--securebits=+no_setuid_fixup")
"""What it starts may read every file also after root has become another user. So the test runs with
a Python that is root's own."""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_becomes_another_user(tmp_path: Path) -> None:
    user = next((each for each in pwd.getpwall() if each.pw_uid != 0), None)
    assert user is not None
    for each in (tmp_path, *tmp_path.parents):  # It has to reach the socket's directory.
        if each.stat().st_uid == 0 and each != each.parent:
            each.chmod(each.stat().st_mode | 0o055)
    own = tmp_path / "own"
    own.mkdir()
    os.chown(own, user.pw_uid, user.pw_gid)
    reads_all = is_for_all(Path(sys.executable)) and is_for_all(Path(os.__file__))
    words = ("-s", str(own / "q.sock"), "-u", user.pw_name)
    with in_background(own, *words, prefix=() if reads_all else READS_ALL) as pid:
        lines = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        assert set(lines["Uid"].split()) == {str(user.pw_uid)}
        assert set(lines["Gid"].split()) == {str(user.pw_gid)}
        assert (own / "q.sock").stat().st_uid == user.pw_uid
