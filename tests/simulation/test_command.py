"""`python -m tests.simulation`: its arguments, its summary, its workers, and how it ends."""

import os
import signal
import subprocess
import sys
import time
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from tests.simulation.__main__ import seed_range
from tests.simulation.campaign import run_campaign
from tests.simulation.world import WorldConfig
from tests.support.interrupts import ignore_interrupts

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "tests.simulation"]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


def test_seeds_are_a_number_or_a_range():
    assert seed_range("3") == range(1, 4)
    assert seed_range("7..9") == range(7, 10)


@pytest.mark.parametrize("text", ["", "x", "0", "9..7", "1..", "..2", "-3", "1...3", "1.5", "٣"])
def test_other_seeds_are_refused(text):
    with pytest.raises(ArgumentTypeError, match=r"neither a number nor a range|holds no seed"):
        seed_range(text)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--seeds", "many"], "'many' is neither a number nor a range A..B"),
        (["--seed", "x"], "'x' is not a whole number"),
        (["--nodes", "99"], "'99' is not a whole number in 0..9"),
        (["--shards", "3"], "'3' is not a power of two"),
        (["--fault-seconds", "-1"], "'-1' is not a number of seconds"),
        (["--schedule", "no-such-file"], "no-such-file: cannot be read: No such file"),
        (["--write-schedule", "x"], "--write-schedule needs --seed"),
    ],
)
def test_bad_arguments_are_one_line(words, complaint):
    done = run(*words)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout


def test_seeds_give_the_same_runs_in_one_process_and_in_many():
    config = WorldConfig(seed=0, fault_seconds=0.5)
    one, _ = run_campaign(config, range(1, 4), jobs=1, keep_going=False, each=False)
    many, _ = run_campaign(config, range(1, 4), jobs=2, keep_going=False, each=False)
    assert one.seeds == many.seeds == 3
    assert one.events == many.events
    assert one.kinds == many.kinds
    assert one.bytes_sent == many.bytes_sent


def test_the_summary_tells_what_was_done():
    done = run("--seeds", "2", "--fault-seconds", "1")
    assert done.returncode == 0, done.stderr
    for word in (
        "2 seeds",
        "virtual hours",
        "operations: ",
        "faults: ",
        "elections: ",
        "no failure",
    ):
        assert word in done.stdout
    assert done.stdout.endswith("no failure\n")
    assert not done.stderr  # Progress is for terminals.


def children_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_interrupted_it_tells_what_was_done_and_leaves_nothing_running():
    with subprocess.Popen(
        [*COMMAND, "--seeds", "100000", "--jobs", "2", "--each"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=ignore_interrupts,  # As in the background of a shell.
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("seed ")
            workers = children_of(process.pid)
            assert len(workers) >= 2
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130, errors
    assert "interrupted after " in output
    assert "virtual hours" in output
    assert "Traceback" not in errors
    deadline = time.monotonic() + 60
    while any(os.path.exists(f"/proc/{pid}") for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)
