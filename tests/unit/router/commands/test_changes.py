"""The commands that change a cluster, as processes, against a scripted one."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

import pytest

from quorumcache.router.commands.changes import node_lines, plan_lines
from tests.support.command_line import ROOT, one_line, quorumcache
from tests.support.fake_cluster import CLOSE_AFTER, FakeCluster, Fault, run
from tests.unit.router.commands.test_progress import answer, move

SECRET = "a secret of sixteen"
NODE = {
    "node_id": 1,
    "name": "a",
    "state": "active",
    "zone": "",
    "weight": 1.0,
    "shards": 64,
    "directory": True,
    "heard": True,
    "peer_address": "p:1",
    "client_address": "c:1",
    "http_address": "",
}
ESTIMATE = {
    "replicas_moved": 64,
    "bytes": 120 << 20,
    "seconds": 30.4,
    "leaders_changed": 22,
    "received": {"b": 34, "a": 30},
}
DRAIN = {
    "summary": "drain c: 64 moves",
    "dry": False,
    "epoch": 4,
    "change": "drain c",
    "estimate": ESTIMATE,
}


async def told(cluster: FakeCluster, *words: str) -> Any:
    return await quorumcache(*words, seeds=cluster.seeds, QUORUMCACHE_SECRET=SECRET)


def operators(cluster: FakeCluster, *moves: dict[str, Any], change: Any = DRAIN) -> None:
    cluster.operators.secret = SECRET
    cluster.operators.answers = [change]
    cluster.operators.moves = list(moves) or [answer(change="")]


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (("node", "drain", "c"), "drain c"),
        (("node", "remove", "c", "--force"), "remove c force"),
        (("node", "replace", "c"), "replace c"),
        (("node", "set", "c", "weight=2", "zone=z"), "node c weight=2 zone=z"),
        (("node", "set", "c", "zone="), "node c zone="),
        (("cluster", "set", "replication=5", "dead-after-ms=30000"),
         "settings replication=5 dead-after-ms=30000"),
        (("rebalance",), "rebalance"),
        (("moves", "pause"), "pause"),
        (("moves", "resume"), "resume"),
        (("moves", "cancel"), "cancel"),
    ],
)  # fmt: skip
def test_each_command_asks_for_its_change(words: tuple[str, ...], sent: str) -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            operators(cluster)
            ended = await told(cluster, *words, "--no-wait")
            assert (ended.code, ended.out) == (0, "drain c: 64 moves\n")
            assert cluster.operators.changes == [sent]
            cluster.operators.answers = [{**DRAIN, "dry": True}]
            dry = await told(cluster, *words, "--dry-run")
            assert dry.code == 0
            assert "nothing was changed" in dry.out
            assert cluster.operators.changes[1:] == [f"{sent} dry"]

    run(main())


def test_a_plan_is_told_before_it_is_carried_out() -> None:
    assert plan_lines(DRAIN) == [
        "drain c: 64 moves",
        "  would copy 64 replicas, 120 MiB, in about 30 s",
        "  a would receive 30",
        "  b would receive 34",
        "  22 shards would change leaders",
        "nothing was changed (--dry-run)",
    ]
    assert plan_lines({"summary": "pause", "estimate": {}})[1] == "  no replica would move"
    full = DRAIN | {"estimate": ESTIMATE | {"too_much": {"b": [1288490189, 1 << 30]}}}
    assert plan_lines(full)[4] == (
        "  warning: node b would hold 1.2 GiB of 1.0 GiB: writes there will be refused"
    )


def test_without_a_terminal_it_waits_with_a_line_now_and_then() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            old = answer(change="") | {"epoch": 3}  # Of a node that has not heard yet.
            operators(
                cluster,
                old,
                answer(move(1, "copying", 0, 100), move(2, "waiting", 0, 100)),
                answer(move(2, "copying", 50, 100), done=1),
                answer(done=2, change=""),
            )
            ended = await told(cluster, "node", "drain", "c")
            assert ended.code == 0
            lines = ended.out.splitlines()
            assert lines[:2] == [
                "drain c: 64 moves",
                "drain c: 0 of 2 moves done, 0 B of 200 B",
            ]
            assert lines[-1].startswith("done: 2 moves in ")
            assert "c holds nothing any more" in one_line(ended)

    run(main())


@pytest.mark.parametrize(
    ("words", "state", "code", "said"),
    [
        (("--no-wait",), "draining", 0, ""),
        ((), "drained", 0, "c holds nothing any more"),
        ((), "active", 1, "the drain of c was cancelled: it is active"),
    ],
)
def test_a_drain_tells_only_what_is_so(
    words: tuple[str, ...], state: str, code: int, said: str
) -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            node = {**NODE, "name": "c", "state": state}
            operators(cluster, answer(change="") | {"nodes": [node]})
            ended = await told(cluster, "node", "drain", "c", *words)
            assert (ended.code, bool(ended.err)) == (code, bool(said))
            assert said in ended.err

    run(main())


def test_json_is_one_document() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            operators(cluster, answer(move(1, "copying")), answer(change=""))
            ended = await told(cluster, "node", "drain", "c", "--json")
            assert (ended.code, json.loads(ended.out), ended.err) == (0, DRAIN, "")
            operators(cluster, answer(move(1, "copying")))
            ended = await told(cluster, "moves", "--json")
            assert json.loads(ended.out)["moves"] == [move(1, "copying")]

    run(main())


def test_ctrl_c_leaves_the_change_running_and_says_so() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            operators(cluster, answer(move(1, "copying", 0, 100)))
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "quorumcache.router.cli", "-s", cluster.seeds[0]),
                *("moves", "--wait"),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=ROOT,
            )
            assert process.stdout is not None
            assert b"0 of 1 moves done" in await process.stdout.readline()
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
            assert process.returncode == 130
            assert b"the change goes on" in err
            assert b"Traceback" not in err

    run(main())


def test_refused_unknown_and_without_a_secret() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            operators(cluster, change=b"CLIENT_ERROR refused: a change is under way: drain c\r\n")
            ended = await told(cluster, "node", "drain", "b")
            assert ended.code == 1
            assert one_line(ended) == "quorumcache: not done: a change is under way: drain c"
            operators(cluster)
            for node in cluster.nodes:
                node.faults.append(Fault(b"cluster change", CLOSE_AFTER))
            ended = await told(cluster, "node", "drain", "b")
            assert ended.code == 4
            assert "look at `quorumcache moves` before you ask again" in one_line(ended)
            ended = await quorumcache("rebalance", seeds=cluster.seeds, QUORUMCACHE_SECRET="")
            assert ended.code == 1
            assert "this needs the cluster's secret" in one_line(ended)
            ended = await quorumcache("rebalance", seeds=cluster.seeds, QUORUMCACHE_SECRET="x" * 16)
            assert one_line(ended) == "quorumcache: not done: this is not the cluster's secret"

    run(main())


def test_nodes_and_settings_are_listed() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            shown = answer(change="") | {
                "nodes": [NODE, {**NODE, "name": "b", "state": "down", "heard": False}],
                "settings": {"replication": "3", "dead_after_ms": "60000", "shards": "64"},
            }
            operators(cluster, shown)
            listed = await told(cluster, "node", "list")
            assert listed.out.splitlines() == node_lines(shown)
            found = await told(cluster, "cluster", "settings")
            assert found.out.splitlines() == [
                "SETTING        VALUE",
                "dead-after-ms  60000",
                "replication        3",
                "shards            64  fixed since the founding",
            ]
            as_json = await told(cluster, "node", "list", "--json")
            assert [node["name"] for node in json.loads(as_json.out)] == ["a", "b"]
            cluster.operators.secret = ""
            older = await told(cluster, "node", "list")
            assert older.code == 1
            assert "of an older version" in one_line(older)

    run(main())


def test_the_table_of_nodes() -> None:
    shown = answer() | {"nodes": [NODE, {**NODE, "name": "long", "state": "drained"}]}
    assert node_lines(shown) == [
        "NODE  STATE    HEARD  ZONE  WEIGHT  SHARDS  DIRECTORY  CLIENT  PEER",
        "a     active   yes    -          1      64  yes        c:1     p:1",
        "long  drained  yes    -          1      64  yes        c:1     p:1",
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("node",),
        ("node", "drain"),
        ("node", "remove", "c"),
        ("node", "set", "c"),
        ("node", "set", "c", "weight"),
        ("node", "set", "c", "weight="),
        ("node", "drain", "a b"),
        ("cluster", "set", "=5"),
        ("moves", "stop"),
        ("rebalance", "--secret-file", "/nowhere/at/all"),
    ],
)
def test_usage(words: tuple[str, ...]) -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            operators(cluster)
            ended = await told(cluster, *words)
            assert ended.code == 2, ended
            assert cluster.operators.changes == []

    run(main())


def test_waiting_for_a_node_that_joins() -> None:
    """It is not over while nothing moves yet: the moves begin once the node is a member."""

    async def main() -> None:
        async with FakeCluster() as cluster:
            joining = {"nodes": [{**NODE, "name": "d", "state": "joining"}]}
            active = {"nodes": [{**NODE, "name": "d"}]}
            operators(
                cluster,
                answer(change="") | {"nodes": []},
                answer(change="") | {"nodes": []},
                answer(change="") | joining,
                answer(move(1, "copying", 0, 100), change="") | active,
                answer(change="") | active,
            )
            ended = await told(cluster, "moves", "--wait-for", "d")
            assert ended.code == 0
            assert ended.out.splitlines()[0] == "waiting until d is active"
            assert ended.out.splitlines()[-1].startswith("done: 1 move in ")

    run(main())
