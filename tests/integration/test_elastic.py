"""Goal: while nodes join, leave and die, no client loses an acknowledged write or sees an error.

Real processes, plain clients and routing ones. How long pauses are is for `quorumcache-bench
elastic` to measure.
"""

from __future__ import annotations

from quorumcache.bench.cluster import ClusterOptions, LocalCluster
from quorumcache.bench.elastic import elastic_table, run_elastic


def test_a_cluster_grows_shrinks_and_heals_under_load() -> None:
    with LocalCluster(ClusterOptions(shards=8)) as cluster:
        run = run_elastic(cluster, items=500, rate=20, quiet_seconds=0.5)
    of_others = [e for e in run.load.errors if e[0] not in run.clients_of_killed]
    assert not of_others
    assert not run.load.wrong
    assert run.lost_writes == 0
    assert len(elastic_table(run).rows) == len(run.spans) == 9
