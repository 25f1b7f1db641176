"""The command line of quorumcache-bench: flags, their help, and their meaning as values."""

from __future__ import annotations

import argparse
from typing import Any

from quorumcache.bench import flag_values, scenarios
from quorumcache.bench.cluster import ClusterOptions
from quorumcache.bench.contended import CONTENDED
from quorumcache.bench.errors import WorkloadError
from quorumcache.bench.measure import MODES, LoadOptions
from quorumcache.bench.processes import parse_pinning
from quorumcache.bench.race import WORKS
from quorumcache.bench.race_peers import PEERS
from quorumcache.bench.traces import TRACES
from quorumcache.bench.workload import Workload
from quorumcache.router.streams import Parser

SHARDS_HELP = "default: as many as the nodes would choose, 16 for three"

_EPILOG = """examples:
  quorumcache-bench list
  quorumcache-bench run                        all scenarios: 3 nodes, then memcached
  quorumcache-bench run get set --nodes 1 --pin
  quorumcache-bench run mixed --rate 20000 --seconds 30
  quorumcache-bench run get --cluster 10.0.0.1:11211 --no-memcached
  quorumcache-bench run locks transactions     how long they take, alone and contended
  quorumcache-bench race                       beside memcached and redis, in turns
  quorumcache-bench failover --kills 20
  quorumcache-bench elastic                    3 -> 6 -> 3 nodes, then a kill, under load
  quorumcache-bench move                       how long a shard and a joining node take
  quorumcache-bench idle
  quorumcache-bench memory
  quorumcache-bench restart
  quorumcache-bench hitratio                   a full cache: which items does it keep?
  quorumcache-bench large                      small gets beside values of 16 MiB
  quorumcache-bench client                     AsyncClient beside aiomcache
"""


def build_parser() -> argparse.ArgumentParser:
    """All commands."""
    parser = Parser(
        prog="quorumcache-bench",
        description="Load a QuorumCache cluster, measure it, and compare it with memcached.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="show the named workloads")
    _add_run(commands.add_parser("run", help="run workloads and print throughput and latency"))
    _add_race(commands.add_parser("race", help="race memcached and redis, in turns of one run"))
    failover = commands.add_parser(
        "failover", help="kill and restart nodes under load and measure the pauses"
    )
    failover.add_argument(
        "--kills", type=flag_values.count, default=20, help="number of kills (default: 20)"
    )
    _add_cluster(failover)
    _add_output(failover)
    _add_elastic(
        commands.add_parser(
            "elastic", help="grow, shrink and kill nodes under load and measure what clients notice"
        )
    )
    _add_move(
        commands.add_parser(
            "move", help="move a large shard, then join a node, and measure how long each takes"
        )
    )
    idle = commands.add_parser("idle", help="processor time of an idle cluster")
    idle.add_argument(
        "--seconds", type=flag_values.seconds, default=10.0, help="time to watch (default: 10)"
    )
    idle.add_argument(
        "--pids",
        type=flag_values.pids,
        default=(),
        metavar="PID,...",
        help="watch these processes instead of starting a cluster",
    )
    _add_cluster(idle)
    _add_baseline(idle)
    _add_output(idle)
    memory = commands.add_parser("memory", help="bytes of memory per item")
    memory.add_argument(
        "--items", type=flag_values.count, default=1_000_000, help="default: 1000000"
    )
    memory.add_argument(
        "--value-size", type=flag_values.size, default=100, metavar="BYTES", help="default: 100"
    )
    memory.add_argument(
        "--redis", action="store_true", help="measure redis, too; its items are stored by a C load"
    )
    _add_cluster(memory, nodes=1, durability="memory")
    _add_baseline(memory)
    _add_output(memory)
    restart = commands.add_parser("restart", help="how fast a node is back, by its items")
    restart.add_argument(
        "--items", type=flag_values.count, default=1_000_000, help="default: 1000000"
    )
    _add_cluster(restart)
    _add_output(restart)
    _add_hit_ratio(
        commands.add_parser("hitratio", help="hit ratios of a full cache, by generated traces")
    )
    _add_large(
        commands.add_parser("large", help="latency of small gets beside large sets and gets")
    )
    client = commands.add_parser("client", help="calls per second of AsyncClient and aiomcache")
    client.add_argument(
        "--rounds", type=flag_values.count, default=25, help="rounds in turn (default: 25)"
    )
    client.add_argument(
        "--seconds",
        type=flag_values.seconds,
        default=0.2,
        help="per client, load and round (default: 0.2)",
    )
    _add_output(client)
    return parser


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "scenarios",
        nargs="*",
        metavar="SCENARIO",
        help="names from `list`, or TOML files (default: all)",
    )
    run.add_argument(
        "--cluster",
        metavar="HOST:PORT,...",
        help="load this running cluster (or memcached) instead of starting one; unix:/path is a"
        " Unix socket",
    )
    run.add_argument(
        "--mode",
        choices=MODES,
        default="auto",
        help="routed: each connection asks only for its node's keys; any-node: all keys, nodes"
        " forward; auto: routed where there is a cluster map (default)",
    )
    load = run.add_argument_group("workload (instead of what the scenario says)")
    load.add_argument(
        "--reads",
        type=flag_values.fraction,
        metavar="0..1",
        help="share of gets; the rest are sets",
    )
    load.add_argument("--keys", type=flag_values.count, help="number of keys")
    load.add_argument(
        "--value-size",
        type=flag_values.size_range,
        metavar="BYTES[-BYTES]",
        help="size of the values, such as 100 or 10-4k",
    )
    load.add_argument(
        "--distribution", type=flag_values.distribution, metavar="uniform|zipf[:EXPONENT]"
    )
    load.add_argument(
        "--connections",
        type=flag_values.count,
        metavar="N",
        help="connections of all load processes together",
    )
    load.add_argument(
        "--depth", type=flag_values.count, metavar="N", help="requests in flight per connection"
    )
    load.add_argument(
        "--rate",
        type=float,
        metavar="PER_SECOND",
        help="open loop: requests start at this rate, and latency counts from the intended start",
    )
    load.add_argument(
        "--arrivals", choices=("poisson", "constant"), help="spacing of the open loop's requests"
    )
    load.add_argument("--no-fill", action="store_true", help="do not write the keys first")
    timing = run.add_argument_group("measurement")
    timing.add_argument(
        "--seconds", type=flag_values.seconds, default=5.0, help="measured time (default: 5)"
    )
    timing.add_argument(
        "--warmup",
        type=flag_values.seconds,
        default=1.0,
        help="load before the measurement (default: 1)",
    )
    timing.add_argument(
        "--rounds",
        type=flag_values.count,
        default=1,
        help="repeat and report the median (default: 1)",
    )
    timing.add_argument(
        "--processes", type=flag_values.count, default=1, help="load processes (default: 1)"
    )
    timing.add_argument("--seed", type=int, default=1, help="seed of keys and order (default: 1)")
    _add_cluster(run)
    _add_baseline(run)
    _add_output(run)


