"""One mutant from end to end: make it, see that it is a fair one, look for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.mutants.catalogue import SIMULATION, Mutant, MutantError
from tests.mutants.finders import Search, search
from tests.mutants.processes import Processes
from tests.mutants.workshop import Workshop

SMOKE = ("-m", "tests.mutants.smoke")
SMOKE_SECONDS = 90.0


@dataclass(slots=True)
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    searches: list[Search] = field(default_factory=list)
    """Of its finders, in their order."""
    unusable: str = ""
    """Why it is no mutant to learn from: stale, or a tree that does nothing at all."""

    @property
    def finds(self) -> list[Search]:
        return [search for search in self.searches if search.found_by]

    @property
    def survived(self) -> bool:
        return not self.unusable and not self.finds

    @property
    def state(self) -> str:
        if self.unusable:
            return "UNUSABLE"
        return "found" if self.finds else "SURVIVED"


def examine(
    mutant: Mutant,
    workshop: Workshop,
    processes: Processes,
    *,
    timeout: float,
    every: bool = False,
    smoke: tuple[str, ...] = SMOKE,
) -> Verdict:
    """Look for `mutant` with its finders until one finds it, or with `every` one of them.

    `timeout` bounds each of them, in seconds.
    """
    verdict = Verdict(mutant)
    try:
        with workshop.holding(mutant):
            fair = processes.run(
                workshop.python(*smoke, *mutant.modules),
                directory=workshop.directory,
                environment=workshop.environment,
                timeout_seconds=SMOKE_SECONDS,
            )
            if fair.status != 0:
                last = fair.output.strip().rpartition("\n")[2] or "it did not end"
                verdict.unusable = f"with it a node alone does not even serve: {last}"
                return verdict
            for finder in mutant.finders:
                verdict.searches.append(search(finder, workshop, processes, timeout))
                if verdict.finds and not every:
                    break
    except MutantError as error:
        verdict.unusable = str(error)
    return verdict


def blames_the_tree(
    verdicts: list[Verdict], workshop: Workshop, processes: Processes, timeout: float
) -> list[str]:
    """The control of the simulation: seeds that found a mutant, and fail without it as well."""
    replays = {
        found.replay
        for verdict in verdicts
        for found in verdict.finds
        if found.finder.startswith(SIMULATION)
    }
    wrong: list[str] = []
    for replay in sorted(replays):
        found = search(replay, workshop, processes, timeout)
        if found.found_by or found.broken:
            wrong.append(f"{replay}: {found.why or found.broken}")
    return wrong
