"""kill -9 of leaders under load: a pause, no error, nothing lost, nothing done twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.load import load
from tests.support.processes import running_cluster


def test_each_node_is_killed_in_turn_under_load(tmp_path: Path) -> None:
    """Clients of the other nodes see a pause and nothing else, three times over."""
    with running_cluster(tmp_path) as cluster:
        for turn in range(3):
            name = cluster.busiest()
            victim = cluster[name]
            survivors = cluster.others(name)
            with load(f"kill-{turn}", [node.port for node in survivors]) as writers:
                writers.wait_acks(100)
                victim.kill()
                writers.wait_acks(200)
            print(f"kill -9 of {name}: slowest reply {writers.slowest_s() * 1000:.0f} ms")
            writers.check_no_errors()
            for node in survivors:
                writers.check(node.port)
            victim.start()
            writers.check(victim.port)
        cluster.wait_balanced()


@pytest.mark.parametrize("victims", ["leader", "follower"])
def test_own_clients_of_a_killed_node(tmp_path: Path, victims: str) -> None:
    """What a node acknowledged to its own clients is there when it is gone."""
    with running_cluster(tmp_path, shards=1) as cluster:
        leader = cluster.leader_of(b"any", seen_by="a")
        victim = cluster[leader] if victims == "leader" else cluster.others(leader)[0]
        survivors = cluster.others(victim.name)
        with load("own", [node.port for node in cluster]) as writers:
            writers.wait_acks(100)
            victim.kill()
            others = writers.on(*(node.port for node in survivors))
            writers.wait_acks(200, others)
        print(f"kill -9 of a {victims}: slowest reply {writers.slowest_s() * 1000:.0f} ms")
        writers.check_no_errors(others)
        for writer in writers.on(victim.port):
            assert writer.disconnected
            assert not writer.errors
        for node in survivors:
            writers.check(node.port)
