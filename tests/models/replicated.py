"""Our commit: the participants are groups, and the decision is an entry in the log of one of them.

A group does not die: its log is replicated, and what was applied stays. What dies are the nodes
that coordinate, at any step; and leaders, with what they were about to answer. So a message is
modelled as something that was said: from then on each receiver may hear it at any time, more than
once, or never. That covers lost, late and repeated messages, cut networks, and commands that wait
long in the hands of an old leader.

The clock of each group's log passes the deadline of the transaction at a moment of its own.

One transaction, with a record group R and `participants` other groups. It is sent `attempts` times:
by a client that hears nothing, through another node, while the first attempt may still be going on.
Coordinators are luck: no state may need one to come to an end. Housekeepers of groups are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.models.search import Step

IDLE, PREPARED, FINISHED = "idle", "prepared", "finished"
COMMITTED, ABORTED, FORGOTTEN = "committed", "aborted", "forgotten"
LATE = "late"
"""The answer of a record group without a record, after the deadline: no commit can come any more.
Whether there was one is no longer known."""

NEW, PREPARING, COMMITTING, ABORTING, RESOLVING, ENDED = range(6)
"""Phases of a coordinator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Each is kept by the product. A search has to find what happens without it."""

    commit_is_refused_late: bool = True
    """Otherwise a late commit founds a record anew."""
    prepare_is_refused_late: bool = True
    """Otherwise it holds again what was resolved, and forgotten, before."""
    finished_is_remembered: bool = True
    """Until the deadline; for the same reason."""
    record_waits_for_participants: bool = True
    """A committed one is dropped only when all others have resolved."""
    first_decision_stands: bool = True
    """Neither an abort nor a commit is written over a decision."""
    abort_is_recorded: bool = True
    """Before the deadline. Otherwise a commit may follow it."""
    all_have_prepared: bool = True
    """Before a coordinator sends the commit."""
    told_after_the_decision: bool = True
    """A client hears only what the record's group has said."""
    late_is_no_abort: bool = True
    """Past the deadline, without a record, nobody knows whether there was one."""
    resolved_by_the_record: bool = True
    """A coordinator that gives up does not resolve on its own account."""
    hold_asks_the_record: bool = True
    """An old hold does not decide by itself."""
    has_housekeepers: bool = True
    """Whoever holds asks, and whoever has the record tells."""


class Participant(NamedTuple):
    """A group that holds keys for the transaction."""

    phase: str = IDLE
    is_late: bool = False
    applied: int = 0
    """How often the writes took effect."""
    dropped: bool = False
    """It has heard that the transaction is aborted."""


class Record(NamedTuple):
    """The group of the record. decision "": there is none."""

    decision: str = ""
    is_late: bool = False
    applied: int = 0
    dropped: bool = False


class State(NamedTuple):
    record: Record
    participants: tuple[Participant, ...]
    coordinators: tuple[int, ...]
    told: frozenset[str]
    """What clients were told for certain."""
    said: frozenset[str]
    """All messages so far."""