def _add_race(race: argparse.ArgumentParser) -> None:
    race.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=[],
        metavar="NAME,...",
        help=f"these workloads; there are {', '.join(work.name for work in WORKS)}",
    )
    race.add_argument("--rounds", type=flag_values.count, default=5, help="default: 5")
    race.add_argument(
        "--seconds", type=flag_values.seconds, default=2.0, help="of one lap (default: 2)"
    )
    race.add_argument("--keys", type=flag_values.count, default=10_000, help="default: 10000")
    race.add_argument(
        "--without",
        action="append",
        default=[],
        choices=PEERS,
        help="leave a peer out; may be repeated",
    )
    race.add_argument(
        "--core-per-node",
        action="store_true",
        help="a processor for each node, and one for the load; without it all servers share one",
    )
    race.add_argument("--shards", type=flag_values.count, help=SHARDS_HELP)
    race.add_argument("--data-root", metavar="DIR", help="where data goes (default: $TMPDIR)")
    race.add_argument("--json", metavar="FILE", help="the figures alone, as JSON")
    race.add_argument("--svg", metavar="FILE", help="the picture (default: race.svg in --out)")
    _add_output(race)


def _add_elastic(elastic: argparse.ArgumentParser) -> None:
    elastic.add_argument(
        "--items",
        type=flag_values.count,
        default=200_000,
        help="items stored before (default: 200000)",
    )
    _add_steady(elastic)
    _add_cluster(elastic)
    _add_output(elastic)


def _add_move(move: argparse.ArgumentParser) -> None:
    move.add_argument(
        "--only", choices=("shard", "join"), help="one of the two measurements (default: both)"
    )
    move.add_argument(
        "--items",
        type=flag_values.count,
        default=100_000,
        help="items of the one shard (default: 100000)",
    )
    move.add_argument(
        "--moves", type=flag_values.count, default=3, help="how often that shard moves (default: 3)"
    )
    move.add_argument(
        "--join-items",
        type=flag_values.count,
        default=1_000_000,
        help="items stored before the join (default: 1000000)",
    )
    _add_steady(move)
    _add_cluster(move)
    _add_output(move)


def _add_hit_ratio(hit_ratio: argparse.ArgumentParser) -> None:
    hit_ratio.add_argument(
        "--traces",
        default="",
        metavar="NAME,...",
        help=f"default: all, which are {', '.join(trace.name for trace in TRACES)}",
    )
    hit_ratio.add_argument(
        "--memory",
        type=flag_values.sizes,
        default=flag_values.sizes("8m,24m"),
        metavar="SIZE,...",
        help="memory of the server, once for each size (default: 8m,24m)",
    )
    hit_ratio.add_argument(
        "--keys",
        type=flag_values.count,
        default=100_000,
        help="popular keys of a trace (default: 100000)",
    )
    hit_ratio.add_argument(
        "--requests",
        type=flag_values.count,
        default=700_000,
        help="requests of a trace (default: 700000)",
    )
    hit_ratio.add_argument(
        "--value-size", type=flag_values.size, default=500, metavar="BYTES", help="default: 500"
    )
    hit_ratio.add_argument("--seed", type=int, default=1, help="seed of the traces (default: 1)")
    _add_cluster(hit_ratio, nodes=1, durability="memory")
    _add_baseline(hit_ratio)
    _add_output(hit_ratio)


