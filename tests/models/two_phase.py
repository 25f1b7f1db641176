"""Classic two-phase commit: a lone coordinator and two participants.

The friendliest form. Whatever a process has decided is on its disk and survives. Participants that
wait for the coordinator ask each other, and take over what another one knows.

Messages may be late or lost. Any process may die at any step, and may come back.

Source: Bernstein, Hadzilacos, Goodman 1987, "Concurrency Control and Recovery in Database Systems",
7.4 (cooperative termination).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.models.search import Step

NAMES = ("A", "B")
IDLE, PREPARED, COMMITTED, ABORTED = "idle", "prepared", "committed", "aborted"
ASKING = "asking"


class State(NamedTuple):
    """The coordinator's phase and the votes it has heard; each participant's phase; who is dead;
    messages under way, as (word, participant)."""

    coordinator: str = ASKING
    votes: frozenset[str] = frozenset()
    phases: tuple[str, ...] = (IDLE,) * len(NAMES)
    dead: frozenset[str] = frozenset()
    sent: frozenset[tuple[str, str]] = frozenset(("prepare", name) for name in NAMES)


class TwoPhaseCommit:
    """See the module."""

    def start(self) -> State:
        return State()

    def steps(self, state: State) -> Iterator[Step]:
        for name, phase in zip(NAMES, state.phases, strict=True):
            if name not in state.dead:
                yield from self._participant(state, name, phase)
        if "C" not in state.dead:
            yield from self._coordinator(state)
        for name in ("C", *NAMES):
            if name not in state.dead:
                dead = state.dead | {name}
                yield Step(f"{name} dies", state._replace(dead=dead), is_luck=True)
            else:
                yield Step(f"{name} comes back", self._back(state, name), is_luck=True)

    def _participant(self, state: State, name: str, phase: str) -> Iterator[Step]:
        if phase == IDLE:
            if ("prepare", name) in state.sent:
                after = _with(state, name, PREPARED, ("yes", name))
                yield Step(f"C -> {name}: prepare; {name} holds its keys and votes yes", after)
            after = _with(state, name, ABORTED, ("no", name))
            yield Step(f"{name} aborts by itself, and votes no", after)
        if phase != PREPARED:
            return
        for word, result in (("commit", COMMITTED), ("abort", ABORTED)):
            if (word, name) in state.sent:
                yield Step(f"C -> {name}: {word}", _with(state, name, result))
        for other, known in zip(NAMES, state.phases, strict=True):
            if other == name or other in state.dead or known == PREPARED:
                continue
            if known == IDLE:  # It has not voted, and will not vote yes any more.
                both = _with(_with(state, other, ABORTED, ("no", other)), name, ABORTED)
                yield Step(f"{name} asks {other}, which has not voted: both abort", both)
            else:
                yield Step(f"{name} asks {other}: it {known}", _with(state, name, known))

    def _coordinator(self, state: State) -> Iterator[Step]:
        if state.coordinator != ASKING:
            return
        for name in NAMES:
            if ("yes", name) in state.sent and name not in state.votes:
                votes = state.votes | {name}
                after = state._replace(votes=votes)
                label = f"{name} -> C: yes"
                if len(votes) == len(NAMES):
                    after, label = self._decide(after, "commit"), f"{label}; C decides to commit"
                yield Step(label, after)
            if ("no", name) in state.sent:
                yield Step(f"{name} -> C: no; C decides to abort", self._decide(state, "abort"))
        yield Step("C waits no longer, and decides to abort", self._decide(state, "abort"))

    @staticmethod
    def _decide(state: State, word: str) -> State:
        phase = COMMITTED if word == "commit" else ABORTED
        sent = state.sent | {(word, name) for name in NAMES}
        return state._replace(coordinator=phase, sent=sent)

    def _back(self, state: State, name: str) -> State:
        state = state._replace(dead=state.dead - {name})
        if name == "C" and state.coordinator == ASKING:
            return self._decide(state, "abort")
        return state

    def wrong(self, state: State) -> str:
        outcomes = {state.coordinator, *state.phases}
        return "one has committed, another has aborted" if {COMMITTED, ABORTED} <= outcomes else ""

    def is_settled(self, state: State) -> bool:
        """No live participant holds its keys."""
        return all(
            phase != PREPARED or name in state.dead
            for name, phase in zip(NAMES, state.phases, strict=True)
        )


def _with(state: State, name: str, phase: str, *sent: tuple[str, str]) -> State:
    phases = tuple(
        phase if other == name else old for other, old in zip(NAMES, state.phases, strict=True)
    )
    return state._replace(phases=phases, sent=state.sent | {*sent})
