"""What a run was and what came of it, from its history and its faults. Pure.

*Unavailability* of a shard: a time in which no client got an answer about it, through any node.
It is charged to every fault that was in force meanwhile, so two faults at once share it; when there
was none, to the last one if that had ended at most `SETTLE_S` before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from quorumcache.ring import shard_of
from tests.chaos.clients import TIME_ORIGIN_NS
from tests.chaos.faults import Outcome
from tests.simulation.history import OK, History
from tests.simulation.linearizability import ILLEGAL, LEGAL, Verdict

SETTLE_S = 2.0
NO_FAULT = "none"
WINDOWS_MAX = 5
"""Keys that are shown in detail; one is enough to find the cause."""


@dataclass(frozen=True, slots=True)
class Gap:
    """`shard` gave no answer between these two positions in time, in ns as in the history."""

    shard: int
    from_ns: int
    to_ns: int

    @property
    def seconds(self) -> float:
        return (self.to_ns - self.from_ns) / 1e9


@dataclass(slots=True, kw_only=True)
class Report:
    """Everything about one run."""

    seed: int
    seconds: float
    nodes: int
    shards: int
    history: History
    verdicts: dict[bytes, Verdict]
    outcomes: list[Outcome]
    leaders_elected: int = 0
    check_seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    """Everything wrong that is not in the verdicts: lines for the reader."""
    bank: dict[str, int] = field(default_factory=dict)
    """What the clients with transactions and locks have done."""
    replay: str = ""
    """The command that runs the same schedule."""

    @property
    def is_good(self) -> bool:
        return not self.problems and all(v.kind == LEGAL for v in self.verdicts.values())

    def text(self, *, every_key: bool = False) -> str:
        """The report for a reader, without an end of line at the end."""
        done = [outcome for outcome in self.outcomes if outcome.began_ns]
        counts = self.history.counts()
        lines = [
            f"seed {self.seed}: {self.nodes} nodes, {self.shards} shards, {self.seconds:g} s of"
            f" faults, {len(done)} faults, {self.leaders_elected} leaders elected",
            f"{sum(counts.values())} operations: {counts['ok']} answered, {counts['fail']} not"
            f" done, {counts['info']} of unknown outcome",
            "",
            *self._fault_lines(done),
            "",
            *self._verdict_lines(every_key),
        ]
        if self.bank:
            done_at_bank = ", ".join(f"{word} {count}" for word, count in self.bank.items())
            lines.append(f"the bank: {done_at_bank}")
        lines += [f"FAULT: {problem}" for problem in self.problems]
        if not self.is_good:
            lines += ["", "The same schedule again:", f"    {self.replay}"]
        return "\n".join(lines)

    def _fault_lines(self, done: list[Outcome]) -> list[str]:
        times = Counter(outcome.fault.name for outcome in done)
        found = gaps(self.history, self.shards)
        alone = longest_gaps(found, done, alone=True)
        worst = longest_gaps(found, done)
        lines = [f"{'longest time without an answer':<34}{'alone':>33}   with others at once"]
        for name in [*sorted(times), NO_FAULT]:
            count = f"{times[name]:>4} x" if name in times else ""
            also = _gap_text(worst.get(name)) if worst.get(name) != alone.get(name) else ""
            line = f"  {name:<26}{count:<6}{_gap_text(alone.get(name)):>33}   {also}"
            lines.append(line.rstrip())
        left_out = len(self.outcomes) - len(done)
        if left_out:
            lines.append(f"({left_out} left out: their nodes had another one)")
        return lines

    def _verdict_lines(self, every_key: bool) -> list[str]:
        kinds = Counter(verdict.kind for verdict in self.verdicts.values())
        lines = [
            f"{len(self.verdicts)} keys: {kinds[LEGAL]} linearizable, {kinds[ILLEGAL]} not,"
            f" {len(self.verdicts) - kinds[LEGAL] - kinds[ILLEGAL]} undecided"
            f" (checked in {self.check_seconds:.1f} s)"
        ]
        if every_key:
            by_key = self.history.by_key()
            lines += [
                f"  {key.decode():<12} {len(by_key[key]):>5} operations  {verdict.kind}"
                for key, verdict in self.verdicts.items()
            ]
        wrong = {key: v for key, v in self.verdicts.items() if v.kind != LEGAL}
        for key, verdict in list(wrong.items())[:WINDOWS_MAX]:
            lines += ["", f"{key.decode()}: {verdict.describe()}", *self._faults_around(verdict)]
        if len(wrong) > WINDOWS_MAX:
            lines += ["", f"and {', '.join(key.decode() for key in list(wrong)[WINDOWS_MAX:])}"]
        return lines

    def _faults_around(self, verdict: Verdict) -> list[str]:
        """The faults in force in the window of a key that failed."""
        spans = verdict.window or ([verdict.culprit] if verdict.culprit else [])
        if not spans:
            return []
        begin = min(operation.invoked_ns for operation in spans)
        end = max(operation.returned_ns or operation.invoked_ns for operation in spans)
        lines = ["faults in this window:"]
        for outcome in self.outcomes:
            if outcome.began_ns and outcome.began_ns <= end and outcome.ended_ns >= begin:
                lines.append(
                    f"  [{_seconds(outcome.began_ns):9.4f} {_seconds(outcome.ended_ns):8.4f}]"
                    f" {outcome.fault.name}: {', '.join(outcome.nodes)}"
                )
        return lines


def gaps(history: History, shards: int) -> list[Gap]:
    """Of every shard the times between answers, from the first operation to the last."""
    answered: list[list[int]] = [[] for _ in range(shards)]
    last = first = history.operations[0].invoked_ns if history.operations else 0
    for operation in history.operations:
        last = max(last, operation.invoked_ns, operation.returned_ns or 0)
        if operation.outcome == OK and operation.returned_ns is not None:
            answered[shard_of(operation.key, shards)].append(operation.returned_ns)
    found = []
    for shard, times in enumerate(answered):
        times = [first, *sorted(times), last]
        found += [Gap(shard, a, b) for a, b in pairwise(times)]
    return found


def longest_gaps(
    found: Sequence[Gap], outcomes: Sequence[Outcome], *, alone: bool = False
) -> dict[str, Gap]:
    """By name of fault the longest gap charged to it; under `NO_FAULT` the longest of no fault.

    `alone`: only gaps that are charged to a single fault.
    """
    settle_ns = int(SETTLE_S * 1e9)
    worst: dict[str, Gap] = {}
    for gap in found:
        before = [outcome for outcome in outcomes if outcome.began_ns <= gap.to_ns]
        charged = [o for o in before if o.ended_ns >= gap.from_ns]
        if not charged:  # the last one to end, if that is not long ago
            charged = sorted(before, key=lambda o: o.ended_ns)[-1:]
            charged = [o for o in charged if o.ended_ns + settle_ns >= gap.from_ns]
        if alone and len(charged) > 1:
            continue
        for name in {outcome.fault.name for outcome in charged} or {NO_FAULT}:
            if name not in worst or gap.seconds > worst[name].seconds:
                worst[name] = gap
    return worst


def _gap_text(gap: Gap | None) -> str:
    if gap is None:
        return "-"
    where = f"shard {gap.shard} at {_seconds(gap.from_ns):.1f} s"
    return f"{gap.seconds * 1000:.0f} ms  {where:<19}"


def _seconds(at_ns: int) -> float:
    return (at_ns - TIME_ORIGIN_NS) / 1e9
