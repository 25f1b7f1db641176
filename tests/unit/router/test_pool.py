"""The pool: the choice of a connection, and what a closed or disowned pool does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import uvloop

from quorumcache.router import ClientClosed, ClientConfig, ConnectFailed
from quorumcache.router.pool import Choice, Pool, choose
from quorumcache.router.requests import get
from tests.support.fake_cluster import FakeCluster, run
from tests.support.hung_names import HungNames


@pytest.mark.parametrize(
    ("loads", "is_opening", "count_max", "choice"),
    [
        ([], False, 1, Choice(-1, True)),
        ([], True, 1, Choice(-1, False)),
        ([5], False, 1, Choice(0, False)),
        ([5, 2, 9], False, 4, Choice(1, False)),
        ([10, 12], False, 4, Choice(0, True)),
        ([10, 12], True, 4, Choice(0, False)),
        ([10, 12], False, 2, Choice(0, False)),
    ],
)
def test_choice(loads: list[int], is_opening: bool, count_max: int, choice: Choice) -> None:
    assert choose(loads, is_opening, count_max, load_high=10) == choice


def pool() -> Pool:
    return Pool(asyncio.get_running_loop(), ClientConfig(), Random(1))


def later() -> float:
    return asyncio.get_running_loop().time() + 20


def test_a_closed_pool_opens_nothing() -> None:
    async def main() -> None:
        async with FakeCluster(nodes=1) as cluster:
            closed = pool()
            address = cluster.node(1).address
            await closed.acquire(address, later())
            await closed.close()
            with pytest.raises(ClientClosed):
                await closed.acquire(address, later())
            assert not closed.is_at_hand(address)
            assert closed.ready(address) is None
            assert cluster.node(1).connection_count == 1

    run(main())


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "\x00", "x" * 300])
def test_a_name_that_no_resolver_takes_is_a_failed_connection(host: str) -> None:
    """Maps name hosts, too: whatever they say, the caller gets an error of ours."""

    async def main() -> None:
        opening = pool()
        with pytest.raises(ConnectFailed):
            await opening.acquire(f"{host}:11211", later())
        await opening.close()

    run(main())


@pytest.mark.parametrize("loop_run", [asyncio.run, uvloop.run])
def test_a_seed_whose_name_has_no_answer_delays_nothing_else(
    loop_run: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the other seeds nor the program's own use of threads, nor its end: one look-up of the
    name is under way, however often it is dialed."""
    server = HungNames(monkeypatch)
    server.addresses["live.test"] = "127.0.0.1"
    server.silent.add("hung.test")
    config = ClientConfig(connect_timeout_ms=5, backoff_first_ms=1, backoff_max_ms=1)

    async def main() -> None:
        async with FakeCluster(nodes=1) as cluster:
            opening = Pool(asyncio.get_running_loop(), config, Random(1))
            for _ in range(20):
                with pytest.raises(ConnectFailed, match="no answer within 5 ms"):
                    await opening.acquire("hung.test:11211", later())
                await asyncio.sleep(0.002)
            assert server.asked == ["hung.test"]
            await opening.close()
            other = pool()
            _, _, port = cluster.node(1).address.rpartition(":")
            await other.acquire(f"live.test:{port}", later())
            assert await asyncio.to_thread(int, "7") == 7
            await other.close()

    try:
        loop_run(main())
        assert server.under_way == 1, "the end of the loop has waited for it"
    finally:
        server.release()


def test_a_disowned_connection_sends_nothing_more() -> None:
    """As in a child process, but in this one: the descriptor stays, and leads nowhere."""

    async def main() -> None:
        async with FakeCluster(nodes=1) as cluster:
            parent = pool()
            node = cluster.node(1)
            connection = await parent.acquire(node.address, later())
            assert connection._transport is not None
            descriptor = connection._transport.get_extra_info("socket").fileno()
            before = list(node.log)
            parent.disown()
            assert os.readlink(f"/proc/self/fd/{descriptor}") == os.devnull
            future = connection.submit(get(b"k"), later(), True)
            assert node.log == before
            future.cancel()
            await parent.close()

    run(main())
