"""Signals of a node: each has its effect at any time, also while the loop stands still."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from quorumcache.bench.processes import repository_environment
from tests.support.interrupts import ignore_interrupts
from tests.support.processes import NodeProcess, running_node, wait_until
from tests.support.wire import DEADLINE_S

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_clean_stop(tmp_path: Path, number: signal.Signals) -> None:
    with running_node(tmp_path, "--data-dir", str(tmp_path / "data")) as node:
        node.signal(number)
        assert node.wait_end() == 0
        assert f"event=stopping node=a reason={number.name}" in node.log()
        assert node.log().splitlines()[-1].endswith("event=stopped node=a")


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_signals_without_a_meaning_end_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with running_node(tmp_path) as node:
        node.signal(number)
        node.wait_log(f"event=signal_ignored node=a signal={number.name}")
        assert node.terminate() == 0


def test_a_hangup_under_nohup_is_ignored(tmp_path: Path) -> None:
    def ignore_hangups() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with subprocess.Popen(
        [sys.executable, "-P", "-m", "quorumcache.node", "--listen", "127.0.0.1:0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=repository_environment(),
        preexec_fn=ignore_hangups,
    ) as process:
        try:
            assert process.stdout is not None
            assert b" ready: " in process.stdout.readline()
            process.send_signal(signal.SIGHUP)
            assert process.stderr is not None
            while b"event=signal_ignored" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_S) == 0
        finally:
            process.kill()


HANGING = textwrap.dedent(
    """
    import sys, time
    from quorumcache.node.process import run
    from quorumcache.node.__main__ import main

    def hang(node):
        print("hanging", file=sys.stderr, flush=True)
        while True:
            time.sleep(3600)

    WHERE = sys.argv.pop(1)
    run.STOP_GRACE_S = 0.1
    run.START_PATIENCE_S = 0.1
    if WHERE == "start":
        run.Node.start = hang
    else:
        announce = run._announce
        run._announce = lambda one: (announce(one), hang(one))
    sys.exit(main())
    """
)


@pytest.mark.parametrize(
    ("where", "status", "line"),
    [
        ("start", 0, ""),
        ("life", 1, "quorumcached: not stopped after 100 ms, ending at once"),
    ],
)
def test_a_stop_does_not_depend_on_the_loop(
    tmp_path: Path, where: str, status: int, line: str
) -> None:
    """The loop's thread sleeps for an hour: before the node is ready, or once it is."""
    (tmp_path / "node.toml").write_text("stop-timeout-ms = 100\n")
    with hanging(tmp_path, where) as node:
        node.signal(signal.SIGTERM)
        assert node.wait_end() == status
        if line:
            assert node.log().splitlines()[-1] == line


def test_a_second_signal_does_not_depend_on_the_loop(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text("stop-timeout-ms = 3_600_000\n")
    with hanging(tmp_path, "life") as node:
        node.signal(signal.SIGTERM)
        wait_until("the first signal was taken", lambda: not pending(node, signal.SIGTERM))
        node.signal(signal.SIGTERM)
        assert node.wait_end() == 128 + signal.SIGTERM


class hanging:
    """A node whose loop stands still."""

    def __init__(self, directory: Path, where: str) -> None:
        self.directory = directory
        self.where = where

    def __enter__(self) -> NodeProcess:
        self.node = node = NodeProcess("a", self.directory, ())
        with node.log_path.open("ab") as log:
            node.process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-c", HANGING, self.where),
                    *("--listen", "127.0.0.1:0", "--config", str(self.directory / "node.toml")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**repository_environment(), "QUORUMCACHE_COMPILED": "0"},
            )
        node.wait_log("hanging")
        return node

    def __exit__(self, *_: object) -> None:
        self.node.end()


def pending(node: NodeProcess, number: signal.Signals) -> bool:
    """The process has not taken this signal yet."""
    for line in Path(f"/proc/{node.pid}/status").read_text().splitlines():
        if line.startswith("ShdPnd:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    raise AssertionError("no ShdPnd")


def can_make_a_first_process() -> bool:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--kill-child", "true"], capture_output=True, check=False
    )
    return done.returncode == 0


@pytest.mark.skipif(not can_make_a_first_process(), reason="needs root and unshare")
def test_the_first_process_of_a_container_is_told_to_stop_at_its_start(tmp_path: Path) -> None:
    """SIGTERM as soon as it blocks signals, which is before its modules are there."""
    with subprocess.Popen(
        [
            *("unshare", "--pid", "--fork", "--kill-child"),
            *(sys.executable, "-P", "-m", "quorumcache.node", "--listen", "127.0.0.1:0"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=repository_environment(),
        cwd=tmp_path,
    ) as process:
        try:
            wait_until("the node has begun", lambda: holds_signals(process.pid))
            (node,) = children(process.pid)
            os.kill(node, signal.SIGTERM)
            assert process.wait(DEADLINE_S) == 0
        finally:
            process.kill()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def holds_signals(parent: int) -> bool:
    """Our program does: `unshare` itself blocks SIGTERM for a moment, but never SIGUSR1."""
    for pid in children(parent):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigBlk:"):
                return bool(int(line.split()[1], 16) >> (signal.SIGUSR1 - 1) & 1)
    return False


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("-m", "tests.crash"), 130),
        (("-m", "quorumcache.node", "up", "--nodes", "1", "--base-port", "0"), 0),
        (("-m", "quorumcache.bench", "run", "get", "--nodes", "1", "--no-memcached"), 130),
    ],
    ids=["crash", "up", "bench"],
)
def test_ctrl_c_in_the_background_of_a_shell(
    tmp_path: Path, words: tuple[str, ...], status: int
) -> None:
    """SIGINT was inherited as ignored. The simulation and the mutants have tests of their own."""
    with subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT if "tests" in words[1] else tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=repository_environment() | {"PYTHONUNBUFFERED": "1"},
        preexec_fn=ignore_interrupts,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
    assert process.returncode == status, said
    assert b"Traceback" not in said
