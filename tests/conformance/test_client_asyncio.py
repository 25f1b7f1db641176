"""The clients of asyncio: aiomcache and emcache."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.support.clients import library
from tests.support.processes import Cluster
from tests.support.wire import DEADLINE_S

LARGEST = b"x" * ((1 << 20) - 1024)
TOO_LARGE = b"x" * ((1 << 20) + 1024)


def run(scenario: Callable[[Any], Coroutine[Any, Any, None]], client: Any) -> None:
    async def whole() -> None:
        async with asyncio.timeout(DEADLINE_S):
            connected = await client if asyncio.iscoroutine(client) else client()
            try:
                await scenario(connected)
            finally:
                await connected.close()

    asyncio.run(whole())


def test_aiomcache(empty_cluster: Cluster) -> None:
    aiomcache = library("aiomcache")

    async def scenario(client: Any) -> None:
        assert await client.get(b"k") is None
        assert await client.set(b"k", b"one", exptime=100)
        assert await client.add(b"k", b"x") is False
        assert await client.replace(b"k", b"two")
        assert await client.append(b"k", b"-after")
        assert await client.prepend(b"k", b"before-")
        value, unique = await client.gets(b"k")
        assert value == b"before-two-after"
        assert await client.cas(b"k", b"three", unique) is True
        assert await client.cas(b"k", b"four", unique) is False
        assert await client.set(b"n", b"10")
        assert await client.incr(b"n", 5) == 15
        assert await client.decr(b"n", 20) == 0
        with pytest.raises(aiomcache.ClientException, match="NOT_FOUND"):
            await client.incr(b"absent", 1)
        with pytest.raises(aiomcache.ClientException):
            await client.incr(b"k", 1)
        assert await client.touch(b"n", 100) is True
        assert await client.touch(b"absent", 100) is False
        assert await client.delete(b"n") is True
        everything = bytes(range(256))
        for number in range(100):
            await client.set(b"many-%d" % number, everything)
        keys = [b"many-%d" % number for number in range(100)]
        assert await client.multi_get(*keys, b"absent") == (everything,) * 100 + (None,)
        assert await client.set(b"large", LARGEST)
        assert await client.get(b"large") == LARGEST
        with pytest.raises(aiomcache.ClientException):
            await client.set(b"large", TOO_LARGE)
        assert (await client.version())[:1].isdigit()
        assert b"pid" in await client.stats()
        await client.set(b"count", b"0")
        await asyncio.gather(*[client.incr(b"count") for _ in range(50)])
        assert await client.get(b"count") == b"50"
        await client.flush_all()
        assert await client.get(b"count") is None

    port = empty_cluster["b"].port
    run(scenario, lambda: aiomcache.Client("127.0.0.1", port, pool_size=4))


@pytest.mark.parametrize("autobatching", [False, True])
def test_emcache(empty_cluster: Cluster, autobatching: bool) -> None:
    emcache = library("emcache")
    addresses = [emcache.MemcachedHostAddress("127.0.0.1", node.port) for node in empty_cluster]

    async def scenario(client: Any) -> None:
        assert await client.get(b"k") is None
        await client.set(b"k", b"one", exptime=100, flags=7)
        item = await client.get(b"k", return_flags=True)
        assert (item.value, item.flags) == (b"one", 7)
        with pytest.raises(emcache.NotStoredStorageCommandError):
            await client.add(b"k", b"x")
        await client.replace(b"k", b"two")
        await client.append(b"k", b"-after")
        await client.prepend(b"k", b"before-")
        item = await client.gets(b"k")
        assert item.value == b"before-two-after"
        await client.cas(b"k", b"three", item.cas)
        with pytest.raises(emcache.StorageCommandError):
            await client.cas(b"k", b"four", item.cas)
        await client.set(b"n", b"10")
        assert await client.increment(b"n", 5) == 15
        assert await client.decrement(b"n", 20) == 0
        with pytest.raises(emcache.NotFoundCommandError):
            await client.increment(b"absent", 1)
        await client.touch(b"n", 100)
        assert (await client.gat(200, b"n")).value == b"0 "
        assert (await client.gats(200, b"n")).cas
        keys = [b"many-%d" % number for number in range(200)]
        await asyncio.gather(*[client.set(key, key * 3) for key in keys])
        found = await client.get_many([*keys, b"absent"])
        assert {key: item.value for key, item in found.items()} == {key: key * 3 for key in keys}
        assert len(await client.gets_many(keys)) == 200
        assert len(await client.gat_many(100, keys)) == 200
        assert [item.value for item in await asyncio.gather(*map(client.get, keys))] == [
            key * 3 for key in keys
        ]
        await client.set(b"quiet", b"1", noreply=True)
        await client.increment(b"quiet", 1, noreply=True)
        await client.delete(b"n")
        assert await client.get(b"n") is None
        await client.set(b"large", LARGEST)
        assert (await client.get(b"large")).value == LARGEST
        with pytest.raises(emcache.CommandError):
            await client.set(b"large", TOO_LARGE)
        for address in addresses:
            assert (await client.version(address))[:1].isdigit()
            assert "pid" in await client.stats(address)
            assert "maxbytes" in await client.stats(address, "settings")
            await client.verbosity(address, 0)
        await client.flush_all(addresses[0])
        assert await client.get(b"k") is None

    run(scenario, emcache.create_client(addresses, timeout=DEADLINE_S, autobatching=autobatching))
