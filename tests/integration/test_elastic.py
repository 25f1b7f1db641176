"""Goal: while nodes join, leave and die, no client loses an acknowledged write or sees an error.

Real processes, plain clients and routing ones. How long pauses are is for `quorumcache-bench
elastic` to measure.
"""

from __future__ import annotations

from quorumcache.bench.cluster import ClusterOptions, LocalCluster
from quorumcache.bench.elastic import elastic_table, run_elastic
from quorumcache.bench.stages import QUIET, quiet_of


def test_a_cluster_grows_shrinks_and_heals_under_load() -> None:
    with LocalCluster(ClusterOptions(shards=8)) as cluster:
        run = run_elastic(cluster, items=500, rate=20, quiet_seconds=0.5)
    assert run.errors_of_others == 0
    assert not run.load.wrong
    assert run.lost_writes == 0
    assert run.lost_items == 0
    assert len(elastic_table(run).rows) == len(run.stages) == 9
    changes = [place for place, stage in enumerate(run.stages) if stage.kind != QUIET]
    assert [quiet_of(run.stages, place) for place in changes] == [2, 2, 6, 6]
