"""Finding out about the cluster: its map and its leaders, from whichever node answers first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from quorumcache.ring import ClusterMap
from quorumcache.router.errors import (
    BadReply,
    ClusterUnreachable,
    ConnectFailed,
    NotACluster,
    NotDone,
    Refused,
    RouterError,
)
from quorumcache.router.pool import Pool
from quorumcache.router.requests import (
    LeaderLine,
    MapAnswer,
    cluster_leaders,
    cluster_map,
    reads_form,
)


class Sighting(NamedTuple):
    """What one node told. `cluster_map` is None if the epoch the client knows is the newest."""

    address: str
    cluster_map: ClusterMap | None
    leaders: tuple[LeaderLine, ...]


async def look(pool: Pool, address: str, known_epoch: int, deadline: float) -> Sighting:
    """Ask one node for its map and its leaders, in one round trip."""
    connection = await pool.acquire(address, deadline)
    form_request = reads_form()
    map_request, leaders_request = cluster_map(known_epoch), cluster_leaders()
    size = len(form_request.data) + len(map_request.data) + len(leaders_request.data)
    await connection.room(size, deadline)
    form_reply = connection.submit(form_request, deadline)
    map_reply = connection.submit(map_request, deadline)
    leaders_reply = connection.submit(leaders_request, deadline)
    try:
        answer: MapAnswer = await map_reply
        leaders = await leaders_reply
    except Refused as error:
        raise NotACluster(address, str(error)) from error
    finally:
        settle(form_reply, map_reply, leaders_reply)
    if answer.cluster_map is not None and answer.cluster_map.epoch != answer.epoch:
        raise BadReply(f"{address} announced epoch {answer.epoch} and sent another one")
    return Sighting(address, answer.cluster_map, leaders)


async def first_sighting(
    pool: Pool, addresses: Sequence[str], known_epoch: int, deadline: float, hedge_ms: int
) -> Sighting:
    """The first answer of any of `addresses`, asked in this order.

    The next one is asked when one fails, or when none has answered for `hedge_ms`. If all fail,
    the error names each address and its reason.
    """
    loop = asyncio.get_running_loop()
    asking: dict[asyncio.Task[Sighting], str] = {}
    errors: list[tuple[str, RouterError]] = []
    waiting_list = list(addresses)
    try:
        while waiting_list or asking:
            if waiting_list:
                address = waiting_list.pop(0)
                task = loop.create_task(look(pool, address, known_epoch, deadline))
                asking[task] = address
            timeout = hedge_ms / 1000 if waiting_list else None
            await asyncio.wait(asking, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in asking if task.done()]:
                address = asking.pop(task)
                error = task.exception()
                if error is None:
                    return task.result()
                if not isinstance(error, RouterError):
                    raise error
                errors.append((address, error))
        raise _all_failed(errors)
    finally:
        for task in asking:
            task.cancel()
        if asking:
            await asyncio.wait(asking)
            for task in asking:
                if not task.cancelled():
                    task.exception()


def _all_failed(errors: Sequence[tuple[str, RouterError]]) -> RouterError:
    """The most telling of the reasons why no node gave its map."""
    for _, error in errors:
        if type(error) is NotDone:
            return error  # a node answered: there is no map yet
    strangers = [error for _, error in errors if isinstance(error, NotACluster)]
    if strangers and len(strangers) == len(errors):
        return strangers[0]
    reasons = []
    for address, error in errors:
        text = error.why if isinstance(error, ConnectFailed) else str(error)
        reasons.append(text if text.startswith(address) else f"{address}: {text}")
    return ClusterUnreachable(f"no node of the cluster answers ({'; '.join(reasons)})")


def settle(*futures: asyncio.Future[Any]) -> None:
    """Leave no future behind that somebody would have to look at."""
    for future in futures:
        if not future.cancel() and not future.cancelled():
            future.exception()
