"""Run seeds: `python -m tests.simulation --seeds 1..200`, or replay one: `--seed 17 --verbose`."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from tests.simulation.world import SimulationFailure, World, WorldConfig

EXERCISED = (
    "forwarded_out",
    "redirects",
    "lease_reads",
    "index_reads",
    "cmd_get_bounded",
    "cmd_get_local",
    "replica_reads",
    "bounded_too_stale",
    "elections_won",
    "leaderships_lost",
    "snapshots_taken",
    "snapshots_sent",
    "snapshots_received",
    "requests_failed",
    "requests_unknown",
    "peer_refused",
    "reads_paused",
    "disk_full",
)
"""Counters of the nodes that tell whether rare paths were taken at all."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run one seed")
    parser.add_argument("--seeds", default="1..20", help="run the seeds A..B, both included")
    parser.add_argument(
        "--fault-seconds", type=float, default=6.0, help="virtual seconds of faults"
    )
    parser.add_argument("--nodes", type=int, default=3, help="nodes of the cluster")
    parser.add_argument("--verbose", action="store_true", help="print the events as they happen")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a failing seed")
    options = parser.parse_args()
    if options.seed is not None:
        seeds = [options.seed]
    else:
        first, _, last = options.seeds.partition("..")
        seeds = list(range(int(first), int(last or first) + 1))
    failed: list[int] = []
    totals: Counter[str] = Counter()
    virtual = cpu = 0.0
    for seed in seeds:
        config = WorldConfig(
            seed=seed,
            fault_seconds=options.fault_seconds,
            node_count=options.nodes,
            verbose=options.verbose,
        )
        try:
            report = World(config).run()
        except SimulationFailure as failure:
            print(failure, flush=True)
            failed.append(seed)
            if not options.keep_going:
                break
            continue
        virtual += report.virtual_seconds
        cpu += report.cpu_seconds
        totals.update(report.totals)
        print(report.line(), flush=True)
    rate = virtual / cpu if cpu else 0.0
    print("exercised:", ", ".join(f"{name} {totals[name]}" for name in EXERCISED))
    print(f"{len(seeds)} seeds, {virtual:.0f} virtual s in {cpu:.0f} cpu s ({rate:.1f}x)", end="; ")
    print(f"FAILED: {failed}" if failed else "no failure")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
