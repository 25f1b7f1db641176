"""Goal: `quorumcache-bench move` moves what it says it moves, and nothing is lost or refused.

Real processes. How long it takes is for the command to measure.
"""

from __future__ import annotations

from quorumcache.bench.cluster import ClusterOptions, LocalCluster
from quorumcache.bench.measure import Progress
from quorumcache.bench.moving import join_table, run_join, run_shard_moves, shard_table


def test_a_shard_moves_beside_a_load() -> None:
    with LocalCluster(ClusterOptions(shards=1)) as cluster:
        moves = run_shard_moves(
            cluster,
            items=500,
            moves=2,
            quiet_seconds=0.5,
            window_seconds=1.0,
            cpus=(),
            progress=Progress(quiet=True),
        )
        topology = cluster.topology()
        assert topology is not None
        names = {topology.map.node(node_id).name for node_id in topology.map.replica_sets[0]}
    assert moves[0].joins != moves[1].joins
    assert moves[-1].joins in names
    assert moves[-1].leaves not in names
    assert all(move.before > 0 and move.seconds > 0 and not move.failures for move in moves)
    assert len(shard_table(moves, 500).rows) == 2


def test_a_node_joins_beside_a_load() -> None:
    with LocalCluster(ClusterOptions(shards=8)) as cluster:
        join = run_join(cluster, items=500, rate=20, quiet_seconds=0.5)
    assert join.run.failures == 0
    assert 0 < join.held_items <= 500 + 100 * len(join.run.load.present)
    assert join.held_bytes > 100 * join.held_items
    assert len(join_table(join).rows) == 3
