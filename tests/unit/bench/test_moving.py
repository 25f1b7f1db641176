"""Goal: the tables say how long a move took and what it cost the load, and which goal was missed.

Real moves: tests/integration/test_moving.py.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest

from quorumcache.bench.cluster import LocalNode
from quorumcache.bench.driver import Measured
from quorumcache.bench.errors import StartError, TargetError
from quorumcache.bench.mixed_load import MixedLoad
from quorumcache.bench.moving import (
    Join,
    Mover,
    choose_nodes,
    join_goals,
    join_table,
    shard_goals,
    shard_move,
    shard_table,
)
from quorumcache.bench.stages import MOVE, QUIET, Stage, Staged
from quorumcache.bench.text_client import Topology
from quorumcache.bench.timeline import Sample, Span
from quorumcache.ring import ClusterMap, NodeInfo
from tests.support.tiny_memcached import TinyMemcached

SECOND = 1_000_000_000
NODES = tuple(
    NodeInfo(n, name, f"h:{n}", f"h:{n + 10}", "", "", 1.0) for n, name in enumerate("abcd", 1)
)


def measured(during: int, **others: int) -> Measured:
    """A load of 4 s, of which the third second is slower: 100 requests a step, then `during`."""
    timeline = [100] * 20 + [during] * 10 + [100] * 10
    return Measured(
        began_ns=5 * SECOND,
        seconds=4.0,
        completed=sum(timeline),
        timeline=timeline,
        server_cpu=90.0,
        load_cpu=50.0,
        other_cpu=0.0,
        **others,
    )


@pytest.mark.parametrize(("during", "missed"), [(100, 0), (70, 0), (60, 1)])
def test_the_load_during_a_move_is_compared_with_that_before_it(during: int, missed: int) -> None:
    move = shard_move(measured(during), 7 * SECOND, 8 * SECOND, leaves="b", joins="new1")
    assert (move.before, move.during, move.after) == pytest.approx((1000, 10 * during, 1000))
    assert move.ratio == pytest.approx(during / 100)
    assert sum(not goal.is_met for goal in shard_goals([move])) == missed
    table = shard_table([move, move], 100_000)
    assert [row[1] for row in table.rows] == ["b to new1"] * 2
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert sum(note.startswith("GOAL MISSED") for note in table.notes) == 2 * missed
    assert len(json.loads(json.dumps(table.data))["moves"]) == 2


def test_a_move_that_is_too_slow_misses_the_goal_though_others_are_quick() -> None:
    quick = shard_move(measured(100), 7 * SECOND, 8 * SECOND, leaves="b", joins="c")
    slow = shard_move(measured(100), 7 * SECOND, 13 * SECOND, leaves="b", joins="c")
    missed = [str(goal) for goal in shard_goals([quick, slow, quick]) if not goal.is_met]
    assert missed == ["move 2: took 6 s, goal: at most 5 s"]
    assert slow.after == 0, "the load had ended"


@pytest.mark.parametrize("name", ["errors", "misses", "unanswered"])
def test_what_the_load_met_is_a_failure(name: str) -> None:
    load = measured(100, **{name: 2})
    load.error_kinds = {"SERVER_ERROR x": 2}
    move = shard_move(load, 7 * SECOND, 8 * SECOND, leaves="b", joins="c")
    assert move.failures == 2
    assert not shard_goals([move])[-1].is_met
    assert "error, 2 times: SERVER_ERROR x" in shard_table([move], 1).notes


def test_a_busy_machine_is_said() -> None:
    load = measured(100)
    move = shard_move(load, 7 * SECOND, 8 * SECOND, leaves="b", joins="c")
    assert not any(note.startswith("WARNING") for note in shard_table([move], 1).notes)
    load.other_cpu = 60.0
    assert any(note.startswith("WARNING") for note in shard_table([move], 1).notes)


@pytest.mark.parametrize(
    ("replicas", "leader", "chosen"),
    [
        ((1, 2, 3), 1, ("a", "c", "b")),
        ((3, 2, 1), 1, ("a", "b", "c")),
        ((4, 1, 2), 2, ("b", "a", "c")),
    ],
)
def test_neither_the_leader_moves_nor_is_it_asked(
    replicas: tuple[int, ...], leader: int, chosen: tuple[str, str, str]
) -> None:
    cluster_map = ClusterMap(1, "test", 1, 3, NODES, (replicas,))
    assert choose_nodes(Topology(cluster_map, (leader,), (1,))) == chosen


def test_without_a_map_nothing_is_chosen() -> None:
    with pytest.raises(StartError, match="no node answers"):
        choose_nodes(None)


def joined(seconds: int) -> Join:
    load = MixedLoad(1.0)
    load.present = {0: (0, 1 << 62)}
    ends = SECOND + seconds * SECOND
    load.samples += [Sample(0, n * SECOND // 10, 1_000_000) for n in range(10 * (seconds + 2))]
    run = Staged(load)
    run.stages.append(Stage(QUIET, 3, Span("3 nodes", 0, SECOND), 0.0))
    run.stages.append(Stage(MOVE, 4, Span("3 to 4", SECOND, ends), 0.0))
    run.stages.append(Stage(QUIET, 4, Span("4 nodes", ends, ends + SECOND), 0.0))
    return Join(run=run, items=1000, held_items=750, held_bytes=300_000)


def test_a_join_lasts_until_no_move_is_left() -> None:
    table = join_table(joined(5))
    assert [row[0] for row in table.rows] == ["3 nodes", "3 to 4", "4 nodes"]
    assert (
        "750 items (0.3 MB of memory) after 5.0 s: 150 items and 0.1 MB a second" in table.notes[0]
    )
    assert table.notes[-1] == "all 7 goals met"
    assert json.loads(json.dumps(table.data))["seconds"] == 5
    missed = [str(goal) for goal in join_goals(joined(61)) if not goal.is_met]
    assert missed == ["the join took 61 s, goal: at most 60 s"]


# --- the thread that asks for the move


class FakeCluster:
    """The part of a local cluster that a mover uses."""

    def __init__(self, directory: Path) -> None:
        self.secret_path = directory / "cluster.secret"


def mover(directory: Path, address: tuple[str, int], quiet_seconds: float) -> Mover:
    (directory / "cluster.secret").write_text("a secret of a test\n")
    node = LocalNode("a", [], directory / "log", address[1])
    return Mover(cast(Any, FakeCluster(directory)), node, "b", quiet_seconds)


def answers(replicas: tuple[int, ...]) -> dict[bytes, bytes]:
    made = ClusterMap(1, "test", 1, 3, NODES, (replicas,)).to_bytes()
    return {
        b"cluster auth": b"AUTH 00ff -\r\n",
        b"cluster change drain b": b"CHANGE 2\r\n{}\r\n",
        b"cluster map": b"MAP 1 %d\r\n%b\r\n" % (len(made), made),
    }


def test_the_move_begins_after_the_quiet_time_and_ends_when_the_map_has_it(tmp_path: Path) -> None:
    replies, asked = answers((1, 3, 4)), list[bytes]()

    def hook(line: bytes) -> bytes | None:
        asked.append(line)
        return replies.get(line, b"OK\r\n" if line.startswith(b"cluster auth ") else None)

    with TinyMemcached(hook) as server:
        moving = mover(tmp_path, server.address, 0.05)
        began_ns = time.monotonic_ns()
        moving.start(began_ns)
        moving.wait()
        moving.stop()
    assert began_ns + 50_000_000 <= moving.began_ns <= moving.ended_ns
    assert b"cluster change drain b" in asked


def test_a_move_that_is_refused_is_raised_where_it_is_waited_for(tmp_path: Path) -> None:
    moving = mover(tmp_path, ("127.0.0.1", 1), 0.0)
    moving.start(time.monotonic_ns())
    with pytest.raises(TargetError, match="cannot connect"):
        moving.wait()
    moving.stop()


@pytest.mark.parametrize("quiet_seconds", [0.0, 3600.0])
def test_it_stops_before_the_move_and_in_it(tmp_path: Path, quiet_seconds: float) -> None:
    replies, has_asked = answers((1, 2, 3)), threading.Event()

    def hook(line: bytes) -> bytes | None:
        if line == b"cluster map":
            has_asked.set()
        return replies.get(line, b"OK\r\n" if line.startswith(b"cluster auth ") else None)

    with TinyMemcached(hook) as server:
        moving = mover(tmp_path, server.address, quiet_seconds)
        moving.start(time.monotonic_ns())
        if not quiet_seconds:
            assert has_asked.wait(30)
        moving.stop()
        assert moving.ended_ns == 0
    assert not any("mover" in thread.name for thread in threading.enumerate())