class ReplicatedCommit:
    """See the module."""

    def __init__(self, participants: int, attempts: int, rules: Rules | None = None) -> None:
        self._count = participants
        self._attempts = attempts
        self._rules = rules or Rules()

    def start(self) -> State:
        return State(
            Record(),
            (Participant(),) * self._count,
            (NEW,) * self._attempts,
            frozenset(),
            frozenset(),
        )

    def steps(self, state: State) -> Iterator[Step]:
        for number, phase in enumerate(state.coordinators):
            for label, after, phase_after in self._coordinator(state, number, phase):
                phases = list(after.coordinators)
                phases[number] = phase_after
                label = f"coordinator {number + 1} {label}"
                yield Step(label, after._replace(coordinators=tuple(phases)), is_luck=True)
        yield from self._record(state)
        for number, participant in enumerate(state.participants):
            for label, after, said, is_luck in self._participant(state, number, participant):
                yield Step(
                    f"P{number + 1}: {label}",
                    state._replace(
                        participants=_put(state.participants, number, after),
                        said=state.said | {*said},
                    ),
                    is_luck,
                )

    # -- a node that coordinates -------------------------------------------------------------------

    def _coordinator(
        self, state: State, number: int, phase: int
    ) -> Iterator[tuple[str, State, int]]:
        """It may die at any step: then it takes no further one."""
        every = range(self._count)
        if phase == NEW:
            if self._count:
                sent = _say(state, *(f"prepare {i}" for i in every))
                yield "asks all others to prepare", sent, PREPARING
            else:
                yield "sends the commit", _say(state, "commit"), COMMITTING
        elif phase == PREPARING:
            prepared = [i for i in every if f"prepared {i}" in state.said]
            if len(prepared) == self._count or (prepared and not self._rules.all_have_prepared):
                after = _say(state, "commit")
                if not self._rules.told_after_the_decision:
                    after = after._replace(told=after.told | {COMMITTED})
                yield "hears that all are prepared, and sends the commit", after, COMMITTING
            words = ["abort"]
            if not self._rules.resolved_by_the_record:
                words += [f"{ABORTED} {i}" for i in every]
            yield "waits no longer, and sends the abort", _say(state, *words), ABORTING
        elif phase in (COMMITTING, ABORTING):
            if phase == COMMITTING:
                yield "waits no longer, and asks by an abort", _say(state, "abort"), ABORTING
            for answer in (COMMITTED, ABORTED, LATE):
                if f"R {answer}" in state.said:
                    yield from self._hear(state, answer)
        elif phase == RESOLVING and all(f"resolved {i}" in state.said for i in every):
            yield "hears that all have resolved", _say(state, "forget"), ENDED

    def _hear(self, state: State, answer: str) -> Iterator[tuple[str, State, int]]:
        told = ABORTED if answer == LATE and not self._rules.late_is_no_abort else answer
        if told != LATE:
            state = state._replace(told=state.told | {told})
        word, phase = (COMMITTED, RESOLVING) if answer == COMMITTED else (ABORTED, ENDED)
        after = _say(state, *(f"{word} {i}" for i in range(self._count)))
        what = f"tells the client: {told}" if told != LATE else "cannot tell the client"
        yield f"hears from R: {answer}; it {what}", after, phase

    # -- the group of the record -------------------------------------------------------------------

    def _record(self, state: State) -> Iterator[Step]:
        rules, record, said = self._rules, state.record, state.said

        def step(label: str, after: Record, *words: str, is_luck: bool = False) -> Step:
            changed = state._replace(record=after, said=said | {*words})
            return Step(f"R: {label}", changed, is_luck)

        if not record.is_late:
            yield step("its clock passes the deadline", record._replace(is_late=True))
        if "commit" in said:
            yield from self._commit(step, record)
        for word in said:
            if word == "abort" or word.startswith("ask "):
                after, answer = self._abort(record)
                who = "the coordinator" if word == "abort" else f"P{int(word[4:]) + 1}"
                yield step(
                    f"abort from {who} -> {answer}", after, f"R {answer}", is_luck=word == "abort"
                )
        if record.decision == COMMITTED:
            forgotten = record._replace(decision=FORGOTTEN)
            if rules.has_housekeepers:
                words = [f"{COMMITTED} {i}" for i in range(self._count)]
                if not said.issuperset(words):
                    yield step("its housekeeper tells all others to commit", record, *words)
                if all(f"resolved {i}" in said for i in range(self._count)):
                    yield step("all others have resolved, so nobody will ask", forgotten)
            if "forget" in said:
                yield step("forget", forgotten, is_luck=True)
        may_go = record.decision in (FORGOTTEN, ABORTED)
        if not rules.record_waits_for_participants and record.decision == COMMITTED:
            may_go = True
        if may_go and record.is_late:
            yield step("drops the record", record._replace(decision=""))

    def _commit(self, step, record: Record) -> Iterator[Step]:  # type: ignore[no-untyped-def]
        first = self._rules.first_decision_stands
        if record.decision in (COMMITTED, FORGOTTEN):
            yield step("commit -> committed", record, f"R {COMMITTED}", is_luck=True)
        elif record.decision == ABORTED and first:
            yield step("commit -> aborted", record, f"R {ABORTED}", is_luck=True)
        elif record.is_late and self._rules.commit_is_refused_late:
            yield step("commit -> late", record, f"R {LATE}", is_luck=True)
        else:
            committed = record._replace(decision=COMMITTED, applied=min(2, record.applied + 1))
            yield step("commit -> committed", committed, f"R {COMMITTED}", is_luck=True)
            aborted = record._replace(decision=ABORTED, dropped=True)
            yield step("commit meets a conflict", aborted, f"R {ABORTED}", is_luck=True)

    def _abort(self, record: Record) -> tuple[Record, str]:
        decision = COMMITTED if record.decision == FORGOTTEN else record.decision
        if decision and self._rules.first_decision_stands:
            return record, decision
        if record.is_late:
            return record, LATE
        if not self._rules.abort_is_recorded:
            return record, ABORTED
        return record._replace(decision=ABORTED, dropped=True), ABORTED

    # -- a group that holds ------------------------------------------------------------------------

    def _participant(
        self, state: State, number: int, group: Participant
    ) -> Iterator[tuple[str, Participant, tuple[str, ...], bool]]:
        """What may happen, what the group is then, what it says, and whether it is luck."""
        rules, said = self._rules, state.said
        if not group.is_late:
            yield "its clock passes the deadline", group._replace(is_late=True), (), False
        if f"prepare {number}" in said:
            refused = group.is_late and rules.prepare_is_refused_late
            if group.phase == IDLE and not refused:
                held = group._replace(phase=PREPARED)
                yield "prepare -> prepared, and holds its keys", held, (f"prepared {number}",), True
        for word in (COMMITTED, ABORTED):
            if f"{word} {number}" in said:
                after = self._resolve(group, word)
                yield f"resolve: {word}", after, (f"resolved {number}",), False
        if group.phase == FINISHED and group.is_late:
            yield "forgets what has ended", group._replace(phase=IDLE), (), False
        if group.phase == PREPARED and rules.has_housekeepers:
            if rules.hold_asks_the_record:
                words: tuple[str, ...] = (f"ask {number}",)
            else:
                words = (f"{ABORTED} {number}",) if group.is_late else ()
            if not said.issuperset(words):
                yield "its housekeeper finds an old hold", group, words, False
        if f"ask {number}" in said:
            for answer in (COMMITTED, ABORTED, LATE):
                word = f"{ABORTED if answer == LATE else answer} {number}"
                if f"R {answer}" in said and word not in said:
                    yield f"its housekeeper hears from R: {answer}", group, (word,), False

    def _resolve(self, group: Participant, word: str) -> Participant:
        if word == COMMITTED and group.phase == PREPARED:
            group = group._replace(applied=min(2, group.applied + 1))
        if word == ABORTED and group.phase != FINISHED:
            group = group._replace(dropped=group.dropped or group.phase == PREPARED)
        if group.phase == PREPARED or not group.is_late:
            phase = FINISHED if self._rules.finished_is_remembered else IDLE
            group = group._replace(phase=phase)
        return group

    # -- what has to hold --------------------------------------------------------------------------

    def wrong(self, state: State) -> str:
        groups = (state.record, *state.participants)
        if any(group.applied > 1 for group in groups):
            return "the writes of one group have taken effect twice"
        if any(group.applied for group in groups) and any(group.dropped for group in groups):
            return "one group has committed, another has aborted"
        if state.record.applied and any(
            not group.applied and group.phase != PREPARED for group in state.participants
        ):
            return "it is committed, and one group shows its old values"
        if any(group.applied for group in groups) and not state.record.applied:
            return "one group has committed without a decision"
        if COMMITTED in state.told and not state.record.applied:
            return "a client was told that it is committed, and it is not"
        if ABORTED in state.told and state.record.applied:
            return "a client was told that it is aborted, and it is committed"
        return ""

    def is_settled(self, state: State) -> bool:
        """No hold, all or nothing, and nothing is remembered any more."""
        applied = {group.applied for group in (state.record, *state.participants)}
        return (
            len(applied) == 1
            and not state.record.decision
            and all(group.phase == IDLE for group in state.participants)
        )


def _say(state: State, *words: str) -> State:
    return state._replace(said=state.said | {*words})


def _put(
    groups: tuple[Participant, ...], number: int, group: Participant
) -> tuple[Participant, ...]:
    return (*groups[:number], group, *groups[number + 1 :])
