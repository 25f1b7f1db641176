"""What an idle cluster costs: percent of a processor, by process."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from quorumcache.bench import idle
from quorumcache.bench.errors import TargetError


class World:
    """A clock that `sleep` moves, and processes that use time while it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, usage: dict[int, float]) -> None:
        self.now = 100.0
        self.late = 0.0
        self.usage = usage
        """Share of a processor, by pid."""
        time = SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)
        monkeypatch.setattr(idle, "time", time)
        monkeypatch.setattr(idle.procfs, "cpu_seconds", self.cpu_seconds)

    def sleep(self, seconds: float) -> None:
        self.now += seconds + self.late

    def cpu_seconds(self, pid: int) -> float:
        if pid not in self.usage:
            raise TargetError(f"process {pid} does not exist any more")
        return 7.0 + self.now * self.usage[pid]


def test_percent_of_one_processor_whatever_was_used_before(monkeypatch: pytest.MonkeyPatch) -> None:
    World(monkeypatch, {1: 0.01, 2: 1.5})
    assert idle.measure_idle([("a", 1), ("b", 2)], 4.0) == pytest.approx({"a": 1.0, "b": 150.0})


def test_a_sleep_that_took_longer_does_not_add_to_the_figure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, {1: 0.02})
    world.late = 8.0
    assert idle.measure_idle([("a", 1)], 2.0) == pytest.approx({"a": 2.0})


def test_a_node_that_ended_is_no_idle_one(monkeypatch: pytest.MonkeyPatch) -> None:
    World(monkeypatch, {})
    with pytest.raises(TargetError, match="process 1"):
        idle.measure_idle([("a", 1)], 1.0)


def test_people_and_programs_read_the_same() -> None:
    table = idle.idle_table({"a": 0.256, "b": 3.0}, 10.0, "3 nodes")
    assert table.title == "Idle, 10 s"
    assert table.rows == (("a", "", "0.26"), ("b", "", "3.00"))
    assert len(table.columns) == len(table.rows[0])
    assert table.data == {"cpu_percent": {"a": 0.256, "b": 3.0}}
    assert table.notes[0] == "3 nodes"
