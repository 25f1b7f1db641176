"""A finder at work: did this test, or one of these seeds, fail on the tree in front of it?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.mutants.catalogue import SIMULATION
from tests.mutants.processes import Ended, Processes
from tests.mutants.workshop import Workshop

_FAILED_TEST = re.compile(r"^(?:FAILED|ERROR) (\S+::.*?)(?: - (.*))?$", re.MULTILINE)
_FAILED_SEED = re.compile(r"^seed (\d+) fails: ?(.*)\n(.*)", re.MULTILINE)
_NO_FAILURE, _TESTS_FAILED = 0, 1
"""Exit statuses of pytest, and of the simulation. All others say that it could not run."""

PYTEST = (
    *("-m", "pytest", "-q", "--no-header", "--tb=short", "-p", "no:cacheprovider"),
    "--hypothesis-seed=0",
)


@dataclass(frozen=True, slots=True)
class Search:
    """What one finder did."""

    finder: str
    seconds: float
    found_by: str = ""
    """Test or seed that failed; "" when none did."""
    why: str = ""
    """The failure in a few words."""
    broken: str = ""
    """Why the finder could not be run; "" when it was."""

    @property
    def replay(self) -> str:
        """A finder that does again what found it, and no more."""
        if not self.finder.startswith(SIMULATION):
            return self.found_by
        seed = self.found_by.removeprefix("seed ")
        return re.sub(r"--seeds \S+", f"--seeds {seed}..{seed}", self.finder)


def search(finder: str, workshop: Workshop, processes: Processes, timeout: float) -> Search:
    """Run one finder in a workshop; `timeout` in seconds. Without an end in time nothing is
    found.
    """
    if finder.startswith(SIMULATION):
        words = finder.removeprefix(SIMULATION).split()
        ended = processes.run(
            workshop.python("-m", "tests.simulation", *words),
            directory=workshop.directory,
            environment=workshop.environment,
            timeout_seconds=timeout,
            # What follows a failure (the last events, a smaller schedule) finds nothing new.
            seen_enough=lambda output: _FAILED_SEED.search(output) is not None,
        )
        found = _FAILED_SEED.search(ended.output)
        if found is not None:
            seed, kind, text = found.groups()
            return Search(finder, ended.seconds, f"seed {seed}", text.strip() or kind)
    else:
        ended = processes.run(
            workshop.python(*PYTEST, "-x", finder),
            directory=workshop.directory,
            environment=workshop.environment,
            timeout_seconds=timeout,
        )
        found = _FAILED_TEST.search(ended.output)
        if ended.status == _TESTS_FAILED and found is not None:
            return Search(finder, ended.seconds, found[1], found[2] or "")
    return Search(finder, ended.seconds, broken=_why_broken(ended))


def _why_broken(ended: Ended) -> str:
    if ended.timed_out:
        return f"no end within {ended.seconds:.0f} s"
    if ended.status == _NO_FAILURE:
        return ""
    lines = [line for line in ended.output.splitlines() if line.strip()]
    return f"exit status {ended.status}: {lines[-1] if lines else 'it said nothing'}"


def failing_tests(
    finders: Sequence[str], workshop: Workshop, processes: Processes, timeout: float
) -> dict[str, str]:
    """The control: those of the pytest `finders` that fail on an unchanged tree, and why.

    One run for all of them.
    """
    ended = processes.run(
        workshop.python(*PYTEST, *finders),
        directory=workshop.directory,
        environment=workshop.environment,
        timeout_seconds=timeout,
    )
    broken = _why_broken(ended)
    if not broken:
        return {}
    failed: dict[str, str] = {}
    for test, why in _FAILED_TEST.findall(ended.output):
        finder = next((f for f in finders if test.partition("[")[0] == f.partition("[")[0]), test)
        failed[finder] = why
    for line in re.findall(r"^ERROR: (.*)$", ended.output, re.MULTILINE):
        failed.setdefault(line, "")
    return failed or {"pytest": broken}
