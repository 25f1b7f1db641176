"""Real nodes under real faults, and a check of everything their clients were told.

A cluster in network namespaces of its own (needs root), with kill -9, pauses, partitions, packet
loss, slow links and full disks, while memcached connections and the client library read and write
through every node. With --elastic, nodes join, leave and are lost meanwhile. The clients' histories
are checked for linearizability.

exit status: 0 all well, 1 a fault was found, 2 it cannot run here, 128 + n ended by signal n
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom

from quorumcache.bench.processes import repository_environment, start
from tests.chaos import directory as directories
from tests.chaos.broken import RULES
from tests.chaos.changes import CHANGES, SPARES
from tests.chaos.commands import unshare, what_is_missing
from tests.chaos.history_file import HistoryError, read_history
from tests.chaos.inside import CANNOT_RUN, FAILED, GOOD
from tests.chaos.run import Options, schedule_of
from tests.chaos.schedule import KINDS, Fault
from tests.simulation.linearizability import LEGAL, check_history

NODES_MAX = 9
SECONDS_MAX = 86_400
STOP_SECONDS = 20.0
"""How long a run may take to end its processes by itself; then the kernel does it."""


def main(argv: Sequence[str] | None = None) -> int:
    options = _parse(argv)
    if options.check is not None:
        return _check(options.check)
    kinds = [word.strip() for word in options.faults.split(",")]
    seed = options.seed if options.seed is not None else SystemRandom().randrange(1 << 31)
    try:
        schedule = schedule_of(
            Options(
                seed=seed,
                seconds=options.seconds,
                nodes=options.nodes,
                kinds=kinds,
                elastic=options.elastic,
                bank=options.bank,
                directory="",
            )
        )
    except ValueError as error:
        return _fail(str(error))
    if options.show:
        in_time = sorted(schedule, key=lambda fault: fault.at_s)
        print("\n".join(fault.describe() for fault in in_time))
        return GOOD
    missing = what_is_missing()
    if missing:
        return _fail(missing)
    for leftover in directories.remove_leftovers():
        print(f"removed {leftover}, left by a run that was killed")
    directory = directories.create()
    run = Options(
        seed=seed,
        seconds=options.seconds,
        nodes=options.nodes,
        kinds=kinds,
        directory=str(directory),
        broken=options.broken,
        elastic=options.elastic,
        bank=options.bank,
        every_key=options.verbose,
    )
    print(f"{run.command()}: {_count(schedule)}", flush=True)
    status = _supervise(run)
    if status == FAILED or (options.keep and status == GOOD):
        directories.keep(directory)
        print(f"logs and history: {directory}")
    else:
        directories.remove(directory)
    return status


def _count(schedule: list[Fault]) -> str:
    changes = sum(fault.kind in CHANGES for fault in schedule)
    text = f"{len(schedule) - changes} faults"
    return f"{text}, {changes} changes" if changes else text


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--seconds",
        type=_number(1.0, SECONDS_MAX),
        default=60.0,
        metavar="S",
        help="how long to break things (default 60)",
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="draws the schedule (default: a new one each time)"
    )
    parser.add_argument(
        "--faults",
        default=",".join(KINDS),
        metavar="KIND,...",
        help=f"which ones (default: all, which is {','.join(KINDS)})",
    )
    parser.add_argument(
        "--nodes",
        type=int,
        default=3,
        choices=range(3, NODES_MAX + 1),
        metavar="N",
        help=f"nodes of the cluster, 3 to {NODES_MAX} (default 3)",
    )
    parser.add_argument(
        "--elastic",
        action="store_true",
        help=f"nodes join, leave and are lost meanwhile: --nodes founders and {SPARES} more",
    )
    parser.add_argument(
        "--bank",
        action="store_true",
        help="transactions over 64 shards between 100 accounts, and locks, meanwhile",
    )
    parser.add_argument("--show", action="store_true", help="print the schedule, run nothing")
    parser.add_argument("--keep", action="store_true", help="keep logs and history of a good run")
    parser.add_argument("--verbose", action="store_true", help="a line for every key")
    parser.add_argument(
        "--check", type=Path, metavar="FILE", help="check a history that was kept, run nothing"
    )
    parser.add_argument(
        "--broken",
        choices=sorted(RULES),
        default="",
        help="break a rule of the product, to see that it is found",
    )
    options = parser.parse_args(argv)
    if options.elastic and options.nodes + SPARES > NODES_MAX:
        parser.error(f"--elastic takes --nodes 3 to {NODES_MAX - SPARES}")
    return options


def _number(low: float, high: float):  # type: ignore[no-untyped-def]
    def convert(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not in {low:g}..{high:g}")
        return value

    convert.__name__ = "number"  # argparse names it in its message
    return convert


def _supervise(run: Options) -> int:
    """Start the run in its namespaces and wait. However this process ends, the run ends with it.

    A signal closes the run's stdin, upon which it ends what it started; when that takes too long,
    or when this process is killed, `unshare` is killed and the kernel ends the rest.
    """
    caught: list[int] = []
    command = [sys.executable, "-m", "tests.chaos.inside", run.as_json()]
    process = start(
        unshare(command),
        stdin=subprocess.PIPE,
        stdout=None,
        stderr=None,
        environment=repository_environment(),
    )
    assert process.stdin is not None

    def on_signal(number: int, frame: object) -> None:
        caught.append(number)
        raise InterruptedError  # out of the wait below

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, on_signal) for number in signals}
    try:
        try:
            status = process.wait()
        except InterruptedError:
            process.stdin.close()
            status = process.wait(STOP_SECONDS)
    except (InterruptedError, subprocess.TimeoutExpired):
        process.kill()  # asked twice, or it hangs
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if process.poll() is None:
            process.kill()
            process.wait()
    if caught:
        print(f"chaos: ended by {signal.Signals(caught[0]).name}, nothing is running", flush=True)
        return 128 + caught[0]
    return status if status in (GOOD, FAILED, CANNOT_RUN) else FAILED


def _check(path: Path) -> int:
    try:
        history = read_history(path)
    except HistoryError as error:
        return _fail(str(error))
    verdicts = check_history(history)
    for verdict in verdicts.values():
        if verdict.kind != LEGAL:
            print(verdict.describe())
    good = sum(verdict.kind == LEGAL for verdict in verdicts.values())
    print(f"{len(history.operations)} operations, {len(verdicts)} keys: {good} linearizable")
    return GOOD if good == len(verdicts) else FAILED


def _fail(line: str) -> int:
    print(f"chaos: {line}", file=sys.stderr)
    return CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main())
