"""kill -9 of every node: what was acknowledged is there after a start, every time."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.load import Load, load
from tests.support.processes import NodeProcess, running_cluster, running_node, wait_until

SMALL_FILES = """\
segment-size = "64k"
log-size = "256k"
snapshot-size = "16k"
"""


def kill_under_load(name: str, nodes: list[NodeProcess]) -> Load:
    with load(name, [node.port for node in nodes]) as writers:
        writers.wait_acks(200)
        for node in nodes:
            node.signal(signal.SIGKILL)
        for node in nodes:
            node.wait_end()
    for writer in writers.writers:
        assert not writer.errors, writer.errors[:3]
    return writers


@pytest.mark.parametrize("files", ["usual files", "small files"])
def test_all_nodes_killed_again_and_again(tmp_path: Path, files: str) -> None:
    flags: tuple[str, ...] = ()
    if files == "small files":
        (tmp_path / "node.toml").write_text(SMALL_FILES)
        flags = ("--config", str(tmp_path / "node.toml"))
    with running_cluster(tmp_path, flags=flags) as cluster:
        earlier: list[Load] = []
        rounds = 4 if files == "small files" else 2
        for number in range(rounds):
            earlier.append(kill_under_load(f"round-{number}", list(cluster)))
            cluster.start()
            for writers in earlier:
                for node in cluster:
                    writers.check(node.port)
        if files == "small files":
            data = cluster.data_dirs["a"]
            wait_until(
                "old segments are removed",
                lambda: min(path.name for path in (data / "wal").glob("*.wal")) > "0000000002",
            )
            wait_until("a snapshot", lambda: bool(list((data / "snapshots").iterdir())))


def test_a_node_alone_with_a_data_directory(tmp_path: Path) -> None:
    """One node, killed and started over the same directory, keeps what it acknowledged."""
    earlier: list[Load] = []
    with running_node(tmp_path, "--data-dir", str(tmp_path / "data")) as node:
        for number in range(3):
            earlier.append(kill_under_load(f"alone-{number}", [node]))
            node.start()
            for writers in earlier:
                writers.check(node.port)
