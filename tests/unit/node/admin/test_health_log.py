"""When the log tells that a node stops being well, and that it is well again."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.admin import health_log
from quorumcache.node.admin.health_log import LOOK_NS, HealthLog
from tests.support.fake_node import FakeNode


class World:
    """A log of a node; `looks` returns what it wrote in looks that were due."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.node = FakeNode()
        self.lines: list[tuple[str, dict[str, Any]]] = []
        monkeypatch.setattr(health_log, "event", self._event)
        self.log = HealthLog(self.node)
        self.now_ns = 0

    def _event(self, log: Any, level: str, name: str, **fields: Any) -> None:
        self.lines.append((name, fields))

    def look(self, *, after_ns: int = LOOK_NS) -> list[str]:
        self.now_ns += after_ns
        self.log.look(self.now_ns)
        names = [name for name, _ in self.lines]
        return names

    def break_(self) -> None:
        self.node.alarms.raise_alarm("stopping", "it stops")

    def mend(self) -> None:
        self.node.alarms.clear("stopping")


def test_a_change_is_one_line_and_the_first_reason_is_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    world.look()
    assert world.look() == ["healthy"]
    world.break_()
    world.look()
    assert world.look() == ["healthy", "unhealthy"]
    assert world.lines[1][1] == {"why": "it stops", "problems": 1}
    world.mend()
    assert world.look() == ["healthy", "unhealthy", "healthy"]


def test_a_node_that_has_never_been_well_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.break_()
    world.look()
    assert world.look() == []


def test_it_looks_only_every_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.look()
    world.break_()
    assert world.look(after_ns=LOOK_NS - 1) == ["healthy"]
    assert world.look(after_ns=1) == ["healthy", "unhealthy"]
