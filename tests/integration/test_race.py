"""A whole race, with the peers that are installed: nobody errs, and nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from quorumcache.bench.processes import repository_environment
from tests.support.interrupts import hear_interrupts
from tests.support.processes import wait_until

RACE = (sys.executable, "-P", "-m", "quorumcache.bench", "race", "--rounds", "1", "--shards", "4")
SECONDS_MAX = 180
NEEDS_TWO = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")


def environment(directory: Path) -> dict[str, str]:
    directory.mkdir(exist_ok=True)
    return {**repository_environment(), "TMPDIR": str(directory)}


def processes_of(directory: Path) -> list[str]:
    """The programs that run and were told to keep their files there: ours, redis and the load."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes()
        except OSError:
            continue
        if str(directory).encode() in words:
            found.append(words.replace(b"\\0", b" ").decode(errors="replace"))
    return found


@NEEDS_TWO
def test_a_race(tmp_path: Path) -> None:
    figures, place = tmp_path / "race.json", tmp_path / "place"
    done = subprocess.run(
        [
            *RACE,
            *("--seconds", "0.2", "--keys", "200", "--only", "get16,any1,mget50,setany50,mixed"),
            *("--out", str(tmp_path / "out"), "--json", str(figures)),
        ],
        env=environment(place),
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    if "no C compiler" in done.stderr:
        pytest.skip("needs a C compiler")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(figures.read_text())
    assert list(found) == ["get16", "any1", "mget50", "setany50", "mixed"]
    for racers in found.values():
        assert next(iter(racers)) == "quorumcache"
        for name, of_one in racers.items():
            assert len(of_one["rounds"]) == 1
            assert ("ratio" in of_one) == (name != "quorumcache")
    assert (tmp_path / "out" / "race.svg").exists()
    assert processes_of(place) == []
    assert [path.name for path in place.iterdir() if path.is_dir()] == []


@NEEDS_TWO
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_race_that_is_interrupted_leaves_nothing(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    place = tmp_path / "place"
    with subprocess.Popen(
        [*RACE, "--only", "get1", "--seconds", "600", "--keys", "200"],
        env=environment(place),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_interrupts,
    ) as process:
        try:
            said = iter(process.stderr or ())
            line = next((line for line in said if "round 1" in line or "no C" in line), "")
            if "no C compiler" in line:
                pytest.skip("needs a C compiler")
            assert "get1: round 1 of 1, quorumcache" in line
            wait_until("the load runs", lambda: any("generator" in p for p in processes_of(place)))
            process.send_signal(number)
            rest = "".join(said)
            assert process.wait(SECONDS_MAX) == status
            assert f"{number.name}: stopping" in rest
        finally:
            process.kill()
    assert processes_of(place) == []
    assert [path.name for path in place.iterdir() if path.is_dir()] == []
