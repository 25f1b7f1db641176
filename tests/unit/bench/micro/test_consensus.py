"""The figures of the consensus core still fit it: what is proposed is committed."""

from __future__ import annotations

import sys

import pytest

from quorumcache.bench.micro import consensus
from quorumcache.node.consensus.values import Role


def test_every_proposal_is_committed_once_by_a_majority() -> None:
    replicas = consensus._replicas(3)
    replicas[1].campaign()
    consensus._pump(replicas)
    assert [replicas[n].role for n in (1, 2, 3)] == [Role.LEADER, Role.FOLLOWER, Role.FOLLOWER]
    before = replicas[1].commit_index
    for number in range(1, 4):
        assert consensus._commit_one(replicas[1], [replicas[2], replicas[3]]) == 1
        assert replicas[1].commit_index == before + number


def test_both_figures_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ticks = consensus.measure_tick
    monkeypatch.setattr(consensus, "measure_tick", lambda count: ticks(100))
    monkeypatch.setattr(sys, "argv", ["consensus", "5"])
    consensus.main()
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("commit, three replicas ")
    assert second.startswith("idle tick ")
    assert all(float(line.split()[-2]) > 0 for line in (first, second))
