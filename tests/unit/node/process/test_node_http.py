"""What nodes answer over HTTP, as `quorumcached up` reads it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from quorumcache.node.process.node_http import Share, no_answer, read_health, read_share


async def served(reply: bytes, then: Callable[[str], Any]) -> Any:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        return await asyncio.wait_for(then(f"127.0.0.1:{port}"), 60)
    finally:
        server.close()


def test_the_problems_of_a_node_are_read() -> None:
    body = json.dumps({"problems": ["shard 1 has no leader"]}).encode()
    reply = b"HTTP/1.0 503 x\r\n\r\n" + body
    assert asyncio.run(served(reply, read_health)) == ["shard 1 has no leader"]


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b"{}", b'{"problems": 5}'])
def test_what_is_no_report_is_told(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's error is one, too
        asyncio.run(served(b"HTTP/1.0 200 OK\r\n\r\n" + body, read_health))


def share_of(rows: list[dict[str, Any]], nodes: list[dict[str, Any]]) -> Share:
    body = json.dumps({"node_id": 1, "shards": rows, "nodes": nodes}).encode()
    share: Share = asyncio.run(served(b"HTTP/1.0 200 OK\r\n\r\n" + body, read_share))
    return share


def test_the_share_of_a_node_is_what_it_should_lead() -> None:
    rows = [
        {"shard": 0, "role": "leader", "replicas": [1, 2]},
        {"shard": 1, "role": "follower", "replicas": [1, 2]},
        {"shard": 2, "role": "leader", "replicas": [2, 1]},
        {"shard": 3, "role": "follower"},
    ]
    nodes = [{"node_id": 1, "up": True}, {"node_id": 2, "up": True}]
    assert share_of(rows, nodes) == Share(wanted=2, led=1)
    nodes[1]["up"] = False
    assert share_of(rows, nodes) == Share(wanted=2, led=1, degraded=3)
    assert share_of(rows, nodes[:1]) == Share(wanted=2, led=1, degraded=3)
    with pytest.raises(ValueError, match="not a status report"):
        asyncio.run(served(b"HTTP/1.0 200 OK\r\n\r\n{}", read_share))


def test_why_a_node_does_not_answer_is_told_in_words() -> None:
    """Not as Python shows an error, and not without words where the error has none."""
    refused = ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)")
    assert no_answer("a", refused) == "node a does not answer: connection refused"
    assert no_answer("a", TimeoutError()) == "node a does not answer: nothing within 5 s"
    told = no_answer("a", ValueError("not a health report: {}"))
    assert told == "node a does not answer: not a health report: {}"
