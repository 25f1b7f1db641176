"""One measurement: where its requests go, which round counts, and what is told meanwhile."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import pytest

from quorumcache.bench import measure
from quorumcache.bench.driver import LoadPlan, Measured
from quorumcache.bench.errors import TargetError
from quorumcache.bench.loadgen import Routes
from quorumcache.bench.measure import (
    LoadOptions,
    Progress,
    find_routes,
    measure_once,
    measure_rounds,
)
from quorumcache.bench.workload import Workload
from quorumcache.ring import ClusterMap, NodeInfo, place
from tests.support.tiny_memcached import TinyMemcached

NODES = tuple(NodeInfo(n, f"n{n}", f"p:{n}", f"127.0.0.1:{n}", "", "", 1.0) for n in (1, 2, 3))
MAP = ClusterMap(1, "test", 4, 3, NODES, place(NODES, 4, 3))
MAP_REPLY = b"MAP 1 %d\r\n%b\r\n" % (len(MAP.to_bytes()), MAP.to_bytes())
GETS = Workload(name="gets", get=1.0)
QUIET = Progress(quiet=True)


def leaders(*node_ids: int) -> bytes:
    lines = [b"LEADER %d 1 %d\r\n" % (shard, node_id) for shard, node_id in enumerate(node_ids)]
    return b"".join(lines) + b"END\r\n"


@contextlib.contextmanager
def cluster(*views: bytes) -> Iterator[tuple[str, int]]:
    """The address of a node that tells these leaders, one view after the other."""
    told = list(views)

    def hook(line: bytes) -> bytes | None:
        if line == b"cluster map":
            return MAP_REPLY
        if line == b"cluster leaders":
            return told.pop(0) if len(told) > 1 else told[0]
        return None

    with TinyMemcached(hook) as server:
        yield server.address


class FakeTarget:
    """Something that was started; `story` tells who runs when."""

    addresses = [("127.0.0.1", 1)]
    pids = [7]

    def __init__(self, name: str, story: list[str]) -> None:
        self.name = name
        self._story = story

    def __enter__(self) -> FakeTarget:
        self._story.append(f"start {self.name}")
        return self

    def __exit__(self, *_: object) -> None:
        self._story.append(f"stop {self.name}")


# -- routes ------------------------------------------------------------------------------------


def test_one_address_is_enough_to_find_the_leader_of_every_shard() -> None:
    with cluster(leaders(2, 3, 1, 2)) as address:
        routes = find_routes([address], "auto")
    assert routes.addresses == (("127.0.0.1", 1), ("127.0.0.1", 2), ("127.0.0.1", 3))
    assert routes.owners == (1, 2, 0, 1)


def test_a_shard_without_a_leader_is_waited_for() -> None:
    with cluster(leaders(2, 0, 1, 2), leaders(2, 0, 1, 2), leaders(2, 3, 1, 2)) as address:
        assert find_routes([address], "routed").owners == (1, 2, 0, 1)


def test_any_node_takes_the_addresses_as_they_are_and_asks_nobody() -> None:
    given = [("127.0.0.1", 1), ("127.0.0.1", 2)]
    assert find_routes(given, "any-node") == Routes(tuple(given))


def test_what_has_no_map_is_loaded_as_it_is_unless_routes_were_asked_for() -> None:
    with TinyMemcached() as server:
        assert find_routes([server.address], "auto") == Routes((server.address,))
        with pytest.raises(TargetError, match="no cluster map: only --mode any-node works"):
            find_routes([server.address], "routed")


# -- rounds ------------------------------------------------------------------------------------


def measured(ops: int, **changes: Any) -> Measured:
    found = Measured(seconds=1.0, completed=ops, server_cpu=math.nan, load_cpu=12.5, **changes)
    found.read.record(1000 * ops, 2)
    return found


def run_rounds(
    monkeypatch: pytest.MonkeyPatch, found: list[Measured], rounds: int, *names: str
) -> tuple[list[Any], list[str]]:
    """The results, and the story of starts, loads and stops."""
    story: list[str] = []
    left = list(found)

    def load(plan: LoadPlan, pids: Any, progress: Any) -> Measured:
        story.append("load")
        return left.pop(0)

    monkeypatch.setattr(measure, "run_load", load)
    targets: list[Any] = [lambda name=name: FakeTarget(name, story) for name in names]
    options = LoadOptions(mode="any-node")
    return measure_rounds(GETS, targets, options, rounds, QUIET), story


def test_targets_take_turns_and_only_the_measured_one_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    _, story = run_rounds(monkeypatch, [measured(n) for n in range(1, 5)], 2, "a", "b")
    turn = ["start a", "load", "stop a", "start b", "load", "stop b"]
    assert story == turn * 2


def test_the_round_in_the_middle_counts_and_errors_of_every_round_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds = [
        measured(300, errors=1, error_kinds={"ERROR": 1}, unanswered=1),
        measured(100, errors=4, error_kinds={"ERROR": 1, "busy": 3}, lost_connections=2),
        measured(200, unsent=5),
    ]
    ((result,), _) = run_rounds(monkeypatch, rounds, 3, "a")
    assert (result.target, result.ops_per_second, result.completed) == ("a", 200.0, 200)
    assert result.rounds == (300.0, 100.0, 200.0)
    assert (result.errors, result.error_kinds) == (5, {"ERROR": 2, "busy": 3})
    assert (result.unanswered, result.lost_connections, result.unsent) == (1, 2, 5)


def test_of_two_rounds_the_slower_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    ((result,), _) = run_rounds(monkeypatch, [measured(300), measured(100)], 2, "a")
    assert result.ops_per_second == 100.0


def test_what_was_not_measured_is_unknown_and_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    ((result,), _) = run_rounds(monkeypatch, [measured(5)], 1, "a")
    assert (result.server_cpu, result.load_cpu) == (None, 12.5)
    assert (result.write, result.send_lag) == (None, None)
    assert result.read is not None
    assert result.histogram.count == 2


@pytest.mark.parametrize(("name", "mode"), [("quorumcache", "any-node"), ("memcached", "auto")])
def test_a_memcached_to_compare_with_is_asked_in_its_own_way(
    monkeypatch: pytest.MonkeyPatch, name: str, mode: str
) -> None:
    """`--mode` is about clusters: `routed` would be refused by a memcached."""
    asked: list[str] = []

    def routes(addresses: Any, mode: str) -> Routes:
        asked.append(mode)
        return Routes(tuple(addresses))

    monkeypatch.setattr(measure, "find_routes", routes)
    monkeypatch.setattr(measure, "run_load", lambda plan, pids, progress: measured(1))
    target: Any = FakeTarget(name, [])
    _, used = measure_once(GETS, target, LoadOptions(mode="any-node"), QUIET)
    assert (asked, used) == ([mode], "one node")


# -- progress ----------------------------------------------------------------------------------


def test_progress_is_told_once_at_first_and_not_for_every_reply(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(measure.time, "monotonic", lambda: now[0])
    progress = Progress()
    progress.begin("gets on a")
    progress("fill", 10, 0)
    now[0] += 1.0
    progress("fill", 2000, 0)
    now[0] += 4.0
    progress("fill", 5010, 2)
    progress("run", 1, 0)
    progress.end()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "gets on a: fill 10",
        "gets on a: fill 5,010, 1,000/s, 2 errors",
        "gets on a: run 1",
    ]


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(quiet=True)
    progress.begin("gets on a")
    progress("run", 1, 0)
    progress.say("something")
    progress.end()
    assert capsys.readouterr() == ("", "")
