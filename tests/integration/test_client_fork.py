"""Goal: a client that was used before a fork is right in both processes.

Method: count in parent and child at the same time through one client object. Every number that
`incr` returned to either of them must be there once, the end must be their sum, and the parent goes
on with the connections it had.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvloop

from quorumcache.router import (
    AsyncClient,
    ClientConfig,
    LockNotHeld,
    LockTimeout,
    WrongEventLoop,
)
from tests.support.processes import Cluster

# Python 3.12 warns of a fork beside threads. A worker of pytest-xdist has one, which the child does
# not need.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

DEADLINE_S = 60
COUNT = 20
PATIENT = ClientConfig(
    timeout_ms=1000 * DEADLINE_S,
    connect_timeout_ms=1000 * DEADLINE_S,
    stall_ms=1000 * DEADLINE_S,
)
"""A connection of which a busy machine makes nothing for a second is not given up."""

Loop = asyncio.AbstractEventLoop
LOOPS: list[Callable[[], Loop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


def in_child(work: Callable[[], object]) -> Callable[[], Any]:
    """Fork, do `work` in the child; what is returned waits for its result, or fails with its
    traceback."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(DEADLINE_S)
            answer = json.dumps(["ok", work()])
        except BaseException:
            answer = json.dumps(["failed", traceback.format_exc()])
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)

    def result() -> Any:
        with os.fdopen(reading, "rb") as pipe:
            text = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert text, f"the child ended without an answer, with {status}"
        word, found = json.loads(text)
        assert word == "ok", found
        return found

    return result


def seeds_of(cluster: Cluster) -> list[str]:
    return [f"127.0.0.1:{node.port}" for node in cluster]


async def count(client: AsyncClient, key: str, times: int = COUNT) -> list[int]:
    return [await client.incr(key) or 0 for _ in range(times)]


