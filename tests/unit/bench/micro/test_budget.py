"""The budget still fits the node's code: a get is answered, and a set goes all its way."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from quorumcache.bench.micro import budget
from quorumcache.bench.micro.allocations import Counter
from quorumcache.bench.micro.budget import Cost, SetBudget, Step, lines, measure

NOTHING = Counter(None)


def test_all_steps_of_both_requests_are_told() -> None:
    said: list[str] = []
    budget.budget(20, said.append)
    text = "\n".join(said)
    for name in ("parse", "look-up, and it counts as a hit", "send a reply", "client: parse"):
        assert f"  {name} " in text
    for name in ("follower: step, Ready", "apply, session table", "client: render"):
        assert f"  {name} " in text
    assert text.count("sum, by the times") == 3


def test_each_round_is_a_write_that_is_committed_and_applied() -> None:
    found = SetBudget()
    before = found._leader.commit_index
    measure(found.steps(), 7, NOTHING)
    assert found._leader.commit_index == before + 7 + 3
    assert found._follower.last_index == before + 7 + 3
    assert found._number == 7 + 3


def test_what_measuring_takes_is_no_part_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 10_000, 10))
    monkeypatch.setattr(budget, "perf_counter_ns", lambda: next(now))

    def slow() -> None:
        next(now), next(now)

    costs = measure([Step("slow", slow, 3), Step("quick", lambda: None)], 5, NOTHING)
    assert costs == [Cost("slow", 20, 0, 3), Cost("quick", 0, 0, 1)]


def test_the_sum_counts_each_step_as_often_as_it_is_taken() -> None:
    counter: Any = type("Real", (), {"is_real": True})
    found = lines("a set", [Cost("one", 1000, 5, 1), Cost("two", 200, 2, 3)], counter)
    assert found[0].split() == ["a", "set", "ns", "blocks", "times"]
    assert found[1].split() == ["one", "1,000", "5", "1"]
    assert found[-1].split()[-2:] == ["1,600", "11"]
    assert lines("a set", [Cost("one", 1000, 0, 1)], NOTHING)[1].split()[-2:] == ["-", "1"]


def test_the_rounds_may_be_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["budget", "10"])
    budget.main()
    assert "durable set, three nodes" in capsys.readouterr().out
