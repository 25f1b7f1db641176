"""`status` with moves, and `status --watch` over a pipe."""

from __future__ import annotations

import asyncio
import signal
import sys

from quorumcache.router.commands.looks import move_lines
from quorumcache.router.commands.progress import Progress
from quorumcache.router.report import Look
from tests.support.command_line import ROOT, quorumcache
from tests.support.fake_cluster import FakeCluster, run
from tests.unit.router.commands.test_progress import answer, move

PLAIN = Look(False, "#")


def test_moves_are_told_only_where_there_are_some() -> None:
    assert move_lines(None, Progress(), 0.0, PLAIN) == []
    assert move_lines(answer(change=""), Progress(), 0.0, PLAIN) == []
    paused = move_lines(answer(change="", paused=True), Progress(), 0.0, PLAIN)
    assert paused == ["", "Moves    paused: no move is started"]
    lines = move_lines(answer(move(1, "copying", 1, 2)), Progress(), 0.0, PLAIN)
    assert lines[1].startswith("drain c: 0 of 1 moves done")


def test_status_shows_moves_and_a_watch_goes_on_over_a_pipe() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            cluster.operators.secret = "a secret of sixteen"
            cluster.operators.moves = [answer(move(1, "copying", 1, 2))]
            once = await quorumcache("status", seeds=cluster.seeds)
            assert once.code == 0
            assert "0 of 1 moves done, 1 under way" in once.out
            assert "LAG" not in once.out
            watch = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "quorumcache.router.cli", "-s", cluster.seeds[0]),
                *("status", "--watch", "0.05"),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=ROOT,
            )
            assert watch.stdout is not None
            for _ in range(3):
                seen = await watch.stdout.readuntil(b"Cluster  fake-1  epoch ")
            assert b"40 ms" in seen
            cluster.move_shard(0, (2, 3))
            await watch.stdout.readuntil(b"Cluster  fake-1  epoch 2")
            for node in cluster.nodes:
                await node.stop()
            await watch.stdout.readuntil(b"no node answers, this is older")
            watch.send_signal(signal.SIGINT)
            _, err = await watch.communicate()
            assert (watch.returncode, err) == (130, b"")

    run(main())
