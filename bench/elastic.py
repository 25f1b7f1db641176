"""Measures what clients notice while a cluster grows, shrinks, and heals.

A local cluster of three nodes holds items and serves a steady load of plain memcached clients, each
connected to one node, and of our routing clients. Then:

    3 to 6      three nodes join, and shards flow to them
    6 to 3      the joined nodes are drained, and leave
    3 to 5      two nodes join
    a kill      one of the five is killed for good; its replicas are rebuilt elsewhere

The cluster is quiet before and after each. A write that was acknowledged and is gone, a read that
misses one, an item that is gone, and an error that a client saw are counted; the errors of clients
that were connected to the killed node are counted apart. A drained node serves its clients until
they have left: the load's clients leave once it holds nothing any more, as users do who have taken
it out of their settings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from quorumcache.bench import stages
from quorumcache.bench.changes import (
    ITEM_BYTES,
    LOOK_SECONDS,
    MOVE_SECONDS,
    admin,
    fill,
    is_whole_without,
    take_out,
    wait_until_joined,
)
from quorumcache.bench.chart import Band, chart
from quorumcache.bench.cluster import LocalCluster, wait_for
from quorumcache.bench.goals import goal_notes
from quorumcache.bench.mixed_load import PLAIN, ROUTING, MixedLoad
from quorumcache.bench.report import Table
from quorumcache.bench.stages import KILL, MOVE, QUIET, Player, Staged
from quorumcache.bench.timeline import bins

OUR_CLIENTS = 4
PLAIN_PER_NODE = 2
DEAD_AFTER_MS = 3_000


def run_elastic(
    cluster: LocalCluster,
    *,
    items: int,
    rate: float,
    quiet_seconds: float,
    say: Callable[[str], None] = lambda text: None,
) -> Staged:
    """Play it. `rate`: requests per second of each client. Every wait is bounded; `StartError` or
    `TargetError` says what did not happen.
    """
    say(f"storing {items} items of {ITEM_BYTES} bytes")
    fill(cluster.nodes[0].address, items)
    load = MixedLoad(rate)
    player = Player(load, lambda: cluster.pids, say)
    run = player.run
    clients: dict[str, list[int]] = {}

    def join(names: Sequence[str]) -> None:
        run.mark(f"start {', '.join(names)}")
        for name in names:
            cluster.add_node(name)
        wait_until_joined(cluster, names)
        for name in names:
            clients[name] = [load.add_plain(cluster.node(name).address)]

    def drain(names: Sequence[str]) -> None:
        for name in names:
            run.mark(f"drain {name}")
            admin(cluster, "node", "drain", name)
            for client in clients.pop(name):
                load.leave(client)
            take_out(cluster, name)

    def kill(name: str) -> None:
        run.mark(f"kill -9 {name}")
        run.apart = dict.fromkeys(clients[name], time.monotonic_ns())
        cluster.node(name).kill()
        asked = cluster.nodes[0].address
        wait_for(
            f"the replicas of {name} elsewhere",
            lambda: is_whole_without(asked, name),
            MOVE_SECONDS,
            every_seconds=LOOK_SECONDS,
        )

    load.start()
    try:
        for node in cluster.nodes:
            clients[node.name] = [load.add_plain(node.address) for _ in range(PLAIN_PER_NODE)]
        for _ in range(OUR_CLIENTS):
            load.add_ours(cluster.addresses)
        player.quiet("3 nodes", 3, quiet_seconds)
        player.play(MOVE, "3 to 6", 6, lambda: join("def"))
        player.quiet("6 nodes", 6, quiet_seconds)
        player.play(MOVE, "6 to 3", 6, lambda: drain("def"))
        player.quiet("3 nodes again", 3, quiet_seconds)
        player.play(MOVE, "3 to 5", 5, lambda: join("gh"))
        admin(cluster, "cluster", "set", f"dead-after-ms={DEAD_AFTER_MS}")
        player.quiet("5 nodes", 5, quiet_seconds)
        player.play(KILL, "5 to 4, killed", 5, lambda: kill("b"))
        player.quiet("4 nodes", 4, quiet_seconds)
    finally:
        load.stop()
    stages.check_all(run, cluster.nodes[0].address, items)
    return run


def elastic_table(run: Staged) -> Table:
    """One row per stage."""
    found, data = stages.rows(run)
    goals = stages.goals(run)
    kinds = stages.error_kinds(run)
    return Table(
        title="Elastic: a cluster that grows, shrinks and heals under load",
        columns=stages.COLUMNS,
        rows=tuple(found),
        notes=(*stages.notes(run), *goal_notes(goals)),
        data={
            "stages": data,
            "goals": [goal._asdict() for goal in goals],
            "errors": kinds,
            "lost_writes": run.lost_writes,
            "lost_items": run.lost_items,
        },
    )


def elastic_chart(run: Staged, title: str) -> str:
    """The picture of the run, as SVG: a series per kind of client."""
    whole, kinds = run.whole, run.load.kinds
    series = {
        name: bins([s for s in run.load.samples if kinds[s.client] == kind], whole)
        for name, kind in (("plain clients", PLAIN), ("routing clients", ROUTING))
    }
    bands = [Band(stage.span, stage.kind != QUIET) for stage in run.stages]
    return chart(title, series, bands, run.marks, whole.began_ns)
