"""Locks of a real cluster: order, failovers, restarts, dead holders, and the command line."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from quorumcache.router import (
    AsyncClient,
    ClientConfig,
    FenceOfAnotherLock,
    LockNotHeld,
    LockOfAnotherKind,
    LockTimeout,
    StaleFence,
)
from quorumcache.router.commands.locks import LOST, NOT_FREE
from tests.support.clients import library
from tests.support.command_line import ROOT, one_line, quorumcache
from tests.support.processes import Cluster, running_cluster

DEADLINE_S = 120
PATIENT = ClientConfig(timeout_ms=60_000)
SHELL = "echo $QUORUMCACHE_LOCK $QUORUMCACHE_FENCE_TOKEN"


def with_clients(cluster: Cluster, count: int, story: Callable[..., Awaitable[None]]) -> None:
    """Run a story with so many clients, each connected through another node."""

    async def main() -> None:
        seeds = [f"127.0.0.1:{node.port}" for node in cluster]
        clients = [
            AsyncClient(seeds[number % len(seeds) :] + seeds, PATIENT) for number in range(count)
        ]
        try:
            async with asyncio.timeout(DEADLINE_S):
                await story(*clients)
        finally:
            for client in clients:
                await client.close()

    asyncio.run(main())


def seeds_of(cluster: Cluster) -> list[str]:
    return [f"127.0.0.1:{node.port}" for node in cluster]


async def until_waiting(client: AsyncClient, name: str, count: int) -> None:
    while True:
        if len((await client.lock_state(name)).waiters) == count:
            return
        await asyncio.sleep(0.02)


def test_one_at_a_time_in_order_of_arrival(cluster: Cluster) -> None:
    async def story(*clients: AsyncClient) -> None:
        order: list[int] = []
        tokens: list[int] = []
        inside = 0

        async def work(number: int) -> None:
            nonlocal inside
            async with clients[number].lock("fair") as token:
                inside += 1
                assert inside == 1
                order.append(number)
                tokens.append(token.number)
                await asyncio.sleep(0.02)
                inside -= 1

        first = clients[0].lock("fair")
        await first.acquire()
        works = []
        for number in range(1, 6):
            works.append(asyncio.ensure_future(work(number)))
            await until_waiting(clients[0], "fair", number)
        await first.release()
        await asyncio.gather(*works)
        assert order == [1, 2, 3, 4, 5]
        assert tokens == sorted(tokens)
        assert (await clients[0].lock_state("fair")).holders == ()

    with_clients(cluster, 6, story)


def test_all_kinds(cluster: Cluster) -> None:
    async def story(one: AsyncClient, two: AsyncClient) -> None:
        rw = one.read_write_lock("kinds-rw")
        async with rw.reader(), two.read_write_lock("kinds-rw").reader():
            with pytest.raises(LockTimeout):
                await rw.writer().acquire(wait_ms=0)
        async with rw.writer():
            with pytest.raises(LockTimeout):
                await rw.reader().acquire(wait_ms=0)
        async with one.semaphore("kinds-s", 2), two.semaphore("kinds-s", 2):
            with pytest.raises(LockTimeout):
                await one.semaphore("kinds-s", 2).acquire(wait_ms=0)
            for other in (one.lock("kinds-s"), one.semaphore("kinds-s", 3)):
                with pytest.raises(LockOfAnotherKind):
                    await other.acquire()
        await asyncio.gather(*(client.barrier("kinds-b", 2).wait() for client in (one, two)))
        async with one.campaign("kinds-e", "web-1") as token:
            assert await two.leader("kinds-e") == ("web-1", token)
        assert await two.leader("kinds-e") is None

    with_clients(cluster, 2, story)


def test_fences(cluster: Cluster) -> None:
    async def story(one: AsyncClient, two: AsyncClient) -> None:
        async with one.lock("fences") as old:
            await one.set("fenced", b"1", fence=old)
            assert await one.incr("fenced", fence=old) == 2
        async with two.lock("fences") as new:
            item = await two.gets("fenced", fence=new)
            assert item is not None
            assert item.value == b"2"
            with pytest.raises(StaleFence) as stale:
                await one.delete("fenced", fence=old)
            assert stale.value.newest == new.number
            assert await two.cas("fenced", b"3", item.cas_unique, fence=new)
            async with one.lock("fences-other") as other:
                with pytest.raises(FenceOfAnotherLock):
                    await one.set("fenced", b"4", fence=other)
            large = os.urandom(3 << 20)
            with pytest.raises(StaleFence):
                await one.set("fenced", large[:1_000], fence=old)
            assert await two.get("fenced", fence=new) == b"3"
            await two.flush_all()
            with pytest.raises(StaleFence):
                await one.add("fenced", b"5", fence=old)
            assert await two.touch("fenced", 60, fence=new) is False

    with_clients(cluster, 2, story)


def test_a_dead_holder_and_a_dead_waiter_are_forgotten(cluster: Cluster) -> None:
    script = (
        "import asyncio, sys\n"
        "from quorumcache import AsyncClient\n"
        "async def main():\n"
        "    async with AsyncClient([sys.argv[1]]) as client:\n"
        "        await client.lock('dead', 2_000).acquire()\n"
        "        print('held', flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )

    async def story(client: AsyncClient) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", script, seeds_of(cluster)[0]),
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        try:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"held\n"
            with pytest.raises(LockTimeout):
                await client.lock("dead").acquire(wait_ms=0)
        finally:
            process.kill()
            await process.wait()
        async with client.lock("dead"):
            assert len((await client.lock_state("dead")).holders) == 1

    with_clients(cluster, 1, story)


def test_the_command_line(cluster: Cluster) -> None:
    async def story(client: AsyncClient) -> None:
        seeds = seeds_of(cluster)
        numbers = []
        for _ in range(2):
            ended = await quorumcache("lock", "shell", "--", "sh", "-c", SHELL, seeds=seeds)
            assert (ended.code, ended.err) == (0, "")
            name, number = ended.out.split()
            assert name == "shell"
            numbers.append(int(number))
        assert numbers[0] < numbers[1]
        async with client.lock("shell", owner="web-1"):
            ended = await quorumcache(
                "lock", "shell", "--wait", "300ms", "--", "echo", "ran", seeds=seeds
            )
            assert (ended.code, ended.out) == (NOT_FREE, "")
            shown = await quorumcache("locks", "shell", seeds=seeds)
            assert shown.code == 0
            assert shown.out.startswith("holder web-1-")
        shown = await quorumcache("locks", "shell", seeds=seeds)
        assert one_line(shown) == "quorumcache: shell: nobody holds it"

    with_clients(cluster, 1, story)


def test_a_command_that_is_stopped_with_its_lock_is_ended_when_it_goes_on(
    cluster: Cluster,
) -> None:
    """Both stand still for longer than the lock lasts, and another one has it by then."""

    async def story(client: AsyncClient) -> None:
        words = (
            "lock",
            "stopped",
            "--ttl",
            "3s",
            "--",
            "sh",
            "-c",
            "echo ready; exec sleep 600",
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "quorumcache.router.cli", "-s", seeds_of(cluster)[0], *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            cwd=ROOT,
        )
        try:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
            os.killpg(process.pid, signal.SIGSTOP)
            async with client.lock("stopped"):
                os.killpg(process.pid, signal.SIGCONT)
                _, err = await process.communicate()
            assert process.returncode == LOST
            assert b"the lock stopped was lost" in err
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()

    with_clients(cluster, 1, story)


def test_the_lines_that_other_languages_send(cluster: Cluster) -> None:
    """As docs/locks.md shows them, through pymemcache."""
    pymemcache = library("pymemcache")
    node = pymemcache.Client(f"127.0.0.1:{cluster['c'].port}", timeout=60)

    def say(line: bytes) -> bytes:
        answer: bytes = node.raw_command(line, b"\r\n")
        return answer

    word, token = say(b"cluster lock acquire report web-3-8c1f 10000 5000").split()
    assert word == b"LOCKED"
    assert say(b"cluster lock acquire report web-4-0b2a 10000 100") == b"WAITING 1"
    assert say(b"cluster fence report %b\r\nset report:state 0 0 2\r\nok" % token) == b"STORED"
    assert say(b"cluster lock renew report web-3-8c1f %b 10000" % token) == b"LOCKED " + token
    assert say(b"cluster lock release report web-3-8c1f %b" % token) == b"RELEASED"
    word, later = say(b"cluster lock acquire report web-4-0b2a 10000 5000").split()
    assert (word, int(later) > int(token)) == (b"LOCKED", True)
    fence = b"cluster fence report %b\r\n" % later
    assert node.raw_command(fence + b"get report:state", b"END\r\n").endswith(b"\r\nok\r\n")
    with pytest.raises(pymemcache.MemcacheClientError, match=f"stale fence: .* is {int(later)}'"):
        say(b"cluster fence report %b\r\nset report:state 0 0 2\r\nno" % token)
    assert say(b"cluster lock release report web-3-8c1f %b" % token) == b"NOT_HELD"
    assert say(b"cluster lock release report web-4-0b2a") == b"RELEASED"
    node.close()


def test_a_lock_is_kept_when_its_leader_dies_and_over_a_restart_of_all(tmp_path: Path) -> None:
    """Nobody else is let in meanwhile, and tokens go on growing."""
    with running_cluster(tmp_path) as cluster:

        async def story(one: AsyncClient, two: AsyncClient, three: AsyncClient) -> None:
            lock = one.lock("kept", 60_000)
            token = await lock.acquire()
            await one.set("kept-key", b"1", fence=token)
            waiting = [asyncio.ensure_future(two.lock("kept", 60_000).acquire())]
            await until_waiting(one, "kept", 1)
            leader = await asyncio.to_thread(cluster.leader_of, b"kept", seen_by="a")
            cluster[leader].kill()
            waiting.append(asyncio.ensure_future(three.lock("kept", 60_000).acquire()))
            await until_waiting(one, "kept", 2)
            assert (await one.lock_state("kept")).holders[0].token == token.number
            cluster[leader].start()
            for node in cluster:
                node.kill()
            await asyncio.to_thread(cluster.start)
            await until_waiting(one, "kept", 2)
            (holder,) = (await one.lock_state("kept")).holders
            assert holder.token == token.number
            assert lock.is_held
            await lock.release()
            # A place lasts 10 s without a word of its owner: on a slow machine the order may change
            # while no node runs. But only one of them gets it.
            done, (other,) = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            (later,) = (task.result() for task in done)
            assert later > token
            assert len((await one.lock_state("kept")).holders) == 1
            assert await two.get("kept-key", fence=later) == b"1"
            with pytest.raises(StaleFence):
                await one.set("kept-key", b"0", fence=token)
            with pytest.raises(LockNotHeld):
                await lock.release()
            other.cancel()

        with_clients(cluster, 3, story)
