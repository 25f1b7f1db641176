"""libmemcached's own programs: its test of a server's protocol, and what administrators use."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.clients import program
from tests.support.processes import Cluster
from tests.support.wire import DEADLINE_S

PACKAGE = "libmemcached-tools"


def run(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program(name, PACKAGE), *words],
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
        check=False,
    )


def test_memccapable(empty_cluster: Cluster) -> None:
    """27 tests of the text protocol."""
    done = run("memccapable", "-a", "-v", "-h", "127.0.0.1", "-p", str(empty_cluster["b"].port))
    assert "All tests passed" in done.stdout, done.stdout + done.stderr
    assert "FAIL" not in done.stdout + done.stderr
    assert done.stdout.count("[pass]") >= 27


@pytest.mark.parametrize("test", ["set", "get", "mget"])
def test_memcslap(empty_cluster: Cluster, test: str) -> None:
    servers = ",".join(f"127.0.0.1:{node.port}" for node in empty_cluster)
    words = [f"--servers={servers}", "--concurrency=3", "--execute-number=100", f"--test={test}"]
    done = run("memcslap", *words)
    assert done.returncode == 0, done.stderr
    assert "error" not in (done.stdout + done.stderr).lower()


def test_memcaslap(empty_cluster: Cluster) -> None:
    """Verifies what it reads (-v)."""
    servers = ",".join(f"127.0.0.1:{node.port}" for node in empty_cluster)
    done = run("memcaslap", "-s", servers, "-c", "6", "-T", "1", "-x", "2000", "-v", "0.5")
    assert done.returncode == 0, done.stderr
    assert "get_misses: 0" in done.stdout
    assert "verify_failed: 0" in done.stdout


def test_tools_of_administrators(empty_cluster: Cluster, tmp_path: Path) -> None:
    servers = "--servers=" + ",".join(f"127.0.0.1:{node.port}" for node in empty_cluster)
    file = tmp_path / "file.txt"
    file.write_text("what it holds\n")
    assert run("memcping", servers).returncode == 0
    assert run("memccp", servers, str(file)).returncode == 0
    assert run("memccat", servers, "file.txt").stdout.strip() == "what it holds"
    assert run("memcexist", servers, "file.txt").returncode == 0
    assert run("memctouch", servers, "--expire=100", "file.txt").returncode == 0
    assert run("memcrm", servers, "file.txt").returncode == 0
    assert run("memcexist", servers, "file.txt").returncode == 1
    stats = run("memcstat", servers)
    assert stats.returncode == 0
    assert stats.stdout.count("pid:") == 3
    assert run("memcflush", servers).returncode == 0
