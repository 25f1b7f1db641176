"""A real node whose syncs do not return: its shards go to others before its clients notice."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.load import load
from tests.support.processes import running_cluster, wait_until
from tests.test_layering import ROOT

STALLING = ROOT / "tests/support/stalling_syncs.c"


@pytest.mark.skipif(not shutil.which("cc"), reason="SKIPPED: there is no C compiler (cc)")
def test_a_node_whose_disk_stalls_hands_its_shards_over_and_gets_them_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody sees an error, the clients of the stalled node included."""
    library = str(tmp_path / "stalling.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, str(STALLING)], check=True)
    monkeypatch.setenv("LD_PRELOAD", library)
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
