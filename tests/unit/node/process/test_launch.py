"""In the background, as another user, with a file that holds the process id."""

from __future__ import annotations

import os
import pwd
import resource
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.errors import ConfigError, StartupError
from quorumcache.node.process import launch as module
from quorumcache.node.process.launch import (
    EXIT_INTERRUPTED,
    NO_LAUNCH,
    Launch,
    Launched,
    PidFile,
    launch,
    read_pid,
)


def test_nothing_asked_for_is_nothing_done() -> None:
    launched = launch(NO_LAUNCH)
    assert isinstance(launched, Launched)
    launched.note_pid()
    launched.ready()
    assert launched.ignored == ""


# --- the file with the process id


def test_the_file_is_there_while_the_process_runs(tmp_path: Path) -> None:
    path = tmp_path / "q.pid"
    file = PidFile()
    file.remove()
    file.write(str(path))
    assert path.read_text() == f"{os.getpid()}\n"
    assert [each.name for each in tmp_path.iterdir()] == ["q.pid"]
    file.remove()
    assert not path.exists()
    file.remove()


def test_the_file_of_another_process_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "q.pid"
    file = PidFile()
    file.write(str(path))
    path.write_text("1\n")
    file.remove()
    assert path.exists()


@pytest.mark.parametrize(("held", "is_told"), [("1\n", True), ("x", False), ("999999999", False)])
def test_a_process_that_runs_and_had_the_file_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, held: str, is_told: bool
) -> None:
    path = tmp_path / "q.pid"
    path.write_text(held)
    with caplog.at_level("WARNING"):
        PidFile().write(str(path))
    assert [record.message for record in caplog.records] == ["pid_file_replaced"] * is_told
    assert read_pid(str(path)) == os.getpid()


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    path = str(tmp_path / "none" / "q.pid")
    with pytest.raises(StartupError, match=rf"cannot write the process id to {path}: No such"):
        PidFile().write(path)
    victim = tmp_path / "precious"
    victim.write_text("x")
    os.symlink(victim, tmp_path / "q.pid.tmp")
    with pytest.raises(StartupError, match="cannot write"):
        PidFile().write(str(tmp_path / "q.pid"))
    assert victim.read_text() == "x"


# --- another user


class Identity:
    """Who runs the process, in place of the system's calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
        self.calls: list[Any] = []
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        for name in ("initgroups", "setgid", "setuid"):
            monkeypatch.setattr(os, name, lambda *args, name=name: self.calls.append((name, *args)))
        monkeypatch.setattr(pwd, "getpwnam", self._find)

    def _find(self, name: str) -> Any:
        users = {"root": (0, 0), "cache": (77, 78)}
        uid, gid = users[name]
        return SimpleNamespace(pw_uid=uid, pw_gid=gid)


def launched_as(user: str) -> Launched:
    launched = launch(Launch(user=user))
    assert isinstance(launched, Launched)
    return launched


def test_root_becomes_another_user_groups_first(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = Identity(monkeypatch, 0)
    assert launched_as("cache").ignored == ""
    assert identity.calls == [("initgroups", "cache", 78), ("setgid", 78), ("setuid", 77)]
    identity.calls.clear()
    assert launched_as("root").ignored == ""
    assert identity.calls == []
    with pytest.raises(ConfigError, match="-u: this machine has no user 'nobody-here'"):
        launched_as("nobody-here")


def test_a_user_who_may_not_read_the_program_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where it is installed in a directory of root's: a node would fail at its next import."""
    Identity(monkeypatch, 0)
    monkeypatch.setattr(os, "access", lambda path, mode: not path.endswith("run.py"))
    with pytest.raises(ConfigError, match=r"-u: user 'cache' may not read /.*/run\.py, which is"):
        launched_as("cache")


def test_others_cannot_and_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = Identity(monkeypatch, 77)
    assert launched_as("cache").ignored == ""
    for user in ("root", "nobody-here"):
        assert launched_as(user).ignored == "only root can run a node as another user"
    assert identity.calls == []


def test_core_dumps(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[Any] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (0, 5000))
    monkeypatch.setattr(resource, "setrlimit", lambda which, both: limits.append((which, both)))
    launch(Launch(dumps_core=True))
    assert limits == [(resource.RLIMIT_CORE, (5000, 5000))]


# --- in the background


class Forked:
    """`fork`, `waitpid` and the rest, as the process that stays in front sees them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, said: bytes, status: int) -> None:
        self.killed: list[tuple[int, int]] = []
        self.status = status
        self.reads = [said]
        monkeypatch.setattr(os, "fork", lambda: 4321)
        monkeypatch.setattr(os, "read", lambda fd, count: self.reads.pop())
        monkeypatch.setattr(os, "waitpid", lambda pid, options: (pid, self.status))
        monkeypatch.setattr(os, "kill", lambda pid, number: self.killed.append((pid, number)))
        monkeypatch.setattr(module, "release", lambda: None)


@pytest.mark.parametrize(
    ("said", "status", "expected"),
    [(b"\n", 0, 0), (b"", 2 << 8, 2), (b"", 1 << 8, 1), (b"", signal.SIGKILL, 137), (b"", 0, 0)],
)
def test_the_one_in_front_ends_when_the_node_is_ready_or_has_failed(
    monkeypatch: pytest.MonkeyPatch, said: bytes, status: int, expected: int
) -> None:
    Forked(monkeypatch, said, status)
    assert launch(Launch(in_background=True)) == expected


def test_ctrl_c_in_front_ends_the_one_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    forked = Forked(monkeypatch, b"", 0)

    def interrupted(fd: int, count: int) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "read", interrupted)
    assert launch(Launch(in_background=True)) == EXIT_INTERRUPTED
    assert forked.killed == [(4321, signal.SIGTERM)]


@pytest.mark.parametrize(
    ("is_file", "keeps", "kept"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_once_ready_only_a_log_that_is_wanted_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_file: bool, keeps: bool, kept: bool
) -> None:
    copies: list[int] = []
    stderr = os.open(tmp_path / "log" if is_file else os.devnull, os.O_CREAT | os.O_WRONLY)
    state = os.fstat(stderr)
    os.close(stderr)
    monkeypatch.setattr(os, "dup2", lambda old, new: copies.append(new))
    monkeypatch.setattr(module.os, "fstat", lambda fd: state)
    wait, told = os.pipe()
    launched = Launched(Launch(in_background=True, keeps_stderr=keeps), told)
    launched.ready()
    launched.ready()
    assert copies == ([0, 1] if kept else [0, 1, 2])
    assert os.read(wait, 5) == b"\n"
    assert os.read(wait, 5) == b"", "and it is closed"
    os.close(wait)


def test_the_one_in_front_may_have_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "dup2", lambda old, new: None)
    wait, told = os.pipe()
    os.close(wait)
    Launched(Launch(in_background=True), told).ready()
