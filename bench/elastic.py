"""Measures what clients notice while a cluster grows, shrinks, and heals.

A local cluster of three nodes holds items and serves a steady load of plain memcached clients, each
connected to one node, and of our routing clients. Then:

    3 -> 6      three nodes join, and shards flow to them
    6 -> 3      the joined nodes are drained, and leave
    3 -> 5      two nodes join
    a kill      one of the five is killed for good; its replicas are rebuilt elsewhere

The cluster is quiet before and after each. A write that was acknowledged and is gone, a read that
misses one, and an error that a client saw are counted; those of clients that were connected to the
killed node are counted apart. A drained node serves its clients until they have left: the load's
clients leave once it holds nothing any more, as users do who have taken it out of their settings.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from quorumcache.bench import processes
from quorumcache.bench.chart import chart
from quorumcache.bench.cluster import LocalCluster, LocalNode, wait_for
from quorumcache.bench.errors import TargetError
from quorumcache.bench.mixed_load import MixedLoad
from quorumcache.bench.report import Table
from quorumcache.bench.text_client import TextClient
from quorumcache.bench.timeline import Span, bins, figures

OUR_CLIENTS = 4
PLAIN_PER_NODE = 2
FILL_PIPELINE = 500
MOVE_SECONDS = 300.0
LEAVE_SECONDS = 90.0
DEAD_AFTER_MS = 3_000
ITEM_BYTES = 100


@dataclass(slots=True)
class ElasticRun:
    """What happened: times in nanoseconds of the monotonic clock."""

    load: MixedLoad
    began_ns: int
    spans: list[Span] = field(default_factory=list)
    marks: list[tuple[str, int]] = field(default_factory=list)
    clients_of_killed: set[int] = field(default_factory=set)
    lost_writes: int = 0
    ended_ns: int = 0


def run_elastic(
    cluster: LocalCluster,
    *,
    items: int,
    rate: float,
    quiet_seconds: float,
    say: Callable[[str], None] = lambda text: None,
) -> ElasticRun:
    """Play it. `rate`: requests per second of each client. Every wait is bounded; `StartError` or
    `TargetError` says what did not happen.
    """
    say(f"storing {items} items of {ITEM_BYTES} bytes")
    fill(cluster.nodes[0].address, items)
    load = MixedLoad(rate)
    run = ElasticRun(load, time.monotonic_ns())
    clients: dict[str, list[int]] = {}

    def during(name: str, what: Callable[[], object]) -> None:
        began_ns = time.monotonic_ns()
        what()
        run.spans.append(Span(name, began_ns, time.monotonic_ns()))
        say(f"{name}: {run.spans[-1].seconds:.1f} s")

    def quiet(name: str) -> None:
        during(name, lambda: time.sleep(quiet_seconds))

    def join(names: Sequence[str]) -> None:
        for name in names:
            cluster.add_node(name)
        _wait_until_settled(cluster, names)
        for name in names:
            clients[name] = [load.add_plain(_node(cluster, name).address)]

    def drain(names: Sequence[str]) -> None:
        for name in names:
            admin(cluster, "node", "drain", name)
            for client in clients.pop(name):
                load.leave(client)
            node = _node(cluster, name)
            wait_for(f"node {name} ending by itself", node.has_ended, LEAVE_SECONDS)
            cluster.remove_node(name)

    load.start()
    try:
        for node in cluster.nodes:
            clients[node.name] = [load.add_plain(node.address) for _ in range(PLAIN_PER_NODE)]
        for _ in range(OUR_CLIENTS):
            load.add_ours(cluster.addresses)
        quiet("3 nodes")
        during("3 to 6", lambda: join("def"))
        quiet("6 nodes")
        during("6 to 3", lambda: drain("def"))
        quiet("3 nodes again")
        during("3 to 5", lambda: join("gh"))
        quiet("5 nodes")
        victim = _node(cluster, "b")
        run.clients_of_killed = set(clients["b"])
        admin(cluster, "cluster", "set", f"dead-after-ms={DEAD_AFTER_MS}")
        run.marks.append(("kill -9 of b", time.monotonic_ns()))

        def kill() -> None:
            victim.kill()
            wait_for("the replicas of the killed node elsewhere", lambda: _is_whole(cluster, "b"))

        during("5 to 4, killed", kill)
        quiet("4 nodes")
    finally:
        run.ended_ns = time.monotonic_ns()
        load.stop()
    run.lost_writes = count_lost(load, cluster.nodes[0].address)
    return run


def fill(address: tuple[str, int], items: int) -> None:
    """Store items through one node. `TargetError` if one is refused."""
    with TextClient(address, 60.0) as client:
        for start in range(0, items, FILL_PIPELINE):
            numbers = range(start, min(start + FILL_PIPELINE, items))
            client.set_many([(b"item:%d" % n, b"x" * ITEM_BYTES) for n in numbers])


def count_lost(load: MixedLoad, address: tuple[str, int]) -> int:
    """Keys that do not hold what was acknowledged last."""
    lost = 0
    with TextClient(address, 15.0) as client:
        for expected in load.expected.values():
            for key in expected.acknowledged:
                value, error = client.get(key)
                if error:
                    raise TargetError(f"get {key.decode()}: {error.decode('utf-8', 'replace')}")
                lost += not expected.may_read(key, value)
    return lost


def admin(cluster: LocalCluster, *words: str) -> str:
    """Run `quorumcache` against the cluster; what it printed. `TargetError` if it fails."""
    seeds = ",".join(f"{host}:{port}" for host, port in cluster.addresses)
    command = [sys.executable, "-P", "-m", "quorumcache.router.cli", *words, "--seeds", seeds]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=MOVE_SECONDS,
        check=False,
        env=processes.repository_environment(),
    )
    if done.returncode:
        raise TargetError(f"quorumcache {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def moves_of(address: tuple[str, int]) -> dict[str, Any]:
    """What `cluster moves` tells."""
    with TextClient(address, 5.0) as client:
        found: dict[str, Any] = json.loads(client.block(b"cluster moves"))
    return found


def _node(cluster: LocalCluster, name: str) -> LocalNode:
    return next(node for node in cluster.nodes if node.name == name)


def _wait_until_settled(cluster: LocalCluster, names: Sequence[str]) -> None:
    """Until all these nodes are active members and no replica moves."""

    def settled() -> bool:
        for node in cluster.nodes:
            node.check_alive()
        found = moves_of(cluster.nodes[0].address)
        states = {node["name"]: node["state"] for node in found["nodes"]}
        return all(states.get(name) == "active" for name in names) and not found["moves"]

    wait_for(f"the join of {', '.join(names)}", settled, MOVE_SECONDS)


def _is_whole(cluster: LocalCluster, killed: str) -> bool:
    """The map counts on the killed node for nothing any more."""
    with TextClient(cluster.nodes[0].address, 5.0) as client:
        cluster_map = client.cluster_map()
    if cluster_map is None:
        return False
    node = cluster_map.node_named(killed)
    held = {node_id for replicas in cluster_map.replica_sets for node_id in replicas}
    return node is None or (node.node_id not in held and not cluster_map.moves)


def elastic_table(run: ElasticRun) -> Table:
    """One row per span."""
    columns = ("time", "seconds", "ops/s", "p50 ms", "p99 ms", "pause ms", "errors", "wrong reads")
    rows = []
    data: dict[str, Any] = {}
    for span in run.spans:
        inside = [s for s in run.load.samples if s.client not in run.clients_of_killed]
        present = {
            client: times
            for client, times in run.load.present.items()
            if client not in run.clients_of_killed
        }
        met = figures(inside, span, present)
        errors = [e for e in _within(run, span) if e[0] not in run.clients_of_killed]
        wrong = sum(span.began_ns <= at < span.ended_ns for _, at, _ in run.load.wrong)
        rows.append(
            (
                *(span.name, f"{span.seconds:.1f}", f"{met.ops_per_second:.0f}"),
                *(f"{met.p50_ms:.2f}", f"{met.p99_ms:.2f}", f"{met.pause_ms:.0f}"),
                *(str(len(errors)), str(wrong)),
            )
        )
        data[span.name] = {**met._asdict(), "seconds": span.seconds, "errors": len(errors)}
    kinds: dict[str, int] = {}
    for client, _, text in run.load.errors:
        whose = "of clients of the killed node" if client in run.clients_of_killed else "of others"
        kinds[f"{whose}: {text}"] = kinds.get(f"{whose}: {text}", 0) + 1
    notes = [
        f"acknowledged writes that are gone: {run.lost_writes}; reads that missed one: "
        f"{len(run.load.wrong)}",
        f"clients: {len(run.load.present)}, of which {OUR_CLIENTS} route by themselves; pause: the "
        "longest time between two answers to one client",
        *(f"error, {times} times, {text}" for text, times in sorted(kinds.items())),
    ]
    return Table(
        title="Elastic: a cluster that grows, shrinks and heals under load",
        columns=columns,
        rows=tuple(rows),
        notes=tuple(notes),
        data={**data, "lost_writes": run.lost_writes, "errors": kinds},
    )


def _within(run: ElasticRun, span: Span) -> list[tuple[int, int, str]]:
    return [error for error in run.load.errors if span.began_ns <= error[1] < span.ended_ns]


def elastic_chart(run: ElasticRun, title: str) -> str:
    """The picture of the run, as SVG."""
    whole = Span("all", run.began_ns, run.ended_ns)
    return chart(title, bins(run.load.samples, whole), run.spans, run.marks, run.began_ns)
