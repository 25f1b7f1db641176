"""A node is killed and started again: every client connects again, by itself, and finds its items.

One node is killed once for all of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from tests.support.clients import library
from tests.support.processes import Cluster
from tests.support.wire import DEADLINE_S

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
"""Some leave a broken connection to the garbage collector."""

Calls = tuple[Callable[[str, str], Any], Callable[[str], Any]]
"""Set and get."""


@contextmanager
def pymemcache(port: int) -> Iterator[Calls]:
    client = library("pymemcache").Client(
        ("127.0.0.1", port), timeout=DEADLINE_S, default_noreply=False
    )
    yield client.set, client.get
    client.close()


@contextmanager
def pymemcache_pool(port: int) -> Iterator[Calls]:
    client = library("pymemcache").PooledClient(
        ("127.0.0.1", port), timeout=DEADLINE_S, default_noreply=False
    )
    yield client.set, client.get
    client.close()


@contextmanager
def pymemcache_hash(port: int) -> Iterator[Calls]:
    """It takes a dead server out for a while; here for no time at all."""
    client = library("pymemcache").HashClient(
        [("127.0.0.1", port)], timeout=DEADLINE_S, default_noreply=False, dead_timeout=0
    )
    yield client.set, client.get
    client.close()


@contextmanager
def python_memcached(port: int) -> Iterator[Calls]:
    client = library("memcache").Client(
        [f"127.0.0.1:{port}"], socket_timeout=DEADLINE_S, dead_retry=0
    )
    yield client.set, client.get
    client.disconnect_all()


@contextmanager
def pylibmc(port: int) -> Iterator[Calls]:
    behaviors = {"retry_timeout": 1, "dead_timeout": 1}
    client = library("pylibmc").Client([f"127.0.0.1:{port}"], behaviors=behaviors)
    yield client.set, client.get
    client.disconnect_all()


@contextmanager
def aiomcache(port: int) -> Iterator[Calls]:
    client = library("aiomcache").Client("127.0.0.1", port)
    with asyncio.Runner() as runner:
        yield (
            lambda key, value: runner.run(client.set(key.encode(), value.encode())),
            lambda key: runner.run(client.get(key.encode())),
        )
        runner.run(client.close())


@contextmanager
def emcache(port: int) -> Iterator[Calls]:
    module = library("emcache")

    async def set_(key: str, value: str) -> bool:
        await client.set(key.encode(), value.encode())
        return True

    async def get(key: str) -> Any:
        item = await client.get(key.encode())
        return item and item.value

    with asyncio.Runner() as runner:
        address = module.MemcachedHostAddress("127.0.0.1", port)
        client = runner.run(module.create_client([address], timeout=2.0))
        yield lambda key, value: runner.run(set_(key, value)), lambda key: runner.run(get(key))
        runner.run(client.close())


CLIENTS = {
    "pymemcache": pymemcache,
    "pymemcache_pool": pymemcache_pool,
    "pymemcache_hash": pymemcache_hash,
    "python_memcached": python_memcached,
    "pylibmc": pylibmc,
    "aiomcache": aiomcache,
    "emcache": emcache,
}


def until(what: str, call: Callable[[], Any], wanted: Any) -> None:
    """Ask again, as an application does that takes an error for a miss."""
    deadline = time.monotonic() + DEADLINE_S
    found: Any = None
    while time.monotonic() < deadline:
        try:
            found = call()
        except Exception as error:  # Each client has errors of its own.
            found = error
        found = found.decode() if isinstance(found, bytes) else found
        if found == wanted:
            return
        time.sleep(0.05)
    raise AssertionError(f"{what}: {found!r} instead of {wanted!r}")


def found_or_none(get: Callable[[str], Any], key: str) -> Any:
    """Of a node that is down: an error of the client, or a miss."""
    try:
        return get(key)
    except Exception:  # Each client has errors of its own.
        return None


def test_every_client_finds_the_way_back(empty_cluster: Cluster) -> None:
    node = empty_cluster["c"]
    with ExitStack() as stack:
        clients = {
            name: stack.enter_context(connect(node.port)) for name, connect in CLIENTS.items()
        }
        for name, calls in clients.items():
            store(name, calls, "before")
        node.kill()
        for name, (_, get) in clients.items():
            assert not found_or_none(get, f"{name}-key"), name
        node.start()
        empty_cluster.wait_led()
        for name, calls in clients.items():
            until(name, partial(calls[1], f"{name}-key"), "before")
            store(name, calls, "after")


def store(name: str, calls: Calls, value: str) -> None:
    set_, get = calls
    until(name, partial(set_, f"{name}-key", value), True)
    until(name, partial(get, f"{name}-key"), value)
