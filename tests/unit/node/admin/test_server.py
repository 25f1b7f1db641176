"""The HTTP server: its pages, and what it does with clients that are not polite."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

import quorumcache.node.admin.server as admin
from quorumcache.node.admin.server import AdminServer, RequestError, parse_head
from quorumcache.node.admin.status import PROBLEMS_MAX
from quorumcache.node.consensus.values import Role
from tests.support.background import background_tasks
from tests.support.fake_node import FakeGroup, FakeNode, FakeStore

DEADLINE_S = 30.0
Exchange = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]]


# uvloop's transports and servers are classes of their own.
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture(params=sorted(LOOPS))
def node(request: pytest.FixtureRequest) -> FakeNode:
    """A node to look at; every test runs on both kinds of loop."""
    fake = FakeNode()
    fake.loop_kind = request.param
    return fake


def serve(node: FakeNode, exchange: Exchange) -> Any:
    """Run one exchange of a client with an AdminServer of `node`."""

    async def main() -> Any:
        server = AdminServer(node, asyncio.get_running_loop(), background_tasks())
        host, _, port = (await server.start(("127.0.0.1:0",))).rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            return await asyncio.wait_for(exchange(reader, writer), DEADLINE_S)
        finally:
            writer.close()
            await server.close()

    with asyncio.Runner(loop_factory=LOOPS[node.loop_kind]) as runner:
        return runner.run(main())


async def read_reply(
    reader: asyncio.StreamReader, *, body: bool = True
) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    content = await reader.readexactly(int(headers["content-length"])) if body else b""
    return int(head[0].split(" ")[1]), headers, content


def get(node: FakeNode, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Any:
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return await read_reply(reader, body=method != "HEAD")

    return serve(node, exchange)


def test_metrics(node: FakeNode) -> None:
    status, headers, body = get(node, "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"\nquorumcache_connections 0.0\n" in body


def test_healthy(node: FakeNode) -> None:
    status, headers, body = get(node, "/health?verbose=1")
    assert (status, headers["content-type"]) == (200, "application/json; charset=utf-8")
    assert json.loads(body) == {
        "status": "ok",
        "node": "a",
        "problems": [],
        "warnings": ["node c: no connection to it"],
    }


def test_a_warning_says_why_there_is_no_connection(node: FakeNode) -> None:
    node.apart = {2: "is up, and of no interest", 3: "this node refuses it: it was set back"}
    warnings = json.loads(get(node, "/health")[2])["warnings"]
    assert warnings == ["node c: no connection to it: this node refuses it: it was set back"]


def unhealthy(node: FakeNode) -> list[str]:
    status, _, body = get(node, "/health")
    assert status == 503
    document = json.loads(body)
    assert document["status"] == "unavailable"
    problems: list[str] = document["problems"]
    return problems


def test_no_leader(node: FakeNode) -> None:
    node.host.groups[2].leader_id = 0
    node.host.groups[2].role = Role.CANDIDATE
    assert unhealthy(node) == ["shard 1: no leader known"]


def test_no_leader_of_the_directory(node: FakeNode) -> None:
    node.host.groups[0].leader_id = 0
    assert unhealthy(node) == ["the directory: no leader known"]


def test_full_disk(node: FakeNode) -> None:
    node.host.log_writable = False
    assert "log cannot be written" in unhealthy(node)[0]


def test_no_map(node: FakeNode) -> None:
    node.map = None
    assert "no cluster map" in unhealthy(node)[0]


def test_replica_not_started(node: FakeNode) -> None:
    del node.host.groups[1]
    assert unhealthy(node) == ["shard 0: its replica here has not started"]


def test_many_problems_are_counted_and_not_listed(node: FakeNode) -> None:
    for shard in range(2, 100):
        node.host.groups[shard + 1] = FakeGroup(shard + 1, leader_id=0, machine=FakeStore())
    problems = unhealthy(node)
    assert len(problems) == PROBLEMS_MAX + 1
    assert problems[-1] == "and 88 more"


def test_status(node: FakeNode) -> None:
    node.store(1).put(b"k", b"v")
    status, _, body = get(node, "/status")
    assert status == 200
    document = json.loads(body)
    assert (document["node"], document["node_id"], document["map_epoch"]) == ("a", 1, 4)
    assert [n["up"] for n in document["nodes"]] == [True, True, False]
    assert document["directory"]["role"] == "follower"
    assert [row["shard"] for row in document["shards"]] == [0, 1]
    assert document["shards"][1]["role"] == "leader"
    assert document["shards"][1]["items"] == 1
    assert sorted(document["shards"][1]["replicas"]) == [1, 2, 3]
    node.map = None
    assert json.loads(get(node, "/status")[2])["nodes"] == []


def test_not_found_names_the_pages(node: FakeNode) -> None:
    status, _, body = get(node, "/nothing")
    assert status == 404
    assert b"/metrics, /health, /status" in body
    assert get(node, "/")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods(node: FakeNode, method: str) -> None:
    status, headers, _ = get(node, "/metrics", method)
    assert (status, headers["allow"]) == (405, "get, head")


def test_head_has_no_body(node: FakeNode) -> None:
    status, headers, body = get(node, "/health", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0


def test_a_page_that_fails_is_a_500_and_the_connection_lives_on(node: FakeNode) -> None:
    node.peers = None  # type: ignore[assignment]

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /status HTTP/1.1\r\n\r\n")
        assert (await read_reply(reader))[0] == 500
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await read_reply(reader))[0] == 200

    serve(node, exchange)


def test_keep_alive_pipelining_and_bytes_one_by_one(node: FakeNode) -> None:
    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n":
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await read_reply(reader))[0] == 200
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\nGET /nothing HTTP/1.1\r\n\r\n")
        assert (await read_reply(reader))[0] == 200
        assert (await read_reply(reader))[0] == 404
        writer.write(b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
        status, headers, _ = await read_reply(reader)
        assert (status, headers["connection"]) == (200, "close")
        assert await reader.read() == b""

    serve(node, exchange)


def test_http_1_0_closes(node: FakeNode) -> None:
    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /health HTTP/1.0\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")

    serve(node, exchange)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"\x00\xff\x00\r\n\r\n", 400),
        (b"GET /health HTTP/2.0\r\n\r\n", 505),
        (b"GET /health HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 413),
        (b"GET /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        (b"GET /health HTTP/1.1\r\nX: " + b"x" * 20_000, 431),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"x" * 20_000, 431),
    ],
)
def test_bad_requests_are_answered_and_closed(node: FakeNode, data: bytes, status: int) -> None:
    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        reply = await reader.read()
        assert reply.startswith(b"HTTP/1.1 %d " % status)
        assert b"Connection: close" in reply

    serve(node, exchange)


def test_a_silent_client_is_dropped(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "IDLE_SECONDS", 0.01)

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /health HT")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""

    serve(node, exchange)


def test_too_many_connections(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "CONNECTIONS_MAX", 1)

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = writer.get_extra_info("peername")
        has_begun, may_end = asyncio.Event(), asyncio.Event()

        async def slow(self: admin.AdminServer, request: admin.Request) -> admin.Reply:
            has_begun.set()
            await may_end.wait()
            return admin.Reply(200, "text/plain", b"")

        monkeypatch.setattr(admin.AdminServer, "answer", slow)
        writer.write(b"GET /health HTTP/1.1\r\n\r\n")
        await has_begun.wait()
        second_reader, second = await asyncio.open_connection(host, port)
        assert (await second_reader.read()).startswith(b"HTTP/1.1 503 ")
        second.close()
        may_end.set()
        assert (await read_reply(reader))[0] == 200

    serve(node, exchange)


def test_idle_connections_make_room_for_a_probe(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise connections that somebody opens and forgets make the node look unwell."""
    monkeypatch.setattr(admin, "CONNECTIONS_MAX", 2)

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = writer.get_extra_info("peername")
        idle_reader, idle = await asyncio.open_connection(host, port)
        writer.write(b"GET /health HTTP/1.1\r\n\r\n")
        assert (await read_reply(reader))[0] == 200
        probe_reader, probe = await asyncio.open_connection(host, port)
        probe.write(b"GET /health HTTP/1.1\r\n\r\n")
        assert (await read_reply(probe_reader))[0] == 200
        with contextlib.suppress(ConnectionError):
            assert await idle_reader.read() == b""
        writer.write(b"GET /health HTTP/1.1\r\n\r\n")
        assert (await read_reply(reader))[0] == 200
        for other in (idle, probe):
            other.close()

    serve(node, exchange)


def test_parse_head() -> None:
    request = parse_head(b"GET /a?b=c HTTP/1.1\r\nConnection: Keep-Alive")
    assert request == ("GET", "/a", True)
    assert parse_head(b"GET / HTTP/1.0").keep_alive is False
    assert parse_head(b"GET / HTTP/1.0\r\nConnection: keep-alive").keep_alive is True
    with pytest.raises(RequestError):
        parse_head(b"GET / HTTP/1.1\r\n folded: header")
