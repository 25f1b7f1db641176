"""A directory full of files that are named like ours, and like Python's: none of them is run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from quorumcache.bench.processes import repository_environment
from tests.integration.test_streams import line_of, started
from tests.support.processes import HOST, free_ports
from tests.support.wire import DEADLINE_S

# As the installed commands start: without the current directory among the places of modules.
QUORUMCACHED = (sys.executable, "-P", "-m", "quorumcache.node")
QUORUMCACHE = (sys.executable, "-P", "-m", "quorumcache.router.cli")
BENCH = (sys.executable, "-P", "-m", "quorumcache.bench")


@pytest.fixture
def decoys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory of the commands; whatever is run there leaves a mark."""
    mark = tmp_path / "was-run"
    place = tmp_path / "application"
    place.mkdir()
    ours = ("quorumcache", "node", "ring", "router", "bench")
    for name in (*ours, "json", "asyncio", "logging", "uvloop"):
        (place / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write({name!r} + ' ')\n")
    monkeypatch.chdir(place)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return mark


def test_a_local_cluster(decoys: Path, tmp_path: Path) -> None:
    """The nodes too, and the client that asks them."""
    words = ("up", "--nodes", "1", "--shards", "1", "--base-port", "0")
    with started(
        (*QUORUMCACHED, *words, "--data-dir", str(tmp_path / "data")),
    ) as process:
        while not (line := line_of(process)).startswith("  a "):
            pass
        seeds = line.split()[1]
        done = subprocess.run(
            [*QUORUMCACHE, "-s", seeds, "set", "k", "v"],
            env=repository_environment(),
            stdin=subprocess.DEVNULL,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0
    assert not decoys.exists(), decoys.read_text()


def test_the_benchmark_and_its_children(decoys: Path) -> None:
    """A node and a load process of it; one second of load is enough to have both started."""
    done = subprocess.run(
        [
            *BENCH,
            *("run", "get", "--nodes", "1", "--shards", "1", "--no-memcached"),
            *("--seconds", "0.2", "--warmup", "0.1", "--keys", "10"),
        ],
        env=repository_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=DEADLINE_S,
        check=False,
    )
    assert not decoys.exists(), decoys.read_text()
    assert done.returncode == 0, done.stdout.decode()


def test_the_decoys_bite(decoys: Path) -> None:
    """Without care, they would be run."""
    subprocess.run(
        [sys.executable, "-m", "quorumcache.node", "--version"],
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert decoys.exists()


def test_a_node(decoys: Path) -> None:
    (port,) = free_ports(1)
    words = (*QUORUMCACHED, "--listen", f"{HOST}:{port}")
    with started(words) as process:
        assert " ready: " in line_of(process)
    assert not decoys.exists(), decoys.read_text()
