"""Goal: `quorumcache-bench move` moves what it says it moves, and nothing is lost or refused.

Real processes. How long it takes is for the command to measure.
"""

from __future__ import annotations

from quorumcache.bench.changes import item
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
        topology = cluster.topology()
    assert topology is not None
    joined = topology.map.node_named("d")
    assert joined is not None

    def is_held(key: bytes) -> bool:
        return joined.node_id in topology.map.replicas_of(topology.map.shard_of(key))

    stored = [sum(map(len, item(number))) for number in range(500) if is_held(item(number)[0])]
    # Of the load's keys, which have short values: the longer the join takes, the more there are.
    written = sum(
        is_held(key) for one in join.run.load.expected.values() for key in one.acknowledged
    )
    assert join.run.failures == 0
    assert 0 < len(stored) <= join.held_items <= len(stored) + written
    assert join.held_bytes > sum(stored)
    assert len(join_table(join).rows) == 3
