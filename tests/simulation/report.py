"""What a run tells: its figures, and the story of a failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.simulation.history import History

START_NS = 1_000_000_000_000
STORY_OPERATIONS_MAX = 80


@dataclass(slots=True)
class Report:
    """What a run did. `kinds`: operations by kind; `totals`: counters of the nodes; `world`: the
    cluster and what computing costs, in words.
    """

    seed: int
    digest: str = ""
    virtual_seconds: float = 0.0
    cpu_seconds: float = 0.0
    events: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    """Faults that found what they break, by kind."""
    crashes: int = 0
    refusals: int = 0
    leaders: int = 0
    checks: int = 0
    promises: int = 0
    bytes_sent: int = 0
    ok: int = 0
    fail: int = 0
    info: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    undecided: list[str] = field(default_factory=list)
    totals: Counter[str] = field(default_factory=Counter)
    world: str = ""
    small_bounds: tuple[str, ...] = ()
    drawn: dict[str, str] = field(default_factory=dict)
    """What was drawn for the seed, by what it is about."""

    def line(self) -> str:
        rate = self.virtual_seconds / self.cpu_seconds if self.cpu_seconds else 0.0
        return (
            f"seed {self.seed}: {self.world}: {self.virtual_seconds:.1f} virtual s "
            f"in {self.cpu_seconds:.1f} cpu s ({rate:.1f}x), {self.events} events, "
            f"{self.faults.total()} faults, {self.leaders} leaders, "
            f"ops {self.ok} ok {self.fail} fail {self.info} unknown, trace {self.digest[:12]}"
            + (f", UNDECIDED {', '.join(self.undecided)}" if self.undecided else "")
        )


def tell_story(
    timeline: Sequence[tuple[int, str]], history: History, key: bytes | None, now_ns: int
) -> list[str]:
    """Faults, changes of leaders, and the operations on `key` by the time of their invocation.

    Of very many operations on the key, the last ones.
    """
    lines = [(at_ns, text) for at_ns, text in timeline]
    if key is not None:
        operations = [operation for operation in history.operations if operation.key == key]
        lines += [
            (operation.invoked_ns, f"    {_cut(operation.describe())}")
            for operation in operations[-STORY_OPERATIONS_MAX:]
        ]
    lines.append((now_ns, "the failure is noticed"))
    lines.sort(key=lambda line: line[0])
    return [f"{(at_ns - START_NS) / 1e9:10.4f}  {text}" for at_ns, text in lines]


def _cut(text: str) -> str:
    return text if len(text) <= 160 else text[:157] + "..."
