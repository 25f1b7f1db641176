"""Whole clusters under faults, by seed.

`--seeds 1..200` runs many on all cores (`--seeds 200` is the same), `--seed 17 --verbose` one of
them, event by event, `--schedule FILE` the faults that a file holds. After a failure the schedule
is shrunk, told as a story, and written to `./simulation-failures/`.

Exit codes: 0 no failure, 1 a seed failed, 2 the arguments are wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from tests.simulation.campaign import (
    Progress,
    core_count,
    make_world,
    run_campaign,
    run_seed,
)
from tests.simulation.report import Report
from tests.simulation.schedule import (
    FAULT_SECONDS_MAX,
    NODES_MAX,
    SHARDS_MAX,
    Schedule,
    ScheduleError,
    read_schedule,
    write_schedule,
)
from tests.simulation.shrink import SECONDS_MAX, Shrinker
from tests.simulation.world import SimulationFailure, WorldConfig
from tests.support.interrupts import hear_interrupts

FAILURES = Path("simulation-failures")
OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def seed_range(text: str) -> range:
    """`N` is 1 to N, `A..B` is A to B, both included."""
    first, dots, last = text.partition("..")
    numbers = (first, last) if dots else ("1", first)
    if not all(number.isascii() and number.isdigit() for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor a range A..B")
    seeds = range(int(numbers[0]), int(numbers[1]) + 1)
    if not seeds:
        raise argparse.ArgumentTypeError(f"{text!r} holds no seed")
    return seeds


def _whole(low: int, high: int):  # type: ignore[no-untyped-def]
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number in {low}..{high}")
        return int(text)

    return parse


def _shards(text: str) -> int:
    shards: int = _whole(0, SHARDS_MAX)(text)
    if shards & (shards - 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a power of two")
    return shards


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= FAULT_SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


class _Parser(argparse.ArgumentParser):
    """An error is one line."""

    def error(self, message: str):  # type: ignore[no-untyped-def]
        self.exit(USAGE, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m tests.simulation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--seed", type=_whole(0, 1 << 63), help="run one seed in this process")
    what.add_argument(
        "--seeds",
        type=seed_range,
        default=range(1, 21),
        metavar="N|A..B",
        help="run the seeds 1 to N, or A to B, both included (default: 20)",
    )
    what.add_argument(
        "--schedule", type=Path, metavar="FILE", help="run the seed and the faults of this file"
    )
    parser.add_argument(
        "--fault-seconds",
        type=_seconds,
        default=6.0,
        metavar="S",
        help="virtual seconds of faults (default: 6)",
    )
    parser.add_argument(
        "--nodes",
        type=_whole(0, NODES_MAX),
        default=0,
        metavar="N",
        help="nodes of the cluster (default: drawn from the seed, mostly 3)",
    )
    parser.add_argument(
        "--shards", type=_shards, default=0, metavar="N", help="(default: drawn from the seed)"
    )
    parser.add_argument(
        "--jobs",
        type=_whole(1, 1024),
        default=core_count(),
        metavar="N",
        help="processes for many seeds (default: one for each core)",
    )
    parser.add_argument(
        "--elastic", action="store_true", help="clusters whose nodes join, leave, move and die"
    )
    parser.add_argument(
        "--transactions",
        action="store_true",
        help="clients that use transactions and locks, above all",
    )
    parser.add_argument("--verbose", action="store_true", help="print the events as they happen")
    parser.add_argument("--each", action="store_true", help="print a line for every seed")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a failing seed")
    parser.add_argument(
        "--write-schedule",
        type=Path,
        metavar="FILE",
        help="write the faults of --seed to this file, without running it",
    )
    parser.add_argument(
        "--shrink-seconds",
        type=_seconds,
        default=SECONDS_MAX,
        metavar="S",
        help=f"time to look for a shorter schedule after a failure; 0: none "
        f"(default: {SECONDS_MAX:g})",
    )
    return parser


def main() -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    parser = _parser()
    options = parser.parse_args()
    try:
        return _run(options, parser)
    except ScheduleError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    config = WorldConfig(
        seed=options.seed or 0,
        fault_seconds=options.fault_seconds,
        node_count=options.nodes,
        shards=options.shards,
        verbose=options.verbose,
        elastic=options.elastic,
        transactions=options.transactions,
    )
    if options.transactions:
        config.client_count = config.program_count = 1
    if options.write_schedule is not None:
        if options.seed is None:
            parser.error("--write-schedule needs --seed")
        write_schedule(options.write_schedule, make_world(config).schedule)
        return OK
    if options.schedule is not None:
        config = WorldConfig.of(read_schedule(options.schedule), verbose=options.verbose)
    if options.schedule is not None or options.seed is not None:
        outcome = run_seed(config)
        if isinstance(outcome, Report):
            print(outcome.line())
            return OK
        print(outcome)
        _shrink_and_tell(outcome, options.shrink_seconds)
        return FAILED
    begin = time.monotonic()
    summary, interrupted = run_campaign(
        config,
        options.seeds,
        jobs=1 if options.verbose else options.jobs,
        keep_going=options.keep_going,
        each=options.each,
    )
    if not interrupted:
        for failure in summary.failures:
            _shrink_and_tell(failure, options.shrink_seconds)
    if interrupted:
        print(f"interrupted after {summary.seeds} of {len(options.seeds)} seeds")
    print("\n".join(summary.lines(time.monotonic() - begin)))
    if interrupted:
        return INTERRUPTED
    return FAILED if summary.failures else OK


def shrink(
    failure: SimulationFailure, seconds: float, progress: Progress
) -> tuple[Schedule, SimulationFailure]:
    """The shortest schedule found that fails like this one, and its failure."""
    last = failure

    def fails(schedule: Schedule) -> int | None:
        nonlocal last
        outcome = run_seed(WorldConfig.of(schedule))
        if isinstance(outcome, Report) or outcome.kind != failure.kind:
            return None
        last = outcome
        return outcome.failed_ms

    shrinker = Shrinker(fails, now=time.monotonic, seconds_max=seconds, progress=progress.say)
    shrunk = shrinker.shrink(failure.schedule)
    progress.clear()
    if shrunk is None:
        return failure.schedule, failure
    print(
        f"shrunk from {len(failure.schedule.faults)} to {len(shrunk.faults)} faults "
        f"in {shrinker.runs} runs" + (", then out of time" if shrinker.is_cut_short else "")
    )
    return shrunk, last


def _shrink_and_tell(failure: SimulationFailure, seconds: float) -> None:
    schedule, last = failure.schedule, failure
    if seconds:
        schedule, last = shrink(failure, seconds, Progress(0, sys.stderr))
    path = FAILURES / f"seed-{schedule.seed}.json"
    write_schedule(path, schedule)
    print(f"\nseed {schedule.seed}: {last.kind}\nfaults:")
    print("\n".join(schedule.describe() or ["  none"]))
    print("what happened (virtual seconds):")
    print("\n".join(last.story))
    print(f"replay it with\n  python -m tests.simulation --schedule {path} --verbose", flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    hear_interrupts()
    sys.exit(main())
