"""`quorumcache lock` and `locks` as processes, against the scripted cluster."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from quorumcache.router import AsyncClient
from quorumcache.router.commands.locks import LOST, NOT_FREE
from tests.support.command_line import ROOT, one_line, quorumcache
from tests.support.fake_cluster import HANG, FakeCluster, Fault, run

TELLS = "import os; print(os.environ['QUORUMCACHE_LOCK'], os.environ['QUORUMCACHE_FENCE_TOKEN'])"
WAITS = "import time; print('ready', flush=True); time.sleep(600)"
COUNTS = """
import signal, sys, time
def got(number, _):
    print("got", number, flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, got)
signal.signal(signal.SIGINT, got)
print("ready", flush=True)
time.sleep(600)
"""


@asynccontextmanager
async def begun(cluster: FakeCluster, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`quorumcache lock`, running in a session of its own, so that it is no job of a terminal. It
    and its command are gone at the end.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quorumcache.router.cli", "-s", cluster.seeds[0], "lock", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def ready(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"


async def until(cluster: FakeCluster, name: bytes, *, holders: int, waiters: int) -> None:
    locks = cluster.locks
    while (len(locks.holders(name)), len(locks.waiters(name))) != (holders, waiters):
        await locks.changed.wait()


def test_a_command_runs_while_the_lock_is_held() -> None:
    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster:
            for token in (1, 2):
                ended = await quorumcache(
                    *("lock", "nightly", "--", sys.executable, "-c", TELLS), seeds=cluster.seeds
                )
                assert ended == (0, f"nightly {token}\n", "")
                assert cluster.locks.holders(b"nightly") == []
            code = "exit 7"
            ended = await quorumcache("lock", "n", "--", "sh", "-c", code, seeds=cluster.seeds)
            assert ended == (7, "", "")
            # What stands behind -- is the command's, whatever it looks like.
            ended = await quorumcache(
                *("lock", "--ttl", "1m", "n", "--", "echo", "--ttl", "--", "-s"),
                seeds=cluster.seeds,
            )
            assert ended == (0, "--ttl -- -s\n", "")

    run(main())


def test_a_lock_that_is_not_free_in_time() -> None:
    async def main() -> None:
        async with (
            FakeCluster(sessions=True) as cluster,
            AsyncClient(cluster.seeds) as client,
            client.lock("busy"),
        ):
            for wait in ("0", "200ms"):
                ended = await quorumcache(
                    *("lock", "busy", "--wait", wait, "--", "echo", "ran"), seeds=cluster.seeds
                )
                assert (ended.code, ended.out) == (NOT_FREE, "")
                assert "the lock busy" in one_line(ended)
                assert one_line(ended).endswith("the command was not run")
            await until(cluster, b"busy", holders=1, waiters=0)

    run(main())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_the_commands(number: signal.Signals) -> None:
    async def main() -> None:
        words = ("n", "--", sys.executable, "-c", COUNTS)
        async with FakeCluster(sessions=True) as cluster, begun(cluster, *words) as process:
            await ready(process)
            os.kill(process.pid, number)
            out, err = await process.communicate()
            assert (process.returncode, out, err) == (3, b"got %d\n" % number, b"")
            assert cluster.locks.holders(b"n") == []

    run(main())


def test_a_signal_while_it_waits_leaves_the_queue() -> None:
    async def main() -> None:
        async with (
            FakeCluster(sessions=True) as cluster,
            AsyncClient(cluster.seeds) as client,
            client.lock("n"),
            begun(cluster, "n", "--", "echo", "ran") as process,
        ):
            await until(cluster, b"n", holders=1, waiters=1)
            process.terminate()
            out, err = await process.communicate()
            assert (process.returncode, out, err) == (128 + signal.SIGTERM, b"", b"")
            assert cluster.locks.waiters(b"n") == []

    run(main())


def test_a_command_whose_lock_is_lost_is_ended() -> None:
    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster:
            words = ("n", "--ttl", "3s", "--", sys.executable, "-c", WAITS)
            async with begun(cluster, *words) as process:
                await until(cluster, b"n", holders=1, waiters=0)
                cluster.locks.give_away(b"n")
                _, err = await process.communicate()
                assert process.returncode == LOST
                assert err == b"quorumcache: the lock n was lost: the command is ended\n"

    run(main())


def test_a_command_whose_lock_cannot_be_renewed_is_ended() -> None:
    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster:
            words = ("n", "--ttl", "2s", "--", sys.executable, "-c", WAITS)
            async with begun(cluster, *words) as process:
                await until(cluster, b"n", holders=1, waiters=0)
                for node in cluster.nodes:
                    node.faults += [Fault(b"cluster lock renew", HANG) for _ in range(100)]
                _, err = await process.communicate()
                assert process.returncode == LOST
                assert err == b"quorumcache: the lock n was lost: the command is ended\n"

    run(main())


def test_a_lock_that_was_lost_unseen_is_told_at_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        go = tmp_path / "go"
        os.mkfifo(go)
        async with FakeCluster(sessions=True) as cluster:
            words = ("n", "--ttl", "1h", "--", "sh", "-c", f"echo ready; read _ <{go}")
            async with begun(cluster, *words) as process:
                await ready(process)
                cluster.locks.give_away(b"n")
                writer = await asyncio.create_subprocess_exec("sh", "-c", f"echo >{go}")
                await writer.wait()
                _, err = await process.communicate()
                assert process.returncode == LOST
                assert b": the lock n was lost before the command ended (with exit code 0)" in err

    run(main())


def test_what_is_wrong_is_said_before_the_lock_is_taken() -> None:
    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster:
            for words, code, said in (
                (("lock", "n"), 2, "no command to run"),
                (("lock", "n", "--"), 2, "no command to run"),
                (("lock", "a b", "--", "true"), 2, "contains a space"),
                (("lock", "n", "--ttl", "50ms", "--", "true"), 2, "ttl_ms must be from 100"),
                (("lock", "n", "--owner", "a b", "--", "true"), 2, "owner must be printable"),
                (("locks", "a b"), 2, "contains a space"),
            ):
                ended = await quorumcache(*words, seeds=cluster.seeds)
                assert ended.code == code
                assert said in one_line(ended)
            ended = await quorumcache("lock", "n", "--ttl", "x", "--", "true", seeds=cluster.seeds)
            assert ended.code == 2
            assert "'x' is not a span of time" in ended.err
            assert not any(node.executed for node in cluster.nodes)
            ended = await quorumcache("lock", seeds=cluster.seeds)
            assert "usage: quorumcache lock NAME [options] -- COMMAND" in ended.err
            missing = await quorumcache("lock", "n", "--", "not-there", seeds=cluster.seeds)
            assert missing == (127, "", "quorumcache: not-there: command not found\n")
            assert cluster.locks.holders(b"n") == []

    run(main())


def test_a_lock_is_shown() -> None:
    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster, AsyncClient(cluster.seeds) as client:
            free = await quorumcache("locks", "n", seeds=cluster.seeds)
            assert free == (1, "", "quorumcache: n: nobody holds it\n")
            async with client.lock("n", owner="web-1"):
                waiting = asyncio.ensure_future(client.lock("n", owner="web-2").acquire())
                await until(cluster, b"n", holders=1, waiters=1)
                ended = await quorumcache("locks", "n", seeds=cluster.seeds)
                holder, waiter = (line.split() for line in ended.out.splitlines())
                assert (ended.code, ended.err) == (0, "")
                assert holder[0] == "holder"
                assert holder[1].startswith("web-1-")
                assert holder[2:4] == ["1", "exclusive"]
                assert waiter[1].startswith("web-2-")
                assert waiter[2:] == ["1", "exclusive"]
                ended = await quorumcache("locks", "n", "--json", seeds=cluster.seeds)
                shown = json.loads(ended.out)
                assert shown["name"] == "n"
                assert shown["holders"][0]["token"] == 1
                assert shown["waiters"][0]["place"] == 1
                waiting.cancel()
                await asyncio.wait([waiting])

    run(main())
