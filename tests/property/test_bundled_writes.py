"""Goal: what is submitted is written and applied by three hosts that talk in bundles, each write is
answered once, and no Ready of a follower is needed for it.

Method: the three hosts whose cost `tests/support/write_cost.py` measures.
"""

from __future__ import annotations

import sys

import pytest

from tests.support import write_cost
from tests.support.write_cost import Waits, leader_of, make_nodes


def test_each_write_is_answered_once_and_reaches_all_nodes() -> None:
    nodes = make_nodes(4)
    leader = nodes[leader_of(2)]
    group = leader.host.groups[2]
    answered: list[Waits] = []
    client = Waits(answered)
    for number in range(3):
        leader.step([(group, b"k%d" % number, client)])
        for node in nodes.values():
            assert node is leader or not node.host.groups[2].dirty
        for _ in range(4):
            for node in nodes.values():
                node.step([])
    assert answered == [client] * 3
    for node in nodes.values():
        assert node.host.groups[2].log.last_index == group.applied_index
        assert node.log.states.last_indexes[2] == group.applied_index


def test_the_figure_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["write_cost", "5", "200", "6"])
    write_cost.main()
    assert capsys.readouterr().out.startswith("5 clients, 6 groups: ")
