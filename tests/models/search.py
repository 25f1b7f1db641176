"""A search over all runs of a small protocol, shortest first.

A protocol is a function from a state to its next states. It holds nothing else: no clocks, no
random numbers, no order of processes. So a search that has seen every state has seen every
schedule: each message late, lost, or delivered twice, and each process dead at each step, as far as
the protocol's model lets these happen.

Two questions are asked:

- Is a state *wrong*? Then the protocol splits: the shortest run to such a state is found.
- Is a state *stuck*? So is one from which no run of steps that can be relied on leads to a settled
  state. A step that nobody may count on is marked as luck: that a dead process comes back, that a
  network heals, that a lone coordinator still acts. Then the protocol blocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)

STATES_MAX = 2_000_000


class Step(NamedTuple):
    """One step of a run. Luck: nobody may count on it."""

    label: str
    state: Hashable
    is_luck: bool = False


class Model(Protocol):
    """A protocol, as the search sees it."""

    def start(self) -> Hashable:
        """The first state."""

    def steps(self, state: Hashable) -> Iterable[Step]:
        """All that may happen next."""

    def wrong(self, state: Hashable) -> str:
        """What is wrong with this state, as a sentence; "" if nothing is."""

    def is_settled(self, state: Hashable) -> bool:
        """Nobody is in doubt."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has seen. A run is the labels of its steps; () if there is none."""

    states: int
    split: tuple[str, ...] = ()
    wrong: str = ""
    blocked: tuple[str, ...] = ()

    def tell(self) -> str:
        """The runs, one step a line."""
        lines = [f"{self.states} states"]
        if self.wrong:
            lines += [f"{number:3}. {label}" for number, label in enumerate(self.split, 1)]
            lines.append(f"     {self.wrong}")
        if self.blocked:
            lines += [f"{number:3}. {label}" for number, label in enumerate(self.blocked, 1)]
            lines.append("     and from here on nothing that can be relied on ends the doubt")
        return "\n".join(lines)


def search(model: Model, *, states_max: int = STATES_MAX) -> Found:
    """Look at every state that can be reached. Stops at the first that is wrong."""
    first = model.start()
    came_from: dict[Hashable, tuple[Hashable, str] | None] = {first: None}
    reliable: dict[Hashable, list[Hashable]] = {}
    """To each state the ones from which a reliable step leads to it."""
    queue = deque([first])
    while queue:
        state = queue.popleft()
        wrong = model.wrong(state)
        if wrong:
            return Found(len(came_from), _run(came_from, state), wrong)
        for label, after, is_luck in model.steps(state):
            if not is_luck:
                reliable.setdefault(after, []).append(state)
            if after not in came_from:
                came_from[after] = (state, label)
                queue.append(after)
        assert len(came_from) <= states_max, "more states than the bound: make the model smaller"
    stuck = _stuck(model, came_from, reliable)
    return Found(len(came_from), blocked=() if stuck is None else _run(came_from, stuck))


def way_out(model: Model, labels: Sequence[str]) -> tuple[str, ...]:
    """The run of these steps and from there, by reliable steps alone, the shortest on to a settled
    state; () if there is none."""
    state = model.start()
    for label in labels:
        state = next(step.state for step in model.steps(state) if step.label == label)
    came_from: dict[Hashable, tuple[Hashable, str] | None] = {state: None}
    queue = deque([state])
    while queue:
        state = queue.popleft()
        if model.is_settled(state):
            return (*labels, *_run(came_from, state))
        for label, after, is_luck in model.steps(state):
            if not is_luck and after not in came_from:
                came_from[after] = (state, label)
                queue.append(after)
    return ()


def _stuck(
    model: Model, states: Iterable[Hashable], reliable: dict[Hashable, list[Hashable]]
) -> Hashable | None:
    """The first state found, so one with a shortest run, from which no settled one is reached."""
    states = list(states)
    good = {state for state in states if model.is_settled(state)}
    queue = deque(good)
    while queue:
        for before in reliable.get(queue.popleft(), ()):
            if before not in good:
                good.add(before)
                queue.append(before)
    return next((state for state in states if state not in good), None)


def _run(
    came_from: dict[Hashable, tuple[Hashable, str] | None], state: Hashable
) -> tuple[str, ...]:
    labels = []
    while (step := came_from[state]) is not None:
        state, label = step
        labels.append(label)
    return tuple(reversed(labels))
