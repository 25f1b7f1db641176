"""The command `quorumcache-bench`: what each of its commands does, signals and exit status.

Status 0: measured. 1: could not measure, said why. 2: wrong arguments. 3: measured, but requests
failed, reads were wrong, or something was lost. 4: measured, but a goal was missed (`elastic`,
`move`, `hitratio`, `large`, and `run` of `locks` and `transactions`). 130 / 143: interrupted.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

from quorumcache.bench import options, outcome, scenarios, stages
from quorumcache.bench.addresses import read_addresses
from quorumcache.bench.client import measure_clients
from quorumcache.bench.cluster import (
    MEMCACHED_MISSING,
    ClusterOptions,
    LocalCluster,
    LocalMemcached,
    RunningCluster,
    Target,
    memcached_path,
)
from quorumcache.bench.contended import CONTENDED, measure_contended
from quorumcache.bench.elastic import elastic_chart, elastic_table, run_elastic
from quorumcache.bench.errors import BenchError, Interrupted, StartError
from quorumcache.bench.failover import failover_table, run_failover
from quorumcache.bench.goals import Goal, exit_status
from quorumcache.bench.hitratio import (
    Plan,
    hit_ratio_picture,
    hit_ratio_table,
    measure_hit_ratios,
)
from quorumcache.bench.hitratio import goals as hit_ratio_goals
from quorumcache.bench.idle import idle_table, measure_idle
from quorumcache.bench.large import goals as large_goals
from quorumcache.bench.large import large_table, measure_large
from quorumcache.bench.measure import Progress, measure_rounds
from quorumcache.bench.memory import measure_memory
from quorumcache.bench.memory_report import memory_tables
from quorumcache.bench.moving import (
    WINDOW_SECONDS,
    join_goals,
    join_table,
    run_join,
    run_shard_moves,
    shard_goals,
    shard_table,
)
from quorumcache.bench.processes import parse_pinning
from quorumcache.bench.race import Figures
from quorumcache.bench.race_command import Race, redis_memory
from quorumcache.bench.race_load import Generator
from quorumcache.bench.race_report import head_line, race_picture, race_table, work_lines
from quorumcache.bench.report import Table, workload_lines
from quorumcache.bench.restart import measure_restart, restart_table
from quorumcache.bench.traces import find_traces
from quorumcache.ring.streams import open_standard_streams, run_command
from quorumcache.router import streams

_IDLE_SETTLE_SECONDS = 3.0


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    open_standard_streams()
    return run_command(
        lambda: _main(arguments), name="quorumcache-bench", failed=1, tell=streams.note
    )


def _main(arguments: list[str] | None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    parsed = options.build_parser().parse_args(words)
    commands: dict[str, Callable[[argparse.Namespace, str], int]] = {
        "list": _list,
        "run": _run,
        "race": _race,
        "failover": _failover,
        "elastic": _elastic,
        "move": _move,
        "idle": _idle,
        "memory": _memory,
        "restart": _restart,
        "hitratio": _hit_ratio,
        "large": _large,
        "client": _client,
    }
    caught: list[int] = []
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        caught.append(number)
        for one in previous:  # a second one must not disturb the cleaning up
            signal.signal(one, signal.SIG_IGN)
        raise Interrupted(f"{signal.Signals(number).name}: stopping")

    for number in previous:
        signal.signal(number, interrupt)
    try:
        return commands[parsed.command](parsed, shlex.join(["quorumcache-bench", *words]))
    except Interrupted as error:
        print(f"\nquorumcache-bench: {error}", file=sys.stderr)
        return 128 + caught[0]
    except BenchError as error:
        print(f"\nquorumcache-bench: {error}", file=sys.stderr)
        return 1
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _list(arguments: argparse.Namespace, command: str) -> int:
    for workload in scenarios.load_all(()):
        print(f"{workload.name:16} {workload.description}\n{'':16} {workload.summary()}")
    for name, description in CONTENDED.items():
        print(f"{name:16} {description}")
    return 0


def _run(arguments: argparse.Namespace, command: str) -> int:
    if options.is_contended(arguments):
        return _contended(arguments, command)
    workloads = options.chosen_workloads(arguments)
    load = options.load_options(arguments)
    progress = Progress(arguments.quiet)
    notes: list[str] = []
    targets: list[Callable[[], Target]]
    cpus: tuple[int, ...] = ()
    if arguments.cluster:
        addresses = read_addresses(arguments.cluster)
        targets, described = [lambda: RunningCluster(addresses)], f"cluster {arguments.cluster}"
    else:
        cluster = options.cluster_options(arguments)
        targets, cpus, described = [lambda: LocalCluster(cluster)], cluster.cpus, cluster.describe()
    if arguments.pin is not None:
        described += f"; processors {arguments.pin or '0:1'} (servers:load)"
    if _baseline_wanted(arguments, notes):
        targets.append(lambda: LocalMemcached(cpus))
    report = outcome.begin(command, described, notes)
    results = []
    for workload in workloads:
        found = measure_rounds(workload, targets, load, arguments.rounds, progress)
        results += found
        report = replace(report, results=tuple(results))
        print(f"\n{workload.name}: {workload.summary()}")
        print("\n".join(workload_lines(report, workload.name)), flush=True)
    outcome.finish(arguments, report)
    return 3 if any(result.errors or result.unanswered for result in results) else 0


def _contended(arguments: argparse.Namespace, command: str) -> int:
    cluster = options.cluster_options(arguments)
    say = _sayer(arguments)
    report = outcome.begin(command, cluster.describe(), [])
    tables: list[Table] = []
    found: list[Goal] = []
    with LocalCluster(cluster) as target:
        for name in arguments.scenarios:
            table, goals = measure_contended(name, target, seconds=arguments.seconds, say=say)
            tables.append(table)
            found += goals
            outcome.print_table(tables[-1])
    outcome.finish(arguments, outcome.with_tables(report, *tables))
    return exit_status(0, found)


def _race(arguments: argparse.Namespace, command: str) -> int:
    race = Race.of(arguments)
    notes: list[str] = []
    report = outcome.begin(command, race.describe(), notes)
    progress = Progress(arguments.quiet)

    print(f"\n{head_line()}", flush=True)

    def show(figures: Figures) -> None:
        progress.end()
        print("\n".join(work_lines(figures)), flush=True)

    found = race.run(notes, progress.say, show)
    progress.end()
    table = race_table(found, arguments.rounds, arguments.seconds)
    for note in (*notes, *table.notes):
        print(note)
    report = outcome.with_tables(replace(report, notes=tuple(notes)), table)
    directory = outcome.finish(arguments, report)
    picture = Path(arguments.svg) if arguments.svg else directory / "race.svg"
    outcome.write_text(picture, race_picture(table.data, command))
    print(f"picture: {picture}")
    if arguments.json:
        outcome.write_text(Path(arguments.json), json.dumps(table.data, indent=1) + "\n")
    return 3 if any(figures.faults for figures in found) else 0


def _failover(arguments: argparse.Namespace, command: str) -> int:
    cluster_options = options.cluster_options(arguments)
    if cluster_options.nodes < 3:
        raise StartError(f"failover needs at least 3 nodes, not {cluster_options.nodes}")
    report = outcome.begin(command, cluster_options.describe(), [])
    with LocalCluster(cluster_options) as cluster:
        kills = run_failover(cluster, arguments.kills, lambda text: print(text, flush=True))
    table = failover_table(kills)
    outcome.print_table(table, rows=False)
    outcome.finish(arguments, outcome.with_tables(report, table))
    return 3 if any(kill.wrong_reads for kill in kills) else 0


def _elastic(arguments: argparse.Namespace, command: str) -> int:
    cluster_options = _three_nodes(arguments)
    report = outcome.begin(command, cluster_options.describe(), [])
    with LocalCluster(cluster_options) as cluster:
        run = run_elastic(
            cluster,
            items=arguments.items,
            rate=arguments.rate,
            quiet_seconds=arguments.quiet_seconds,
            say=_sayer(arguments),
        )
    table = elastic_table(run)
    outcome.print_table(table)
    directory = outcome.finish(arguments, outcome.with_tables(report, table))
    picture = directory / "elastic.svg"
    picture.write_text(elastic_chart(run, command))
    print(f"picture: {picture}")
    return exit_status(run.failures, stages.goals(run))


def _move(arguments: argparse.Namespace, command: str) -> int:
    cluster_options = _three_nodes(arguments)
    report = outcome.begin(command, cluster_options.describe(), [])
    say = _sayer(arguments)
    tables: list[Table] = []
    goals: list[Goal] = []
    failures = 0
    if arguments.only != "join":
        with LocalCluster(replace(cluster_options, shards=1)) as cluster:
            moves = run_shard_moves(
                cluster,
                items=arguments.items,
                moves=arguments.moves,
                quiet_seconds=arguments.quiet_seconds,
                window_seconds=WINDOW_SECONDS,
                cpus=parse_pinning(arguments.pin)[1],
                progress=Progress(arguments.quiet),
                say=say,
            )
        tables.append(shard_table(moves, arguments.items))
        goals += shard_goals(moves)
        failures += sum(move.failures for move in moves)
        outcome.print_table(tables[-1])
    if arguments.only != "shard":
        with LocalCluster(cluster_options) as cluster:
            join = run_join(
                cluster,
                items=arguments.join_items,
                rate=arguments.rate,
                quiet_seconds=arguments.quiet_seconds,
                say=say,
            )
        tables.append(join_table(join))
        goals += join_goals(join)
        failures += join.run.failures
        outcome.print_table(tables[-1])
    outcome.finish(arguments, outcome.with_tables(report, *tables))
    return exit_status(failures, goals)


def _three_nodes(arguments: argparse.Namespace) -> ClusterOptions:
    found = options.cluster_options(arguments)
    if found.nodes != 3:
        raise StartError(f"{arguments.command} begins with 3 nodes, not {found.nodes}")
    return found


def _sayer(arguments: argparse.Namespace) -> Callable[[str], None]:
    def say(text: str) -> None:
        if not arguments.quiet:
            print(text, flush=True)

    return say


def _idle(arguments: argparse.Namespace, command: str) -> int:
    notes: list[str] = []
    if arguments.pids:
        report = outcome.begin(command, f"processes {', '.join(map(str, arguments.pids))}", notes)
        percents = measure_idle([(str(pid), pid) for pid in arguments.pids], arguments.seconds)
        return outcome.finish_table(arguments, report, idle_table(percents, arguments.seconds, ""))
    cluster = options.cluster_options(arguments)
    targets: list[Callable[[], Target]] = [lambda: LocalCluster(cluster)]
    if _baseline_wanted(arguments, notes):
        targets.append(lambda: LocalMemcached(cluster.cpus))
    report = outcome.begin(command, cluster.describe(), notes)
    percents = {}
    for make in targets:
        with make() as target:
            names = [f"{target.name} {chr(ord('a') + n)}" for n in range(len(target.pids))]
            if len(names) == 1:
                names = [target.name]
            watched = list(zip(names, target.pids, strict=True))
            measure_idle(watched, _IDLE_SETTLE_SECONDS)  # what starting left to do
            percents |= measure_idle(watched, arguments.seconds)
    table = idle_table(percents, arguments.seconds, cluster.describe())
    return outcome.finish_table(arguments, report, table)


def _memory(arguments: argparse.Namespace, command: str) -> int:
    notes: list[str] = []
    cluster = options.cluster_options(arguments)
    progress = Progress(arguments.quiet)
    targets: list[Callable[[], Target]] = [lambda: LocalCluster(cluster)]
    if _baseline_wanted(arguments, notes):
        targets.append(lambda: LocalMemcached(cluster.cpus))
    report = outcome.begin(command, cluster.describe(), notes)
    uses = []
    for make in targets:
        with make() as target:
            uses += measure_memory(target, arguments.items, arguments.value_size, progress)
    if arguments.redis:
        uses += redis_memory(cluster.cpus, arguments.items, arguments.value_size, progress)
    tables = memory_tables(uses, arguments.value_size)
    for table in tables:
        outcome.print_table(table)
    outcome.finish(arguments, outcome.with_tables(report, *tables))
    return 0


def _restart(arguments: argparse.Namespace, command: str) -> int:
    cluster = _three_nodes(arguments)
    report = outcome.begin(command, cluster.describe(), [])
    with tempfile.TemporaryDirectory(prefix="quorumcache-bench-restart-") as place:
        generator = Generator(Path(place))
        with LocalCluster(cluster) as target:
            items, say = arguments.items, _sayer(arguments)
            found = measure_restart(target, generator, items, Path(place), say)
    return outcome.finish_table(arguments, report, restart_table(found))


def _hit_ratio(arguments: argparse.Namespace, command: str) -> int:
    notes: list[str] = []
    cluster = options.cluster_options(arguments)
    plan = Plan(
        traces=find_traces(arguments.traces),
        keys=arguments.keys,
        requests=arguments.requests,
        value_bytes=arguments.value_size,
        seed=arguments.seed,
    )
    memories: tuple[int, ...] = arguments.memory
    ours = LocalCluster.name, partial(_cluster_of, cluster)
    peer = partial(_memcached_of, cluster) if _baseline_wanted(arguments, notes) else None
    report = outcome.begin(command, cluster.describe(), notes)
    points = measure_hit_ratios(plan, memories, ours, peer, Progress(arguments.quiet))
    table = hit_ratio_table(points, plan)
    outcome.print_table(table)
    directory = outcome.finish(arguments, outcome.with_tables(report, table))
    picture = directory / "hitratio.svg"
    picture.write_text(hit_ratio_picture(points, command))
    print(f"picture: {picture}")
    return exit_status(sum(p.replay.wrong for p in points), hit_ratio_goals(points, plan.traces))


def _large(arguments: argparse.Namespace, command: str) -> int:
    cluster = options.cluster_options(arguments)
    flags = ("--max-item-size", str(2 * arguments.value_size), *cluster.node_flags)
    cluster = replace(cluster, node_flags=flags)
    report = outcome.begin(command, cluster.describe(), [])
    with LocalCluster(cluster) as target:
        rows = measure_large(
            target,
            value_bytes=arguments.value_size,
            rate=arguments.rate,
            seconds=arguments.seconds,
            say=_sayer(arguments),
        )
    table = large_table(rows, arguments.value_size, arguments.rate)
    outcome.print_table(table)
    outcome.finish(arguments, outcome.with_tables(report, table))
    return exit_status(sum(row.failures for row in rows), large_goals(rows))


def _cluster_of(cluster: ClusterOptions, memory_bytes: int) -> Target:
    flags = (*cluster.node_flags, "--memory", str(memory_bytes))
    return LocalCluster(replace(cluster, node_flags=flags))


def _memcached_of(cluster: ClusterOptions, memory_bytes: int) -> Target:
    return LocalMemcached(cluster.cpus, megabytes=max(1, memory_bytes >> 20))


def _client(arguments: argparse.Namespace, command: str) -> int:
    report = outcome.begin(command, "AsyncClient and aiomcache, each alone on the same node", [])
    progress = Progress(arguments.quiet)
    table = measure_clients(arguments.rounds, arguments.seconds, progress)
    return outcome.finish_table(arguments, report, table)


# --- common to all


def _baseline_wanted(arguments: argparse.Namespace, notes: list[str]) -> bool:
    if arguments.no_memcached:
        return False
    if memcached_path() is not None:
        return True
    notes.append(f"NO COMPARISON: {MEMCACHED_MISSING}")
    return False


if __name__ == "__main__":
    sys.exit(main())
