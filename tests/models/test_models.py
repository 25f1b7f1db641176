"""Goal: what docs/transactions.md says of three ways to commit is true: two-phase commit with a
lone coordinator blocks, three-phase commit splits when the network is cut, ours does neither.

Method: small models of the three, and a search over all their runs. Models of ours with one rule
broken show that the search would find a fault: what each rule is for, by the shortest run.
"""

from __future__ import annotations

from dataclasses import fields

import pytest

from tests.models.replicated import ReplicatedCommit, Rules
from tests.models.search import Found, search, way_out
from tests.models.three_phase import ThreePhaseCommit
from tests.models.two_phase import TwoPhaseCommit

SIZES = ((0, 1), (0, 2), (1, 1), (2, 1), (1, 2), (2, 2), (3, 1))
"""Participants beside the record's group, and attempts. 0: a transaction of one shard."""


def test_two_phase_commit_blocks_and_never_splits() -> None:
    found = search(TwoPhaseCommit())
    print(found.tell())
    assert not found.wrong
    assert found.blocked == (
        "C -> A: prepare; A holds its keys and votes yes",
        "C -> B: prepare; B holds its keys and votes yes",
        "C dies",
    )


def test_three_phase_commit_neither_blocks_nor_splits_when_processes_die() -> None:
    """So the model is no straw man: it does what three-phase commit is for."""
    found = search(ThreePhaseCommit(may_cut=False))
    assert found.states > 1000
    assert (found.wrong, found.blocked) == ("", ())


def test_three_phase_commit_splits_when_the_network_is_cut() -> None:
    found = search(ThreePhaseCommit(may_cut=True))
    print(found.tell())
    assert found.wrong == "one has committed, another has aborted"
    assert found.split[-3:] == (
        "the network is cut: C | A B",
        "C hears no more from A and B, and commits",
        "A and B hear no more from C (A is prepared, B is prepared), and abort",
    )


@pytest.mark.parametrize(("participants", "attempts"), SIZES)
def test_ours_neither_blocks_nor_splits(participants: int, attempts: int) -> None:
    found = search(ReplicatedCommit(participants, attempts))
    assert (found.wrong, found.blocked) == ("", ()), found.tell()


def without(rule: str, participants: int, attempts: int) -> Found:
    found = search(ReplicatedCommit(participants, attempts, Rules(**{rule: False})))
    print(found.tell())
    return found


SPLIT = "one group has committed, another has aborted"
TWICE = "the writes of one group have taken effect twice"
TORN = "it is committed, and one group shows its old values"
NOT_COMMITTED = "a client was told that it is committed, and it is not"
NOT_ABORTED = "a client was told that it is aborted, and it is committed"
BLOCKED = "blocked"

BROKEN = {
    "commit_is_refused_late": (1, 1, SPLIT),
    "prepare_is_refused_late": (1, 1, TWICE),
    "finished_is_remembered": (1, 1, TWICE),
    "record_waits_for_participants": (1, 1, SPLIT),
    "first_decision_stands": (1, 1, SPLIT),
    "abort_is_recorded": (1, 1, NOT_ABORTED),
    "all_have_prepared": (2, 1, TORN),
    "told_after_the_decision": (1, 1, NOT_COMMITTED),
    "late_is_no_abort": (0, 1, NOT_ABORTED),
    "resolved_by_the_record": (1, 2, SPLIT),
    "hold_asks_the_record": (1, 1, SPLIT),
    "has_housekeepers": (1, 1, BLOCKED),
}
"""Of each rule a size at which it matters, and what happens without it."""


def test_every_rule_is_broken_once() -> None:
    assert [*BROKEN] == [rule.name for rule in fields(Rules)]


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_needed(rule: str) -> None:
    participants, attempts, what = BROKEN[rule]
    found = without(rule, participants, attempts)
    if what == BLOCKED:
        assert found.blocked
    else:
        assert found.wrong == what


def test_a_late_commit_founds_no_record_anew() -> None:
    """The record of an abort may go at the deadline, since no commit can come after it."""
    found = without("commit_is_refused_late", 0, 1)
    assert found.split[-2:] == ("R: drops the record", "R: commit -> committed")


def test_without_housekeepers_ours_blocks_as_two_phase_commit_does() -> None:
    """With a commit that is decided, as well as without."""
    found = without("has_housekeepers", 1, 1)
    assert found.blocked == (
        "coordinator 1 asks all others to prepare",
        "P1: prepare -> prepared, and holds its keys",
    )


def test_ours_ends_where_two_phase_commit_blocks() -> None:
    """The same run: all have voted yes, and the coordinator takes no further step. The decision is
    the record's, and the one that holds asks for it."""
    run = (
        "coordinator 1 asks all others to prepare",
        "P1: prepare -> prepared, and holds its keys",
        "P1: its housekeeper finds an old hold",
        "R: abort from P1 -> aborted",
        "P1: its housekeeper hears from R: aborted",
        "P1: resolve: aborted",
    )
    forgets = (
        "R: its clock passes the deadline",
        "R: drops the record",
        "P1: its clock passes the deadline",
        "P1: forgets what has ended",
    )
    assert sorted(way_out(ReplicatedCommit(1, 1), run[:4])[4:]) == sorted((*run[4:], *forgets))
    assert way_out(TwoPhaseCommit(), search(TwoPhaseCommit()).blocked) == ()


def test_a_search_bounds_itself() -> None:
    with pytest.raises(AssertionError, match="more states than the bound"):
        search(TwoPhaseCommit(), states_max=100)
