"""What `quorumcached up` asks its nodes over HTTP: their health, and which shards they lead."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple

from quorumcache.ring.address import parse_address

REPLY_S = 5.0


class Share(NamedTuple):
    """Shards that a node should lead when it can, and those of them that it leads. `degraded`: of
    all that it holds, those with a replica on a node that is not up.
    """

    wanted: int
    led: int
    degraded: int = 0


async def read_health(address: str) -> list[str]:
    """The problems that a node's /health names; empty when it is well.

    Raises OSError, TimeoutError, or ValueError if that is no node's answer.
    """
    document = await _get(address, "/health")
    problems = document.get("problems")
    if not isinstance(problems, list):
        raise ValueError(f"not a health report: {document!r}")
    return [str(problem) for problem in problems]


async def read_share(address: str) -> Share:
    """From a node's /status. Raises as `read_health` does."""
    document = await _get(address, "/status")
    try:
        own_id = document["node_id"]
        up = {row["node_id"] for row in document["nodes"] if row["up"]}
        shards = document["shards"]
        wanted = [row for row in shards if row.get("replicas", [])[:1] == [own_id]]
        degraded = sum(not up.issuperset(row.get("replicas", [])) for row in shards)
        return Share(len(wanted), sum(row["role"] == "leader" for row in wanted), degraded)
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"not a status report: {document!r:.200}") from None


def no_answer(name: str, error: OSError | ValueError) -> str:
    """Which of the errors above the node's answer ended in, for people."""
    if isinstance(error, TimeoutError):
        why = f"nothing within {REPLY_S:.0f} s"
    elif isinstance(error, ConnectionRefusedError):
        why = "connection refused"  # asyncio's own text repeats the address.
    else:
        why = str(error)
    return f"node {name} does not answer: {why}"


async def _get(address: str, path: str) -> dict[str, Any]:
    host, port = parse_address(address)
    async with asyncio.timeout(REPLY_S):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            reply = await reader.read()
        finally:
            writer.close()
    document = json.loads(reply.partition(b"\r\n\r\n")[2])
    if not isinstance(document, dict):
        raise ValueError(f"not a report: {document!r:.200}")
    return document