def _add_large(large: argparse.ArgumentParser) -> None:
    large.add_argument(
        "--value-size",
        type=flag_values.size,
        default=16 << 20,
        metavar="BYTES",
        help="default: 16m",
    )
    large.add_argument(
        "--rate", type=flag_values.count, default=500, help="small gets per second (default: 500)"
    )
    large.add_argument(
        "--seconds",
        type=flag_values.seconds,
        default=20.0,
        help="time for each stream (default: 20)",
    )
    _add_cluster(large)
    _add_output(large)


def _add_steady(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rate",
        type=flag_values.count,
        default=100,
        help="requests per second of each client of a steady load (default: 100)",
    )
    parser.add_argument(
        "--quiet-seconds",
        type=flag_values.seconds,
        default=5.0,
        help="quiet time before and after each change (default: 5)",
    )


def _add_cluster(
    parser: argparse.ArgumentParser, *, nodes: int = 3, durability: str = "fsync"
) -> None:
    group = parser.add_argument_group("the cluster that is started")
    group.add_argument("--nodes", type=flag_values.count, default=nodes, help=f"default: {nodes}")
    group.add_argument("--shards", type=flag_values.count, help=SHARDS_HELP)
    group.add_argument("--replication", type=flag_values.count, default=3, help="default: 3")
    group.add_argument(
        "--durability",
        choices=("fsync", "memory"),
        default=durability,
        help=f"memory: one node only (default: {durability})",
    )
    group.add_argument("--data-root", metavar="DIR", help="where data goes (default: $TMPDIR)")
    group.add_argument(
        "--node-flag",
        action="append",
        default=[],
        metavar="FLAG",
        help="flag for every node, for example --node-flag=--memory=2g; may be repeated",
    )
    group.add_argument(
        "--pin",
        nargs="?",
        const="",
        metavar="SERVERS:LOAD",
        help="bind servers and load to processors; without a value: the first and the second (0:1)",
    )


def _add_baseline(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-memcached", action="store_true", help="do not measure memcached for comparison"
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="where report.json and report.md go (default: ./bench-results/<time>)",
    )
    parser.add_argument("--quiet", action="store_true", help="do not print progress")


# --- flags as values


def is_contended(arguments: argparse.Namespace) -> bool:
    """Whether nothing but these is to be run. WorkloadError if they are mixed with workloads, or
    with a running cluster.
    """
    chosen = set(arguments.scenarios) & set(CONTENDED)
    if not chosen:
        return False
    if chosen != set(arguments.scenarios):
        raise WorkloadError(f"run {' and '.join(sorted(chosen))} without other scenarios")
    if arguments.cluster:
        raise WorkloadError(f"{' and '.join(sorted(chosen))} start a cluster: leave out --cluster")
    return True


def chosen_workloads(arguments: argparse.Namespace) -> list[Workload]:
    """The scenarios with the flags' changes, validated. WorkloadError otherwise."""
    changes: dict[str, Any] = {}
    if arguments.reads is not None:
        changes |= {"get": arguments.reads, "set": 1 - arguments.reads, "incr": 0.0, "delete": 0.0}
    for name in ("keys", "connections", "depth", "rate", "arrivals"):
        if getattr(arguments, name) is not None:
            changes[name] = getattr(arguments, name)
    if arguments.value_size is not None:
        changes["value_bytes_min"], changes["value_bytes_max"] = arguments.value_size
    if arguments.distribution is not None:
        changes["distribution"] = arguments.distribution[0]
        if arguments.distribution[1] is not None:
            changes["zipf_exponent"] = arguments.distribution[1]
    if arguments.no_fill:
        changes["fill"] = False
    found = scenarios.load_all(arguments.scenarios)
    return [workload.with_changes(**changes).validate() for workload in found]


def load_options(arguments: argparse.Namespace) -> LoadOptions:
    """How to load."""
    return LoadOptions(
        seconds=arguments.seconds,
        warmup_seconds=arguments.warmup,
        processes=arguments.processes,
        seed=arguments.seed,
        mode=arguments.mode,
        cpus=parse_pinning(arguments.pin)[1],
    )


def cluster_options(arguments: argparse.Namespace) -> ClusterOptions:
    """The local cluster."""
    options = ClusterOptions(
        nodes=arguments.nodes,
        shards=arguments.shards or 0,
        replication=arguments.replication,
        durability=arguments.durability,
        data_root=arguments.data_root,
        cpus=parse_pinning(arguments.pin)[0],
        node_flags=tuple(arguments.node_flag),
    )
    return options.validate()
