"""Chaos for real, two short runs, and that nothing of it stays: needs root and namespaces."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quorumcache.bench.processes import repository_environment, start
from tests.chaos.commands import what_is_missing
from tests.chaos.directory import PREFIX
from tests.chaos.history_file import Recorder
from tests.support.processes import wait_until
from tests.support.wire import DEADLINE_S

MISSING = what_is_missing()
RUN_S = 600.0

needs_namespaces = pytest.mark.skipif(bool(MISSING), reason=f"CHAOS NOT TESTED: {MISSING}")


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "tests.chaos", *words]


def environment(directory: Path) -> dict[str, str]:
    return repository_environment() | {"TMPDIR": str(directory)}


def chaos(directory: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words),
        capture_output=True,
        text=True,
        timeout=RUN_S,
        env=environment(directory) | more,
        check=False,
    )


def left_of(directory: Path) -> list[str]:
    """Processes that a run with its directory in here has left, and mounts."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it has ended meanwhile
            if f"{directory}/{PREFIX}" in words:
                found.append(words)
    mounts = Path("/proc/mounts").read_text().splitlines()
    return found + [line for line in mounts if f"{directory}/{PREFIX}" in line]


def links() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


@needs_namespaces
def test_histories_under_faults_are_linearizable(tmp_path: Path) -> None:
    before = links()
    words = ("--seed", "4", "--seconds", "25", "--faults", "kill,pause,partition,disk")
    done = chaos(tmp_path, *words)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    answered = re.search(r"(\d+) answered", done.stdout)
    assert answered
    assert int(answered[1]) > 100
    for kind in ("kill", "pause", "partition", "disk"):
        assert re.search(rf"^ +{kind} [\w-]+ +[1-9]\d* x", done.stdout, re.MULTILINE), kind
    assert " 0 not, 0 undecided" in done.stdout
    assert left_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    assert links() == before


@needs_namespaces
def test_a_cluster_that_changes_meanwhile_loses_nothing(tmp_path: Path) -> None:
    """Joins, a drain, a lost disk, replication, the directory's leader killed; then all is well."""
    words = ("--elastic", "--seed", "69", "--seconds", "18", "--faults", "kill,pause,partition")
    done = chaos(tmp_path, *words)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^ +join [\w-]+ +[1-9]\d* x", done.stdout, re.MULTILINE)
    assert re.search(r"^all moves have ended", done.stdout, re.MULTILINE)
    assert " 0 not, 0 undecided" in done.stdout
    assert left_of(tmp_path) == []


@needs_namespaces
def test_the_money_of_a_bank_stays_over_kills_and_partitions(tmp_path: Path) -> None:
    """100 accounts on 64 shards: every look at all of them shows the same sum."""
    words = ("--bank", "--seed", "4", "--seconds", "12", "--faults", "kill,partition")
    done = chaos(tmp_path, *words)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("snapshots_of_the_bank", "transfer_done", "section_done", "tally_done"):
        assert re.search(rf"^the bank: .*\b{word} [1-9]", done.stdout, re.MULTILINE), word
    assert " 0 not, 0 undecided" in done.stdout
    assert left_of(tmp_path) == []


def test_a_history_with_a_stale_read_is_found(tmp_path: Path) -> None:
    """What `--broken lease` gives by chance, here for certain: a value that had been replaced."""
    path = tmp_path / "history.jsonl"
    with path.open("w") as file:
        history = Recorder(file)
        for number, value in enumerate((b"t1.1;", b"t1.2;"), 1):
            write = history.invoke("t1", "set", b"k", value, now_ns=10 * number)
            history.ok(write, "STORED", now_ns=10 * number + 5)
        read = history.invoke("t2", "get", b"k", now_ns=30)
        history.ok(read, ("hit", b"t1.1;", 0), now_ns=35)
    done = chaos(tmp_path, "--check", str(path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "is not linearizable" in done.stdout


@contextmanager
def under_way(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run whose nodes, load and mounts are there."""
    log = directory / "out"
    with log.open("wb") as out:
        process = start(
            command("--seed", "1", "--seconds", "600", "--faults", "pause,disk"),
            stdout=out,
            stderr=out,
            environment=environment(directory),
        )
    try:
        wait_until("the first fault", lambda: " begins: " in log.read_text())
        # unshare, the harness, three nodes and the load; mounts are in a namespace of their own.
        assert len(left_of(directory)) >= 6
        yield process
    finally:
        process.kill()
        process.wait()


@needs_namespaces
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything(tmp_path: Path, number: signal.Signals) -> None:
    with under_way(tmp_path) as process:
        process.send_signal(number)
        assert process.wait(DEADLINE_S) == 128 + number
        said = (tmp_path / "out").read_text()
        assert said.endswith(f"chaos: ended by {number.name}, nothing is running\n"), said
        assert "Traceback" not in said
        assert left_of(tmp_path) == []
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


@needs_namespaces
def test_kill_9_ends_everything_and_the_next_run_removes_the_rest(tmp_path: Path) -> None:
    with under_way(tmp_path) as process:
        process.kill()
        process.wait(DEADLINE_S)
        wait_until("the end of all that it started", lambda: left_of(tmp_path) == [])
    (leftover,) = tmp_path.glob(f"{PREFIX}*")
    done = chaos(tmp_path, "--seed", "1", "--seconds", "1", "--faults", "pause")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"removed {leftover}" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@needs_namespaces
def test_a_harness_that_crashes_leaves_nothing(tmp_path: Path) -> None:
    with under_way(tmp_path) as process:
        (own,) = (int(pid) for pid in children(process.pid))
        (inside,) = (int(pid) for pid in children(own))
        os.kill(inside, signal.SIGKILL)  # the harness itself, not the process that waits for it
        assert process.wait(DEADLINE_S) != 0
        assert left_of(tmp_path) == []


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--faults", "flood"), "there is no fault 'flood': choose from kill"),
        (("--faults", ""), "there is no fault ''"),
        (("--seconds", "0"), "0 is not in 1..86400"),
        (("--nodes", "2"), "invalid choice: 2"),
        (("--elastic", "--nodes", "7"), "--elastic takes --nodes 3 to 6"),
        (("--check", "no-such-file"), "No such file"),
    ],
)
def test_what_it_does_not_take(tmp_path: Path, words: tuple[str, ...], text: str) -> None:
    done = chaos(tmp_path, *words)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_the_tools(tmp_path: Path) -> None:
    """One line, status 2, nothing made."""
    if os.geteuid() != 0:
        pytest.skip("without root the line is another one, tested in test_parts.py")
    done = chaos(tmp_path, "--seed", "1", PATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("chaos: ip, tc, nft, unshare, nsenter, mount, umount not found")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
