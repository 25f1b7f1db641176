"""Goal: a holder that was stopped for longer than its lock lasts does no harm, thanks to its token.

Method: a process of its own takes a lock and looks whether it holds it. Between that look and its
write it is stopped (SIGSTOP) for longer than the lock lasts, as a garbage collection or a
swapped-out machine would do it. Meanwhile another client takes the lock, reads, and writes. Then
the first one goes on, and sends what it was about to send. With the token its write is refused by
the store. The same without the token overwrites the newer value: this is the harm, and it shows
that nothing but the token prevents it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from quorumcache.router import AsyncClient, FencingToken
from tests.support.command_line import ROOT
from tests.support.fake_cluster import run
from tests.support.processes import Cluster

TTL_MS = 3_000

HOLDER = """
import asyncio, sys
from quorumcache import AsyncClient, StaleFence

async def main(seed, name, key, fences):
    async with AsyncClient([seed]) as client:
        lock = client.lock(name, int(sys.argv[5]))
        token = await lock.acquire()
        await client.get(key)
        assert lock.is_held
        print(token.number, flush=True)
        sys.stdin.readline()  # Nothing of this process runs from here to its write.
        try:
            await client.set(key, b"old", fence=token if fences else None)
        except StaleFence as error:
            print("refused", error.newest, flush=True)
        else:
            print("stored", flush=True)
        print("held" if lock.is_held else "lost", flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4] == "fences"))
"""


class Holder:
    """The process, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> list[str]:
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().split()

    def go_on(self) -> None:
        """Let it do what it was about to do."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self.process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def holder_of(seed: str, name: str, key: str, fences: str) -> AsyncIterator[Holder]:
    """A process that holds the lock, and is about to write. Gone at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, seed, name, key, fences, str(TTL_MS)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    try:
        yield Holder(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def overtake(client: AsyncClient, name: str, key: str) -> FencingToken:
    """As the next holder does it: take the lock, read under the token, write."""
    async with client.lock(name, 60_000) as token:
        await client.get(key, fence=token)
        await client.set(key, b"new", fence=token)
        return token


@pytest.mark.parametrize("fences", ["fences", "bare"])
def test_a_stopped_holder_is_refused_by_its_token_and_by_nothing_else(
    cluster: Cluster, fences: str
) -> None:
    name, key = f"paused-{fences}", f"guarded-{fences}"
    seed = f"127.0.0.1:{cluster['a'].port}"

    async def main() -> None:
        async with AsyncClient([seed]) as client, holder_of(seed, name, key, fences) as holder:
            await client.set(key, b"before")
            (number,) = await holder.line()
            holder.process.send_signal(signal.SIGSTOP)
            later = await overtake(client, name, key)
            assert later > FencingToken(name.encode(), int(number))
            holder.go_on()
            said = await holder.line()
            if fences == "fences":
                assert said == ["refused", str(later.number)]
                assert await client.get(key) == b"new"
            else:
                # The harm: it writes under a lock that another has held since.
                assert said == ["stored"]
                assert await client.get(key) == b"old"
            assert await holder.line() == ["lost"]

    run(main())


def test_before_the_next_holder_has_come_by_an_old_write_is_let_in_and_after_it_is_not(
    cluster: Cluster,
) -> None:
    """What docs/locks.md says of the door: a read under the token closes it, in its shard."""
    seed = f"127.0.0.1:{cluster['b'].port}"

    async def main() -> None:
        async with (
            AsyncClient([seed]) as client,
            holder_of(seed, "door", "door-key", "fences") as holder,
        ):
            (number,) = await holder.line()
            old = FencingToken(b"door", int(number))
            holder.process.send_signal(signal.SIGSTOP)
            async with client.lock("door", 60_000) as token:
                # Nobody has said to this shard that there is a newer one.
                await client.set("door-key", b"late", fence=old)
                assert await client.get("door-key", fence=token) == b"late"
                holder.go_on()
                assert await holder.line() == ["refused", str(token.number)]
                assert await client.get("door-key", fence=token) == b"late"

    run(main())
