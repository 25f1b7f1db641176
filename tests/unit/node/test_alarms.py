"""Goal: an alarm is raised once, told once, and gone when its condition has passed."""

from __future__ import annotations

import pytest

from quorumcache.node import alarms
from quorumcache.node.alarms import SENTENCE_CHARS_MAX, Alarm, Alarms


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(alarms.ALARMS, "broken", True)
    monkeypatch.setitem(alarms.ALARMS, "odd", False)


def test_an_alarm_is_told_when_it_comes_and_when_it_goes() -> None:
    told: list[tuple[str, bool]] = []
    board = Alarms(lambda alarm, raised: told.append((alarm.name, raised)))
    board.raise_alarm("broken", "it is broken")
    board.raise_alarm("broken", "it is broken")
    board.raise_alarm("broken", "it is still broken")
    board.clear("broken")
    board.clear("broken")
    assert told == [("broken", True), ("broken", False)]
    assert board.raised() == []


def test_serious_alarms_are_problems_and_others_are_warnings() -> None:
    board = Alarms()
    board.raise_alarm("odd", "look at this")
    board.raise_alarm("broken", "it is broken")
    assert board.problems() == ["it is broken"]
    assert board.warnings() == ["look at this"]
    assert board.raised()[0] == Alarm("broken", True, "it is broken")


def test_a_long_sentence_is_cut() -> None:
    board = Alarms()
    board.raise_alarm("odd", "x" * 10_000)
    assert len(board.warnings()[0]) == SENTENCE_CHARS_MAX


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        Alarms().raise_alarm("never heard of", "")


def test_whether_one_of_some_alarms_is_raised() -> None:
    board = Alarms()
    board.raise_alarm("odd", "it is odd")
    assert board.is_raised("broken", "odd")
    assert not board.is_raised("broken")
    board.clear("odd")
    assert not board.is_raised("broken", "odd")
