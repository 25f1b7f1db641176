"""Standard streams that are closed, full, or read by nobody: no command of ours depends on them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quorumcache.bench.processes import repository_environment
from tests.support.processes import HOST, free_ports, wait_until
from tests.support.wire import DEADLINE_S, Wire

NODE = (sys.executable, "-P", "-m", "quorumcache.node")
FULL = Path("/dev/full")
PIPE_BYTES = 4096

needs_full = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")


@contextmanager
def started(words: tuple[str, ...], **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is gone afterwards, its pipes closed."""
    with subprocess.Popen(
        words,
        **{  # type: ignore[call-overload]
            "env": repository_environment(),
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            **options,
        },
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[bytes]) -> str:
    """The next line of its output."""
    assert process.stdout is not None
    too_late = threading.Timer(DEADLINE_S, process.kill)
    too_late.start()
    try:
        line = process.stdout.readline().decode()
    finally:
        too_late.cancel()
    assert line, "its output has ended"
    return line


def listen() -> tuple[int, tuple[str, ...]]:
    (port,) = free_ports(1)
    return port, ("--listen", f"{HOST}:{port}")


def answers(port: int) -> bool:
    with Wire(port) as wire:
        return wire.set(b"k", b"v") == b"STORED\r\n"


def full_pipe() -> tuple[int, int]:
    """A pipe in which there is no room for a single byte."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * PIPE_BYTES)
    except BlockingIOError:
        pass
    try:
        while True:
            os.write(writing, b"x")
    except BlockingIOError:
        os.set_blocking(writing, True)
    return reading, writing


def test_a_log_that_nobody_reads_stops_nothing() -> None:
    """stderr is a full pipe: the node starts, answers and stops; what was lost is counted."""
    port, flags = listen()
    (http,) = free_ports(1)
    reading, writing = full_pipe()
    try:
        with started(
            (*NODE, *flags, "--http", f"{HOST}:{http}", "--log-level", "debug"), stderr=writing
        ) as process:
            assert " ready: " in line_of(process)
            assert answers(port)
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_S) == 0
    finally:
        os.close(reading)
        os.close(writing)


def test_a_log_is_read_again_and_says_what_was_lost(tmp_path: Path) -> None:
    """What waited comes out whole, in order, when somebody reads."""
    port, flags = listen()
    reading, writing = full_pipe()
    try:
        with started((*NODE, *flags), stderr=writing) as process:
            os.close(writing)
            assert " ready: " in line_of(process)
            assert answers(port)
            text = b""
            while b"event=ready" not in text:
                assert select.select([reading], [], [], DEADLINE_S)[0]
                text += os.read(reading, 65_536)
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_S) == 0
            while data := os.read(reading, 65_536):
                text += data
            assert b"event=stopped" in text
    finally:
        os.close(reading)


def test_a_node_whose_stderr_is_closed_by_its_reader_goes_on() -> None:
    port, flags = listen()
    with started((*NODE, *flags), stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        process.stderr.close()
        assert " ready: " in line_of(process)
        assert answers(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0


def close_streams(*numbers: int) -> Callable[[], None]:
    def close() -> None:
        for number in numbers:
            os.close(number)

    return close


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_closed_streams(tmp_path: Path, closed: tuple[int, ...]) -> None:
    """As a shell does with `<&-`: no descriptor of ours takes their place."""
    port, flags = listen()
    with started(
        (*NODE, *flags, "--data-dir", str(tmp_path / "data")),
        stderr=subprocess.DEVNULL,
        preexec_fn=close_streams(*closed),
    ) as process:
        wait_until("an answer", lambda: answers(port))
        for number in closed:
            assert os.readlink(f"/proc/{process.pid}/fd/{number}") == os.devnull
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0


@needs_full
def test_a_node_whose_start_line_cannot_be_written_goes_on() -> None:
    port, flags = listen()
    with FULL.open("wb") as full, started((*NODE, *flags), stdout=full, stderr=full) as process:
        wait_until("an answer", lambda: answers(port))
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0


@needs_full
@pytest.mark.parametrize(
    ("words", "status"),
    [
        ((*NODE, "--help"), 1),
        ((*NODE, "--version"), 1),
        ((*NODE, "up", "--help"), 1),
        ((sys.executable, "-P", "-m", "quorumcache.router.cli", "--help"), 5),
        ((sys.executable, "-P", "-m", "quorumcache.router.cli", "--version"), 5),
        ((sys.executable, "-P", "-m", "quorumcache.bench", "--help"), 1),
        ((sys.executable, "-P", "-m", "quorumcache.bench", "list"), 1),
    ],
    ids=lambda value: " ".join(value[3:]) if isinstance(value, tuple) else "",
)
def test_output_that_cannot_be_written(words: tuple[str, ...], status: int) -> None:
    """One line and a status of its own; a closed pipe is no failure; a full stderr is survived."""
    with FULL.open("wb") as full:
        with started(words, stdout=full, stderr=subprocess.PIPE) as process:
            _, said = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == status, said
        (line,) = said.decode().splitlines()
        assert line.endswith(": cannot write the output: No space left on device")
        with started(words, stdout=full, stderr=full) as process:
            assert process.wait(DEADLINE_S) == status
    with started(words, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, said = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, said) == (0, b"")


@needs_full
def test_results_that_cannot_be_written(tmp_path: Path) -> None:
    """`quorumcache status >/dev/full`."""
    port, flags = listen()
    with started((*NODE, *flags)) as node, FULL.open("wb") as full:
        assert " ready: " in line_of(node)
        client = (
            sys.executable,
            "-P",
            "-m",
            "quorumcache.router.cli",
            "-s",
            f"{HOST}:{port}",
            "status",
        )
        with started(client, stdout=full, stderr=subprocess.PIPE) as process:
            _, said = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 5
        assert said == b"quorumcache: cannot write the output: No space left on device\n"


@pytest.mark.parametrize("output", ["closed pipe", "full disk"])
def test_a_local_cluster_outlives_whoever_reads_its_output(tmp_path: Path, output: str) -> None:
    """`up >/dev/full`; `up | head`, where a node that dies afterwards is started again."""
    if output == "full disk" and not FULL.exists():
        pytest.skip("there is no /dev/full")
    words = ("up", "--nodes", "2", "--shards", "1", "--base-port", "0")
    data = tmp_path / "data"
    stdout = FULL.open("wb") if output == "full disk" else None
    with started(
        (*NODE, *words, "--data-dir", str(data)),
        stdout=stdout or subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:

        def pid_of_b() -> int:
            lock = data / "b" / "data" / "lock"
            text = lock.read_text().strip() if lock.exists() else ""
            log = data / "b" / "node.log"
            is_ready = log.exists() and "event=ready" in log.read_text()
            return int(text) if text.isdigit() and is_ready else 0

        if stdout is None:
            assert process.stdout is not None
            while "The cluster is ready" not in line_of(process):
                pass
            process.stdout.close()
            process.stdout = None
            wait_until("node b in its log", lambda: pid_of_b() > 0)
            first = pid_of_b()
            os.kill(first, signal.SIGKILL)
            wait_until("node b again", lambda: pid_of_b() not in (0, first))
        else:
            stdout.close()
            wait_until("node b", lambda: pid_of_b() > 0)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, said
        assert b"Traceback" not in said
        assert b"of the output could not be written" in said
