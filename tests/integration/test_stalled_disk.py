"""A real node whose syncs do not return: its shards go to others before its clients notice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.load import load
from tests.support.processes import running_cluster, wait_until

STALLING = '''
import os, time

def stalling(sync):
    def stall(fd):
        """Waits as long as there is a file `stall` beside the data directory that this is of."""
        path = os.readlink(f"/proc/self/fd/{fd}")
        while any(os.path.exists(f"{directory}.stall") for directory in parents(path)):
            time.sleep(0.005)
        return sync(fd)
    return stall

def parents(path):
    while len(path) > 1:
        path = os.path.dirname(path)
        yield path

os.fsync, os.fdatasync = stalling(os.fsync), stalling(os.fdatasync)
'''


def test_a_node_whose_disk_stalls_hands_its_shards_over_and_gets_them_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody sees an error, the clients of the stalled node included."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(STALLING)
    monkeypatch.setenv("PYTHONPATH", str(hooks))
    with running_cluster(tmp_path) as cluster:
        cluster.wait_balanced()
        stalled = cluster["a"]
        assert cluster.shards_led_by("a")
        stall = Path(f"{cluster.data_dirs['a']}.stall")
        with load("stalled", [node.port for node in cluster]) as writers:
            writers.wait_acks(100)
            stall.touch()
            stalled.wait_log("event=leadership_given_up", "why=disk")
            wait_until("others lead", lambda: not cluster.shards_led_by("a"))
            writers.wait_acks(200)
            stall.unlink()
            writers.wait_acks(100)
        print(f"slowest reply: {writers.slowest_s() * 1000:.0f} ms")
        writers.check_no_errors()
        for node in cluster:
            writers.check(node.port)
        cluster.wait_balanced()
        assert "event=disk_lost" not in stalled.log()
