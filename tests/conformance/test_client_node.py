"""Clients of Node.js: "memcached" by 3rd-Eden."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.clients import node_clients, program
from tests.support.processes import Cluster
from tests.support.wire import DEADLINE_S

SCRIPTS = Path(__file__).parent / "node_clients"


def run_script(name: str, *words: str) -> str:
    """What it prints; with its errors, if it failed."""
    modules = Path(node_clients()) / "node_modules"
    done = subprocess.run(
        [program("node", "nodejs"), str(SCRIPTS / name), *words],
        env={**os.environ, "NODE_PATH": str(modules)},
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_memcached_of_node(empty_cluster: Cluster) -> None:
    servers = [f"127.0.0.1:{node.port}" for node in empty_cluster]
    assert run_script("memcached.js", *servers) == "passed\n"
