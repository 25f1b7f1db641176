"""How fast a node is back: what is waited for, what is counted, and what is no figure."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.bench import restart
from quorumcache.bench.cluster import LocalNode
from quorumcache.bench.errors import StartError, TargetError
from quorumcache.bench.loadgen import Routes
from quorumcache.bench.race_load import Load
from quorumcache.bench.restart import (
    ByLog,
    Pings,
    Restart,
    come_back,
    goals,
    listen,
    measure_restart,
    restart_table,
    start_again,
)
from tests.support.tiny_memcached import TinyMemcached
from tests.unit.bench.test_race_report import measured

ITEMS = 20


def found(
    *,
    seconds: float = 2.5,
    snapshots_ms: float = 2.0,
    started_ms: float = 3.0,
    sent_ms: float = 0.4,
    received_ms: float = 0.5,
    own_ms: float = 4.0,
    others_ms: float = 3.0,
) -> Restart:
    return Restart(
        items=1_000_000,
        empty_seconds=0.5,
        seconds=seconds,
        by_log=ByLog(6.0, own_ms, others_ms),
        quiet_ms=1.0,
        snapshots_ms=snapshots_ms,
        started_ms=started_ms,
        sent_ms=sent_ms,
        received_ms=received_ms,
    )


def test_the_start_of_an_empty_node_is_no_loading() -> None:
    assert found().per_second == 500_000
    assert found(seconds=0.4).per_second == 1e9, "faster than without items: too few to be seen"


def test_all_goals_are_held_against_the_figures() -> None:
    def met(one: Restart) -> list[bool]:
        return [goal.is_met for goal in goals(one)]

    assert met(found()) == [True, True, True]
    assert met(found(seconds=3.0)) == [False, True, True]
    assert met(found(snapshots_ms=5.1)) == [True, False, True]
    assert met(found(started_ms=5.1)) == [True, False, True]
    assert met(found(sent_ms=5.1)) == [True, False, True]
    assert met(found(received_ms=5.1)) == [True, False, True]
    assert met(found(own_ms=5.1)) == [True, True, False]
    assert met(found(others_ms=5.1)) == [True, True, False]
    table = restart_table(found(seconds=3.0))
    (row,) = table.rows
    times, by_log = ("0.50", "3.00", "400,000"), ("6.00", "4.0", "3.0")
    assert row == ("1,000,000", "", *times, *by_log, "1.0", "2.0", "3.0", "0.4", "0.5")
    assert len(row) == len(table.columns)
    assert any("GOAL MISSED: items loaded at a start 400,000 /s" in note for note in table.notes)


def test_a_stall_of_the_server_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restart.procfs, "queued_ms", lambda task: 0.0)
    gate, asked = threading.Event(), threading.Event()

    def hook(line: bytes) -> None:
        asked.set()
        assert gate.wait(60)

    with TinyMemcached(hook) as server, Pings(at(server.address)) as pings:
        assert asked.wait(60)
        assert pings.count == 0
        gate.set()
        while pings.count < 3:
            assert gate.wait(60)
    assert pings.longest_ms > 0


def test_what_is_waited_for_a_processor_is_no_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = []

    def queued_ms(task: int | str) -> float:
        tasks.append(task)
        return 1e6 * len(tasks)

    monkeypatch.setattr(restart.procfs, "queued_ms", queued_ms)
    gate = threading.Event()
    with TinyMemcached() as server, Pings(at(server.address)) as pings:
        while pings.count < 3:
            assert not gate.wait(0.001)
    assert pings.longest_ms == 0, "all of it was"
    assert {*tasks} == {os.getpid(), "thread-self"}


def test_a_server_that_is_gone_is_told() -> None:
    with TinyMemcached() as server:
        gone = server.address
    with pytest.raises(TargetError, match="cannot connect"):
        listen(at(gone), 0.01)


def at(address: tuple[str, int]) -> Any:
    """A node there, in this process."""
    return SimpleNamespace(address=address, pid=os.getpid())


def node(tmp_path: Path, script: str) -> LocalNode:
    return LocalNode("c", ["/bin/sh", "-c", script], tmp_path / "c.log", 1)


def test_a_node_is_back_when_it_says_so(tmp_path: Path) -> None:
    says = "echo 'quorumcached: node c ready: memcached 127.0.0.1:1'; exec sleep 600"
    one = node(tmp_path, says)
    try:
        assert start_again(one, ()) > 0
        before = one.pid
        assert start_again(one, ()) > 0
        assert one.pid != before
        assert one.log_bytes().count(b"ready: ") == 2
    finally:
        one.stop()


def test_a_node_that_does_not_come_back_is_no_figure(tmp_path: Path) -> None:
    says = "test -e ended && exit 7; touch ended; echo ' ready: memcached '; exec sleep 600"
    one = node(tmp_path, says)
    start_again(one, ())
    with pytest.raises(StartError, match="node c ended with status 7"):
        start_again(one, ())


class Cluster:
    """Three nodes of which the last one is measured; notes what is done, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, filled: int) -> None:
        self.done: list[str] = []
        self.nodes = [LocalNode(name, [], Path(), port) for port, name in enumerate("abc", 1)]
        monkeypatch.setattr(LocalNode, "stop", self.stop)
        self.addresses = [one.address for one in self.nodes]
        self.pids = [7, 8, 9]
        self.options: Any = self
        self.filled = filled
        self.seconds = iter([0.5, 4.5, 9.0])
        self.stalls = iter([1.0, 3.0])
        routes = Routes(tuple(self.addresses), (0, 1, 2, 0))
        monkeypatch.setattr(restart, "start_again", self.start_again)
        monkeypatch.setattr(restart, "listen", self.listen)
        monkeypatch.setattr(restart, "come_back", self.come_back)
        monkeypatch.setattr(restart, "find_routes", lambda addresses, mode: routes)
        monkeypatch.setattr(restart, "rss_at_rest", lambda pids: self.done.append("rest"))
        monkeypatch.setattr(restart, "Pings", Still)

    def cpus_of(self, number: int) -> tuple[int, ...]:
        assert number == 2
        return (5,)

    def wait_until_led(self) -> None:
        self.done.append("led")

    def start_again(self, one: LocalNode, cpus: Sequence[int]) -> float:
        assert cpus == (5,)
        self.done.append(f"restart {one.name}")
        self.pids = [7, 8, 9]
        return next(self.seconds)

    def listen(self, node: Any) -> float:
        assert node is self.nodes[2]
        self.done.append("listen")
        return next(self.stalls)

    def come_back(self, cluster: Any, cpus: Sequence[int]) -> ByLog:
        assert (cluster, cpus) == (self, (5,))
        self.done.append("come back")
        return ByLog(6.0, 4.0, 3.0)

    def stop(self) -> None:
        self.done.append("stop")
        self.pids = [7, 8]

    def run(self, ports: list[int], load: Load, **named: Any) -> Any:
        assert (load.keys, named["fill"]) == (ITEMS, True)
        assert ports == [1, 2, 3][: len(self.pids)], "of the nodes that run"
        assert len(named["owners"].read_text().split()) == ITEMS
        self.done.append("fill")
        return measured(5, filled=self.filled).lap


