"""What the runs of mutants look like on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.mutants.catalogue import SIMULATION, Mutant
from tests.mutants.finders import Search
from tests.mutants.trial import Verdict

WHY_CHARS = 100
NAME_CHARS = 44
"""No name is longer."""


def short(finder: str) -> str:
    """A test without its directory, seeds as they are."""
    if "::" not in finder:
        return finder
    path, _, test = finder.partition("::")
    return f"{path.rpartition('/')[2]}::{test}"


def listing(mutants: Sequence[Mutant]) -> str:
    """Names and stories, by area."""
    lines: list[str] = []
    area = ""
    for mutant in mutants:
        if mutant.area != area:
            area = mutant.area
            lines += ["", f"{area}:"]
        lines.append(f"  {mutant.name:{NAME_CHARS}} {mutant.story}")
    return "\n".join(lines[1:])


def progress(verdict: Verdict, number: int, count: int) -> str:
    """One line, and one more for each finder that was no help."""
    name, state = verdict.mutant.name, verdict.state
    head = f"[{number:{len(str(count))}}/{count}] {name:{NAME_CHARS}} {state:8}"
    if verdict.unusable:
        return f"{head} {verdict.unusable}"
    lines = [head if verdict.survived else f"{head} {_find(verdict.finds[0])}"]
    lines += [f"{'':12}also  {_find(found)}" for found in verdict.finds[1:]]
    for missed in verdict.searches:
        if not missed.found_by:
            what = missed.broken or f"nothing in {missed.seconds:.1f} s"
            lines.append(f"{'':12}not by  {short(missed.finder)}: {what}")
    return "\n".join(lines)


def _find(found: Search) -> str:
    why = found.why if len(found.why) <= WHY_CHARS else f"{found.why[:WHY_CHARS]}..."
    return f"{found.seconds:6.1f} s  {short(found.found_by)}" + (f"  ({why})" if why else "")


def table(verdicts: Sequence[Verdict]) -> str:
    """All mutants with who found them, by area."""
    lines = [f"{'MUTANT':{NAME_CHARS}} {'SECONDS':>7}  FOUND BY"]
    area = ""
    for verdict in verdicts:
        if verdict.mutant.area != area:
            area = verdict.mutant.area
            lines.append(f"-- {area}")
        finds = verdict.finds
        first = f"{finds[0].seconds:7.1f}" if finds else f"{'-':>7}"
        by = ", ".join(
            short(found.found_by) + (f" ({found.seconds:.1f} s)" if found is not finds[0] else "")
            for found in finds
        )
        lines.append(f"{verdict.mutant.name:{NAME_CHARS}} {first}  {by or verdict.state}")
    return "\n".join(lines)


def totals(verdicts: Sequence[Verdict], seconds: float) -> str:
    """How many were found, and by what kind of test."""
    found = sum(bool(verdict.finds) for verdict in verdicts)
    kinds = Counter(
        kind for verdict in verdicts for kind in {_kind(search.finder) for search in verdict.finds}
    )
    by = ", ".join(f"{count} by {kind}" for kind, count in sorted(kinds.items()))
    return f"{found} of {len(verdicts)} mutants found in {seconds:.0f} s: {by or 'by nobody'}"


def _kind(finder: str) -> str:
    if finder.startswith(SIMULATION):
        return "seeds of the simulation"
    return {
        "unit": "unit tests",
        "property": "property tests",
        "scenarios": "scenarios",
        "simulation": "tests of the simulation",
        "integration": "real processes",
        "conformance": "transcripts",
    }.get(finder.split("/")[1], "other tests")
