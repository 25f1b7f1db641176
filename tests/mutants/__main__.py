"""Put bugs in on purpose and see which test finds each: `python -m tests.mutants [NAME ...]`.

Exit status: 0 all found; 1 one survived; 2 a mutant or a finder cannot be used, or wrong arguments;
130 interrupted.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

from tests.mutants import report
from tests.mutants.catalogue import SIMULATION, Mutant, MutantError, choose, load
from tests.mutants.finders import failing_tests
from tests.mutants.processes import Processes, Stopped
from tests.mutants.trial import Verdict, blames_the_tree, examine
from tests.mutants.workshop import Workshop

ALL_FOUND, SURVIVED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130
CONTROL_SECONDS = 900.0
JOBS_MAX = 64


def main(words: Sequence[str] | None = None) -> int:
    options = _options(words)
    try:
        mutants = choose(load(), options.names)
    except MutantError as error:
        print(f"mutants: {error}", file=sys.stderr)
        return UNUSABLE
    if options.list:
        print(report.listing(mutants))
        return ALL_FOUND
    processes = Processes()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: processes.stop())
    with tempfile.TemporaryDirectory(prefix="quorumcache-mutants-") as directory:
        try:
            return _run(mutants, options, processes, Path(directory))
        except Stopped:
            print("mutants: interrupted", file=sys.stderr)
            return INTERRUPTED


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="mutants or areas, * allowed; default: all"
    )
    parser.add_argument("--list", action="store_true", help="show names and stories, run nothing")
    parser.add_argument(
        "--every",
        action="store_true",
        help="run every finder of a mutant; otherwise the first that finds it is enough",
    )
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (default: 2)")
    parser.add_argument(
        "--timeout", type=float, default=300.0, help="seconds for one finder (default: 300)"
    )
    options = parser.parse_args(words)
    if not 1 <= options.jobs <= JOBS_MAX:
        parser.error(f"--jobs must be in 1..{JOBS_MAX}, got {options.jobs}")
    if not options.timeout > 0:
        parser.error(f"--timeout must be above 0 s, got {options.timeout}")
    return options


def _run(
    mutants: Sequence[Mutant], options: argparse.Namespace, processes: Processes, directory: Path
) -> int:
    started = time.monotonic()
    clean = Workshop(directory / "clean")
    tests = sorted({f for m in mutants for f in m.finders if not f.startswith(SIMULATION)})
    if tests:
        print(f"control: {len(tests)} finders on the unchanged tree", flush=True)
        failing = failing_tests(tests, clean, processes, CONTROL_SECONDS)
        for test, why in failing.items():
            print(f"mutants: {test} fails without any mutant: {why}", file=sys.stderr)
        if failing:
            return UNUSABLE
    verdicts = _examine_all(mutants, options, processes, directory)
    wrong = blames_the_tree(verdicts, clean, processes, options.timeout)
    print()
    print(report.table(verdicts))
    print()
    for replay in wrong:
        print(f"mutants: fails without any mutant: {replay}", file=sys.stderr)
    print(report.totals(verdicts, time.monotonic() - started))
    for verdict in verdicts:
        if verdict.survived:
            print(f"SURVIVED: {verdict.mutant.name}: {verdict.mutant.story}")
    if any(verdict.survived for verdict in verdicts):
        return SURVIVED
    return UNUSABLE if wrong or any(verdict.unusable for verdict in verdicts) else ALL_FOUND


def _examine_all(
    mutants: Sequence[Mutant], options: argparse.Namespace, processes: Processes, directory: Path
) -> list[Verdict]:
    """Verdicts in the order of `mutants`; several are examined at a time, each in its own copy."""
    jobs = min(options.jobs, len(mutants))
    workshops: SimpleQueue[Workshop] = SimpleQueue()
    for number in range(jobs):
        workshops.put(Workshop(directory / f"copy-{number}"))

    def one(mutant: Mutant) -> Verdict:
        workshop = workshops.get()
        try:
            return examine(
                mutant, workshop, processes, timeout=options.timeout, every=options.every
            )
        finally:
            workshops.put(workshop)

    verdicts: dict[str, Verdict] = {}
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(one, mutant) for mutant in mutants]
        try:
            for future in as_completed(futures):
                verdict = future.result()
                verdicts[verdict.mutant.name] = verdict
                print(report.progress(verdict, len(verdicts), len(mutants)), flush=True)
        except BaseException:
            processes.stop()  # the threads end with what they wait for
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [verdicts[mutant.name] for mutant in mutants]


if __name__ == "__main__":
    sys.exit(main())