class Still:
    """Pings that need no server."""

    def __init__(self, node: LocalNode) -> None:
        self.longest_ms = {"a": 6.0, "c": 2.0}[node.name]

    def __enter__(self) -> Still:
        return self

    def __exit__(self, *_: object) -> None: ...


def test_a_node_is_measured_empty_and_then_full(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world: Any = Cluster(monkeypatch, ITEMS)
    result = measure_restart(world, world, ITEMS, tmp_path, lambda text: None)
    empty, full = "restart c,led,listen,fill,rest", "restart c,listen"
    behind, by_log = "stop,fill,rest,restart c,rest", "fill,come back"
    assert ",".join(world.done) == f"{empty},{full},{behind},{by_log}"
    assert result == Restart(
        items=ITEMS,
        empty_seconds=0.5,
        seconds=4.5,
        by_log=ByLog(6.0, 4.0, 3.0),
        quiet_ms=1.0,
        snapshots_ms=2.0,
        started_ms=3.0,
        sent_ms=6.0,
        received_ms=2.0,
    )


def test_items_that_are_not_stored_are_no_figure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world: Any = Cluster(monkeypatch, ITEMS - 1)
    with pytest.raises(TargetError, match="19 of 20 items were stored"):
        measure_restart(world, world, ITEMS, tmp_path, lambda text: None)


class Killed:
    """Three nodes of which the last one is killed; notes what is done, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, led: list[bool | None]) -> None:
        """`led`: what the node answers, one after the other. None: it knows no topology."""
        self.done: list[str] = []
        self.led = led
        self.nodes = [LocalNode(name, [], Path(), port) for port, name in enumerate("abc", 1)]
        monkeypatch.setattr(LocalNode, "kill", lambda node: self.done.append(f"kill {node.name}"))
        monkeypatch.setattr(LocalNode, "check_alive", lambda node: None)
        monkeypatch.setattr(restart, "Pings", self.pings)
        monkeypatch.setattr(restart, "TextClient", lambda address, seconds: self)
        monkeypatch.setattr(restart, "start", self.start)
        monkeypatch.setattr(restart, "LISTEN_SECONDS", 0.0)
        queued_ms = iter([10.0, 3_000_010.0])
        monkeypatch.setattr(restart.procfs, "queued_ms", lambda task: next(queued_ms))

    def pings(self, node: LocalNode) -> Any:
        self.done.append(f"ask {node.name}")
        longest_ms = {"a": 1.0, "b": 7.0, "c": 4.0}[node.name]
        return ExitingWith(SimpleNamespace(longest_ms=longest_ms))

    def start(self, node: LocalNode, cpus: Sequence[int]) -> float:
        assert cpus == (5,)
        self.done.append(f"start {node.name}")
        return 3600.0

    def __enter__(self) -> Killed:
        return self

    def __exit__(self, *_: object) -> None: ...

    def topology(self) -> Any:
        self.done.append("topology")
        led = self.led.pop(0)
        return None if led is None else SimpleNamespace(is_led=lambda name: led and name == "c")


class ExitingWith:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __enter__(self) -> Any:
        return self.inner

    def __exit__(self, *_: object) -> None: ...


def test_a_node_that_comes_back_by_its_log_serves_when_it_knows_all_leaders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world: Any = Killed(monkeypatch, [None, False, True])
    found = come_back(world, (5,))
    before = ["ask a", "ask b", "kill c", "start c", "ask c"]
    assert world.done == [*before, *["topology"] * 3]
    assert (found.own_ms, found.others_ms) == (4.0, 7.0)
    assert 600 < found.seconds < 3600, "but for what it waited for a processor"
