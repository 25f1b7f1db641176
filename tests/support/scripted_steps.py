"""A coordinator that only notes the steps of transactions; the test says how each of them ends."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from quorumcache.node.operations.failure import Failure
from quorumcache.node.store.commands import COMMANDS
from quorumcache.node.telemetry.counters import Counters

TIMEOUT_MS = 5_000

NOT_DONE = Failure("no leader", outcome_known=True)
UNKNOWN = Failure("no answer", outcome_known=False)


class Step:
    """One command that was sent to a group."""

    def __init__(
        self, group_id: int, op: int, args: tuple[Any, ...], size: int, done: Any, deadline_ns: int
    ) -> None:
        self.group_id = group_id
        self.op = op
        self.args = args
        self.size = size
        self.end: Callable[[Any], None] = done
        self.deadline_ns = deadline_ns

    @property
    def name(self) -> str:
        """`prepare 3`: what it asks of which group."""
        return f"{COMMANDS[self.op].name.removeprefix('txn_')} {self.group_id}"


class StepRead:
    """Keys that are read in a group."""

    def __init__(self, group_id: int, keys: tuple[bytes, ...], done: Callable[[Any], None]) -> None:
        self.group_id = group_id
        self.keys = keys
        self.end = done


class ScriptedSteps:
    """See the module."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        """Those that have not ended."""
        self.reads: list[StepRead] = []
        """Likewise."""
        self.counters = Counters()
        self.timeout_ms = TIMEOUT_MS
        self.now_ms = 1_000_000
        self.now_ns = 0
        self.clock = SimpleNamespace(monotonic_ns=lambda: self.now_ns)
        self.groups: dict[int, Any] = {}
        self.time = SimpleNamespace(is_settled=True, now_ms=lambda: self.now_ms)
        self.host = SimpleNamespace(time=self.time, groups=self.groups)
        self.answer_at_once: dict[str, Any] = {}

    def deadline_ns(self) -> int:
        return self.now_ns + TIMEOUT_MS * 1_000_000

    def write(
        self,
        group_id: int,
        op: int,
        key: bytes,
        args: tuple[Any, ...],
        size: int,
        done: Callable[[Any], None],
        after: Any = None,
        identity: Any = None,
        deadline_ns: int = 0,
    ) -> None:
        assert not key
        step = Step(group_id, op, args, size, done, deadline_ns)
        if step.name in self.answer_at_once:
            done(self.answer_at_once[step.name])
        else:
            self.steps.append(step)

    def read(
        self,
        group_id: int,
        keys: tuple[bytes, ...],
        done: Callable[[Any], None],
        after: Any = None,
        staleness_ns: int = 0,
        room: Any = None,
        deadline_ns: int = 0,
    ) -> None:
        assert not staleness_ns
        self.reads.append(StepRead(group_id, keys, done))

    def take_reads(self) -> list[StepRead]:
        """Those under way; the test ends them."""
        reads, self.reads = self.reads, []
        return reads

    @property
    def names(self) -> list[str]:
        return [step.name for step in self.steps]

    def end(self, name: str, outcome: Any) -> Step:
        """The first step of this name ends so."""
        step = next(step for step in self.steps if step.name == name)
        self.steps.remove(step)
        step.end(outcome)
        return step
