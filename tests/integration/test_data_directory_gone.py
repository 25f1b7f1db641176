"""A node whose data directory is taken away under it ends, and the others go on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.processes import Cluster, running_cluster


@pytest.mark.parametrize("there", ["nothing", "an empty directory", "another node's directory"])
def test_a_node_that_waits_for_its_founding_ends_with_its_data_directory(
    tmp_path: Path, there: str
) -> None:
    cluster = Cluster(tmp_path, shards=4)
    waiting, directory = cluster["a"], cluster.data_dirs["a"]
    try:
        waiting.start()
        if there == "another node's directory":
            cluster["b"].start()
            cluster["b"].kill()
        directory.rename(tmp_path / "elsewhere")
        if there == "an empty directory":
            directory.mkdir()
        elif there != "nothing":
            cluster.data_dirs["b"].rename(directory)
        before = {path.name: path.read_bytes() for path in directory.glob("*") if path.is_file()}
        assert waiting.wait_end() == 1
        assert "was removed or replaced while the node was running" in waiting.log()
        after = {path.name: path.read_bytes() for path in directory.glob("*") if path.is_file()}
        assert before == after
        assert directory.exists() == (there != "nothing")
    finally:
        cluster.end()
    cluster.check_logs()


@pytest.mark.parametrize("how", ["removed", "renamed"])
def test_a_node_ends_with_its_data_directory(tmp_path: Path, how: str) -> None:
    with running_cluster(tmp_path, shards=4) as cluster:
        victim, other = cluster["c"], cluster["a"]
        with other.wire() as wire:
            assert wire.set(b"k", b"x") == b"STORED\r\n"
        where = tmp_path / "elsewhere"
        cluster.data_dirs["c"].rename(where)
        if how == "removed":
            shutil.rmtree(where)
        assert victim.wait_end() == 1
        assert "was removed or replaced while the node was running" in victim.log()
        assert not cluster.data_dirs["c"].exists()
        cluster.wait_led(without="c")
        with other.wire() as wire:
            assert wire.get(b"k") == b"x"
            assert wire.set(b"k", b"y") == b"STORED\r\n"
        if how == "renamed":
            where.rename(cluster.data_dirs["c"])
            cluster.start()
            with victim.wire() as wire:
                assert wire.get(b"k") == b"y"
