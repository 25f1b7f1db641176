"""A node whose data directory is taken away under it ends, and the others go on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.processes import running_cluster


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
