"""Three-phase commit: a coordinator and two participants that go on without it.

The friendliest form. Everybody knows at once, and truly, who does not answer: because it is dead,
or because the network is cut. Nobody waits for a message that may still come. The participants
that reach each other decide together and in one step:

- if one of them has decided, as that one has;
- if one of them has not voted, they abort;
- if one of them was told that all have voted yes (it is *ready*), they commit;
- otherwise they abort.

With dead processes alone (`may_cut=False`) that is enough. With a cut network it is not.

Source: Skeen 1981, "Nonblocking commit protocols".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.models.search import Step

NAMES = ("A", "B")
IDLE, PREPARED, READY = "idle", "prepared", "ready"
COMMITTED, ABORTED = "committed", "aborted"
ASKING, TELLING = "asking", "telling"
WHOLE = ("CAB",)
CUTS = (("CA", "B"), ("CB", "A"), ("C", "AB"), ("C", "A", "B"))
"""The sides of a network that is cut."""


class State(NamedTuple):
    """The coordinator's phase and who has answered in it; each participant's phase; who is dead;
    the sides of the network; messages under way, as (word, from, to)."""

    coordinator: str = ASKING
    answers: frozenset[str] = frozenset()
    phases: tuple[str, ...] = (IDLE,) * len(NAMES)
    dead: frozenset[str] = frozenset()
    sides: tuple[str, ...] = WHOLE
    sent: frozenset[tuple[str, str, str]] = frozenset(("prepare", "C", name) for name in NAMES)


class ThreePhaseCommit:
    """`may_cut`: the network may be cut, besides processes that die."""

    def __init__(self, *, may_cut: bool) -> None:
        self._may_cut = may_cut

    def start(self) -> State:
        return State()

    def steps(self, state: State) -> Iterator[Step]:
        for message in sorted(state.sent):
            word, sender, receiver = message
            after = state._replace(sent=state.sent - {message})
            if _reach(state, sender, receiver) and receiver not in state.dead:
                yield from self._deliver(after, word, sender, receiver)
            if sender in state.dead or state.sides != WHOLE:
                yield Step(f"{sender} -> {receiver}: {word} is lost", after)
        if "C" not in state.dead:
            yield from self._coordinator_waits_no_longer(state)
        for side in state.sides:
            yield from self._decide_together(state, side)
        for name in ("C", *NAMES):
            if name not in state.dead:
                yield Step(f"{name} dies", state._replace(dead=state.dead | {name}), is_luck=True)
        if self._may_cut and state.sides == WHOLE:
            for sides in CUTS:
                label = "the network is cut: " + " | ".join(" ".join(side) for side in sides)
                yield Step(label, state._replace(sides=sides), is_luck=True)

    def _deliver(self, state: State, word: str, sender: str, receiver: str) -> Iterator[Step]:
        """`state`: without the message."""
        label = f"{sender} -> {receiver}: {word}"
        if receiver == "C":
            yield from self._answer(state, word, sender, label)
            return
        phase = state.phases[NAMES.index(receiver)]
        if word == "prepare" and phase == IDLE:
            yes = _with(state, receiver, PREPARED, ("yes", receiver, "C"))
            yield Step(f"{label}; {receiver} holds its keys and votes yes", yes)
            no = _with(state, receiver, ABORTED, ("no", receiver, "C"))
            yield Step(f"{label}; {receiver} aborts, and votes no", no)
        elif word == "pre-commit" and phase == PREPARED:
            ready = _with(state, receiver, READY, ("ready", receiver, "C"))
            yield Step(f"{label}; {receiver} is ready", ready)
        elif word in ("commit", "abort") and phase not in (COMMITTED, ABORTED):
            result = COMMITTED if word == "commit" else ABORTED
            yield Step(f"{label}; {receiver} has {result}", _with(state, receiver, result))
        else:
            yield Step(label, state)  # It has gone on without the coordinator.

    def _answer(self, state: State, word: str, sender: str, label: str) -> Iterator[Step]:
        if state.coordinator == ASKING and word == "no":
            yield Step(f"{label}; C aborts", _tell(state, ABORTED, "abort"))
        elif (state.coordinator, word) in ((ASKING, "yes"), (TELLING, "ready")):
            answers = state.answers | {sender}
            after = state._replace(answers=answers)
            if len(answers) < len(NAMES):
                yield Step(label, after)
            elif word == "yes":
                yield Step(
                    f"{label}; C tells all to get ready", _tell(after, TELLING, "pre-commit")
                )
            else:
                yield Step(f"{label}; C commits", _tell(after, COMMITTED, "commit"))
        else:
            yield Step(label, state)

    def _coordinator_waits_no_longer(self, state: State) -> Iterator[Step]:
        """For those that have not answered, if they are gone, and their messages as well."""
        silent = [name for name in NAMES if name not in state.answers]
        gone = [name for name in silent if _is_gone(state, "C", name)]
        if state.coordinator == ASKING and gone:
            yield Step(
                "C hears no vote from " + gone[0] + ", and aborts", _tell(state, ABORTED, "abort")
            )
        if state.coordinator == TELLING and silent and gone == silent:
            after = _tell(state, COMMITTED, "commit")
            yield Step("C hears no more from " + " and ".join(gone) + ", and commits", after)

    def _decide_together(self, state: State, side: str) -> Iterator[Step]:
        """The participants of a side that has lost the coordinator."""
        together = [name for name in NAMES if name in side and name not in state.dead]
        if not together or not all(_is_gone(state, name, "C") for name in together):
            return
        phases = [state.phases[NAMES.index(name)] for name in together]
        if all(phase in (COMMITTED, ABORTED) for phase in phases):
            return
        if COMMITTED in phases:
            result = COMMITTED
        elif ABORTED in phases or IDLE in phases:
            result = ABORTED
        else:
            result = COMMITTED if READY in phases else ABORTED
        told = ", ".join(f"{name} is {phase}" for name, phase in zip(together, phases, strict=True))
        after = state
        for name, phase in zip(together, phases, strict=True):
            if phase not in (COMMITTED, ABORTED):
                after = _with(after, name, result)
        word = "commit" if result == COMMITTED else "abort"
        plural = "" if len(together) > 1 else "s"
        label = f"{' and '.join(together)} hear{plural} no more from C ({told}), and {word}{plural}"
        yield Step(label, after)

    def wrong(self, state: State) -> str:
        outcomes = {state.coordinator, *state.phases}
        return "one has committed, another has aborted" if {COMMITTED, ABORTED} <= outcomes else ""

    def is_settled(self, state: State) -> bool:
        """No live participant holds its keys."""
        return all(
            phase not in (PREPARED, READY) or name in state.dead
            for name, phase in zip(NAMES, state.phases, strict=True)
        )


def _reach(state: State, one: str, other: str) -> bool:
    return any(one in side and other in side for side in state.sides)


def _is_gone(state: State, seen_from: str, name: str) -> bool:
    """It is dead or on another side, and nothing of it is still on its way to this side."""
    if name not in state.dead and _reach(state, seen_from, name):
        return False
    return not any(
        sender == name and _reach(state, name, receiver) and _reach(state, seen_from, receiver)
        for _, sender, receiver in state.sent
    )


def _tell(state: State, phase: str, word: str) -> State:
    sent = state.sent | {(word, "C", name) for name in NAMES}
    return state._replace(coordinator=phase, answers=frozenset(), sent=sent)


def _with(state: State, name: str, phase: str, *sent: tuple[str, str, str]) -> State:
    phases = tuple(
        phase if other == name else old for other, old in zip(NAMES, state.phases, strict=True)
    )
    return state._replace(phases=phases, sent=state.sent | {*sent})
