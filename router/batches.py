"""Calls for many keys: what goes out at once, and what becomes of the parts that fail.

Reads of many keys go in one line per node (and `keys_per_get_max`), whatever their shards: a node
answers for all shards it leads. When such a line fails, its keys are asked for again in one request
per shard, so that each shard ends in its own way. Writes go in one request per key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

from quorumcache.router import requests
from quorumcache.router.attempts import Attempts
from quorumcache.router.codec import Value
from quorumcache.router.discovery import settle
from quorumcache.router.dispatcher import Dispatcher
from quorumcache.router.errors import Moved, NotSent, RouterError
from quorumcache.router.levels import ReadLevel
from quorumcache.router.requests import Request
from quorumcache.router.retry import may_retry
from quorumcache.router.routing import RoutingTable
from quorumcache.router.sessions import ClientWrite

T = TypeVar("T")

WINDOW = 512
"""Requests of one call for many keys under way at once; half of what one connection takes."""


async def get_many(
    engine: Dispatcher, keys: Sequence[bytes], level: ReadLevel, deadline: float
) -> tuple[dict[bytes, bytes], dict[bytes, RouterError]]:
    """The values of those of `keys` (valid, each once) that exist, and the errors of others."""
    table = await engine.start(deadline)
    shards = [table.shard_of(key) for key in keys]
    size = engine.config.keys_per_get_max
    values: dict[bytes, bytes] = {}
    errors: dict[bytes, RouterError] = {}
    parts: list[tuple[str, list[bytes]]] = []
    for address, members in _by_node(engine, table, keys, shards, level).items():
        # Parts of equal size: 100 keys are two of 50, not one of 64 and one of 36.
        count = -(-len(members) // size)
        share = -(-len(members) // count)
        parts += [(address, members[at : at + share]) for at in range(0, len(members), share)]
    for start in range(0, len(parts), WINDOW):
        window = parts[start : start + WINDOW]
        failed = await _read_nodes(engine, window, level, deadline, values)
        if failed:
            await _read_shards(engine, table, failed, level, deadline, values, errors)
    return values, errors


def _by_node(
    engine: Dispatcher,
    table: RoutingTable,
    keys: Sequence[bytes],
    shards: Sequence[int],
    level: ReadLevel,
) -> dict[str, list[bytes]]:
    """The keys by the address to ask: their leader's, or a replica's that may answer as well."""
    targets = engine.read_targets(table, shards, level)
    by_node: dict[str, list[bytes]] = {}
    for key, shard in zip(keys, shards, strict=True):
        address = targets[shard]
        members = by_node.get(address)
        if members is None:
            by_node[address] = [key]
        else:
            members.append(key)
    return by_node


Failed = list[tuple[str, list[bytes], RouterError]]
"""Parts that have no answer: the address asked, the keys, and the reason."""


async def _read_nodes(
    engine: Dispatcher,
    parts: Sequence[tuple[str, list[bytes]]],
    level: ReadLevel,
    deadline: float,
    values: dict[bytes, bytes],
) -> Failed:
    """One attempt of one line per part. What was found goes into `values`."""
    pool = engine.pool
    failed: Failed = []
    futures: list[tuple[str, list[bytes], asyncio.Future[tuple[Value, ...]]]] = []
    try:
        for address, members in parts:
            request = requests.get_many(members, level)
            connection = pool.ready(address)
            if connection is None or not connection.has_room(len(request.data)):
                failed.append((address, members, NotSent(address, "not ready")))
                continue
            until = engine.attempt_deadline(request, None, 0, deadline)
            futures.append((address, members, connection.submit(request, until, True)))
        for address, members, future in futures:
            try:
                for hit in await future:
                    values[hit[0]] = hit[2]
            except RouterError as error:
                failed.append((address, members, error))
    finally:
        settle(*(future for _, _, future in futures))
    return failed


async def _read_shards(
    engine: Dispatcher,
    table: RoutingTable,
    failed: Failed,
    level: ReadLevel,
    deadline: float,
    values: dict[bytes, bytes],
    errors: dict[bytes, RouterError],
) -> None:
    """What failed by node, by shard: each with the attempts that it takes."""
    calls: list[tuple[int, Request[tuple[Value, ...]]]] = []
    members_of: list[list[bytes]] = []
    earlier: list[Attempts | None] = []
    for address, members, error in failed:
        by_shard: dict[int, list[bytes]] = {}
        for key in members:
            by_shard.setdefault(table.shard_of(key), []).append(key)
        for shard, shard_keys in by_shard.items():
            request = requests.get_many(shard_keys, level)
            calls.append((shard, request))
            members_of.append(shard_keys)
            earlier.append(_learned(engine, request, shard, address, error))
    for start in range(0, len(calls), WINDOW):
        part = slice(start, start + WINDOW)
        outcomes = [
            _outcome(engine, call, deadline, attempts, None)
            for call, attempts in zip(calls[part], earlier[part], strict=True)
        ]
        results = await asyncio.gather(*outcomes)
        for shard_keys, result in zip(members_of[part], results, strict=True):
            if isinstance(result, RouterError):
                errors.update(dict.fromkeys(shard_keys, result))
            else:
                values.update((hit.key, hit.value) for hit in result)


def _learned(
    engine: Dispatcher, request: Request[Any], shard: int, address: str, error: RouterError
) -> Attempts | None:
    """The attempts of a shard after the failure of a line for many; None: it has made none yet."""
    if engine.is_closed or not may_retry(request.effect, error):
        return None  # It may have been another shard that was refused: this one asks for itself.
    if isinstance(error, NotSent) and error.why == "not ready":
        return None
    if isinstance(error, Moved) and error.shard != shard:
        return None
    attempts = engine.attempts()
    engine.learn(error, shard, address, attempts)
    return attempts


async def write_many(
    engine: Dispatcher, calls: Sequence[tuple[int, Request[T]]], deadline: float
) -> list[T | RouterError]:
    """Carry many (shard, request) at once; results and errors in the order of `calls`."""
    results: list[T | RouterError] = []
    for start in range(0, len(calls), WINDOW):
        results += await _window(engine, calls[start : start + WINDOW], deadline)
    return results


async def _window(
    engine: Dispatcher, calls: Sequence[tuple[int, Request[T]]], deadline: float
) -> list[T | RouterError]:
    """Send what can go at once without a task each; what can not, or fails, gets its own."""
    table = await engine.start(deadline)
    pool = engine.pool
    futures: list[tuple[int, str, asyncio.Future[T]]] = []
    writes: dict[int, ClientWrite[Any]] = {}
    results: dict[int, T | RouterError] = {}
    late: list[tuple[int, Attempts | None]] = []
    try:
        for index, (shard, request) in enumerate(calls):
            write = engine.write(request, shard)
            if write is not None:
                writes[index] = write
            address = engine.target(table, shard, None, request)
            connection = pool.ready(address)
            if connection is None or (
                write is not None and connection.knows_sessions and not write.number()
            ):
                late.append((index, None))
                continue
            sent = request if write is None else write.request
            if not connection.has_room(len(sent.data)):
                late.append((index, None))
                continue
            until = engine.attempt_deadline(request, write, 0, deadline)
            futures.append((index, address, connection.submit(sent, until)))
        for index, address, future in futures:
            shard, request = calls[index]
            write = writes.get(index)
            try:
                results[index] = await future
            except RouterError as error:
                try:
                    engine.judge(error, request, write)
                except RouterError as verdict:
                    results[index] = verdict
                else:
                    attempts = None
                    if not engine.is_closed:
                        attempts = engine.attempts()
                        engine.learn(error, shard, address, attempts)
                    late.append((index, attempts))
                    continue
            if write is not None:
                write.end()  # Others may be waiting for room in the session.
        if late:
            outcomes = [
                _outcome(engine, calls[index], deadline, attempts, writes.get(index))
                for index, attempts in late
            ]
            ended = await asyncio.gather(*outcomes)
            results.update(zip((index for index, _ in late), ended, strict=True))
    finally:
        settle(*(future for _, _, future in futures))
        for write in writes.values():
            write.end()
    return [results[index] for index in range(len(calls))]


async def _outcome(
    engine: Dispatcher,
    call: tuple[int, Request[T]],
    deadline: float,
    attempts: Attempts | None,
    write: ClientWrite[Any] | None,
) -> T | RouterError:
    shard, request = call
    try:
        return await engine.attempt(request, shard, deadline, attempts, write)
    except RouterError as error:
        return error
    finally:
        if write is not None:
            write.end()