def bounded(work: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
    return asyncio.wait_for(work, DEADLINE_S)


@contextmanager
def as_if_running(loop: Loop) -> Iterator[None]:
    """Let a client of this thread believe that `loop` runs.

    The parent runs the same loop at this moment, and both share what the kernel keeps for it. With
    uvloop that is a ring of io_uring too: libuv ends a process that finds another one in it.
    """
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(None)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_both_processes_count(cluster: Cluster, new_loop: Callable[[], Loop]) -> None:
    key = f"forked-{new_loop.__module__}"
    loop = new_loop()
    client = AsyncClient(seeds_of(cluster), PATIENT)
    try:
        loop.run_until_complete(bounded(client.set(key, b"0")))
        told = loop.run_until_complete(bounded(count(client, key)))
        pool = client._engine.pool
        connections = list(pool._all)
        assert connections

        def child() -> list[int]:
            with pytest.raises(WrongEventLoop, match="before the fork"):
                loop.run_until_complete(client.get(key))

            async def main() -> list[int]:
                numbers = await count(client, key)
                assert int(await client.get(key) or 0) >= numbers[-1]
                assert len(await client.get_many([key])) == 1
                assert not set(client._engine.pool._all) & set(connections)
                await client.close()
                return numbers

            with asyncio.Runner(loop_factory=new_loop) as runner:
                numbers: list[int] = runner.run(bounded(main()))
            return numbers

        result = in_child(child)
        told += loop.run_until_complete(bounded(count(client, key)))
        told += result()
        told += loop.run_until_complete(bounded(count(client, key)))
        assert sorted(told) == list(range(1, 4 * COUNT + 1))
        assert loop.run_until_complete(bounded(client.get(key))) == b"%d" % (4 * COUNT)
        assert client._engine.pool is pool
        assert set(connections) <= set(pool._all)  # A shard that moved has brought one more.
        assert all(connection.is_usable for connection in connections)
    finally:
        loop.run_until_complete(bounded(client.close()))
        loop.close()


def test_fork_inside_a_running_loop(cluster: Cluster) -> None:
    """With calls under way: the child starts its own loop; those calls end in the parent alone."""
    key = "forked-inside"

    async def main() -> None:
        async with AsyncClient(seeds_of(cluster), PATIENT) as client:
            await client.set(key, b"0")
            under_way = [asyncio.create_task(client.incr(key)) for _ in range(COUNT)]
            await asyncio.sleep(0)

            def child() -> list[int]:
                numbers: list[int] = asyncio.run(bounded(count(client, key)))
                asyncio.run(close_elsewhere(client))
                return numbers

            result = in_child(child)
            told = [number or 0 for number in await asyncio.gather(*under_way)]
            told += await count(client, key)
            told += await asyncio.to_thread(result)
            assert sorted(told) == list(range(1, 3 * COUNT + 1))
            assert await client.get(key) == b"%d" % (3 * COUNT)

    asyncio.run(bounded(main()))


async def close_elsewhere(client: AsyncClient) -> None:
    with pytest.raises(WrongEventLoop, match="first used in another event loop"):
        await client.close()


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_lock_stays_with_the_parent(cluster: Cluster, new_loop: Callable[[], Loop]) -> None:
    """The child holds nothing, gives nothing back, and is another owner, under the same label."""
    name = f"forked-lock-{new_loop.__module__}"
    loop = new_loop()
    client = AsyncClient(seeds_of(cluster), PATIENT)
    lock = client.lock(name, 1000 * DEADLINE_S, owner="web")

    async def holders() -> list[str]:
        return [holder.owner for holder in (await client.lock_state(name)).holders]

    try:
        token = loop.run_until_complete(bounded(lock.acquire()))

        def child() -> str:
            async def main() -> str:
                assert not lock.is_held
                with pytest.raises(LockNotHeld, match="the process that this one was forked from"):
                    await lock.release()
                async with client.lock(f"{name}-2", owner="web"):
                    (holder,) = (await client.lock_state(f"{name}-2")).holders
                with pytest.raises(LockTimeout):
                    await client.lock(name, owner="web").acquire(wait_ms=0)
                await client.close()
                return holder.owner

            with asyncio.Runner(loop_factory=new_loop) as runner:
                owner: str = runner.run(bounded(main()))
            return owner

        childs_owner = in_child(child)()
        assert lock.is_held
        (owner,) = loop.run_until_complete(bounded(holders()))
        assert lock.token == token

        async def same_name_as_the_child() -> list[str]:
            async with client.lock(f"{name}-2", owner="web"):
                state = await client.lock_state(f"{name}-2")
                return [holder.owner for holder in state.holders]

        mine = loop.run_until_complete(bounded(same_name_as_the_child()))
        assert len({childs_owner, owner, *mine}) == 3
        loop.run_until_complete(bounded(lock.release()))
        assert loop.run_until_complete(bounded(holders())) == []
    finally:
        loop.run_until_complete(bounded(client.close()))
        loop.close()


def test_a_call_without_a_loop_says_so(cluster: Cluster) -> None:
    """A child that goes on with the coroutine of its parent has no event loop at all."""

    async def main() -> None:
        async with AsyncClient(seeds_of(cluster), PATIENT) as client:
            await client.set("forked-nowhere", b"0")

            def child() -> str:
                call = client.get("forked-nowhere")
                try:
                    call.send(None)
                except WrongEventLoop as error:
                    return str(error)
                return "no error"

            assert "asyncio.run" in await asyncio.to_thread(in_child(child))
            assert await client.get("forked-nowhere") == b"0"

    asyncio.run(bounded(main()))


def test_closing_in_the_parent_ends_its_connections(cluster: Cluster) -> None:
    """The child lets go of its copies of the sockets: the node sees the end of them at once."""
    loop = asyncio.new_event_loop()
    client = AsyncClient(seeds_of(cluster), PATIENT)
    loop.run_until_complete(bounded(client.set("forked-closed", b"0")))
    go_on, parent = os.pipe()

    def child() -> list[str]:
        os.close(parent)
        left = [
            os.readlink(f"/proc/self/fd/{number}") for number in range(3, 256) if is_open(number)
        ]
        os.read(go_on, 1)
        return [name for name in left if name.startswith("socket:")]

    def inodes() -> set[str]:
        return {
            f"socket:[{os.fstat(connection._transport.get_extra_info('socket').fileno()).st_ino}]"
            for connection in client._engine.pool._all
            if connection._transport is not None
        }

    ours = inodes()
    assert ours
    result = in_child(child)
    os.close(go_on)
    loop.run_until_complete(bounded(client.close()))
    loop.close()
    os.close(parent)
    assert not ours & set(result())


def is_open(descriptor: int) -> bool:
    return os.path.lexists(f"/proc/self/fd/{descriptor}")
