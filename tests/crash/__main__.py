"""The full search for crash states: `python -m tests.crash`, `--seeds 1..200`, `--seconds 600`.

Explores the fixed lives, cut at every byte and with their recoveries crashed as well, then random
ones. Prints one line per life and the totals. `--workload NAME --point N` repeats one point of a
report. Ends with 1 when a crash state breaks the contract, with 2 for bad arguments, and with 130
when it was interrupted.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace

from tests.crash.contract import ContractBroken
from tests.crash.explorer import Explorer, Totals
from tests.crash.states import COARSE, FULL, Limits, Names
from tests.crash.workloads import FIXED, Workload, random_workload
from tests.support.interrupts import hear_interrupts

_RANDOM = "random-"


def main(arguments: list[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument(
        "--workload",
        help=f"explore one life: {', '.join(w.name for w in FIXED)}, or {_RANDOM}SEED",
    )
    parser.add_argument("--point", type=int, help="only crash after so many operations")
    parser.add_argument("--seeds", default="1..30", help="random lives A..B, both included")
    parser.add_argument("--seconds", type=float, help="begin no further point after so long")
    parser.add_argument("--coarse", action="store_true", help="the steps that CI takes")
    parser.add_argument(
        "--names",
        choices=[names.value for names in Names],
        default=Names.INDEPENDENT.value,
        help="how unsynced changes of names survive: in the order of a journal, or independently",
    )
    options = parser.parse_args(arguments)
    limits = replace(COARSE if options.coarse else FULL, names=Names(options.names))
    try:
        workloads = _workloads(options.workload, options.seeds)
    except ValueError as error:
        parser.error(str(error))
    if options.point is not None and options.workload is None:
        parser.error("--point needs --workload")
    stop_at = None if options.seconds is None else time.monotonic() + options.seconds
    try:
        return _explore(workloads, limits, options.point, stop_at)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _workloads(name: str | None, seeds: str) -> list[Workload]:
    if name is None:
        first, dots, last = seeds.partition("..")
        if not first.isdigit() or not (last.isdigit() if dots else True):
            raise ValueError(f"--seeds {seeds}: expected A..B, for example 1..30")
        return [*FIXED, *map(random_workload, range(int(first), int(last or first) + 1))]
    for workload in FIXED:
        if workload.name == name:
            return [workload]
    seed = name.removeprefix(_RANDOM)
    if name != _RANDOM + seed or not seed.isdigit():
        raise ValueError(f"--workload {name}: there is no such life")
    return [random_workload(int(seed))]


def _explore(
    workloads: list[Workload], limits: Limits, point: int | None, stop_at: float | None
) -> int:
    sums = Totals()
    count = 0
    for workload in workloads:
        if stop_at is not None and time.monotonic() > stop_at:
            print(f"the time is up: {len(workloads) - count} lives were not begun")
            break
        count += 1
        progress = _Progress(workload.name)
        explorer = Explorer(
            workload,
            limits,
            nested_every=workload.nested_every,
            stop_at=stop_at,
            progress=progress,
        )
        try:
            explorer.run(point)
        except ContractBroken as broken:
            progress.clear()
            print(broken, flush=True)
            sums.add(explorer.totals)
            print(f"FAILED; {count} lives: {sums}")
            return 1
        progress.clear()
        sums.add(explorer.totals)
        print(f"{workload.name:12} {explorer.totals}", flush=True)
    print(f"{count} lives: {sums}; all of them kept the contract")
    return 0


class _Progress:
    """One line that rewrites itself, on a terminal only."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._is_shown = sys.stderr.isatty()

    def __call__(self, totals: Totals) -> None:
        if self._is_shown:
            print(f"\r\x1b[K{self._name:12} {totals}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Make room for a line that stays."""
        if self._is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    hear_interrupts()
    sys.exit(main())
