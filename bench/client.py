"""Measures `AsyncClient`: calls per second beside aiomcache, in one process and one run.

The same node of ours serves both, so that the difference is the clients': it is alone, leads all
shards and keeps its data in memory. Beside it aiomcache talks to memcached, and `AsyncClient` to a
cluster of three nodes. Rounds alternate between all of them; reported is the median of the rounds,
and the median of each round's ratio.

aiomcache keeps one connection per call under way, at most as many as tasks; `AsyncClient` keeps one
per node.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from quorumcache.bench.cluster import ClusterOptions, LocalCluster, LocalMemcached, memcached_path
from quorumcache.bench.errors import StartError
from quorumcache.bench.measure import Progress
from quorumcache.bench.report import Table
from quorumcache.router import AsyncClient

AIOMCACHE_MISSING = "aiomcache is not installed, so there is nothing to compare with"
KEYS = 10_000
VALUE = bytes(100)
MANY = 100
"""Keys of one get_many."""

Call = Callable[[bytes], Awaitable[object]]
CallMany = Callable[[Sequence[bytes]], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Client:
    """One client of one server. `name` is client and server, as reports show them."""

    name: str
    get: Call
    set: Call
    get_many: CallMany


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of load. `tasks` of them call at the same time."""

    name: str
    tasks: int
    verb: str


CASES = (
    Case("get, 1 task", 1, "get"),
    Case("set, 1 task", 1, "set"),
    Case(f"get_many of {MANY}, 1 task", 1, "get_many"),
    Case("get, 50 tasks", 50, "get"),
    Case("set, 50 tasks", 50, "set"),
)
OURS, THEIRS = "AsyncClient, 1 node", "aiomcache, 1 node"


def measure_clients(rounds: int, seconds: float, progress: Progress) -> Table:
    """Start the servers, and run `rounds` of every case, `seconds` for each client."""
    try:
        import aiomcache  # noqa: F401
    except ImportError:
        raise StartError(f"{AIOMCACHE_MISSING}: pip install aiomcache") from None
    with ExitStack() as stack:
        one = stack.enter_context(LocalCluster(ClusterOptions(nodes=1, durability="memory")))
        three = stack.enter_context(LocalCluster(ClusterOptions(nodes=3)))
        memcached = None
        if memcached_path() is not None:
            memcached = stack.enter_context(LocalMemcached())
        addresses = [
            one.addresses,
            three.addresses,
            memcached.addresses if memcached is not None else [],
        ]
        rates = asyncio.run(_measure(addresses, rounds, seconds, progress))
    progress.end()
    return _table(rates, rounds, seconds)


async def _measure(
    addresses: list[list[tuple[str, int]]], rounds: int, seconds: float, progress: Progress
) -> dict[tuple[str, str], list[float]]:
    import aiomcache

    one, three, memcached = addresses
    tasks_max = max(case.tasks for case in CASES)
    rates: dict[tuple[str, str], list[float]] = {}
    ours = [
        (name, AsyncClient([f"{host}:{port}" for host, port in nodes]))
        for name, nodes in ((OURS, one), ("AsyncClient, 3 nodes", three))
    ]
    theirs = [
        (name, aiomcache.Client(*nodes[0], pool_size=tasks_max))
        for name, nodes in ((THEIRS, one), ("aiomcache, memcached", memcached))
        if nodes
    ]
    clients = [_ours(name, client) for name, client in ours]
    clients += [_theirs(name, client) for name, client in theirs]
    try:
        keys = [b"key:%010d" % number for number in range(KEYS)]
        for client in clients:
            for key in keys:
                await client.set(key)
        for number in range(rounds):
            # The order alternates, so a machine that warms up or cools down favours neither.
            order = clients if number % 2 == 0 else clients[::-1]
            for case in CASES:
                progress.begin(f"round {number + 1} of {rounds}: {case.name}")
                for client in order:
                    rate = await _rate(client, case, keys, seconds)
                    rates.setdefault((case.name, client.name), []).append(rate)
    finally:
        for _, ours_client in ours:
            await ours_client.close()
        for _, their_client in theirs:
            await their_client.close()
    return rates


def _ours(name: str, client: AsyncClient) -> Client:
    async def store(key: bytes) -> None:
        await client.set(key, VALUE)

    return Client(name, client.get, store, client.get_many)


def _theirs(name: str, client: object) -> Client:
    from aiomcache import Client as TheirClient

    assert isinstance(client, TheirClient)
    their = client

    async def store(key: bytes) -> None:
        await their.set(key, VALUE)

    async def get_many(keys: Sequence[bytes]) -> object:
        return await their.multi_get(*keys)

    return Client(name, their.get, store, get_many)


async def _rate(client: Client, case: Case, keys: list[bytes], seconds: float) -> float:
    """Calls per second."""
    counts = [0] * case.tasks
    until = time.perf_counter() + seconds

    async def one_key(number: int, call: Call) -> None:
        at, count = number * 101, 0
        while time.perf_counter() < until:
            await call(keys[at % KEYS])
            at += 7
            count += 1
        counts[number] = count

    async def many_keys(number: int) -> None:
        at, count = number * 101, 0
        while time.perf_counter() < until:
            start = at % (KEYS - MANY)
            await client.get_many(keys[start : start + MANY])
            at += 7
            count += 1
        counts[number] = count

    gc.collect()
    began = time.perf_counter()
    if case.verb == "get_many":
        await asyncio.gather(*(many_keys(number) for number in range(case.tasks)))
    else:
        call = client.get if case.verb == "get" else client.set
        await asyncio.gather(*(one_key(number, call) for number in range(case.tasks)))
    return sum(counts) / (time.perf_counter() - began)


def _table(rates: dict[tuple[str, str], list[float]], rounds: int, seconds: float) -> Table:
    """One row per case and client; ratios are of the rounds, against aiomcache."""
    rows = []
    data: dict[str, dict[str, object]] = {}
    for (case, client), found in rates.items():
        row = [case, client, f"{statistics.median(found):,.0f}"]
        ratios: dict[str, float] = {}
        for other in (THEIRS, "aiomcache, memcached"):
            theirs = rates.get((case, other))
            if theirs is None or client.startswith("aiomcache"):
                row.append("-")
                continue
            pairs = zip(found, theirs, strict=True)
            ratios[other] = statistics.median(mine / their for mine, their in pairs)
            row.append(f"{ratios[other]:.2f}")
        rows.append(tuple(row))
        data.setdefault(case, {})[client] = {"calls_per_second": found, "ratios": ratios}
    return Table(
        title=f"Clients, {rounds} rounds of {seconds:g} s, {len(VALUE)}-byte values",
        columns=("load", "client and server", "calls/s", "x aiomcache, 1 node", "x memcached"),
        rows=tuple(rows),
        notes=(
            "Medians of alternating rounds. One process calls, on asyncio's own loop; each server"
            " is another process.",
        ),
        data=data,
    )
